r"""Soft actor-critic (Haarnoja et al. 2018, arXiv:1812.05905), for continuous and discrete actions; all of it.

Critics learn the return plus the entropy $\alpha H$ of what the policy does later, from transitions drawn from a memory;
the policy descends on $E[\alpha \log \pi(a | s) - Q(s, a)]$; the temperature $\alpha$ is moved to where the entropy is
as asked for. Continuous actions are reparametrised samples within the unit box, which is stretched to the environment's,
so entropies do not depend on the units of actions. With discrete actions all expectations are sums
(Christodoulou 2019, arXiv:1910.07207).

More critics than two and `target_critics` fewer make it REDQ (Chen et al. 2021, arXiv:2101.05982); an `expectile` above
1/2 that falls to it over the run makes it AQ-SAC (Omura et al. 2025, arXiv:2506.05968).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from rljax.data.memory import Held, blocks, fill, memory, replay
from rljax.data.memory import check as check_memory
from rljax.data.transitions import transition
from rljax.errors import ConfigError, require
from rljax.nets.critic import Critics, DiscreteCritics
from rljax.nets.features import flat_features
from rljax.nets.heads import PolicyHead
from rljax.nets.mlp import MLP, activation
from rljax.nets.q import chosen
from rljax.ops import optim
from rljax.ops.ensemble import learn_target, least, subset
from rljax.ops.rollout import Episodes, begin, rollout
from rljax.ops.value_heads import Next, Numbers, head_of
from rljax.types import Algorithm, Array, Box, Discrete, Env, Scalar, Space


@dataclass(frozen=True)
class Config:
    """Shapes and branches. Changing one compiles a new program."""

    num_envs: int = 1  # parallel environments, E
    num_steps: int = 1  # steps per environment and update, T
    gradient_steps: int = 1  # of the critics, per update
    policy_delay: int = 1  # gradient steps of the critics for one of the policy; must divide gradient_steps
    batch_size: int = 256  # of each gradient step
    capacity: int = 100_000  # steps that are remembered
    warmup: int = 1_000  # random steps before learning begins
    n_step: int = 1  # steps whose rewards a target takes as they were
    prioritised: bool = False  # draw by how wrong the critics were
    hidden: tuple[int, ...] = (256, 256)  # widths of the hidden layers
    activation: str = "relu"  # tanh, relu, swish, gelu, elu
    layer_norm: bool = False  # in the hidden layers of the critics
    critics: int = 2  # M
    target_critics: int = 2  # of them, drawn anew for each target, which takes the least
    head: Literal["scalar", "categorical", "hl-gauss", "quantile"] = "scalar"  # what a critic's outputs stand for
    atoms: int = 51  # outputs of the other heads
    loss: Literal["squared", "huber"] = "squared"  # of the scalar head


class Hypers(struct.PyTreeNode):
    """Numbers, all traced: sweep, anneal, perturb or differentiate them."""

    lr: Scalar = 3e-4  # learning rate of Adam, of the policy
    critic_lr: Scalar = 1e-3  # of the critics
    temperature_lr: Scalar = 1e-3  # of the logarithm of alpha
    discount: Scalar = 0.99  # gamma
    target_rate: Scalar = 0.005  # how far the target critics move towards the critics in each gradient step
    temperature: Scalar = 1.0  # alpha, as it starts
    entropy_continuous: Scalar = -1.0  # asked for, of each entry of an action within the unit box, in nats
    entropy_discrete: Scalar = 0.5  # asked for, as a share of that of a uniform policy
    expectile: Scalar = 0.5  # tau, as it starts; above 1/2 critics lean to the best action
    expectile_final: Scalar = 0.5  # and at the end
    max_grad_norm: Scalar = float("inf")  # bound on the gradient norm, of policy and critics each
    value_low: Scalar = 0.0  # returns that the categorical and hl-gauss heads can hold: the least
    value_high: Scalar = 100.0  # and the greatest
    sigma: Scalar = 0.75  # of the hl-gauss head: width of a target, in bins
    priority_exponent: Scalar = 0.6  # of prioritised draws; 0: uniform
    priority_beta: Scalar = 0.4  # how much of their bias is undone at the start; all of it at the end
    horizon: Scalar = float("inf")  # updates in this run, to anneal by; inf: no annealing


class Learner(NamedTuple):
    """What gradient steps change."""

    params: Any  # of `actor`, `critics` and `log_alpha`
    target_params: Any  # of the critics, slowly following
    opt: Any  # of each of params


class State(struct.PyTreeNode):
    """All that evolves; arrays only."""

    params: Any  # as in `Learner`
    target_params: Any
    opt: Any
    episodes: Episodes  # [E, ...]
    held: Held  # what is remembered
    key: Array
    updates: Array  # [] updates done


class Actor(nn.Module):
    """Features `[..., F]` -> distribution over actions, continuous ones within the unit box."""

    config: Config
    space: Space

    @nn.compact
    def __call__(self, x: Array) -> Any:
        x = MLP(self.config.hidden, self.config.activation)(x)
        if isinstance(self.space, Discrete):
            return PolicyHead(self.space)(x)
        one = np.ones(self.space.shape, np.float32)
        return PolicyHead(Box(-one, one), squash=True, state_dependent_std=True, log_std_range=(-5.0, 2.0))(x)


@cache
def make(env: Env, config: Config = Config()) -> Algorithm:
    """SAC on `env`.

    Raises:
      ConfigError: actions without bounds or with other than one axis, a count that cannot be.
    """
    per_update = check(env, config)
    space: Any = env.action_space
    discrete = isinstance(space, Discrete)
    head = head_of(config.head, config.atoms, config.loss)
    store = memory(env, config)
    actor: Any = Actor(config, space)
    sizes: dict[str, Any] = {"hidden": config.hidden, "activation": config.activation, "layer_norm": config.layer_norm}
    critics: Any = Critics(config.critics, head.size, **sizes)
    if discrete:
        critics = DiscreteCritics(config.critics, space.n, head.size, **sizes)

    def see(obs):
        return flat_features(env.observation_space, obs)

    def policy(params, x):
        return actor.apply(params, x)

    def of_taken(params, x, action):
        """Outputs `[M, B, K]` for actions of the environment."""
        if discrete:
            return jax.vmap(chosen, (0, None))(critics.apply(params, x), action)
        return critics.apply(params, x, space.to_unit(action))

    def under_policy(actor_params, critic_params, x, key):
        """-> (outputs [M, B, A, K] of actions that the policy may take, their weights and log-probabilities [B, A])."""
        distribution = policy(actor_params, x)
        if discrete:
            log_prob = jax.nn.log_softmax(distribution.logits)
            return critics.apply(critic_params, x), jnp.exp(log_prob), log_prob
        action, log_prob = distribution.sample_and_log_prob(key)
        outputs = critics.apply(critic_params, x, action)
        return outputs[..., None, :], jnp.ones((len(action), 1)), log_prob[:, None]

    def to_env(action):
        return action if discrete else space.from_unit(action)

    def init(key, hypers, task):
        key, k_env, k_actor, k_critics, k_warmup = jax.random.split(key, 5)
        episodes = begin(env, task, k_env, config.num_envs)
        x = see(episodes.obs[:1])
        action = () if discrete else (jnp.zeros((1, *space.shape)),)
        params = {
            "actor": actor.init(k_actor, x),
            "critics": critics.init(k_critics, x, *action),
            "log_alpha": jnp.log(jnp.float32(hypers.temperature)),
        }
        episodes, held = fill(store, env, task, episodes, k_warmup, config)
        return State(
            params=params,
            target_params=params["critics"],
            opt={name: each.init(params[name]) for name, each in optimisers(hypers).items()},
            episodes=episodes,
            held=held,
            key=key,
            updates=jnp.int32(0),
        )

    def act(state, carry, obs, reset, key, greedy):
        distribution = policy(state.params["actor"], see(obs))
        return carry, to_env(jnp.where(greedy, distribution.mode(), distribution.sample(key)))

    def descend(learner, name, gradient, hypers):
        """One gradient step of one of the params -> learner."""
        new, opt = optim.apply(optimisers(hypers)[name], gradient, learner.opt[name], learner.params[name])
        return learner._replace(params=learner.params | {name: new}, opt=learner.opt | {name: opt})

    def learn_critics(learner, drawn, hypers, expectile, numbers, key):
        """-> (learner, how wrong they were [B], metrics)."""
        k_next, k_subset = jax.random.split(key)
        params, target_params = learner.params, learner.target_params
        batch = transition(drawn.steps, hypers.discount)
        x, next_x = see(batch.obs), see(batch.next_obs)
        outputs, weight, log_prob = under_policy(params["actor"], target_params, next_x, k_next)
        outputs = least(head, subset(k_subset, outputs, config.target_critics), numbers)
        bonus = -jnp.exp(params["log_alpha"]) * log_prob
        after = jax.lax.stop_gradient(Next(outputs, weight, bonus, batch.reward, batch.discount))

        def loss(critic_params):
            outputs = of_taken(critic_params, x, batch.action)
            total, wrong = learn_target(head, outputs, after, drawn.weight, numbers, expectile)
            return total, (wrong, {"critic_loss": total, "value": head.value(outputs, numbers).mean()})

        grads, (wrong, metrics) = jax.grad(loss, has_aux=True)(params["critics"])
        learner = descend(learner, "critics", grads, hypers)
        slow = jax.tree.map(lambda x, y: x + hypers.target_rate * (y - x), target_params, learner.params["critics"])
        metrics |= {"critic_grad_norm": optim.global_norm(grads), "error": wrong.mean()}
        return learner._replace(target_params=slow), wrong, metrics

    def learn_policy(learner, x, hypers, numbers, key):
        """Of the temperature, too -> (learner, metrics)."""
        params, alpha = learner.params, jnp.exp(learner.params["log_alpha"])

        def loss(actor_params):
            outputs, weight, log_prob = under_policy(actor_params, params["critics"], x, key)
            value = head.value(outputs, numbers).min(0)
            entropy = -(weight * log_prob).sum(-1).mean()
            return (weight * (alpha * log_prob - value)).sum(-1).mean(), entropy

        (value, entropy), grads = jax.value_and_grad(loss, has_aux=True)(params["actor"])
        wanted = hypers.entropy_discrete * np.log(space.n) if discrete else hypers.entropy_continuous * space.shape[0]
        learner = descend(learner, "actor", grads, hypers)
        learner = descend(learner, "log_alpha", entropy - wanted, hypers)  # of log(alpha) (H - wanted)
        return learner, {"policy_loss": value, "entropy": entropy, "temperature": alpha}

    def learn(state, hypers, progress, key):
        """Gradient steps on what is remembered -> (state, metrics)."""
        numbers = Numbers(hypers.value_low, hypers.value_high, hypers.sigma)
        expectile = hypers.expectile + progress * (hypers.expectile_final - hypers.expectile)
        beta = hypers.priority_beta + progress * (1.0 - hypers.priority_beta)

        def update(learner, drawn, key):
            learner, wrong, metrics = learn_critics(learner, drawn, hypers, expectile, numbers, key)
            return learner, (wrong + 1e-6) ** hypers.priority_exponent, (metrics, drawn.steps.obs[0])

        def cycle(loop, key):
            learner, held = loop
            k_critics, k_policy = jax.random.split(key)
            learner, held, (metrics, obs) = replay(
                store, update, learner, held, k_critics, config.batch_size, config.policy_delay, beta
            )
            learner, of_policy = learn_policy(learner, see(obs[-1]), hypers, numbers, k_policy)
            return (learner, held), jax.tree.map(jnp.mean, metrics) | of_policy

        keys = jax.random.split(key, config.gradient_steps // config.policy_delay)
        learner = Learner(state.params, state.target_params, state.opt)
        (learner, held), metrics = jax.lax.scan(cycle, (learner, state.held), keys)
        return state.replace(held=held, **learner._asdict()), jax.tree.map(jnp.mean, metrics)

    def step(state, hypers, task):
        key, k_collect, k_learn = jax.random.split(state.key, 3)

        def behave(carry, obs, reset, key):
            return carry, to_env(policy(state.params["actor"], see(obs)).sample(key)), ()

        # 1. act, and remember
        episodes, _, steps, _, seen = rollout(env, task, behave, (), state.episodes, k_collect, config.num_steps)
        state = state.replace(episodes=episodes, held=store.add(state.held, steps))
        # 2. learn from what is remembered
        state, learned = learn(state, hypers, state.updates / hypers.horizon, k_learn)
        return state.replace(key=key, updates=state.updates + 1), seen | learned

    return Algorithm(init, step, act, lambda batch_size: (), Hypers(), per_update, blocks(config) * per_update)


def optimisers(hypers: Hypers) -> dict[str, Any]:
    """One for each of `State.params`."""
    return {
        "actor": optim.adam(hypers.lr, hypers.max_grad_norm),
        "critics": optim.adam(hypers.critic_lr, hypers.max_grad_norm),
        "log_alpha": optim.adam(hypers.temperature_lr, jnp.inf),
    }


def unused(config: Config) -> dict[str, str]:
    """The numbers in `Hypers` that this config leaves without effect, each with what would use it."""
    needs = {
        "prioritised=true": (config.prioritised, ("priority_exponent", "priority_beta")),
        "head=categorical or hl-gauss": (config.head in ("categorical", "hl-gauss"), ("value_low", "value_high")),
        "head=hl-gauss": (config.head == "hl-gauss", ("sigma",)),
    }
    return {name: need for need, (met, names) in needs.items() if not met for name in names}


def check(env: Env, config: Config) -> int:
    """Environment steps of an update, after refusing what cannot run."""
    space = env.action_space
    if not isinstance(space, Discrete | Box):
        raise ConfigError(f"action_space={type(space).__name__}: must be Box or Discrete; use ppo")
    if isinstance(space, Box):
        require(len(space.shape) == 1, "action_space.shape", space.shape, "must have one axis; flatten the actions")
        require(space.bounded, "action_space", "Box without bounds", "must be bounded; use ppo")
    check_memory(config)
    for name in ("critics", "target_critics", "policy_delay"):
        require(getattr(config, name) >= 1, name, getattr(config, name), "must be at least 1")
    require(config.target_critics <= config.critics, "target_critics", config.target_critics, "must be critics at most")
    fits = config.gradient_steps % config.policy_delay == 0
    require(fits, "policy_delay", config.policy_delay, f"must divide gradient_steps={config.gradient_steps}")
    require(config.atoms >= 2, "atoms", config.atoms, "must be at least 2")
    activation(config.activation)
    return config.num_envs * config.num_steps
