r"""Soft actor-critic (Haarnoja et al. 2018, arXiv:1812.05905), for continuous and discrete actions; all of it.

Critics learn the return plus the entropy $\alpha H$ of what the policy does later, from transitions drawn from a
memory; the policy descends on $E[\alpha \log \pi(a | s) - Q(s, a)]$; the temperature $\alpha$ is moved to where the
entropy is as asked for. Continuous actions are reparametrised samples within the unit box, stretched to the
environment's, so entropies do not depend on the units of actions. With discrete actions all expectations are sums
(Christodoulou 2019, arXiv:1910.07207).

More critics, of which targets take `target_critics` and the policy the mean, make it REDQ (Chen et al. 2021,
arXiv:2101.05982); two with `dropout` and `layer_norm` DroQ (Hiraoka et al. 2022, arXiv:2110.02034); an `expectile`
above 1/2 that falls to it over the run makes it AQ-SAC (Omura et al. 2025, arXiv:2506.05968). Critics with
`batch_norm` need no slow copies: what was done and what will be done are judged as one batch, and what the policy
proposes by running averages, as in CrossQ (Bhatt et al. 2024, arXiv:1902.05605; its policy is normalised as well).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from rljax.errors import ConfigError, require
from rljax.fields import INF, choice, count, flag, number, share, sizes, text
from rljax.nets.critic import Critics
from rljax.nets.features import flat_features
from rljax.nets.heads import PolicyHead
from rljax.nets.mlp import AVERAGES, DROPOUT, MLP, activation
from rljax.nets.q import chosen
from rljax.off_policy import life
from rljax.off_policy.life import Method, algorithm, fresh
from rljax.off_policy.targets import learn_target, least, subset
from rljax.ops import optim, value_heads
from rljax.ops.explore import legal, softmax
from rljax.ops.schedules import linear_schedule
from rljax.ops.value_heads import Bootstrap, HeadParams, head_of
from rljax.types import Algorithm, Array, Box, Discrete, Env, Scalar, Space


@dataclass(frozen=True)
class Config:
    """Shapes and branches. Changing one compiles a new program."""

    num_envs: int = count(1, "parallel environments, E")
    num_steps: int = count(1, "steps per environment and update, T")
    gradient_steps: int = count(1, "of the critics, per update")
    policy_delay: int = count(1, "gradient steps of the critics for one of the policy; must divide gradient_steps")
    batch_size: int = count(256, "of each gradient step")
    capacity: int = count(100_000, "steps that are remembered")
    warmup: int = count(1_000, "random steps before learning begins")
    n_step: int = count(1, "steps whose rewards a target takes as they were", most=10_000)
    prioritised: bool = flag(False, "draw by how wrong the critics were")
    hidden: tuple[int, ...] = sizes((256, 256), "widths of the hidden layers")
    activation: str = text("relu", "tanh, relu, swish, gelu, elu")
    layer_norm: bool = flag(False, "in the hidden layers of the critics")
    critics: int = count(2, "M", most=1000)
    target_critics: int = count(2, "of them, drawn anew for each target, which takes the least", most=1000)
    policy_critics: Literal["least", "mean"] = choice("least", "what the policy goes by")
    dropout: float = number(0.0, "share of the critics' hidden units that is dropped", low=0.0, below=1.0)
    batch_norm: bool = flag(False, "in the critics, which then have no slow copies")
    head: Literal["scalar", "categorical", "hl-gauss", "quantile"] = choice(
        "scalar", "what a critic's outputs stand for"
    )
    atoms: int = count(51, "outputs of the other heads", least=2)
    loss: Literal["squared", "huber"] = choice("squared", "of the scalar head")


class Hypers(struct.PyTreeNode):
    """Numbers, all traced: sweep, anneal, perturb or differentiate them."""

    lr: Scalar = number(3e-4, "learning rate of Adam, of the policy", low=0.0)
    critic_lr: Scalar = number(1e-3, "of the critics", low=0.0)
    temperature_lr: Scalar = number(1e-3, "learning rate of the logarithm of alpha", low=0.0)
    discount: Scalar = share(0.99, "gamma")
    adam_b1: Scalar = number(0.9, "how much of the average gradient Adam keeps in a step", low=0.0, below=1.0)
    target_rate: Scalar = share(0.005, "how far the target critics move towards the critics in each gradient step")
    temperature: Scalar = number(1.0, "alpha, the weight of the entropy, as learning starts", above=0.0)
    entropy_continuous: Scalar = number(-1.0, "asked for, of each entry of an action within the unit box, in nats")
    entropy_discrete: Scalar = share(0.5, "asked for, as a share of that of a uniform policy")
    expectile: Scalar = number(0.5, "tau, as it starts; above 1/2 critics lean to the best action", low=0.5, below=1.0)
    expectile_final: Scalar = number(0.5, "and at the end", low=0.5, below=1.0)
    max_grad_norm: Scalar = number(INF, "bound on the gradient norm, of policy and critics each", low=0.0, high=INF)
    value_low: Scalar = number(0.0, "returns that the categorical and hl-gauss heads can hold: the least")
    value_high: Scalar = number(100.0, "and the greatest", above="value_low")
    sigma: Scalar = number(0.75, "of the hl-gauss head: width of a target, in bins", above=0.0)
    priority_exponent: Scalar = number(0.6, "of prioritised draws; 0: uniform", low=0.0)
    priority_beta: Scalar = share(0.4, "how much of their bias is undone at the start; all of it at the end")
    horizon: Scalar = number(INF, "updates in this run, to anneal by; inf: no annealing", low=1.0, high=INF)


class Actor(nn.Module):
    """Features `[..., F]` -> distribution over actions, continuous ones within the unit box."""

    config: Config
    space: Space

    @nn.compact
    def __call__(self, x: Array) -> Any:
        x = MLP(self.config.hidden, self.config.activation)(x)
        if not isinstance(self.space, Box):
            return PolicyHead(self.space)(x)
        one = self.space.movable.astype(np.float32)  # what cannot move is no part of the policy
        return PolicyHead(Box(-one, one), squash=True, state_dependent_std=True, log_std_range=(-5.0, 2.0))(x)


@cache
def make(env: Env, config: Config = Config()) -> Algorithm:
    """SAC on `env`.

    Raises:
      ConfigError: actions that are neither discrete nor a vector within bounds, a count that cannot be.
    """
    check(env, config)
    space: Any = env.action_space
    discrete = isinstance(space, Discrete)
    head = head_of(config.head, config.atoms, config.loss)
    actor: Any = Actor(config, space)
    critics: Any = critics_of(env, config)

    def allowed(obs):
        return legal(env.observation_space, obs)

    def see(obs):
        return flat_features(env.observation_space, obs)

    def judge(params, key, x, *action, mutable: Any = False):
        """Outputs of the critics `[M, B, A, K]`: of all discrete actions, or of the continuous one, A being 1."""
        return critics.apply(params, x, *action, rngs={DROPOUT: key} if config.dropout else None, mutable=mutable)

    def propose(params, obs, key):
        """-> (what critics judge: features and any continuous action; weights, log-probabilities [B, A])."""
        x = see(obs)
        distribution = actor.apply(params, x)
        if discrete:
            return (x,), *softmax(distribution.logits, allowed(obs))
        action, log_prob = distribution.sample_and_log_prob(key)
        return (x, action), jnp.ones((len(action), 1)), log_prob[:, None]

    def begin(key, hypers, obs):
        k_actor, k_critics = jax.random.split(key)
        action = () if discrete else (jnp.zeros((1, *space.shape)),)
        params = {
            "actor": actor.init(k_actor, see(obs)),
            "critics": critics.init(k_critics, see(obs), *action),
            "log_alpha": jnp.log(jnp.float32(hypers.temperature)),
        }
        return fresh(params, () if config.batch_norm else ("critics",), optimisers(hypers))

    def act(params, exploration, obs, key, greedy):
        distribution = actor.apply(params["actor"], see(obs)).restrict(allowed(obs))
        action = jnp.where(greedy, distribution.mode(), distribution.sample(key))
        return action if discrete else space.from_unit(action)

    def learn_values(learner, batch, weight, hypers, progress, key):
        k_action, k_subset, k_now, k_next = jax.random.split(key, 4)
        numbers = numbers_of(hypers)
        taken = () if discrete else (space.to_unit(batch.action),)
        before = see(batch.obs), *taken
        later, share, log_prob = propose(learner.params["actor"], batch.next_obs, k_action)

        def judge_both(params):
            """What was done and what will be, as one batch, and the averages over batches."""
            joint = (jnp.concatenate(pair) for pair in zip(before, later))
            outputs, averages = judge(params, k_now, *joint, mutable=[AVERAGES])
            return *jnp.split(outputs, 2, axis=1), averages

        def outputs_of(params):
            outputs = judge_both(params)[0] if config.batch_norm else judge(params, k_now, *before)
            return jax.vmap(chosen, (0, None))(outputs, batch.action) if discrete else outputs[:, :, 0]

        averages = {}
        if config.batch_norm:
            _, outputs, averages = judge_both(learner.params["critics"])
        else:
            outputs = judge(learner.target_params["critics"], k_next, *later)
        outputs = least(head, subset(k_subset, outputs, config.target_critics), numbers)
        bonus = -jnp.exp(learner.params["log_alpha"]) * log_prob
        after = Bootstrap(outputs, share, bonus, batch.reward, batch.discount)
        expectile = linear_schedule(progress, hypers.expectile, hypers.expectile_final)
        optimiser = optimisers(hypers)["critics"]
        learner, wrong, metrics = learn_target(
            learner, "critics", optimiser, outputs_of, head, after, weight, numbers, expectile
        )
        # Averages are kept among the parameters, where their gradient is 0.
        learner = learner.replace(params=learner.params | {"critics": learner.params["critics"] | averages})
        return learner.follow(hypers.target_rate), wrong, metrics

    def learn_policy(learner, obs, hypers, key):
        alpha, optimiser = jnp.exp(learner.params["log_alpha"]), optimisers(hypers)
        k_action, k_critics = jax.random.split(key)

        def loss(params):
            proposed, share, log_prob = propose(params, obs, k_action)
            outputs = judge(learner.params["critics"], k_critics, *proposed)
            values = head.value(outputs, numbers_of(hypers))
            value = values.mean(0) if config.policy_critics == "mean" else values.min(0)
            entropy = -(share * log_prob).sum(-1).mean()
            return (share * (alpha * log_prob - value)).sum(-1).mean(), entropy

        (policy_loss, entropy), grads = jax.value_and_grad(loss, has_aux=True)(learner.params["actor"])
        if discrete:
            choices = allowed(obs)
            largest = np.log(space.n) if choices is None else jnp.log(jnp.maximum(choices.sum(-1), 1)).mean()
            wanted = hypers.entropy_discrete * largest
        else:
            wanted = hypers.entropy_continuous * space.movable.sum()
        learner = learner.descend("actor", optimiser["actor"], grads)
        learner = learner.descend("log_alpha", optimiser["log_alpha"], entropy - wanted)  # of log(alpha) (H - wanted)
        return learner, {"policy_loss": policy_loss, "entropy": entropy, "temperature": alpha}

    return algorithm(env, config, Method(begin, act, learn_values, learn_policy, config.policy_delay), Hypers())


def critics_of(env: Env, config: Config) -> Critics:
    """The networks that judge actions."""
    return Critics(
        members=config.critics,
        size=head_of(config.head, config.atoms).size,
        actions=env.action_space.n if isinstance(env.action_space, Discrete) else 0,
        hidden=config.hidden,
        activation=config.activation,
        layer_norm=config.layer_norm,
        dropout=config.dropout,
        batch_norm=config.batch_norm,
    )


def numbers_of(hypers: Hypers) -> HeadParams:
    """Those of the head."""
    return HeadParams(hypers.value_low, hypers.value_high, hypers.sigma)


def optimisers(hypers: Hypers) -> dict[str, Any]:
    """One for each of `Learner.params`."""
    return {
        "actor": optim.adam(hypers.lr, hypers.max_grad_norm, b1=hypers.adam_b1),
        "critics": optim.adam(hypers.critic_lr, hypers.max_grad_norm, b1=hypers.adam_b1),
        "log_alpha": optim.adam(hypers.temperature_lr, jnp.inf, b1=hypers.adam_b1),
    }


def unused(config: Config, env: Env) -> dict[str, str]:
    """The numbers in `Hypers` that have no effect, each with what would use it."""
    other = "continuous" if isinstance(env.action_space, Discrete) else "discrete"
    slow = {"target_rate": "batch_norm=false"} if config.batch_norm else {}
    return {f"entropy_{other}": f"{other} actions"} | slow | life.unused(config) | value_heads.unused(config.head)


def check(env: Env, config: Config) -> None:
    """Refuses what cannot run."""
    space = env.action_space
    if not isinstance(space, Discrete | Box):
        raise ConfigError(f"action_space={type(space).__name__}: must be Box or Discrete; use ppo")
    if isinstance(space, Box):
        life.check_actions(space)
    life.check(config, config.policy_delay)
    for name in ("critics", "target_critics"):
        require(getattr(config, name) >= 1, name, getattr(config, name), "must be at least 1")
    require(config.target_critics <= config.critics, "target_critics", config.target_critics, "must be critics at most")
    require(0.0 <= config.dropout < 1.0, "dropout", config.dropout, "must be at least 0 and below 1")
    require(config.atoms >= 2, "atoms", config.atoms, "must be at least 2")
    activation(config.activation)
