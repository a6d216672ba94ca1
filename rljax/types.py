"""The contract: what an algorithm is, what an environment is, and what passes between them.

Axis letters, used in every docstring of the package: `T` time, `E` parallel environments, `B` batch,
`N` hyperparameter settings or population, `S` seeds, `U` updates, `K` inner updates. Arrays are time-major.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import jax
import numpy as np

from rljax import modes
from rljax.spaces import LEGAL as LEGAL
from rljax.spaces import Box as Box
from rljax.spaces import Dict as Dict
from rljax.spaces import Discrete as Discrete
from rljax.spaces import MultiDiscrete as MultiDiscrete
from rljax.spaces import Space as Space

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
      observation_space, action_space: what `obs` and `action` look like, those of several agents together.
      time_limit: `task -> []`, the steps of the longest episode under a task; None where nothing bounds it.
      agents: how many there are, where there are several: rewards and flags are `[agents]` then, and an episode ends
        when each of them has a flag set. None: one, whose reward and flags are `[]`.
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
    time_limit: Callable[[Any], Scalar] | None = field(default=None, compare=False)
    agents: int | None = None
    costly_reset: bool = False
    new_task: Callable[[Array], Any] | None = field(default=None, compare=False)
    render: Callable[[Any, Any], np.ndarray] | None = None

    def ended(self, terminated: Array, truncated: Array) -> Array:
        """Whether episodes ended, `[...]`, by flags `[...]` or, where there are several agents, `[..., agents]`."""
        over = terminated | truncated
        return over if self.agents is None else over.all(-1)

    def longest_episode(self, task: Any = None) -> Scalar:
        """The bound on the steps of an episode under `task`, by default the environment's own; else `DEFAULT_BOUND`."""
        if self.time_limit is None:
            return DEFAULT_BOUND
        return self.time_limit(self.task if task is None else task)
