"""The contract: what an algorithm is, what an environment is, and what passes between them.

Axis letters, used in every docstring of the package: `T` time, `E` parallel environments, `B` batch,
`N` hyperparameter settings or population, `S` seeds, `U` updates, `K` inner updates. Arrays are time-major.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rljax import modes

Array = jax.Array
Metrics = dict[str, Array]
DIAGNOSTICS = frozenset({"approx_kl", "bootstrap_entropy", "entropy", "explained_variance"})
"""Metrics to look at, from which nothing is learned: they may be anything. Any other one that is not finite, but for
those of episodes (there may have been none), means that a run has diverged."""
Scalar = float | Array
"""A number that is traced: a Python float in a default, an array inside a compiled program."""
DEFAULT_BOUND = 10_000
"""Steps after which an evaluation ends an episode that nothing else bounds."""


@dataclass(frozen=True)
class Algorithm:
    """A learning algorithm: pure functions of three explicit pytrees.

    **state** evolves (arrays only), **hypers** say how to learn (traced numbers), **task** says on what
    (environment parameters, or a dataset). Built by an algorithm's `make(env, config)`, which is cached: the same
    arguments give the same functions, so nothing recompiles. Two algorithms are equal if their functions are, whatever
    their default hypers, which makes one a good static argument.

    Attributes:
      init: `(key, hypers, task) -> state`.
      step: `(state, hypers, task) -> (state, metrics)`; one update, scan-able and vmap-able. `metrics` is a flat
        dict of scalars with fixed keys.
      act: `(state, carry, obs [B, ...], reset [B], key, greedy) -> (carry, action [B, ...])`.
      initial_carry: `(batch_size) -> carry` for `act`; `()` for feed-forward policies.
      hypers: the default hyperparameters.
      steps_per_update: environment steps that one `step` takes (0 offline).
      warmup_steps: environment steps that `init` takes.
    """

    init: Callable[..., Any]
    step: Callable[..., tuple[Any, Metrics]]
    act: Callable[..., tuple[Any, Array]]
    initial_carry: Callable[[int], Any]
    hypers: Any = field(compare=False)
    steps_per_update: int
    warmup_steps: int = 0

    def in_32_bits(self) -> Algorithm:
        """The same, computing in 32 bits whatever `jax_enable_x64` says, see `modes`; once is as good as twice."""
        narrowed = {"init": (1,), "step": (1,), "act": (), "initial_carry": ()}  # 1: the hypers
        return replace(self, **{name: modes.single(getattr(self, name), which) for name, which in narrowed.items()})

    def steps(self, updates: int) -> int:
        """Environment steps behind a run after that many updates."""
        return self.warmup_steps + updates * self.steps_per_update

    def updates(self, steps: int) -> int:
        """Whole updates that it takes to come to that many environment steps."""
        return max(0, -(-(steps - self.warmup_steps) // self.steps_per_update))


class StepResult(NamedTuple):
    """What one environment step yields, before any reset."""

    obs: Array  # the true successor, also where the episode ends
    reward: Array  # []
    terminated: Array  # [] bool: the MDP ended; never bootstrap
    truncated: Array  # [] bool: a limit cut it; bootstrap, then cut the trace. False where terminated.


class TimeStep(NamedTuple):
    """What a rollout hands to an algorithm, time-major `[T, E, ...]`."""

    obs: Array
    action: Array
    reward: Array
    next_obs: Array  # the true successor: bootstrap from this one, never from the reset observation
    terminated: Array  # bool: the MDP ended; never bootstrap
    truncated: Array  # bool: a limit cut it; bootstrap, then cut the trace


@dataclass(frozen=True)
class Env:
    """An environment: pure functions and two spaces. It never resets itself.

    Two environments are equal if their functions are, whatever their default task.

    Attributes:
      name: as registered, e.g. `CartPole-v1`.
      reset: `(key, task) -> (env_state, obs)`.
      step: `(key, env_state, action, task) -> (env_state, StepResult)`.
      task: the default environment parameters, a pytree of numbers: traced, so physics can be swept.
      observation_space, action_space: what `obs` and `action` look like.
      max_episode_steps: the longest episode under the default task, or None where nothing bounds it.
      time_limit: `task -> []`, steps of the longest episode under that task; None where only `max_episode_steps` says.
      costly_reset: whether a rollout should reset only the environments whose episode ended, block by block, instead
        of all of them at every step and keeping what is needed. The keys, so the starts, are the same up to rounding.
        Measured on one core: for brax/ant it saves 5 to 10 % of an environment step; for CartPole and MinAtar a reset
        costs about as little as the loop.
      new_task: `key -> task`, where the environment is a family: draws one of its members, all of one shape.
      render: `(env_state, task) -> [H, W, 3] uint8`, on the host; None where there is no picture.
    """

    name: str
    reset: Callable[..., tuple[Any, Array]]
    step: Callable[..., tuple[Any, StepResult]]
    task: Any = field(compare=False)
    observation_space: Space
    action_space: Space
    max_episode_steps: int | None = field(default=None, compare=False)
    costly_reset: bool = False
    new_task: Callable[[Array], Any] | None = field(default=None, compare=False)
    render: Callable[[Any, Any], np.ndarray] | None = None
    time_limit: Callable[[Any], Scalar] | None = field(default=None, compare=False)

    def longest_episode(self, task: Any = None) -> Scalar:
        """The bound on the steps of an episode under `task`, by default the environment's own.

        Where nothing says what another task changes, the environment is trusted to end its episodes, and the bound is
        wide.
        """
        if self.time_limit is not None:
            return self.time_limit(self.task if task is None else task)
        if task is None:
            return self.max_episode_steps or DEFAULT_BOUND
        return max(self.max_episode_steps or 0, DEFAULT_BOUND)


@dataclass(frozen=True)
class Discrete:
    """The integers `0 .. n-1`."""

    n: int
    dtype = np.dtype(np.int32)
    shape: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Takes whole numbers of any kind."""
        object.__setattr__(self, "n", _whole(self.n))

    def sample(self, key: Array) -> Array:
        """A uniform draw, `[]` int32."""
        return jax.random.randint(key, (), 0, self.n)

    def contains(self, x: Array) -> Array:
        """`[]` bool."""
        return jnp.logical_and(x >= 0, x < self.n)


@dataclass(frozen=True)
class MultiDiscrete:
    """A vector of integers; entry i is in `0 .. nvec[i]-1`."""

    nvec: tuple[int, ...]
    dtype = np.dtype(np.int32)

    def __post_init__(self) -> None:
        """Takes whole numbers of any kind, in any sequence."""
        object.__setattr__(self, "nvec", tuple(map(_whole, self.nvec)))

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.nvec),)

    def sample(self, key: Array) -> Array:
        """A uniform draw, `[len(nvec)]` int32."""
        return jax.random.randint(key, self.shape, 0, jnp.array(self.nvec))

    def contains(self, x: Array) -> Array:
        """`[]` bool."""
        return jnp.all(jnp.logical_and(x >= 0, x < jnp.array(self.nvec)))


@dataclass(frozen=True, eq=False)
class Box:
    """Arrays between `low` and `high`, elementwise; bounds may be infinite."""

    low: np.ndarray
    high: np.ndarray
    dtype: np.dtype = np.dtype(np.float32)  # noqa: RUF009  dtypes are immutable

    def __post_init__(self) -> None:
        """Takes whatever NumPy takes as bounds and dtype; 64 bits are none that a network sees, so 32 are meant."""
        narrow = {np.dtype(np.float64): np.dtype(np.float32), np.dtype(np.int64): np.dtype(np.int32)}
        dtype = np.dtype(self.dtype)
        object.__setattr__(self, "dtype", narrow.get(dtype, dtype))
        for name in ("low", "high"):
            bound = np.asarray(getattr(self, name))
            object.__setattr__(self, name, bound.astype(narrow.get(bound.dtype, bound.dtype), copy=False))

    @property
    def shape(self) -> tuple[int, ...]:
        return self.low.shape

    @property
    def bounded(self) -> bool:
        return bool(np.isfinite(self.low).all() and np.isfinite(self.high).all())

    @property
    def movable(self) -> np.ndarray:
        """`shape` bool: the entries that have more than one value."""
        return self.low < self.high

    def only_movable(self, x: Array) -> Array:
        """0 in the entries of `x` `[..., *shape]` that have one value alone: a place in the unit cube for them."""
        return x if self.movable.all() else jnp.where(jnp.broadcast_to(self.movable, x.shape), x, 0.0)

    def sample(self, key: Array) -> Array:
        """A uniform draw where the bounds are finite, a standard normal one elsewhere; `shape`, `dtype`."""
        finite = np.isfinite(self.low) & np.isfinite(self.high)
        low, high = np.where(finite, self.low, 0.0), np.where(finite, self.high, 1.0)
        k_uniform, k_normal = jax.random.split(key)
        uniform = low + (high - low) * jax.random.uniform(k_uniform, self.shape)
        normal = jnp.clip(jax.random.normal(k_normal, self.shape), self.low, self.high)
        return jnp.where(finite, uniform, normal).astype(self.dtype)

    def contains(self, x: Array) -> Array:
        """`[]` bool."""
        return jnp.all(jnp.logical_and(x >= self.low, x <= self.high))

    def clip(self, x: Array) -> Array:
        """The nearest point of the box; `x` is `[..., *shape]`."""
        return jnp.clip(x, jnp.broadcast_to(self.low, x.shape), jnp.broadcast_to(self.high, x.shape))

    def from_unit(self, x: Array) -> Array:
        """From the cube of -1 to 1 into the box, which must be bounded; `x` is `[..., *shape]`."""
        low, high = (jnp.broadcast_to(bound, x.shape) for bound in (self.low, self.high))
        return jnp.clip(low + 0.5 * (x + 1.0) * (high - low), low, high)  # rounding can leave the box

    def to_unit(self, x: Array) -> Array:
        """The inverse of `from_unit`; 0 in entries that have one value alone."""
        high = np.where(self.movable, self.high, self.low + 1)
        low, high = (jnp.broadcast_to(bound, x.shape) for bound in (self.low, high))
        return self.only_movable(2.0 * (x - low) / (high - low) - 1.0)


def _whole(n: Any) -> Any:
    """A whole number as an `int`; anything else as it is, to be refused with the environment's name."""
    return n if isinstance(n, bool) or not hasattr(n, "__index__") else operator.index(n)


Space = Box | Discrete | MultiDiscrete
