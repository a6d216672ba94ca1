"""Transitions: one or several steps of a memory in one, from which a value is learned."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from rljax.types import Array, Scalar, TimeStep


class Transition(NamedTuple):
    """The outcome of an action, `[B, ...]`: the target of its value is `reward + discount * V(next_obs)`."""

    obs: Array
    action: Array
    reward: Array  # discounted sum over the steps that the transition spans
    next_obs: Array  # the true successor of the last of them
    discount: Array  # gamma to the power of their number; 0 where the MDP ended


def transition(steps: TimeStep, discount: Scalar) -> Transition:
    r"""The transition over runs of n steps, each cut where its episode ends.

    $$R = \sum_{k=0}^{m-1} \gamma^k r_{t+k}, \qquad R + (1 - d_{t+m-1}) \gamma^m V(s_{t+m}),$$

    m being n, or fewer steps if the episode ends with the m-th; $s_{t+m}$ is the true successor, and d termination, so
    a run cut by a limit bootstraps and one that terminated does not.

    Args:
      steps: `[n, B, ...]`, in the order in which they were taken.
      discount: gamma.

    Source: Sutton 1988; as used with replay by Hessel et al. 2018, arXiv:1710.02298.
    """
    n = steps.reward.shape[0]
    ended = steps.terminated | steps.truncated
    before = jnp.cumsum(ended, axis=0) - ended  # episodes that ended earlier in the run
    counts = before == 0
    gamma = jnp.broadcast_to(discount, steps.reward.shape)
    reward = jnp.where(counts, gamma ** jnp.arange(n)[:, None] * steps.reward, 0.0).sum(0)
    last = counts.sum(0) - 1
    at_last = jnp.arange(last.shape[0])
    going = ~steps.terminated[last, at_last]
    return Transition(
        obs=jax.tree.map(lambda x: x[0], steps.obs),
        action=jax.tree.map(lambda x: x[0], steps.action),
        reward=reward,
        next_obs=jax.tree.map(lambda x: x[last, at_last], steps.next_obs),
        discount=jnp.where(going, gamma[0] ** (last + 1), 0.0),
    )
