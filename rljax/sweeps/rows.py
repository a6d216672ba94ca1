"""The rows of a sweep: what each of them runs, as asked for, as built, and as recorded."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rljax import algos, envs
from rljax.build import Hashed, Prepared, fingerprints, plain, plugged_in
from rljax.envs.gymnax_api import is_gymnax
from rljax.errors import ConfigError, NotPluggedIn, require, unknown
from rljax.fingerprint import differing
from rljax.objectives.plugged import plug_in_again
from rljax.parts import OBJECTIVE, TASK
from rljax.spec import Data, RunSpec
from rljax.types import Env


@dataclass(frozen=True)
class Row(RunSpec):
    """One setting: a run, without its seed, and the swept fields."""

    varied: dict[str, Any] = field(default_factory=dict)  # `algo` and `env` possibly among them

    def prepare(self) -> Prepared:
        """Builds it. Raises ConfigError for a name or value that cannot be, and says in which row."""
        try:
            return super().prepare()
        except NotPluggedIn:
            raise
        except ConfigError as error:
            if not self.varied:
                raise
            raise ConfigError(f"{error} (in the row {describe(self.varied)})") from None

    def at(self, point: Mapping[str, Any]) -> Row:
        """The same with other values of the swept fields."""
        kept = {name: value for name, value in self.settings.items() if name not in self.varied}
        return self.with_settings(kept | dict(point), varied=dict(point))

    @property
    def where(self) -> dict[str, Any]:
        """The part of its record that `ranking.environments` reads."""
        return {"env": plain(self.env), "env_args": self.env_args, "task": self.task}

    def record(self, prepared: Prepared, hashed: Hashed | None = None) -> dict[str, Any]:
        """Records every setting, given or default, so that it outlives a change of defaults; see `fingerprints`."""
        return self.complete(prepared).to_json() | {
            "fingerprints": fingerprints(self.algo, self.env, prepared, hashed),
            "steps_per_update": prepared.algorithm.steps_per_update,
            "warmup_steps": prepared.algorithm.warmup_steps,
            "updates": prepared.updates,
            "varied": {name: plain(value) for name, value in self.varied.items()},
        }


def build(
    algo: str | Sequence[str] | None,
    env: str | Env | Sequence[str | Env] | None,
    steps: int | None,
    fields: Sequence[Mapping[str, Any]],
    fixed: Mapping[str, Any],
    env_args: Mapping[str, Any],
    use_preset: bool,
    data: Data | None = None,
) -> list[Row]:
    """Every row: algorithms x environments x points of the space.

    Args:
      algo, env: one or several; several are swept.
      steps: environment steps of each run, by default those of its preset.
      fields: the swept fields of each point; `algo` and `env` may be among them.
      fixed: settings of all rows.
      use_preset: start from the known-good settings of each algorithm and environment.
      data: what all of them learn from, if anything.

    Raises:
      ConfigError: a field twice, one that no algorithm here has, or a run of unknown length.
    """
    algorithms = _several(algo)
    environments = [envs.given(each) for each in ([env] if is_gymnax(env) else _several(env))]
    swept = {n for point in fields[:1] for n in point}
    for name in swept & set(fixed):
        raise ConfigError(f"{name}: is swept and fixed at {fixed[name]}; choose one")
    for name, given in (("algo", algorithms), ("env", environments)):
        require(name not in swept or not given, name, "...", "is swept and given by name; choose one")
        require(name in swept or bool(given), name, None, f"say which {name}")
    rows = []
    how = {"steps": steps, "env_args": env_args, "use_preset": use_preset, "data": data}
    for a in algorithms or [""]:
        for e in environments or [""]:
            for point in fields:
                both = {"algo": a, "env": e} | dict(point)
                named = {"algo": a} if len(algorithms) > 1 else {}
                named |= {"env": e} if len(environments) > 1 else {}
                rows.append(_row(both, named | dict(point), fixed, how))
    given = given_environments(rows)  # by name: one of two would be lost
    for row in rows:
        lost = isinstance(row.env, Env) and given[row.env.name] != row.env
        require(not lost, "env", plain(row.env), "is the name of two environments; give each a name of its own")
    return rows


def _row(
    point: dict[str, Any],  # algo and env among them
    varied: dict[str, Any],
    fixed: Mapping[str, Any],
    how: Mapping[str, Any],  # other arguments of `RunSpec.of`
) -> Row:
    algo: str = point.pop("algo")
    env: str | Env = point.pop("env")
    known = algos.settings(algo)
    point, fixed = plugged_in(known, point), plugged_in(known, fixed)
    varied = {name: point.get(name, value) for name, value in varied.items()}
    for name in point:
        if name not in known and not name.startswith((TASK, OBJECTIVE)):
            raise unknown(f"field of {algo}", name, [*known, "algo", "env"], f"rljax train {algo} --help")
    if isinstance(env, str):
        envs.accept(env)
    return dataclasses.replace(Row.of(algo, env, **how, **{**fixed, **point}), varied=varied)


def from_record(
    record: Mapping[str, Any],
    envs: Mapping[str, Env] | None = None,
    objective: Any = None,
    call: str = "",
    data: Any = None,
) -> list[Row]:
    """The rows of a recorded sweep.

    Args:
      envs: environments that are not registered, by name.
      objective: the class of the objective, if it is one of the user's own.
      call: what was called, up to the end of its arguments.
      data: what was learned from, if anything was.

    Raises:
      NotPluggedIn: the record names a class that is not there.
    """
    chosen, data = [(r["objective"] or {}).get("name") for r in record["rows"]], Data.of(data)
    plug_in_again([*chosen, *(r["varied"].get("objective") for r in record["rows"])], objective, call)
    return [Row.from_json(r, envs, data, varied=r["varied"]) for r in record["rows"]]


def other_code(recorded: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    """Finds recorded rows that ran other code or numbers than these would: (what, its hash there, its hash here)."""
    both = ((a.get("fingerprints", {}), b["fingerprints"]) for a, b in zip(recorded["rows"], records))
    return [(f"the code of its {n}", a[n], b[n]) for a, b in both for n in differing(recorded, a, b)]


def given_environments(rows: Sequence[Row]) -> dict[str, Env]:
    """Environments that were given as such, by name."""
    return {row.env.name: row.env for row in rows if isinstance(row.env, Env)}


def describe(varied: Mapping[str, Any]) -> str:
    """Settings in a line: `lr=0.001 num_envs=16`."""
    return " ".join(f"{name}={x:.4g}" if isinstance(x, float) else f"{name}={plain(x)}" for name, x in varied.items())


def _several(given: Any) -> list[Any]:
    return list(given) if isinstance(given, list | tuple) else [] if given is None else [given]
