"""Replay: the steps that off-policy algorithms learn from, drawn uniformly or by priority."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from flax import struct

from rljax.data import prioritised, ring, rows
from rljax.errors import require
from rljax.types import Array, Scalar, TimeStep


class Sample(NamedTuple):
    """A batch of runs of steps."""

    steps: TimeStep  # [n, B, ...]
    index: Array  # [B] of the first step  # pyright: ignore[reportIncompatibleMethodOverride]
    weight: Array  # [B] that undoes the bias of prioritised draws; 1 where draws are uniform


class Source(Protocol):
    """The place that batches are drawn from. Static; its `buffer` is part of an algorithm's state, a pytree of arrays.

    Attributes:
      collects: whether it is to be filled by acting; if not, all that it draws from is in the task.
    """

    @property
    def collects(self) -> bool: ...

    def env_task(self, task: Any) -> Any:
        """The part of what is learned on that the environment takes."""

    def init(self) -> Any:
        """The buffer before anything is added."""

    def add(self, buffer: Any, steps: TimeStep) -> Any:
        """The buffer with further steps `[T, E, ...]`."""

    def draw(self, buffer: Any, task: Any, key: Array, batch_size: int, beta: Scalar) -> Sample:
        """Draws a batch; `beta` is how much of the bias of prioritised draws its weights undo."""
        ...

    def prioritise(self, buffer: Any, index: Array, priority: Array) -> Any:
        """The buffer with priorities `[B]` of what was drawn at `index` `[B]`."""


class BufferState(struct.PyTreeNode):
    """The stored steps; part of an algorithm's state."""

    ring: ring.Ring
    priorities: Any  # Priorities of the first step of every run; () where draws are uniform


@dataclass(frozen=True)
class Replay:
    """A source of the steps that were collected, the last so many of every environment.

    Attributes:
      layout: of a step.
      length: L, steps of each environment that there is room for.
      num_envs: E.
      run: n, steps of an environment that are drawn together.
      prioritised: draw in proportion to priorities.
    """

    layout: rows.Layout
    length: int
    num_envs: int
    run: int = 1
    prioritised: bool = False
    collects: bool = field(default=True, init=False)

    @property
    def bytes(self) -> int:
        """The size of the buffer, but for priorities."""
        return self.length * self.num_envs * self.layout.words * rows.WORD

    def env_task(self, task: Any) -> Any:
        """The whole task."""
        return task

    def init(self) -> BufferState:
        """An empty buffer."""
        priorities = prioritised.init(self.length * self.num_envs) if self.prioritised else ()
        return BufferState(ring.empty(self.layout, self.length, self.num_envs), priorities)

    def add(self, buffer: BufferState, steps: TimeStep) -> BufferState:
        """Stores `steps` [T, E, ...] in place of the oldest; T is the same every time, and divides L.

        Numbers are cast to what a learner reads: whole rewards and those of 64 bits to float32, say.

        Raises:
          ConfigError: numbers that this would change, such as fractions for whole ones, or steps of other parts.
        """
        given, stored = (jax.tree.structure(x) for x in (steps, self.layout.structure.unflatten(self.layout.dtypes)))
        require(given == stored, "steps", given, f"must have the parts that are stored, {stored}: see extras_like")
        steps = self.layout.cast(steps)
        after = ring.insert(buffer.ring, self.layout, steps)
        if not self.prioritised:
            return buffer.replace(ring=after)
        # A run can begin n - 1 steps before the newest one. One that was never drawn gets the highest priority.
        new, late = steps.reward.shape[0], self.run - 1
        time = buffer.ring.inserted - late + jnp.arange(new + late)
        value = jnp.where((time >= 0) & (jnp.arange(new + late) < new), buffer.priorities.highest, 0.0)
        index = (time % self.length)[:, None] * self.num_envs + jnp.arange(self.num_envs)[None]
        value = jnp.broadcast_to(value[:, None], index.shape)
        priorities = prioritised.assign(buffer.priorities, index.reshape(-1), value.reshape(-1))
        return buffer.replace(ring=after, priorities=priorities)

    def draw(self, buffer: BufferState, task: Any, key: Array, batch_size: int, beta: Scalar = 1.0) -> Sample:
        """Draws B runs of n steps; `beta` is how much of the bias of prioritised draws the weights undo."""
        if self.prioritised:
            index = prioritised.draw(buffer.priorities, key, batch_size)
            time, env = index // self.num_envs, index % self.num_envs
            count = (buffer.ring.stored - (self.run - 1)) * self.num_envs
            weight = prioritised.weights(buffer.priorities, index, count, beta)
        else:
            time, env = ring.draw(buffer.ring, key, batch_size, self.run)
            index, weight = time * self.num_envs + env, jnp.ones(batch_size)
        return Sample(ring.read(buffer.ring, self.layout, time, env, self.run), index, weight)

    def prioritise(self, buffer: BufferState, index: Array, priority: Array) -> BufferState:
        """Gives new priorities `[B]` to what was drawn at `index` `[B]`."""
        if not self.prioritised:
            return buffer
        return buffer.replace(priorities=prioritised.assign(buffer.priorities, index, priority))


def replay(step: Any, length: int, num_envs: int, run: int = 1, prioritised: bool = False) -> Replay:
    """A replay of steps whose leaves have these shapes and dtypes in one environment; see `Replay`."""
    return Replay(rows.layout(step), length, num_envs, run, prioritised)
