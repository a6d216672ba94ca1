"""The results of a sweep: arrays with named axes, tables, curves, policies."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rljax import evaluation, storage
from rljax.build import state_of
from rljax.errors import ConfigError, require, unknown
from rljax.ops.metrics import EPISODES, NOT_FINITE, RETURN
from rljax.parts import of_record
from rljax.policy import Policy
from rljax.results import stats
from rljax.results.curves import Curve, over_seeds
from rljax.sweeps import ranking, rows, store
from rljax.sweeps.ranking import Score, matching
from rljax.types import Env
from rljax.watch import BEST

if TYPE_CHECKING:
    import pandas

AXES = ("row", "seed", "update")
SCORE, SCORED_BY = RETURN, "score"
"""The metric that ranks rows by default, and the name under which a record has another."""
LAST = 0.1
"""The share of a run, at its end, that its score is taken over."""


@dataclass(frozen=True)
class SweepResult:
    """The results of a sweep, or of some of its rows.

    Attributes:
      record: what was run, as in `sweep.json`.
      index: `[N]`, the numbers of these rows in the record.
      metrics: name -> `[N, S, U]`, axes `AXES`; NaN where a run has not got to, or was stopped.
      update: `[N, U]`, updates done at each point; NaN past the end of a row. A point holds the means over the updates
        since the point before, as a row of a single run does.
      reached: `[N, S]`, updates that each run has finished: all, fewer where it was stopped on purpose, 0 where it has
        not been stored yet.
      diverged: `[N, S]` bool: a metric became NaN or infinite, or what the environment gave (then `metrics` say what).
      folder: where it is kept.
      stopped_by: the signal that ended it early, or None.
      keep: what must live as long as this does.
    """

    record: dict[str, Any]
    index: np.ndarray
    metrics: dict[str, np.ndarray]
    update: np.ndarray
    reached: np.ndarray
    diverged: np.ndarray
    folder: Path
    stopped_by: signal.Signals | None = None
    keep: Any = None

    @property
    def rows(self) -> list[dict[str, Any]]:
        """For each row, the fields that vary over the sweep."""
        return [self.record["rows"][i]["varied"] for i in self.index]

    @property
    def seeds(self) -> list[int]:
        return self.record["seeds"]

    @property
    def varied(self) -> list[str]:
        """The swept fields."""
        return self.record["varied"]

    @property
    def environments(self) -> list[str]:
        """The environment of each row, with those of its numbers that are swept."""
        return ranking.environments([self.record["rows"][i] for i in self.index])

    @property
    def finished(self) -> np.ndarray:
        """`[N, S]` bool: the run is stored."""
        return self.reached > 0

    @property
    def step(self) -> np.ndarray:
        """Environment steps `[N, U]` at each point, NaN past the end of a row."""
        return self.steps_behind(self.update.T).T

    @property
    def unit(self) -> str:
        """The unit of time: environment `steps`, or `updates` where no row takes any."""
        return "steps" if any(self.record["rows"][i]["steps_per_update"] for i in self.index) else "updates"

    @property
    def clock(self) -> np.ndarray:
        """The time `[N, U]` at each point in that unit, NaN past the end of a row."""
        return self.step if self.unit == "steps" else self.update

    @property
    def score(self) -> str:
        """The metric that rows are ranked by."""
        return self.record.get("asked", {}).get(SCORED_BY, SCORE)

    @property
    def metric(self) -> str:
        """The metric that is shown unless another is asked for: the score, or the first of a sweep that logs none."""
        names = [name for name in self.metrics if name not in (EPISODES, NOT_FINITE)]
        return self.score if self.score in names or not names else names[0]

    def __len__(self) -> int:
        return len(self.index)

    def __str__(self) -> str:
        """The best rows on each environment, in the width of the screen."""
        return ranking.text(self, self.metric, LAST)

    def __repr__(self) -> str:
        what = f"{', '.join(self.record['algo'])} on {', '.join(self.record['env'])}"
        rows_of = "row" if len(self) == 1 else "rows"
        size = f"{len(self)} {rows_of}" + (f" of {', '.join(self.varied)}" if self.varied else "")
        done = f"{self.finished.sum()} of {self.finished.size} runs finished, {self.diverged.sum()} diverged"
        stopped = f", stopped by {self.stopped_by.name}" if self.stopped_by else ""
        return f"SweepResult({what}: {size}, {len(self.seeds)} seeds each; {done}{stopped}; in {self.folder})"

    def settings(self, row: int) -> dict[str, Any]:
        """Every setting of a row, defaults included."""
        return of_record(self.record["rows"][self._number(row)])

    def scores(self, metric: str | None = None, last: float = LAST) -> np.ndarray:
        """One number a run, `[N, S]`: the mean of `metric`, by default the score's, over the last part of the run.

        Episode figures are weighted by the episodes that ended. NaN where the run is not stored, diverged, or ended no
        episode.
        """
        return ranking.scores(self, metric or self.score, last)

    def comparable(self, metric: str | None = None, last: float = LAST) -> np.ndarray:
        """Scores `[N, S]` in which a diverged run counts as the worst one on its environment: leaving it out would
        flatter its settings."""
        return ranking.comparable(self, metric or self.score, last)

    def ranked(
        self, metric: str | None = None, last: float = LAST, statistic: stats.Statistic = stats.iqm
    ) -> list[Score]:
        """The rows of each environment in turn by their score over seeds, best first; those not stored are left out.

        Rows that were trained for longer stand before those that were stopped. A run that diverged counts as the worst
        on its environment; a row of which none has a score (all diverged, or ended no episode) is NaN, and last. A
        score from some of the seeds alone says so in its `notes`.
        """
        return ranking.ranked(self, metric or self.score, last, statistic)

    def best(self, metric: str | None = None, last: float = LAST, **fields: Any) -> Score:
        """The row with the highest interquartile mean, of those with these settings, e.g. `best(env="CartPole-v1")`.

        Raises:
          ConfigError: the rows are of several environments, whose returns do not compare; or nothing is finished.
        """
        return ranking.the_best(self, metric or self.score, last, matching(self, fields))

    def iqm(self, metric: str | None = None, last: float = LAST) -> np.ndarray:
        """The interquartile mean over seeds and its 95 % interval, `[N, 3]`; NaN where a row has no score."""
        return ranking.columns(len(self), self.ranked(metric, last)).T

    def table(self, metric: str | None = None, last: float = LAST) -> pandas.DataFrame:
        """One line a row: its settings, the IQM over seeds with its interval, mean, steps, and how its runs fared.

        `print(result)` shows them ranked, in the width of a screen. `scored`: the runs that have a score of their own;
        `notes`: what to know before believing the row's, such as `from 1 of 5 seeds`.
        """
        return ranking.table(self, metric or self.metric, last)

    def curve(
        self, metric: str | None = None, statistic: stats.Statistic = stats.iqm, resamples: int = 500
    ) -> Iterator[Curve]:
        """For each row: the clock, the statistic over seeds, and its 95 % interval, see `curves.over_seeds`."""
        for steps, runs, finished in zip(self.clock, self.values(metric or self.metric), self.finished):
            yield over_seeds(steps, runs, int(finished.sum()), statistic, resamples)

    def select(self, **fields: Any) -> SweepResult:
        """The rows with these settings, e.g. `select(lr=3e-4)`; write dotted names as `select(**{"task.length": 1})`.

        Raises:
          ConfigError: a field that does not exist, or a value that no row has.
        """
        return self.take(np.flatnonzero(matching(self, fields)))

    def take(self, rows: Any) -> SweepResult:
        """These rows, by their place."""
        return replace(
            self,
            index=self.index[rows],
            metrics={name: x[rows] for name, x in self.metrics.items()},
            update=self.update[rows],
            reached=self.reached[rows],
            diverged=self.diverged[rows],
        )

    def policy(
        self,
        row: int | None = None,
        seed: int | None = None,
        envs: Mapping[str, Env] | None = None,
        objective: Any = None,
        data: Any = None,
        **fields: Any,
    ) -> Policy:
        """The trained policy of a run, or that of its best evaluation if it was kept; by default the best row's.

        Args:
          envs: environments that are not registered, by name.
          objective: the class of the objective, if it is one of your own: a record imports nothing. A registered name
            is one of the settings.
          data: what was learned from, if anything was.
          **fields: settings to choose the best row among, as for `best`.

        Raises:
          ConfigError: that run is not finished, there is no such row or seed, or the rows are of several environments.
        """
        if isinstance(objective, str) and ":" not in objective:
            fields, objective = {**fields, "objective": objective}, None
        require(row is None or not fields, "row", row, "says which already; give no settings beside it")
        row = self.best(**fields).row if row is None else row
        if seed is None:
            scores = self.scores()[row]
            seed = self.seeds[int(np.argmax(np.where(np.isfinite(scores), scores, -np.inf)))]
        if seed not in self.seeds:
            raise ConfigError(f"seed={seed}: not in this sweep; there are {', '.join(map(str, self.seeds))}")
        number = self._number(row)
        record = {"rows": [self.record["rows"][number]]}
        recorded = rows.from_record(record, envs, objective, "result.policy(row, seed", data)
        prepared = recorded[0].prepare()
        stored = {name: x[0] for name, x in store.states(self.folder, [(number, seed)]).items()}
        state = state_of(prepared, stored)
        done = self._updates_kept(row, self.seeds.index(seed))
        return Policy(prepared.acting, prepared.env, state, prepared.algorithm.steps(done), recorded[0], done)

    def save(self, path: str | Path) -> Path:
        """Writes the arrays as one npz, axes and settings included, for readers without rljax."""
        arrays = {
            "axes": np.array(AXES),
            "rows": np.array([json.dumps(row) for row in self.rows]),
            "seeds": np.array(self.seeds),
            "step": self.step,
            "update": self.update,
            "reached": self.reached,
            "diverged": self.diverged,
        }
        store.write_arrays(storage.absolute(path), arrays | self.metrics)
        return storage.absolute(path)

    def steps_behind(self, updates: np.ndarray) -> np.ndarray:
        """Environment steps behind `updates` `[..., N]` of each row; none where there were no updates."""
        each, before = ([self.record["rows"][i][n] for i in self.index] for n in ("steps_per_update", "warmup_steps"))
        return np.where(updates == 0, 0.0, np.array(before) + updates * np.array(each, float))

    def _updates_kept(self, row: int, seed: int) -> int:
        """The updates behind the state that is kept of a run."""
        if self.record.get("asked", {}).get("keep") == BEST and not self.diverged[row, seed]:
            return int(self.update[row, np.nanargmax(self.metrics[evaluation.RETURN][row, seed])])
        return int(self.reached[row, seed])

    def _number(self, row: int) -> int:
        if not -len(self) <= row < len(self):
            raise ConfigError(f"row={row}: there are {len(self)} rows, from 0")
        return int(self.index[row])

    def values(self, name: str) -> np.ndarray:
        """A metric `[N, S, U]`. Raises ConfigError where it was not logged."""
        if not self.metrics:
            raise ConfigError(f"sweep '{self.folder}': nothing is stored yet")
        if name not in self.metrics:
            raise ConfigError(f"{unknown('metric', name, self.metrics)}; there are {', '.join(sorted(self.metrics))}")
        return self.metrics[name]


def load(folder: str | Path, objective: Any = None) -> SweepResult:
    """The results in a sweep's folder, as far as they have got; a damaged chunk is left out, with a warning.

    Args:
      folder: what a sweep wrote.
      objective: the class of the objective, if it is one of your own and policies are wanted.

    Raises:
      ConfigError: there is no sweep.
    """
    folder = storage.absolute(folder, "sweep")
    record = store.read(folder)
    if objective is not None:
        rows.from_record(record, objective=objective, call=f"rljax.load_sweep({str(folder)!r}")
    found = store.measured(folder, record)
    if not np.nansum(found.metrics.get(NOT_FINITE, 0)):
        found.metrics.pop(NOT_FINITE, None)
    return SweepResult(record, np.arange(len(record["rows"])), *found, folder)
