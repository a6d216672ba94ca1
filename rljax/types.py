"""The contract: algorithms, environments, and the data between them.

Axis letters, used in every docstring of the package: `T` time, `E` parallel environments, `B` batch,
`N` hyperparameter settings or population, `S` seeds, `U` updates, `K` inner updates. Arrays are time-major.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

import jax
import numpy as np

from rljax import modes
from rljax.errors import ConfigError, require
from rljax.kinds import Count
from rljax.spaces import LEGAL as LEGAL
from rljax.spaces import Box as Box
from rljax.spaces import Dict as Dict
from rljax.spaces import Discrete as Discrete
from rljax.spaces import MultiDiscrete as MultiDiscrete
from rljax.spaces import Space as Space

Array = jax.Array
Metrics = dict[str, Array]
Scalar = float | Array
"""A number that is traced: a Python float in a default, an array inside a compiled program."""
DEFAULT_BOUND = 10_000
"""Steps after which an evaluation ends an episode that nothing else bounds."""


class _ClassOf:
    """The class of the default of a dataclass's field, asked of the dataclass."""

    def __init__(self, field_name: str):
        self.field_name = field_name

    def __get__(self, instance: Any, owner: type) -> type:
        return type(owner.__dataclass_fields__[self.field_name].default)


@dataclass(frozen=True)
class Algorithm:
    """A learning algorithm: methods that are pure functions of three explicit pytrees.

    **state** evolves (arrays only), **hypers** say how to learn (traced numbers), **task** says on what (the
    environment's parameters, or a dataset). An algorithm is a frozen dataclass that derives from this one:

        @dataclass(frozen=True)
        class PPO(Algorithm):
            config: Config = Config()
            hypers: Hypers = field(default=Hypers(), compare=False)

    Two are one program if their classes, environments and configs are equal, whatever their default hypers, so an
    algorithm is a good static argument. A subclass that overrides one method is an algorithm of its own. What is listed
    in `IN_32_BITS` computes in 32 bits whatever `jax_enable_x64` says, see `modes`.

    Attributes:
      env: the environment.
      config: what fixes shapes and branches; hashable.
      hypers: the default hyperparameters, a pytree.
      steps_per_update: environment steps that one `step` takes; 0 offline, where a run is counted in updates.
      warmup_steps: environment steps that `init` takes.
      diagnostics: names of metrics from which nothing is learned, see `ops.metrics`.
      policy: None, or `(state, carry, obs [T, B, ...], reset [T, B]) -> (carry, distribution over actions [T, B],
        value [T, B])`, which can be differentiated in the state: for meta-gradients, cloning and distillation.
      outer_weights: metrics whose means over the updates are added to the loss that meta-gradients descend, each with
        its weight.

    Raises:
      ConfigError: it cannot run with this config on this environment.
    """

    env: Env
    config: Any = None
    hypers: Any = field(default=None, compare=False)

    IN_32_BITS: ClassVar[dict[str, tuple[int, ...]]] = {  # with the arguments that are cast: hypers
        "init": (2,),
        "step": (2,),
        "act": (),
        "initial_carry": (),
        "policy": (),
    }
    steps_per_update: ClassVar[int]
    warmup_steps: ClassVar[int] = 0
    diagnostics: ClassVar[frozenset[str]] = frozenset()
    policy: ClassVar[Callable[..., Any] | None] = None
    outer_weights: ClassVar[Mapping[str, float]] = MappingProxyType({})
    Config, Hypers = _ClassOf("config"), _ClassOf("hypers")

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        for name, narrowed in cls.IN_32_BITS.items():
            if callable(function := vars(cls).get(name)):
                setattr(cls, name, modes.single(function, narrowed, state=1))

    def __post_init__(self) -> None:
        try:
            hash(self.config)
        except TypeError:
            remedy = "cannot be hashed; make it a frozen dataclass of numbers, text and tuples"
            raise ConfigError(f"config of {type(self).__name__}: {remedy}") from None
        self.check()

    @classmethod
    def make(cls, env: Env, config: Any = None) -> Algorithm:
        """Builds the algorithm, by default with its default config. Raises ConfigError, as the class does."""
        return cls(env, cls.default("config") if config is None else config)

    @classmethod
    def default(cls, name: str) -> Any:
        """The default of a field, `config` or `hypers`: a subclass may give it other values than its class has."""
        return cls.__dataclass_fields__[name].default

    @classmethod
    def unused(cls, config: Any, env: Env) -> dict[str, str]:
        """The numbers in `Hypers` that have no effect under this config, each with what would use it."""
        return {}

    def check(self) -> None:
        """Refuses what cannot run. Raises ConfigError."""

    def init(self, key: Array, hypers: Any, task: Any) -> Any:
        """The state in which learning begins; arrays only."""
        raise NotImplementedError

    def step(self, state: Any, hypers: Any, task: Any) -> tuple[Any, Metrics]:
        """One update -> (state, metrics), which can be scanned and vmapped.

        `metrics` is a flat dict of scalars with fixed keys, see `ops.metrics`.
        """
        raise NotImplementedError

    def initial_carry(self, state: Any, batch_size: int) -> Any:
        """The memory of `act` before the first observation of `batch_size` episodes; () where it has none."""
        return ()

    def act(self, state: Any, carry: Any, obs: Any, reset: Array, key: Array, greedy: bool | Array) -> tuple[Any, Any]:
        """The actions for observations `[B, ...]` -> (carry, action `[B, ...]`); it forgets where `reset` `[B]`."""
        raise NotImplementedError

    def steps(self, updates: int) -> int:
        """Environment steps behind a run after that many updates."""
        return self.warmup_steps + updates * self.steps_per_update

    def updates(self, steps: int) -> int:
        """Whole updates that it takes to come to that many environment steps; offline a step is an update."""
        return max(0, -(-(steps - self.warmup_steps) // (self.steps_per_update or 1)))


class StepResult(NamedTuple):
    """The result of one environment step, before any reset."""

    obs: Array  # the true successor, also where the episode ends
    reward: Array  # [], or [agents] where there are several, as are the flags
    terminated: Array  # [] bool: the MDP ended; never bootstrap
    truncated: Array  # [] bool: a limit cut it; bootstrap, then cut the trace. False where terminated.


class TimeStep(NamedTuple):
    """Steps as a rollout hands them to an algorithm, time-major `[T, E, ...]`; obs and action may be pytrees."""

    obs: Any
    action: Any
    reward: Array
    next_obs: Any  # the true successor: bootstrap from this one, never from the reset observation
    terminated: Array  # bool: the MDP ended; never bootstrap
    truncated: Array  # bool: a limit cut it; bootstrap, then cut the trace
    reset: Array  # bool: `obs` opens an episode
    extras: Any = ()  # what the policy noted when it acted, such as log-probabilities


class WithData(NamedTuple):
    """The task of an algorithm that learns from data: what the policy is evaluated on, and the data itself."""

    env: Any  # the environment's own task
    data: Any  # a pytree of arrays


def _takes_a_number(kind: type[Env]) -> type[Env]:
    """Lets `max_episode_steps=n` stand for a `time_limit` that is n under every task; no field, so no copy has it."""
    init = kind.__init__

    @functools.wraps(init)
    def takes(self: Env, *args: Any, max_episode_steps: int | None = None, **fields: Any) -> None:
        if max_episode_steps is not None:
            most = Count().convert("max_episode_steps", max_episode_steps)
            require(
                "time_limit" not in fields, "max_episode_steps", most, "says what time_limit does; give one of them"
            )
            fields["time_limit"] = lambda task: most
        init(self, *args, **fields)

    kind.__init__ = takes
    return kind


@_takes_a_number
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
      max_episode_steps: the limit under its own task; as an argument, a number in place of `time_limit`.

    Raises:
      ConfigError: `max_episode_steps` is no positive whole number, or given beside `time_limit`.
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

    @property
    def max_episode_steps(self) -> int | None:
        """The steps of the longest episode under its own task; None where nothing bounds it."""
        return None if self.time_limit is None else int(self.time_limit(self.task))

    def longest_episode(self, task: Any = None) -> Scalar:
        """The bound on the steps of an episode under `task`, by default the environment's own; else `DEFAULT_BOUND`."""
        if self.time_limit is None:
            return DEFAULT_BOUND
        return self.time_limit(self.task if task is None else task)
