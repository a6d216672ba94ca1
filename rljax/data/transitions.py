"""Transitions: one or several steps of a memory in one, from which a value is learned."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rljax.ops.minibatch import flatten_time
from rljax.types import Array, Scalar, TimeStep


class Transition(NamedTuple):
    """The outcome of an action, `[B, ...]`: the target of its value is `reward + discount * V(next_obs)`."""

    obs: Any
    action: Any
    reward: Array  # discounted sum over the steps that the transition spans
    next_obs: Any  # the true successor of the last of them; where there are `ends`, of the first
    discount: Array  # gamma to the power of their number; 0 where the MDP ended
    ends: Any = ()  # [B] the transition whose `next_obs` is the true successor of the last of them; (): its own
    weight: Any = ()  # [B] in the loss
    sequences: Any = None  # what they are steps of, for networks with a memory

    def at_end(self, x: Array) -> Array:
        """The rows of `x` `[B, ...]`, one for each `next_obs`, that belong to the ends of the transitions."""
        return x[self.ends] if isinstance(self.ends, jax.Array) else x


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


def transitions(steps: TimeStep, discount: Scalar, n: int) -> Transition:
    """The transitions that begin at each step of sequences, over n steps or as many as are left, flat: `[L * B, ...]`.

    See `transition`, of which each is one: the end of a sequence cuts as a limit does.

    Args:
      steps: `[L, B, ...]`, in the order in which they were taken.
      discount: gamma.
    """
    length, count = steps.reward.shape
    index = jnp.arange(length * count).reshape(length, count)
    cut = steps.truncated.at[-1].set(True)  # a bootstrap from the true successor, as behind any other step
    window = jnp.minimum(jnp.arange(n)[:, None] + jnp.arange(length)[None], length - 1)  # [n, L]
    numbers = steps._replace(obs=index, action=index, next_obs=index, truncated=cut, extras=())
    found = transition(jax.tree.map(lambda x: x[window].reshape(n, -1), numbers), discount)
    obs, action, next_obs = flatten_time((steps.obs, steps.action, steps.next_obs))
    return Transition(obs, action, found.reward, next_obs, found.discount, found.next_obs if n > 1 else ())
