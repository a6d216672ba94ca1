"""What an off-policy agent remembers: one object for uniform and prioritised replay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from rljax import resources
from rljax.data import prioritised, ring, rows
from rljax.errors import require
from rljax.spaces import like
from rljax.types import Array, Env, Scalar, TimeStep


class Held(struct.PyTreeNode):
    """What is remembered; part of an algorithm's state."""

    ring: ring.Ring
    priorities: Any  # Priorities of the first step of every run; () where draws are uniform


class Drawn(NamedTuple):
    """A batch of runs of steps."""

    steps: TimeStep  # [n, B, ...]
    place: Array  # [B] of the first step
    weight: Array  # [B] that undoes the bias of prioritised draws; 1 where draws are uniform


@dataclass(frozen=True)
class Memory:
    """What stays as it is.

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

    def start(self) -> Held:
        """Nothing is remembered yet."""
        places = self.length * self.num_envs
        priorities = prioritised.start(places) if self.prioritised else ()
        return Held(ring.empty(self.layout, self.length, self.num_envs), priorities)

    def add(self, held: Held, steps: TimeStep) -> Held:
        """Remembers `steps` [T, E, ...] and forgets the oldest; T is the same every time, and divides L.

        Numbers are cast to what a learner reads: whole rewards and those of 64 bits to float32, say.

        Raises:
          ConfigError: numbers that this would change, such as fractions for whole ones.
        """
        steps = self.layout.cast(steps)
        after = ring.insert(held.ring, self.layout, steps)
        if not self.prioritised:
            return held.replace(ring=after)
        # A run can begin n - 1 steps before the newest one. What it has never been drawn by gets the highest priority.
        fresh, late = steps.reward.shape[0], self.run - 1
        time = held.ring.inserted - late + jnp.arange(fresh + late)
        value = jnp.where((time >= 0) & (jnp.arange(fresh + late) < fresh), held.priorities.highest, 0.0)
        place = (time % self.length)[:, None] * self.num_envs + jnp.arange(self.num_envs)[None]
        value = jnp.broadcast_to(value[:, None], place.shape)
        priorities = prioritised.assign(held.priorities, place.reshape(-1), value.reshape(-1))
        return held.replace(ring=after, priorities=priorities)

    def draw(self, held: Held, key: Array, batch_size: int, beta: Scalar = 1.0) -> Drawn:
        """B runs of n steps; `beta`: how much of the bias of prioritised draws the weights undo."""
        if self.prioritised:
            place = prioritised.draw(held.priorities, key, batch_size)
            time, env = place // self.num_envs, place % self.num_envs
            count = (held.ring.stored - (self.run - 1)) * self.num_envs
            weight = prioritised.weights(held.priorities, place, count, beta)
        else:
            time, env = ring.draw(held.ring, key, batch_size, self.run)
            place, weight = time * self.num_envs + env, jnp.ones(batch_size)
        return Drawn(ring.read(held.ring, self.layout, time, env, self.run), place, weight)

    def prioritise(self, held: Held, place: Array, priority: Array) -> Held:
        """New priorities of what was drawn."""
        if not self.prioritised:
            return held
        return held.replace(priorities=prioritised.assign(held.priorities, place, priority))


def memory(env: Env, config: Any) -> Memory:
    """A memory of the steps of `env`, as a `Config` that `life.check` accepts describes it.

    Raises:
      ConfigError: a capacity that holds no run and what comes after it, or that the machine has no room for.
    """
    num_envs, run = config.num_envs, config.n_step
    length = ring.room(config.capacity, num_envs, config.num_steps)
    least = (run + config.num_steps) * num_envs
    require(length * num_envs >= least, "capacity", config.capacity, f"must be at least {least}")
    obs, action = like(env.observation_space), like(env.action_space)
    number, flag = jax.ShapeDtypeStruct((), jnp.float32), jax.ShapeDtypeStruct((), jnp.bool_)
    step: Any = (obs, action, number, obs, flag, flag, flag)
    layout = rows.layout(TimeStep(*step))
    need, free = length * num_envs * layout.words * rows.WORD, resources.free()
    short = f"takes {resources.write(need)} and {resources.write(free)} are free; give a smaller one"
    require(need <= free, "capacity", config.capacity, short)
    return Memory(layout, length, num_envs, run, config.prioritised)
