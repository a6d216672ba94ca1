"""The specification of a sweep: rows, seeds and search. Checked, not planned yet."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from rljax import algos, envs, log, runtime
from rljax.arguments import EVERY, SEED, SOME, STEPS
from rljax.errors import ConfigError, require
from rljax.evaluation import RETURN, Evaluation
from rljax.kinds import Choice, Count, Maybe, Table, Text
from rljax.spec import Data
from rljax.sweeps import result, rows, space
from rljax.sweeps.search import Halving, Optuna, Search
from rljax.types import Env
from rljax.watch import BEST, LAST

ETA = Count(2, 1000)
STATE = "state"
Keep = Literal["last", "best", "state"]
WATCHED = (result.SCORED_BY, "evaluation", "keep")  # the arguments that a record has among what was asked


@dataclass(frozen=True)
class Sweep:
    """A specified sweep: checked, not planned yet.

    Attributes:
      rows: every setting.
      seeds: of every row.
      log_every: updates a logged point; None: a 100th of the run.
      asked: the arguments, to be recorded.
      search: it decides what to run after a round.
      evaluation: of every run while it learns, or None.
      keep: the state of a run that is kept: what acts, of its end (`last`) or its best evaluation (`best`), or all of
        it (`state`), so that it can be trained for longer.
    """

    rows: list[rows.Row]
    seeds: list[int]
    log_every: int | None
    asked: dict[str, Any]
    search: Search = field(default_factory=Search)
    evaluation: Evaluation | None = None
    keep: Keep = LAST

    @property
    def wandb(self) -> dict[str, Any] | None:
        """The options of `wandb.init` for its runs, or None."""
        return self.asked.get("wandb")

    @property
    def score(self) -> str:
        """The metric that rows are ranked by."""
        return self.asked.get(result.SCORED_BY, result.SCORE)

    def with_more(self, seeds: Any, steps: Any) -> Sweep:
        """The same with other seeds, or another length of all rows. Raises ConfigError for one that cannot be."""
        every = self.rows
        if steps is not None:
            every = [row.with_length(steps, row.prepare().updates) for row in every]
        return dataclasses.replace(self, rows=every, seeds=self.seeds if seeds is None else _seeds(seeds))

    def arguments(self) -> dict[str, Any]:
        """The arguments that decide what is run, by name: one value, or one for each row where they differ."""
        columns = {name: [getattr(row, name) for row in self.rows] for name in ("algo", "env", "env_args", "steps")}
        names = dict.fromkeys(name for row in self.rows for name in row.settings)
        columns |= {name: [row.settings.get(name) for row in self.rows] for name in names}
        columns |= {"swept": [list(row.varied) for row in self.rows]}
        plain = {name: [rows.plain(value) for value in column] for name, column in columns.items()}
        values = {n: column[0] if all(x == column[0] for x in column) else column for n, column in plain.items()}
        how = {"log_every": self.log_every, "search": self.search.record()}
        return {"seeds": self.seeds, **values, **how, **{n: self.asked.get(n) for n in WATCHED}}


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
    batch: int | None = None,
    halving: int | None = None,
    rungs: int | None = None,
    score: str = result.SCORE,
    evaluate_every: int | None = None,
    evaluation: Mapping[str, Any] | None = None,
    keep: Keep = "last",
    wandb: str | Mapping[str, Any] | None = None,
    use_preset: bool = True,
    task: Mapping[str, Any] | None = None,
    env_args: Mapping[str, Any] | None = None,
    data: Any = None,
    log_every: int | None = None,
    **settings: Any,
) -> Sweep:
    """Specifies a sweep; arguments and errors as for `sweep`."""
    runtime.start()
    numbers = _seeds(seeds)
    log_every, steps = EVERY.convert("log_every", log_every), Maybe(STEPS).convert("steps", steps)
    asked = space.space(grid or {}, sample or {}, trials, sample_seed)
    scored_by, evaluated = _score(score, settings), Evaluation.of(evaluate_every, evaluation)
    search = _asked_search(asked, sampler, batch, halving, rungs, scored_by)
    points = (search.points(None) if isinstance(search, Optuna) else []) or asked.rows()
    fixed = {**settings, **{rows.TASK + name: value for name, value in Table().convert("task", task).items()}}
    env_args = Table().convert("env_args", env_args)
    found = rows.build(algo, env, steps, points, fixed, env_args, use_preset, Data.of(data))
    _check_ends(asked, {row.algo for row in found})
    search.check(found)
    _check_evaluation(found, search, evaluated, keep, scored_by)
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
            result.SCORED_BY: scored_by,
            "evaluation": evaluated and evaluated.to_json(),
            "keep": keep,
            "wandb": log.wandb_options(wandb),
        },
        search,
        evaluated,
        keep,
    )


def _score(given: Any, settings: Mapping[str, Any]) -> str:
    """The metric that a score is of. Raises ConfigError where it cannot be one."""
    require("metric" not in settings, "metric", settings.get("metric"), "is called score")
    name = Text().convert("score", given)
    return RETURN if name == "evaluation" else name


def _check_evaluation(
    found: Sequence[rows.Row], search: Search, evaluation: Evaluation | None, keep: Any, score: str
) -> None:
    """Refuses what needs an evaluation where there is none, and an evaluation that cannot be."""
    Choice((LAST, BEST, STATE)).convert("keep", keep)
    remedy = "goes by evaluations; say how often, evaluate_every="
    require(evaluation is not None or score != RETURN, "score", "evaluation", remedy)
    require(evaluation is not None or keep != BEST, "keep", keep, remedy)
    require(keep != BEST or not search.keep_states, "keep", keep, "halving goes on from the last state of a run")
    if evaluation is not None and isinstance(evaluation.env, str):
        envs.accept(evaluation.env)


def _seeds(given: Any) -> list[int]:
    """Makes a list of seeds from a count, or checks those that are given."""
    if isinstance(given, str) or not isinstance(given, Iterable):
        return list(range(SOME.convert("seeds", given)))
    numbers = [SEED.convert("seed", seed) for seed in given]
    require(len(numbers) > 0, "seeds", given, "must be at least 1")
    require(len(set(numbers)) == len(numbers), "seeds", given, "must differ from each other")
    return numbers


def _asked_search(
    asked: space.Space, sampler: str, batch: int | None, halving: int | None, rungs: int | None, score: str
) -> Search:
    """Makes the search of a sweep; refuses arguments that would have no effect."""
    Choice(("random", "optuna")).convert("sampler", sampler)
    optuna = sampler == "optuna"
    require(
        not optuna or (halving is None and not asked.grid),
        "sampler",
        sampler,
        "chooses every point: no grid, no halving",
    )
    require(batch is None or optuna, "batch", batch, "has no effect without sampler=optuna")
    require(rungs is None or halving is not None, "rungs", rungs, "has no effect without halving")
    if halving is not None:
        return Halving(ETA.convert("halving", halving), ETA.convert("rungs", 3 if rungs is None else rungs), score)
    if not optuna:
        return Search()
    points = min(16, asked.trials) if batch is None else SOME.convert("batch", batch)
    return Optuna(asked.sample, asked.trials, points, score, asked.seed)


def _check_ends(asked: space.Space, names: Iterable[str]) -> None:
    """Refuses distributions that reach beyond the bounds of their fields: later rounds draw from them, too."""
    for name, drawn in asked.sample.items():
        for known in (algos.settings(algo) for algo in names):
            for end in drawn.options or (drawn.low, drawn.high) if name in known else ():
                try:
                    known[name].kind.convert(name, end)
                except ConfigError as error:
                    raise ConfigError(f"{error} ({name}={drawn})") from None


def from_record(
    record: Mapping[str, Any],
    known: Mapping[str, Env] | None = None,
    objective: Any = None,
    call: str = "",
    data: Any = None,
) -> Sweep:
    """Reads a sweep from its record; arguments and errors as for `rows.from_record`."""
    search = _search(record["asked"])
    found = rows.from_record(record, known, objective, call, data)
    asked = record["asked"]
    evaluated = Evaluation.from_json(asked.get("evaluation"))
    if evaluated is not None and known and isinstance(evaluated.env, str) and evaluated.env in known:  # given again
        evaluated = dataclasses.replace(evaluated, env=known[evaluated.env])
    return Sweep(found, record["seeds"], record["log_every"], asked, search, evaluated, asked.get("keep", LAST))


def _search(asked: dict[str, Any]) -> Search:
    """Makes the search of a recorded sweep."""
    arguments = dict(asked["search"])
    kind = arguments.pop("search", None)
    if kind == "halving":
        return Halving(**arguments)
    if kind == "optuna":
        return Optuna({name: space.Distribution(**d) for name, d in asked["sample"].items()}, **arguments)
    return Search()
