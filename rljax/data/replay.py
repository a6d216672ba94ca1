"""Replay: the steps that off-policy algorithms learn from, drawn uniformly or by priority."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from flax import struct

from rljax import resources
from rljax.data import prioritised, ring, rows
from rljax.errors import require
from rljax.types import Array, Scalar, TimeStep


class Sample(NamedTuple):
    """A batch of runs of steps."""

    steps: TimeStep  # [n, B, ...]
    index: Array  # [B] of the first step  # pyright: ignore[reportIncompatibleMethodOverride]
    weight: Array  # [B] that undoes the bias of prioritised draws; 1 where draws are uniform
    carry: Any = ()  # [B, ...] of the policy before the first step; () where none is stored


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

    def add(self, buffer: Any, steps: TimeStep, carry: Any = ()) -> Any:
        """The buffer with further steps `[T, E, ...]`; `carry` `[E, ...]` is what a policy remembered before them.

        A policy without a memory is not mentioned: a source for such ones needs no third argument.
        """

    def draw(self, buffer: Any, task: Any, key: Array, batch_size: int, beta: Scalar) -> Sample:
        """Draws a batch; `beta` is how much of the bias of prioritised draws its weights undo."""
        ...

    def prioritise(self, buffer: Any, index: Array, priority: Array) -> Any:
        """The buffer with priorities `[B]` of what was drawn at `index` `[B]`."""


class BufferState(struct.PyTreeNode):
    """The stored steps; part of an algorithm's state."""

    ring: ring.Ring
    priorities: Any  # Priorities of every place where a run may begin; () where draws are uniform
    carries: Any = ()  # a ring of what the policy remembered at these places; () where that is not stored


@dataclass(frozen=True)
class Replay:
    """A source of the steps that were collected, the last so many of every environment.

    Attributes:
      layout: of a step.
      length: L, steps of each environment that there is room for.
      num_envs: E.
      run: n, steps of an environment that are drawn together.
      prioritised: draw in proportion to priorities.
      period: p, steps from one place where a run may begin to the next; divides L and T.
      carry_layout: of what a policy remembers before each of these places, in one environment: p is T then; None: it is
        not stored.
    """

    layout: rows.Layout
    length: int
    num_envs: int
    run: int = 1
    prioritised: bool = False
    period: int = 1
    carry_layout: rows.Layout | None = None
    collects: bool = field(default=True, init=False)

    @property
    def bytes(self) -> int:
        """The size of the buffer, but for priorities."""
        carries = self.starts * self.carry_layout.words if self.carry_layout else 0
        return (self.length * self.layout.words + carries) * self.num_envs * rows.WORD

    @property
    def starts(self) -> int:
        """L / p, places of each environment where a run may begin."""
        return self.length // self.period

    @property
    def span(self) -> int:
        """The number of these places that a run touches."""
        return -(-self.run // self.period)

    def env_task(self, task: Any) -> Any:
        """The whole task."""
        return task

    def init(self) -> BufferState:
        """An empty buffer."""
        priorities = prioritised.init(self.starts * self.num_envs) if self.prioritised else ()
        carries = ring.empty(self.carry_layout, self.starts, self.num_envs) if self.carry_layout else ()
        return BufferState(ring.empty(self.layout, self.length, self.num_envs), priorities, carries)

    def add(self, buffer: BufferState, steps: TimeStep, carry: Any = ()) -> BufferState:
        """Stores `steps` [T, E, ...] in place of the oldest; T is the same every time, and divides L.

        Numbers are cast to what a learner reads: whole rewards and those of 64 bits to float32, say.

        Raises:
          ConfigError: numbers that this would change, such as fractions for whole ones, or steps of other parts.
        """
        given, stored = (jax.tree.structure(x) for x in (steps, self.layout.structure.unflatten(self.layout.dtypes)))
        require(given == stored, "steps", given, f"must have the parts that are stored, {stored}: see extras_like")
        steps = self.layout.cast(steps)
        before = buffer.ring.inserted
        buffer = buffer.replace(ring=ring.insert(buffer.ring, self.layout, steps))
        if self.carry_layout:
            block = jax.tree.map(lambda h: h[None], self.carry_layout.cast(carry))
            buffer = buffer.replace(carries=ring.insert(buffer.carries, self.carry_layout, block))
        if not self.prioritised:
            return buffer
        # A run can begin span - 1 places before the newest. One that was never drawn gets the highest priority.
        new, late = steps.reward.shape[0] // self.period, self.span - 1
        start = before // self.period - late + jnp.arange(new + late)
        value = jnp.where((start >= 0) & (jnp.arange(new + late) < new), buffer.priorities.highest, 0.0)
        index = (start % self.starts)[:, None] * self.num_envs + jnp.arange(self.num_envs)[None]
        value = jnp.broadcast_to(value[:, None], index.shape)
        priorities = prioritised.assign(buffer.priorities, index.reshape(-1), value.reshape(-1))
        return buffer.replace(priorities=priorities)

    def draw(self, buffer: BufferState, task: Any, key: Array, batch_size: int, beta: Scalar = 1.0) -> Sample:
        """Draws B runs of n steps; `beta` is how much of the bias of prioritised draws the weights undo."""
        if self.prioritised:
            index = prioritised.draw(buffer.priorities, key, batch_size)
            start, env = index // self.num_envs, index % self.num_envs
            count = (buffer.ring.stored // self.period - (self.span - 1)) * self.num_envs
            weight = prioritised.weights(buffer.priorities, index, count, beta)
        else:
            start, env = ring.draw(buffer.ring, key, batch_size, self.span, self.period)
            index, weight = start * self.num_envs + env, jnp.ones(batch_size)
        steps = ring.read(buffer.ring, self.layout, start * self.period, env, self.run)
        carry = ring.read(buffer.carries, self.carry_layout, start, env) if self.carry_layout else ()
        return Sample(steps, index, weight, carry)

    def prioritise(self, buffer: BufferState, index: Array, priority: Array) -> BufferState:
        """Gives new priorities `[B]` to what was drawn at `index` `[B]`."""
        if not self.prioritised:
            return buffer
        return buffer.replace(priorities=prioritised.assign(buffer.priorities, index, priority))


def replay(
    step: Any, length: int, num_envs: int, run: int = 1, prioritised: bool = False, period: int = 1, carry: Any = None
) -> Replay:
    """A replay of steps, and of carries, whose leaves have these shapes and dtypes in one environment; see `Replay`."""
    kept = None if carry is None else rows.layout(carry)
    return Replay(rows.layout(step), length, num_envs, run, prioritised, period, kept)


def check_replay(source: Replay, config: Any, stored: int, sequences: bool = False) -> None:
    """Refuses a capacity without room for a batch, or for which there is no memory.

    A batch of sequences may hold one of them twice: at first there are few.

    Args:
      config: the algorithm's, which has `batch_size`, `warmup`, `capacity`, `num_steps` and `num_envs`.
      stored: steps of each environment that are in it when learning begins, were there room for them.

    Raises:
      ConfigError: the field with its remedy.
    """
    runs = (min(stored, source.length) // source.period - (source.span - 1)) * config.num_envs
    found = f"must be at most the {max(runs, 0)} that warmup={config.warmup} and capacity={config.capacity} leave"
    require(sequences or config.batch_size <= runs, "batch_size", config.batch_size, found)
    one, room = source.span * source.period * config.num_envs, source.length * config.num_envs
    least = one + config.num_steps * config.num_envs
    require(room >= least, "capacity", config.capacity, f"must be at least {least}")
    require(runs >= 1, "warmup", config.warmup, f"must be at least {one}, so that there is a sequence")
    free = resources.free()
    short = f"takes {resources.write(source.bytes)} and {resources.write(free)} are free; give a smaller one"
    require(source.bytes <= free, "capacity", config.capacity, short)
