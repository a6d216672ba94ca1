r"""The best episodes that were seen, whole, and stretches of them to imitate.

An episode of T steps with rewards r is kept with what it came to, so that any of its steps can be relabelled with it:

$$R = \sum_{i < u} r_i, \quad h_t = u - t \quad (t < u),$$

u being where the stretch ends: with its episode (u = T), or earlier, as if the episode had been one of u steps.

Of an episode longer than there is room for, the first steps are kept, with the return and the length of all of it. Of
episodes that came to the same, those are kept that were added last.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from rljax.data import rows
from rljax.ops.metrics import not_finite
from rljax.types import Array, TimeStep


class Trajectories(struct.PyTreeNode):
    """Episodes, whole or in progress, `[...]`."""

    rows: Array  # [..., L, W] uint32, packed steps: observation, action, and the return before it
    returns: Array  # [...] so far
    lengths: Array  # [...] int32; 0: none


class Buffer(struct.PyTreeNode):
    """The stored episodes; part of an algorithm's state."""

    best: Trajectories  # [K], the highest return first; behind them those that are missing
    begun: Trajectories  # [E], in progress

    @property
    def stored(self) -> Array:
        """The number of whole episodes in it, `[]`."""
        return (self.best.lengths > 0).sum()


class Stretch(NamedTuple):
    """Runs of steps, each within one episode, and what they came to."""

    obs: Any  # [n, B, ...]
    action: Any  # [n, B, ...]
    command: Array  # [n, B, 2] R and h: the return from the episode's start to the stretch's end, the steps up to it
    mask: Array  # [n, B] bool: the step comes before that end
    reset: Array  # [n, B] bool: of the first step, which a memory is to see as such

    @property
    def not_finite(self) -> Array:
        """Whether the environment has spoiled observations or returns, see `ops.metrics.NOT_FINITE`."""
        step = TimeStep(self.obs, self.action, self.command[..., 0], self.obs, self.mask, self.mask, self.reset)
        return not_finite(step)


@dataclass(frozen=True)
class BestEpisodes:
    """A store of the episodes with the highest returns.

    Attributes:
      layout: of (observation, action, return before it).
      capacity: K, episodes.
      length: L, steps of an episode.
      num_envs: E.
    """

    layout: rows.Layout
    capacity: int
    length: int
    num_envs: int

    def init(self) -> Buffer:
        """A store without an episode."""

        def empty(count):
            shape = (count, self.length, self.layout.words)
            return Trajectories(jnp.zeros(shape, jnp.uint32), jnp.zeros(count), jnp.zeros(count, jnp.int32))

        return Buffer(empty(self.capacity), empty(self.num_envs))

    def add(self, buffer: Buffer, steps: TimeStep) -> Buffer:
        """Goes on with the episodes in progress by steps `[T, E, ...]`, and keeps the best of what has ended."""
        time, num_envs = steps.reset.shape
        age, before = _so_far(buffer.begun, steps)
        totals, lengths, ended = before + steps.reward, age + 1, steps.terminated | steps.truncated
        block = self.layout.pack(self.layout.cast((steps.obs, steps.action, before)))
        stream = jnp.concatenate([buffer.begun.rows, block.swapaxes(0, 1)], axis=1)  # [E, L + T, W]
        begin = jnp.arange(time)[:, None] - age  # when the episode of a step began; before the block: < 0

        score, index = jax.lax.top_k(jnp.where(ended, totals, -jnp.inf).reshape(-1), min(self.capacity, ended.size))
        some = jnp.isfinite(score)
        whole = self._rows(stream, begin.reshape(-1)[index], index % num_envs)
        new = Trajectories(whole, jnp.where(some, score, 0.0), jnp.where(some, lengths.reshape(-1)[index], 0))
        both = jax.tree.map(lambda x, y: jnp.concatenate([x, y]), new, buffer.best)
        # The first of equals are kept.
        _, order = jax.lax.top_k(jnp.where(both.lengths > 0, both.returns, -jnp.inf), self.capacity)
        begun = self._rows(stream, begin[-1], jnp.arange(num_envs))
        return Buffer(jax.tree.map(lambda x: x[order], both), Trajectories(begun, totals[-1], lengths[-1]))

    def _rows(self, stream: Array, begin: Array, env: Array) -> Array:
        """The first L rows of the episodes of environments `[C]` that began at times `[C]`: `[C, L, W]`."""
        number = jnp.arange(self.length)[None]
        time = begin[:, None] + number
        at = jnp.where(time < 0, number, jnp.minimum(self.length + time, stream.shape[1] - 1))
        return stream[env[:, None], at]

    def draw(self, buffer: Buffer, key: Array, batch_size: int, run: int = 1, anywhere: bool = False) -> Stretch:
        """Draws B runs of n steps, of episodes that are all as likely; where none is stored, all is masked.

        Args:
          run: n; of a shorter episode all steps, and what follows them is masked.
          anywhere: whether stretches end at any step behind the first of the run, else with the episode.
        """
        k_episode, k_start, k_end = jax.random.split(key, 3)
        best, count = buffer.best, buffer.stored
        episode = jax.random.randint(k_episode, (batch_size,), 0, jnp.maximum(count, 1))
        returned, length = best.returns[episode], best.lengths[episode]
        kept = jnp.minimum(length, self.length)
        start = jax.random.randint(k_start, (batch_size,), 0, jnp.maximum(kept - run, 0) + 1)
        end = length
        if anywhere:
            drawn = jax.random.randint(k_end, (batch_size,), start + 1, kept + 1)
            before = self._read(best, episode[None], drawn[None])[2][0]
            # The last of these ends is that of the episode, which may lie behind what there was room for.
            returned, end = jnp.where(drawn < kept, before, returned), jnp.where(drawn < kept, drawn, length)
        time = start[None] + jnp.arange(run)[:, None]
        obs, action, _ = self._read(best, jnp.broadcast_to(episode, time.shape), time)
        mask = (time < jnp.minimum(end, kept)[None]) & (count > 0)
        command = jnp.stack([jnp.broadcast_to(returned, time.shape), jnp.float32(end[None] - time)], axis=-1)
        reset = jnp.broadcast_to(jnp.arange(run)[:, None] == 0, time.shape)
        return Stretch(obs, action, command, mask, reset)

    def _read(self, episodes: Trajectories, episode: Array, time: Array) -> Any:
        """The steps of episodes `[n, B]` at times `[n, B]`."""
        return self.layout.unpack(episodes.rows[episode, jnp.minimum(time, self.length - 1)])


def best_episodes(obs: Any, action: Any, capacity: int, length: int, num_envs: int) -> BestEpisodes:
    """A store of episodes whose observations and actions have these shapes and dtypes; see `BestEpisodes`."""
    before = jax.ShapeDtypeStruct((), jnp.float32)
    return BestEpisodes(rows.layout((obs, action, before)), capacity, length, num_envs)


def _so_far(begun: Trajectories, steps: TimeStep) -> tuple[Array, Array]:
    """The steps and the return of the episode before each step `[T, E]`."""

    def one(loop, step):
        reset, reward = step
        age, total = (jnp.where(reset, 0, x) for x in loop)
        return (age + 1, total + reward), (age, total)

    first = begun.lengths, begun.returns
    return jax.lax.scan(one, first, (steps.reset, steps.reward.astype(jnp.float32)))[1]
