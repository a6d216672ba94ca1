r"""The last steps of every environment, in a ring: the memory that off-policy algorithms learn from.

Inserting and drawing cost the same however much is kept: a block of steps is written in place, a batch is read by
drawing positions. What is drawn is a run of steps of one environment in the order in which they were taken, so n-step
returns and sequences need nothing else.

$$\text{oldest} = \max(0, c - L), \quad t \sim U\{\text{oldest}, \ldots, c - n\}, \quad e \sim U\{0, \ldots, E - 1\},$$

c being the steps inserted of each environment, L how many of them there is room for, n the length of what is drawn.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jax.custom_batching import custom_vmap

from rljax.data.rows import Layout
from rljax.errors import require
from rljax.types import Array


class Ring(struct.PyTreeNode):
    """The memory; part of an algorithm's state.

    Attributes:
      rows: `[L, E, W]` uint32, packed steps; step t of each environment is at `t % L`.
      inserted: `[]` int32, c: steps of each environment that were ever inserted.
    """

    rows: Array
    inserted: Array

    @property
    def stored(self) -> Array:
        """Steps of each environment that are in it, `[]`."""
        return jnp.minimum(self.inserted, self.rows.shape[0])


def room(capacity: int, num_envs: int, num_steps: int) -> int:
    """L: steps of each environment, in whole blocks of `num_steps`, that `capacity` steps need at least.

    Raises:
      ConfigError: `capacity` is less than one block of all environments.
    """
    block = num_envs * num_steps
    require(capacity >= block, "capacity", capacity, f"must hold the {block} steps that are inserted at once")
    return -(-capacity // block) * num_steps


def empty(layout: Layout, length: int, num_envs: int) -> Ring:
    """A ring with room for `length` steps of each of `num_envs` environments."""
    return Ring(jnp.zeros((length, num_envs, layout.words), jnp.uint32), jnp.int32(0))


def insert(ring: Ring, layout: Layout, steps: Any) -> Ring:
    """The ring with `steps` `[T, E, ...]` in the place of the oldest; T divides L, and is the same every time."""
    block = layout.pack(steps)
    length = ring.rows.shape[0]
    assert length % block.shape[0] == 0, (length, block.shape)
    return Ring(_write(ring.rows, block, ring.inserted % length), ring.inserted + block.shape[0])


def draw(ring: Ring, key: Array, batch_size: int, num_steps: int = 1, unit: int = 1) -> tuple[Array, Array]:
    """Draws where to read: `batch_size` uniform runs of `num_steps` steps, with replacement.

    Args:
      unit: what `num_steps` and places are counted in, so many steps; it divides L and every T.

    Returns:
      (time `[B]` int32, the place of each run's first step; environment `[B]` int32). At least `num_steps` steps of
      each environment must be in the ring.
    """
    length, num_envs = ring.rows.shape[0] // unit, ring.rows.shape[1]
    stored = ring.stored // unit
    starts = stored - (num_steps - 1)
    # One word for each: twice as fast as randint. No place is more likely than another by more than places / 2^32.
    places = (starts * num_envs).astype(jnp.uint32)
    which = (jax.random.bits(key, (batch_size,)) % places).astype(jnp.int32)
    oldest = ring.inserted // unit - stored
    return (oldest + which // num_envs) % length, which % num_envs


def read(ring: Ring, layout: Layout, time: Array, env: Array, num_steps: int | None = None) -> Any:
    """The steps that begin at these places: leaves `[B, ...]`, or runs of `num_steps`, leaves `[n, B, ...]`."""
    if num_steps is None:
        return layout.unpack(ring.rows[time, env])
    time = (time[None] + jnp.arange(num_steps)[:, None]) % ring.rows.shape[0]
    return layout.unpack(ring.rows[time, jnp.broadcast_to(env, time.shape)])


@custom_vmap
def _write(rows: Array, block: Array, at: Array) -> Array:
    return jax.lax.dynamic_update_slice(rows, block, (at, 0, 0))


@_write.def_vmap
def _write_all(axis_size: int, batched: list[bool], rows: Array, block: Array, at: Array) -> tuple[Array, bool]:
    """Members of a population fill their rings in step, so all write to one place: a slice, which is done in place.

    Where they do not (some have come to the end of a shorter life), each writes to its own, which is a scatter.
    """
    members = jnp.arange(axis_size)
    rows, block = (x if b else jnp.broadcast_to(x, (axis_size, *x.shape)) for x, b in zip((rows, block), batched))
    if not batched[2]:
        return jax.lax.dynamic_update_slice(rows, block, (0, at, 0, 0)), True

    def apart(rows):
        return rows.at[members[:, None], at[:, None] + jnp.arange(block.shape[1])[None]].set(block)

    def together(rows):
        return jax.lax.dynamic_update_slice(rows, block, (0, at[0], 0, 0))

    return jax.lax.cond((at == at[0]).all(), together, apart, rows), True
