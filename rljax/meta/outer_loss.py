r"""Outer losses: they score the agents that a meta-gradient has updated."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp

from rljax import modes
from rljax.errors import require
from rljax.ops.normalise import standardise
from rljax.ops.returns import gae
from rljax.ops.rollout import rollout
from rljax.types import Algorithm, Array, Box, Metrics, Scalar


class Agent(NamedTuple):
    """One agent after its K updates: the input of an outer loss. All of it may depend on theta."""

    state: Any
    hypers: Any  # with theta and the horizon in place
    task: Any
    metrics: Metrics  # [K] each, as `step` gave them
    alive: Array  # [K] bool: the update took place; where not, its metrics mean nothing

    def mean(self, name: str) -> Array:
        """The mean of a metric over the updates that took place, `[]`; for regularisers."""
        return mean_over(self.metrics[name], self.alive)


OuterLoss = Callable[[Agent, Array], tuple[Array, Metrics]]
"""`(agent, key) -> (loss [], metrics)`."""


def actor_critic_loss(
    algo: Algorithm,
    num_steps: int = 20,
    discount: Scalar = 0.99,
    gae_lambda: Scalar = 0.95,
    entropy_coef: Scalar = 0.05,
) -> OuterLoss:
    r"""The outer loss for on-policy agents: the policy-gradient loss on a fresh rollout of the updated agent,

    $$L = -\frac{1}{T E} \sum_{t, e} \left( \hat A \log \pi(a | s) + \beta H(\pi(\cdot | s)) \right)_{t, e},$$

    $\hat A$ being advantages by GAE, standardised over the rollout and taken as given, like all of the rollout. It
    continues the episodes that the agent is in, and the agent itself does not: it learns nothing from it.

    The critic is the agent's; an agent whose rule needs none has one in its state for this purpose. Regularisers of the
    updates can be added by a loss that calls this one, see `Agent.mean`.

    Args:
      algo: what the agents run; it has a `policy` that can be differentiated in the parameters within the state, and
        its state has `episodes` and `carry`, as that of `on_policy.loop` does.
      num_steps: T. E is as in the state.
      discount, gae_lambda: of the advantages, apart from those that an agent learns by.
      entropy_coef: beta.

    Returns:
      A `loss` for `Setup`, whose metrics are `outer_reward`, a mean per step, and `outer_entropy`.

    Source: Oh et al. 2020, arXiv:2007.08794; form and defaults: Jackson et al. 2023, arXiv:2310.02782, table 2.
    """

    env, policy = algo.env, cast("Any", algo.policy)
    require(policy is not None, "algo", type(algo).__name__, "has no policy for an outer loss to look at")

    def loss(agent, key):
        k_rollout, k_entropy = jax.random.split(key)
        now = jax.lax.stop_gradient(agent.state)

        def act(carry, obs, reset, key):
            carry, distribution, _ = policy(now, carry, _one_step(obs), reset[None])
            action = distribution.sample(key)[0]
            inside = env.action_space.clip(action) if isinstance(env.action_space, Box) else action
            return carry, inside, action

        def value_of(carry, obs, key):
            return policy(now, carry, _one_step(obs), jnp.zeros_like(now.episodes.reset[None]))[2][0]

        remembers = bool(jax.tree.leaves(now.carry))
        where = agent.task, act, now.carry, now.episodes, k_rollout, num_steps
        done = rollout(env, *where, after=value_of if remembers else None)
        steps, action = done.steps, jax.lax.stop_gradient(done.steps.extras)
        _, _, value = policy(now, now.carry, steps.obs, steps.reset)
        next_value = done.after if remembers else policy(now, now.carry, steps.next_obs, steps.reset)[2]
        advantage = gae(steps.reward, value, next_value, steps.terminated, steps.truncated, discount, gae_lambda)
        advantage = standardise(advantage)
        _, distribution, _ = policy(agent.state, now.carry, steps.obs, steps.reset)
        entropy = distribution.entropy(k_entropy).mean()
        gain = (jax.lax.stop_gradient(advantage) * distribution.log_prob(action)).mean()
        return -gain - entropy_coef * entropy, {"outer_reward": steps.reward.mean(), "outer_entropy": entropy}

    return loss


def regularised(loss: OuterLoss, weights: Mapping[str, float]) -> OuterLoss:
    r"""Adds the weighted means of metrics over an agent's updates to an outer loss: $L + \sum_i c_i \bar m_i$.

    Args:
      loss: L.
      weights: the coefficients c, by the name of a metric; see `Algorithm.outer_weights`.
    """

    def total(agent, key):
        value, metrics = loss(agent, key)
        return value + sum(weight * agent.mean(name) for name, weight in weights.items()), metrics

    return total


def mean_over(x: Array, weight: Array) -> Array:
    """The mean of `x` weighted by `weight`, of one shape; NaN where there is none, or 0 under `jax_debug_nans`."""
    return modes.ratio(jnp.where(weight > 0, x * weight, 0.0).sum(), weight.sum())


def _one_step(tree: Any) -> Any:
    """Leaves `[E, ...]` as those of one step, `[1, E, ...]`."""
    return jax.tree.map(lambda x: x[None], tree)
