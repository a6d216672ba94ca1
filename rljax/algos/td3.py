r"""Twin delayed deep deterministic policy gradients (Fujimoto et al. 2018, arXiv:1802.09477); all of it.

Critics learn the value of a slow copy of the policy, whose actions are smoothed by clipped noise (eq. 14 there), the
least of two critics counting (eq. 10); the policy ascends the first critic, once in `policy_delay` of their gradient
steps. Actions are those of the unit box, which is stretched to the environment's: so is noise.

One critic, no smoothing and no delay make it DDPG (Lillicrap et al. 2016, arXiv:1509.02971); an `expectile` above 1/2
that falls to it over the run makes it AQ-TD3 (Omura et al. 2025, arXiv:2506.05968).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct

from rljax.data.memory import Held, blocks, fill, memory, replay
from rljax.data.memory import check as check_memory
from rljax.data.transitions import transition
from rljax.errors import ConfigError, require
from rljax.nets.critic import Critics
from rljax.nets.features import flat_features
from rljax.nets.initializers import orthogonal
from rljax.nets.mlp import MLP, activation
from rljax.ops import optim
from rljax.ops.ensemble import learn_target, least
from rljax.ops.rollout import Episodes, begin, rollout
from rljax.ops.value_heads import Next, Numbers, head_of
from rljax.types import Algorithm, Array, Box, Env, Scalar


@dataclass(frozen=True)
class Config:
    """Shapes and branches. Changing one compiles a new program."""

    num_envs: int = 1  # parallel environments, E
    num_steps: int = 2  # steps per environment and update, T
    gradient_steps: int = 2  # of the critics, per update
    policy_delay: int = 2  # gradient steps of the critics for one of the policy; must divide gradient_steps
    batch_size: int = 256  # of each gradient step
    capacity: int = 100_000  # steps that are remembered
    warmup: int = 1_000  # random steps before learning begins
    n_step: int = 1  # steps whose rewards a target takes as they were
    prioritised: bool = False  # draw by how wrong the critics were
    hidden: tuple[int, ...] = (256, 256)  # widths of the hidden layers
    activation: str = "relu"  # tanh, relu, swish, gelu, elu
    layer_norm: bool = False  # in the hidden layers of the critics
    critics: int = 2  # M; a target takes the least of them
    head: Literal["scalar", "categorical", "hl-gauss", "quantile"] = "scalar"  # what a critic's outputs stand for
    atoms: int = 51  # outputs of the other heads
    loss: Literal["squared", "huber"] = "squared"  # of the scalar head


class Hypers(struct.PyTreeNode):
    """Numbers, all traced: sweep, anneal, perturb or differentiate them."""

    lr: Scalar = 3e-4  # learning rate of Adam, of the policy
    critic_lr: Scalar = 3e-4  # of the critics
    discount: Scalar = 0.99  # gamma
    target_rate: Scalar = 0.005  # how far the slow copies move in each gradient step of what they are copies of
    exploration_noise: Scalar = 0.1  # standard deviation of what is added to actions, within the unit box
    target_noise: Scalar = 0.2  # and to those of the slow policy
    target_noise_clip: Scalar = 0.5  # how much that may be at most
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

    params: Any  # of `actor` and `critics`
    target_params: Any  # likewise, slowly following
    opt: Any  # of each of params


class State(struct.PyTreeNode):
    """All that evolves; arrays only."""

    params: Any  # as in `Learner`
    target_params: Any
    opt: Any
    episodes: Episodes  # [E, ...]
    held: Held  # what is remembered
    noise: Array  # [] of exploration
    key: Array
    updates: Array  # [] updates done


class Actor(nn.Module):
    """Features `[..., F]` -> actions `[..., size]` within the unit box."""

    config: Config
    size: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        x = MLP(self.config.hidden, self.config.activation)(x)
        return jnp.tanh(nn.Dense(self.size, kernel_init=orthogonal(0.01))(x))


@cache
def make(env: Env, config: Config = Config()) -> Algorithm:
    """TD3 on `env`.

    Raises:
      ConfigError: actions that are no vector within bounds, a count that cannot be.
    """
    per_update = check(env, config)
    space: Any = env.action_space
    head = head_of(config.head, config.atoms, config.loss)
    store = memory(env, config)
    actor: Any = Actor(config, space.shape[0])
    critics: Any = Critics(config.critics, head.size, config.hidden, config.activation, config.layer_norm)

    def see(obs):
        return flat_features(env.observation_space, obs)

    def explore(params, noise, obs, key):
        """Actions of the environment."""
        action = actor.apply(params["actor"], see(obs))
        return space.from_unit(jnp.clip(action + noise * jax.random.normal(key, action.shape), -1.0, 1.0))

    def init(key, hypers, task):
        key, k_env, k_actor, k_critics, k_warmup = jax.random.split(key, 5)
        episodes = begin(env, task, k_env, config.num_envs)
        x = see(episodes.obs[:1])
        params = {
            "actor": actor.init(k_actor, x),
            "critics": critics.init(k_critics, x, jnp.zeros((1, *space.shape))),
        }
        episodes, held = fill(store, env, task, episodes, k_warmup, config)
        return State(
            params=params,
            target_params=params,
            opt={name: each.init(params[name]) for name, each in optimisers(hypers).items()},
            episodes=episodes,
            held=held,
            noise=jnp.float32(0.0),
            key=key,
            updates=jnp.int32(0),
        )

    def act(state, carry, obs, reset, key, greedy):
        return carry, explore(state.params, jnp.where(greedy, 0.0, state.noise), obs, key)

    def descend(learner, name, hypers, loss):
        """One gradient step of one network, and of its slow copy -> (learner, aux, gradient norm)."""
        grads, aux = jax.grad(loss, has_aux=True)(learner.params[name])
        new, opt = optim.apply(optimisers(hypers)[name], grads, learner.opt[name], learner.params[name])
        slow = jax.tree.map(lambda x, y: x + hypers.target_rate * (y - x), learner.target_params[name], new)
        parts = zip(learner, ({name: new}, {name: slow}, {name: opt}))
        return Learner(*(old | part for old, part in parts)), aux, optim.global_norm(grads)

    def learn_critics(learner, drawn, hypers, expectile, numbers, key):
        """-> (learner, how wrong they were [B], metrics)."""
        target_params = learner.target_params
        batch = transition(drawn.steps, hypers.discount)
        x, next_x = see(batch.obs), see(batch.next_obs)
        smooth = actor.apply(target_params["actor"], next_x)
        noise = hypers.target_noise * jax.random.normal(key, smooth.shape)
        smooth = jnp.clip(smooth + jnp.clip(noise, -hypers.target_noise_clip, hypers.target_noise_clip), -1.0, 1.0)
        outputs = least(head, critics.apply(target_params["critics"], next_x, smooth), numbers)[:, None]
        one = jnp.ones((len(smooth), 1))
        after = Next(outputs, one, jnp.zeros_like(one), batch.reward, batch.discount)

        def loss(critic_params):
            outputs = critics.apply(critic_params, x, space.to_unit(batch.action))
            total, wrong = learn_target(head, outputs, after, drawn.weight, numbers, expectile)
            return total, (wrong, {"critic_loss": total, "value": head.value(outputs, numbers).mean()})

        learner, (wrong, metrics), norm = descend(learner, "critics", hypers, loss)
        return learner, wrong, metrics | {"critic_grad_norm": norm, "error": wrong.mean()}

    def learn_policy(learner, x, hypers, numbers):
        """-> (learner, metrics)."""

        def loss(actor_params):
            outputs = critics.apply(learner.params["critics"], x, actor.apply(actor_params, x))
            total = -head.value(outputs[0], numbers).mean()
            return total, {"policy_loss": total}

        learner, metrics, norm = descend(learner, "actor", hypers, loss)
        return learner, metrics | {"grad_norm": norm}

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
            learner, held, (metrics, obs) = replay(
                store, update, learner, held, key, config.batch_size, config.policy_delay, beta
            )
            learner, of_policy = learn_policy(learner, see(obs[-1]), hypers, numbers)
            return (learner, held), jax.tree.map(jnp.mean, metrics) | of_policy

        keys = jax.random.split(key, config.gradient_steps // config.policy_delay)
        learner = Learner(state.params, state.target_params, state.opt)
        (learner, held), metrics = jax.lax.scan(cycle, (learner, state.held), keys)
        return state.replace(held=held, **learner._asdict()), jax.tree.map(jnp.mean, metrics)

    def step(state, hypers, task):
        key, k_collect, k_learn = jax.random.split(state.key, 3)
        noise = jnp.float32(hypers.exploration_noise)

        def behave(carry, obs, reset, key):
            return carry, explore(state.params, noise, obs, key), ()

        # 1. act, and remember
        episodes, _, steps, _, seen = rollout(env, task, behave, (), state.episodes, k_collect, config.num_steps)
        state = state.replace(episodes=episodes, held=store.add(state.held, steps), noise=noise)
        # 2. learn from what is remembered
        state, learned = learn(state, hypers, state.updates / hypers.horizon, k_learn)
        return state.replace(key=key, updates=state.updates + 1), seen | learned

    return Algorithm(init, step, act, lambda batch_size: (), Hypers(), per_update, blocks(config) * per_update)


def optimisers(hypers: Hypers) -> dict[str, Any]:
    """One for each of `State.params`."""
    return {
        "actor": optim.adam(hypers.lr, hypers.max_grad_norm),
        "critics": optim.adam(hypers.critic_lr, hypers.max_grad_norm),
    }


def check(env: Env, config: Config) -> int:
    """Environment steps of an update, after refusing what cannot run."""
    space = env.action_space
    if not isinstance(space, Box):
        raise ConfigError(f"action_space={type(space).__name__}: must be Box; use another algorithm, such as dqn")
    require(len(space.shape) == 1, "action_space.shape", space.shape, "must have one axis; flatten the actions")
    require(space.bounded, "action_space", "Box without bounds", "must be bounded; use ppo")
    check_memory(config)
    require(config.critics >= 1, "critics", config.critics, "must be at least 1")
    require(config.policy_delay >= 1, "policy_delay", config.policy_delay, "must be at least 1")
    fits = config.gradient_steps % config.policy_delay == 0
    require(fits, "policy_delay", config.policy_delay, f"must divide gradient_steps={config.gradient_steps}")
    require(config.atoms >= 2, "atoms", config.atoms, "must be at least 2")
    activation(config.activation)
    return config.num_envs * config.num_steps
