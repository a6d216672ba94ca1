"""A run by names and numbers: the one form that runs, rows of sweeps, searches and learned files are recorded in."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self, cast

import numpy as np

from rljax import algos, build, envs, origins
from rljax.algos.presets import preset
from rljax.arguments import SEED, STEPS
from rljax.build import Prepared, plain, plain_values, plugged_in, plugged_name
from rljax.catalogue import CURRICULA
from rljax.data.dataset import Data
from rljax.errors import ConfigError, require
from rljax.fields import Entry
from rljax.kinds import LARGEST, Flag, Number, Table
from rljax.parts import Chosen, Parts, split
from rljax.registry import parsed
from rljax.settings import is_own
from rljax.task import at_end, ways, with_curriculum
from rljax.types import Algorithm, Env, WithData


@dataclass(frozen=True)
class RunSpec:
    """A run by names and numbers: all that makes it again, but for a user's own code and data.

    Attributes:
      algo: a registered algorithm.
      env: the name of an environment, wrappers included, or an `Env` of the user's own.
      steps: environment steps; where an algorithm takes none, updates.
      seed: of the run's key.
      config, hypers: fields of the algorithm's `Config` and `Hypers`; those that are not given have their defaults.
      objective: the policy objective and its fields; None: the algorithm's own.
      task: numbers of the environment to change; one that is to go from 5 to 15 is written `linear(5,15)`.
      env_args: arguments of the environment's factory.
      curriculum: the name of a function `(progress, task) -> task`, or None.
      data: what to learn from; in a record its fingerprint, until it is given again.
      plugins: the plugins that its names come from, with their versions; filled in for its record.
      recorded: whether it was read from a record, whose numbers hold defaults too.
    """

    algo: str
    env: str | Env
    steps: int
    seed: int = 0
    config: dict[str, Any] = field(default_factory=dict)
    hypers: dict[str, Any] = field(default_factory=dict)
    objective: Chosen | None = None
    task: dict[str, Any] = field(default_factory=dict)
    env_args: dict[str, Any] = field(default_factory=dict)
    curriculum: str | None = None
    data: Data | str | None = field(default=None, compare=False, repr=False)
    plugins: Mapping[str, str] = field(default_factory=dict, compare=False)
    recorded: bool = False

    @classmethod
    def of(
        cls,
        algo: str,
        env: str | Env,
        *,
        steps: int | None = None,
        seed: int = 0,
        use_preset: bool = True,
        task: Mapping[str, Any] | None = None,
        env_args: Mapping[str, Any] | None = None,
        curriculum: Any = None,
        data: Any = None,
        recorded: bool = False,
        **given: Any,
    ) -> Self:
        """A run as a user asks for it; arguments as for `train`, and settings may be named `task.length` too.

        Raises:
          ConfigError: an unknown algorithm, or no length and no preset that has one.
        """
        known, env = algos.settings(algo), envs.given(env)
        if isinstance(env, str):
            (envs.check_name if recorded else envs.accept)(env)  # before presets: a plugin may have some
        use_preset = Flag().convert("use_preset", use_preset) and isinstance(env, str)
        start = preset(algo, env) if use_preset and isinstance(env, str) else None
        given = given if recorded else plugged_in(known, given)
        parts = split(known, {**(start.settings if start else {}), **given})
        if steps is None:
            where = env if isinstance(env, str) else env.name
            require(start is not None, "steps", None, f"there is no preset for {algo} on {where}; say how many")
            steps = start.steps  # pyright: ignore[reportOptionalMemberAccess]
        return cls(
            algo,
            env,
            STEPS.convert("steps", steps),
            SEED.convert("seed", seed),
            **parts._replace(task={**Table().convert("task", task), **parts.task})._asdict(),
            env_args=Table().convert("env_args", env_args),
            curriculum=curriculum if curriculum is None else plugged_name("curriculum", curriculum),
            data=Data.of(data),
            recorded=recorded,
        )

    @property
    def parts(self) -> Parts:
        """Its settings by what they belong to."""
        return Parts(self.config, self.hypers, self.objective, self.task)

    @property
    def settings(self) -> dict[str, Any]:
        """Its settings by the names that the command line has for them: `lr`, `objective.clip`, `task.length`."""
        return self.parts.flat()

    def with_settings(self, given: Mapping[str, Any], **changes: Any) -> Self:
        """The same run with these settings alone, by such names."""
        parts = split(algos.settings(self.algo), given)
        return dataclasses.replace(self, **parts._asdict(), **changes)

    def without(self, names: Iterable[str]) -> Self:
        """The same run without these settings, and without the fields of them."""
        names = tuple(names)
        nested = tuple(f"{name}." for name in names)
        kept = {n: x for n, x in self.settings.items() if n not in names and not n.startswith(nested)}
        return self.with_settings(kept)

    def with_length(self, steps: int, updates: int) -> Self:
        """The same run of another length; what it was is `updates`, by which its horizon went unless that was given."""
        by_length = self.hypers.get("horizon") == updates
        hypers = {name: value for name, value in self.hypers.items() if name != "horizon" or not by_length}
        return dataclasses.replace(self, steps=STEPS.convert("steps", steps), hypers=hypers)

    def build(self) -> tuple[Algorithm, Env]:
        """Builds the algorithm, whose `hypers` hold the numbers, and the environment, whose `task` does.

        Raises:
          ConfigError: an unknown name or field, or a value that cannot be.
          NotPluggedIn: a plugin is missing that the names of a record come from.
        """
        if self.recorded:
            origins.check(self.names(), self.plugins)
        parts = self.parts._replace(task=at_end(self.task))
        return build.build(self.algo, self.env, self.env_args, parts, self.recorded)

    def prepare(self) -> Prepared:
        """Builds it, and settles its length; nothing is compiled.

        Raises:
          ConfigError: an unknown name or field, or a value that cannot be.
        """
        if isinstance(self.data, str):
            raise ConfigError(f"data={self.data}: is what this run learns from, and no record holds it; give it again")
        algorithm, env = self.build()
        learns_from = f"{self.algo} takes no environment steps, so it learns from data: give it, data=..."
        require(algorithm.steps_per_update > 0 or self.data is not None, "data", None, learns_from)
        task = env.task if self.data is None else WithData(env.task, self.data.arrays)
        updates = algorithm.updates(self.steps)
        require(
            updates >= 1, "steps", self.steps, f"must be more than the {algorithm.warmup_steps} before learning begins"
        )
        most = algorithm.steps(LARGEST)
        require(updates <= LARGEST, "steps", self.steps, f"must be at most {most:,}: updates are counted in 32 bits")
        known = algos.settings(self.algo)
        for name, value in self.settings.items():
            number = name in known and isinstance(known[name].kind, Number)
            require(not number or not np.ndim(value), name, value, "must be one number")
        if "horizon" in known and "horizon" not in self.hypers:
            hypers = dataclasses.replace(algorithm.hypers, horizon=float(updates))
            algorithm = dataclasses.replace(algorithm, hypers=hypers)
        given = algos.with_defaults(self.algo, self.settings)
        config = {
            name: setting.kind.convert(name, given.get(name, setting.default))
            for name, setting in known.items()
            if setting.group == "config"
        }
        if self.curriculum is not None or ways(self.task):
            require(self.data is None, "curriculum", self.curriculum or dict(self.task), "has no effect on data")
            function = None if self.curriculum is None else CURRICULA.load(self.curriculum)
            algorithm, task = with_curriculum(algorithm, env, self.task, function)
        return Prepared(algorithm, env, task, self.steps, updates, config)

    def complete(self, prepared: Prepared) -> Self:
        """The same with every setting said, given or default, so that its record outlives a change of defaults."""
        every = {**prepared.config, **build.describe(prepared.algorithm.hypers)}
        every |= build.files_of(self.algo, self.hypers)
        parts = split(algos.settings(self.algo), every)
        made = dataclasses.replace(self, **parts._replace(task=self.task)._asdict())
        return dataclasses.replace(made, plugins=origins.used(made.names()))

    def names(self) -> Iterator[tuple[str, str]]:
        """All names that stand for code: (what it is, name)."""
        yield "algorithm", self.algo
        yield "algorithm", algos.base(self.algo)
        if isinstance(self.env, str):
            yield from envs.named(self.env)
        known = algos.settings(self.algo)
        for name, value in self.config.items():
            kind = known[name].kind if name in known else None
            if isinstance(kind, Entry):
                yield kind.what, parsed(value).name
        chosen = None if self.objective is None else self.objective.name
        if self.curriculum is not None:
            yield CURRICULA.what, self.curriculum
        if isinstance(chosen, str) and not is_own(chosen):  # one of the user's own is plugged in by itself
            yield "objective", chosen

    def to_json(self) -> dict[str, Any]:
        """Plain values of the form `records.RUN`; environments and objectives by name, data as a fingerprint."""
        chosen = self.objective
        return {
            "algo": self.algo,
            "env": plain(self.env),
            "env_args": plain_values(self.env_args),
            "curriculum": self.curriculum,
            "steps": self.steps,
            "seed": self.seed,
            "config": plain_values(self.config),
            "hypers": plain_values(self.hypers),
            "objective": None
            if chosen is None
            else {"name": plain(chosen.name), "fields": plain_values(chosen.fields)},
            "task": plain_values(self.task),
            "data": self.data.fingerprint if isinstance(self.data, Data) else self.data,
            "plugins": dict(self.plugins),
        }

    @classmethod
    def from_json(
        cls, record: Mapping[str, Any], envs: Mapping[str, Env] | None = None, data: Any = None, **more: Any
    ) -> Self:
        """The inverse of `to_json`.

        Args:
          envs: environments that are not registered, by name.
          data: what was learned from.
          more: what a subclass adds.

        Raises:
          ConfigError: other data than was learned from.
        """
        chosen, env = record["objective"], cast("str", record["env"])
        given = Data.of(data)
        if given is not None:
            same = given.fingerprint == record["data"]
            require(same, "data", given.fingerprint, f"is not what was learned from, {record['data']}")
        return cls(
            algo=record["algo"],
            env=(envs or {}).get(env, env),
            steps=record["steps"],
            seed=record.get("seed", 0),
            config=record["config"],
            hypers=record["hypers"],
            objective=None if chosen is None else Chosen(chosen["name"], chosen["fields"]),
            task=record["task"],
            env_args=record["env_args"],
            curriculum=record.get("curriculum"),  # those that ship learned were recorded before there was any
            data=record["data"] if given is None else given,
            plugins=dict(record["plugins"]),
            recorded=True,
            **more,
        )


def make(
    algo: str,
    env: str | Env,
    *,
    task: Mapping[str, Any] | None = None,
    env_args: Mapping[str, Any] | None = None,
    **settings: Any,
) -> tuple[Algorithm, Env]:
    """Builds an algorithm on an environment; keyword arguments go to its `Config` or `Hypers` by field.

    Args:
      algo: a registered algorithm.
      env: the name of an environment, or an `Env` of your own.
      task: fields of the environment's parameters to change; traced, so changing them compiles nothing.
      env_args: arguments of the environment's factory, e.g. `backend` for Brax.
      **settings: fields of `Config` and `Hypers`; `objective` is a name, `module:Class`, the file of a learned one
        (`mine.npz`), or an objective. Fields of a named objective are given as `**{"objective.clip": 0.1}`.

    Returns:
      (algorithm, whose `hypers` hold the given numbers; environment, whose `task` does).

    Raises:
      ConfigError: an unknown name or field, or a value that cannot be.
    """
    return RunSpec.of(algo, env, steps=1, use_preset=False, task=task, env_args=env_args, **settings).build()


def prepare(algo: str, env: str | Env, **how: Any) -> Prepared:
    """Settles a run: presets, length, algorithm and environment. Arguments and errors as for `RunSpec.of`."""
    return RunSpec.of(algo, env, **how).prepare()
