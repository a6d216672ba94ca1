"""What is asked for: rows, seeds, and how to go on after a round. Checked, not planned yet."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from rljax import runtime
from rljax.errors import require
from rljax.sweeps import result, rows, space
from rljax.sweeps.search import Halving, Optuna, Search
from rljax.types import Env


@dataclass(frozen=True)
class Sweep:
    """What is to be run: checked, not planned yet.

    Attributes:
      rows: every setting.
      seeds: that each of them is run with.
      log_every: updates a logged point; None: a 100th of the run.
      asked: how it was asked for, to be recorded.
      search: how it goes on after a round.
    """

    rows: list[rows.Row]
    seeds: list[int]
    log_every: int | None
    asked: dict[str, Any]
    search: Search = field(default_factory=Search)


def specify(
    algo: str | Sequence[str] | None,
    env: str | Env | Sequence[str | Env] | None,
    steps: int | None = None,
    seeds: int | Sequence[int] = 8,
    *,
    grid: Mapping[str, space.Values] | None = None,
    sample: Mapping[str, str | space.Distribution] | None = None,
    trials: int | None = None,
    sample_seed: int = 0,
    sampler: Literal["random", "optuna"] = "random",
    batch: int = 16,
    halving: int | None = None,
    rungs: int = 3,
    metric: str = result.SCORE,
    use_preset: bool = True,
    task: Mapping[str, Any] | None = None,
    env_args: Mapping[str, Any] | None = None,
    log_every: int | None = None,
    **settings: Any,
) -> Sweep:
    """What is to be run; arguments and errors as for `sweep`."""
    runtime.start()
    require(isinstance(seeds, int | Iterable), "seeds", seeds, "must be a whole number, or a list of them")
    numbers = list(range(seeds)) if isinstance(seeds, int) else [space.plain_number(seed) for seed in seeds]
    require(len(numbers) > 0, "seeds", seeds, "must be at least 1")
    for seed in numbers:
        require(isinstance(seed, int) and 0 <= seed < 2**32, "seed", seed, "must be a whole number in [0, 2^32)")
    require(len(set(numbers)) == len(numbers), "seeds", seeds, "must differ from each other")
    for name, value in (("log_every", log_every), ("steps", steps)):
        fits = value is None or (isinstance(value, int) and value >= 1)
        require(fits, name, value, "must be a whole number, at least 1")
    require(sampler in ("random", "optuna"), "sampler", sampler, "must be random or optuna")
    asked = space.space(grid or {}, sample or {}, trials, sample_seed)
    search = Halving(halving, rungs, metric) if halving is not None else Search()
    points = asked.rows()
    if sampler == "optuna":
        require(halving is None and not asked.grid, "sampler", sampler, "chooses every point: no grid, no halving")
        search = Optuna(asked.sample, asked.trials, min(batch, asked.trials), metric, sample_seed)
        points = search.points(None)
    fixed = {**settings, **{rows.TASK + name: value for name, value in (task or {}).items()}}
    found = rows.build(algo, env, steps, points, fixed, env_args or {}, use_preset)
    return Sweep(
        found,
        numbers,
        log_every,
        {
            "grid": {name: [rows.plain(x) for x in values] for name, values in asked.grid.items()},
            "sample": {name: dataclasses.asdict(d) for name, d in asked.sample.items()},
            "trials": trials,
            "sample_seed": sample_seed,
            "fixed": {name: rows.plain(value) for name, value in fixed.items()},
            "search": search.record(),
        },
        search,
    )


def from_record(record: Mapping[str, Any], own: Mapping[str, Env] | None = None) -> Sweep:
    """The sweep of a record; `own` holds environments that are not registered, by name."""
    search = _search(record["asked"])
    return Sweep(rows.from_record(record, own), record["seeds"], record["log_every"], record["asked"], search)


def _search(asked: dict[str, Any]) -> Search:
    """The search of a recorded sweep."""
    there = dict(asked["search"])
    kind = there.pop("search", None)
    if kind == "halving":
        return Halving(**there)
    if kind == "optuna":
        return Optuna({name: space.Distribution(**d) for name, d in asked["sample"].items()}, **there)
    return Search()
