"""The rows of a sweep: what each of them runs, as asked for, as built, and as recorded."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rljax import algos, envs, objectives
from rljax import build as builder
from rljax.algos.presets import preset
from rljax.errors import ConfigError, require, unknown
from rljax.fingerprint import differing
from rljax.objectives.own import plug_in, plug_in_again
from rljax.sweeps.ranking import TASK
from rljax.types import Env


@dataclass(frozen=True)
class Row:
    """One setting: an algorithm on an environment, with these numbers, for so long."""

    algo: str
    env: str | Env
    settings: dict[str, Any]  # of the algorithm, objective and environment (`task.NAME`), varied or not
    env_args: dict[str, Any]
    steps: int
    varied: dict[str, Any]  # the swept fields, `algo` and `env` possibly among them
    recorded: bool = False  # read from a record, whose settings hold defaults as well

    def arguments(self) -> dict[str, Any]:
        """Those of `build.made_again`."""
        task = {n.removeprefix(TASK): v for n, v in self.settings.items() if n.startswith(TASK)}
        settings = {n: v for n, v in self.settings.items() if not n.startswith(TASK)}
        return {"algo": self.algo, "env": self.env, "task": task, "env_args": self.env_args, "settings": settings}

    def prepare(self) -> builder.Prepared:
        """Builds it. Raises ConfigError for a name or value that cannot be, and says in which row."""
        try:
            made = self.arguments()
            how = {"steps": self.steps, "use_preset": False, "recorded": self.recorded}
            return builder.prepare(**made.pop("settings"), **made, **how)
        except ConfigError as error:
            if not self.varied:
                raise
            raise ConfigError(f"{error} (in the row {describe(self.varied)})") from None

    @property
    def where(self) -> dict[str, Any]:
        """What `ranking.environments` reads, as in a record."""
        return {"env": plain(self.env), "env_args": self.env_args, "settings": self.settings}

    def at(self, point: Mapping[str, Any]) -> Row:
        """The same with other values of the swept fields."""
        settings = {name: value for name, value in self.settings.items() if name not in self.varied}
        return dataclasses.replace(self, settings=settings | dict(point), varied=dict(point))

    def record(self, prepared: builder.Prepared) -> dict[str, Any]:
        """What is kept of it: every setting, given or default, so that a record outlives a change of defaults."""
        task = {name: value for name, value in self.settings.items() if name.startswith(TASK)}
        return {
            "algo": self.algo,
            "env": plain(self.env),
            "env_args": self.env_args,
            "fingerprints": builder.fingerprints(self.algo, self.env, prepared.algorithm, prepared.env),
            "steps": self.steps,
            "steps_per_update": prepared.algorithm.steps_per_update,
            "warmup_steps": prepared.algorithm.warmup_steps,
            "updates": prepared.updates,
            "varied": {name: plain(value) for name, value in self.varied.items()},
            "settings": {
                **prepared.config,
                **builder.describe(prepared.algorithm.hypers),
                **builder.files_of(self.algo, self.settings),
                **task,
            },
        }


def build(
    algo: str | Sequence[str] | None,
    env: str | Env | Sequence[str | Env] | None,
    steps: int | None,
    fields: Sequence[Mapping[str, Any]],
    fixed: Mapping[str, Any],
    env_args: Mapping[str, Any],
    use_preset: bool,
) -> list[Row]:
    """Every row: algorithms x environments x points of the space.

    Args:
      algo, env: one or several; several are swept.
      steps: environment steps of each run, by default those of its preset.
      fields: the swept fields of each point; `algo` and `env` may be among them.
      fixed: settings of all rows.
      use_preset: start from the known-good settings of each algorithm and environment.

    Raises:
      ConfigError: a field twice, one that no algorithm here has, or a run of unknown length.
    """
    algorithms, environments = _several(algo), _several(env)
    fields, fixed = [_plugged(point) for point in fields], _plugged(fixed)
    swept = {n for point in fields[:1] for n in point}
    for name in swept & set(fixed):
        raise ConfigError(f"{name}: is swept and fixed at {fixed[name]}; choose one")
    for name, given in (("algo", algorithms), ("env", environments)):
        require(name not in swept or not given, name, "...", "is swept and given by name; choose one")
        require(name in swept or bool(given), name, None, f"say which {name}")
    rows = []
    for a in algorithms or [""]:
        for e in environments or [""]:
            for point in fields:
                both = {"algo": a, "env": e} | dict(point)
                named = {"algo": a} if len(algorithms) > 1 else {}
                named |= {"env": e} if len(environments) > 1 else {}
                rows.append(_row(both, steps, named | dict(point), fixed, env_args, use_preset))
    given = own(rows)  # by name: one of two would be lost
    for row in rows:
        lost = isinstance(row.env, Env) and given[row.env.name] != row.env
        require(not lost, "env", plain(row.env), "is the name of two environments; give each a name of its own")
    return rows


def _row(
    point: dict[str, Any],  # algo and env among them
    steps: int | None,
    varied: dict[str, Any],
    fixed: Mapping[str, Any],
    env_args: Mapping[str, Any],
    use_preset: bool,
) -> Row:
    algo: str = point.pop("algo")
    env: str | Env = point.pop("env")
    known = algos.settings(algo)
    for name in point:
        if name not in known and not name.startswith((TASK, "objective.")):
            raise unknown(f"field of {algo}", name, [*known, "algo", "env"], f"rljax train {algo} --help")
    if isinstance(env, str):
        envs.check_name(env)
    start = preset(algo, env) if use_preset and isinstance(env, str) else None
    if steps is None:
        require(start is not None, "steps", None, f"there is no preset for {algo} on {env}; say how many")
    length: Any = start.steps if steps is None and start else steps
    settings = {**(start.settings if start else {}), **fixed, **point}
    return Row(algo, env, settings, dict(env_args), length, varied)


def from_record(
    record: Mapping[str, Any], own: Mapping[str, Env] | None = None, objective: Any = None, call: str = ""
) -> list[Row]:
    """The rows of a recorded sweep.

    Args:
      own: environments that are not registered, by name.
      objective: the class of the objective, if it is one of the user's own.
      call: what was called, up to the end of its arguments.

    Raises:
      NotPluggedIn: the record names a class that is not there.
    """
    known = own or {}
    plug_in_again(
        (r[part].get("objective") for r in record["rows"] for part in ("settings", "varied")), objective, call
    )
    return [
        Row(
            r["algo"],
            known[r["env"]] if r["env"] in known else r["env"],
            r["settings"],
            r["env_args"],
            r["steps"],
            r["varied"],
            recorded=True,
        )
        for r in record["rows"]
    ]


def other_code(there: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    """Where recorded rows ran other code or numbers than these records would: (what, its hash there, its hash here)."""
    both = ((a.get("fingerprints", {}), b["fingerprints"]) for a, b in zip(there["rows"], records))
    return [(f"the code of its {n}", a[n], b[n]) for a, b in both for n in differing(there, a, b)]


def own(rows: Sequence[Row]) -> dict[str, Env]:
    """Environments that were given as such, by name."""
    return {row.env.name: row.env for row in rows if isinstance(row.env, Env)}


def describe(varied: Mapping[str, Any]) -> str:
    """Settings in a line: `lr=0.001 num_envs=16`."""
    return " ".join(f"{name}={x:.4g}" if isinstance(x, float) else f"{name}={plain(x)}" for name, x in varied.items())


def plain(value: Any) -> Any:
    """A value as JSON can hold it: environments and objectives by name."""
    if isinstance(value, Env):
        return value.name
    if callable(value):  # as an objective is
        return objectives.name_of(value)  # pyright: ignore[reportArgumentType]
    value = value.item() if hasattr(value, "item") else value
    return "inf" if value == float("inf") else list(value) if isinstance(value, tuple) else value


def _plugged(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """Settings as the user gave them, the objective plugged in if it is one of the user's own."""
    return {**settings, "objective": plug_in(settings["objective"])} if "objective" in settings else settings


def _several(given: Any) -> list[Any]:
    return list(given) if isinstance(given, list | tuple) else [] if given is None else [given]
