r"""Bernoulli bandits: which arm wins most often is hidden, and belongs to the task, `bandit/3x100`.

Arm a of K wins with probability p_a, which pays 1; a loss pays 0. It truncates after n pulls. The name says K x n. The
observation is a constant: an agent needs its previous action and reward, so a family of bandits is
`bandit/3x100|trials(1)|with_past`, whose every episode has another task:

$$p_a \sim U(0, 1)$$

By itself, as any environment, it has one task, the draw of `seed`.

Expected sums of rewards over the family: n / 2 for whoever learns nothing, n K / (K + 1) where the best arm is known.
Greedy on the posterior mean is as good as Thompson sampling up to about 100 pulls, and clearly worse from 300 on.

Source: Duan et al. 2016 (RL^2, arXiv:1611.02779), section 3.1: K of 5, 10 and 50, n of 10, 100 and 500.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from rljax import modes
from rljax.kinds import Count
from rljax.types import Array, Box, Discrete, Env, StepResult


class Task(struct.PyTreeNode):
    """The probability of a win of each arm, and the number of pulls."""

    arms: Array  # [K] float32, drawn
    pulls: Array  # [] int32, n


def make(name: str, arms: int | None = None, pulls: int | None = None, seed: int = 0) -> Env:
    """Makes a bandit: observation `[1]`, always 0, action arm (K); its state is the number of pulls so far.

    Args:
      name: `bandit/KxN`, one of `catalogue.BANDITS`.
      arms, pulls: K and n, in place of those of the name.
      seed: which default task.

    Raises:
      ConfigError: one of them is no positive whole number.
    """
    usual = map(int, name.removeprefix("bandit/").split("x"))
    given = {"arms": arms, "pulls": pulls}
    count, most = (Count().convert(x, n if given[x] is None else given[x]) for x, n in zip(given, usual))

    def draw(key: Array) -> Task:
        return Task(jax.random.uniform(key, (count,)), jnp.int32(most))

    def reset(key: Array, task: Task) -> tuple[Array, Array]:
        return jnp.int32(0), jnp.zeros(1)

    def step(key: Array, time: Array, action: Array, task: Task) -> tuple[Array, StepResult]:
        win = jax.random.uniform(key) < task.arms[action]
        over = time + 1 >= task.pulls
        return time + 1, StepResult(jnp.zeros(1), win.astype(jnp.float32), jnp.zeros((), bool), over)

    new_task = modes.single(draw)
    nothing = np.zeros(1, np.float32)
    return Env(
        name,
        modes.single(reset, (1,)),
        modes.single(step, (2, 3)),
        new_task(jax.random.key(seed)),
        Box(nothing, nothing),
        Discrete(count),
        time_limit=lambda task: task.pulls,
        new_task=new_task,
    )
