"""Searches: they choose what a sweep tries next, by successive halving or by a sampler that learns.

A sweep that searches runs in rounds. After each, its search gives new points of the space, or continues some of the
rows. It decides from stored results alone, so a resumed sweep decides the same.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rljax.build import plain
from rljax.engine.plan import Group
from rljax.errors import ConfigError, require
from rljax.parts import TASK
from rljax.sweeps.ranking import environments
from rljax.sweeps.result import SCORE, SweepResult
from rljax.sweeps.rows import Row
from rljax.sweeps.space import Distribution

Point = dict[str, Any]
ONE_OF_EACH = "optuna samples settings of one algorithm on one environment"


class Search:
    """The base of searches: it runs the given rows, and nothing after that."""

    keep_states = False  # whether rows may continue from their states

    @property
    def goes_by(self) -> str | None:
        """The metric that it maximises."""
        return getattr(self, "metric", None)

    def begin(self, groups: Sequence[Group]) -> list[Group]:
        """Makes the groups of the first round from those that would train every row to its end."""
        return list(groups)

    def check(self, rows: Sequence[Row]) -> None:
        """Raises ConfigError if it could not choose among these rows."""

    def points(self, result: SweepResult | None) -> list[Point]:
        """New points of the space, given the results so far; none when it is done."""
        return []

    def further(self, groups: Sequence[Group], result: SweepResult) -> list[Group]:
        """Groups that continue existing rows; none when it is done."""
        return []

    def record(self) -> dict[str, Any]:
        """Describes the search in plain values, for the record."""
        return {}


@dataclass(frozen=True)
class Halving(Search):
    r"""Successive halving: after each rung the best $1/\eta$ of the rows continue from their states, the others stop.

    Rung $k = 1 \ldots K$ ends after $U \eta^{k-K}$ updates, rounded up to a logged point; rungs that end at the same
    one are one. Rows compete on their own environment alone, each of which keeps its share; where none of them has a
    score yet, all that have not diverged continue. Jamieson and Talwalkar 2016, arXiv:1502.07943, algorithm 1.
    """

    eta: int = 3
    rungs: int = 3
    metric: str = SCORE
    keep_states = True

    def __post_init__(self) -> None:
        require(self.eta >= 2, "halving", self.eta, "must be at least 2: one in so many rows goes on")
        require(self.rungs >= 2, "rungs", self.rungs, "must be at least 2")

    def check(self, rows: Sequence[Row]) -> None:
        alone = len(set(environments([row.where for row in rows]))) == len(rows) > 1
        require(not alone, "halving", self.eta, "has no two rows on one environment to choose from; give each several")

    def begin(self, groups: Sequence[Group]) -> list[Group]:
        first = [self._end(g, 1) for g in groups]
        rungs = [sum(self._end(g, k) == end for k in range(2, self.rungs + 1)) for g, end in zip(groups, first)]
        return [dataclasses.replace(g, updates=end, rung=rung) for g, end, rung in zip(groups, first, rungs)]

    def further(self, groups: Sequence[Group], result: SweepResult) -> list[Group]:
        done = max((g.rung for g in groups if g.start > 0), default=0)
        for rung in range(done + 1, self.rungs):
            last = [g for g in groups if g.rung == rung - 1]
            began = [row for g in groups if g.start == 0 and g.rung < rung for row in g.rows]
            best = self._chosen([row for g in last for row in g.rows], began, result, rung)
            going = [(g, [row for row in g.rows if row in best]) for g in last]
            if best:
                return [
                    dataclasses.replace(g, rows=rows, rung=rung, start=g.updates, updates=self._end(g, rung + 1))
                    for g, rows in going
                    if rows
                ]
        return []

    def _chosen(self, rows: Sequence[int], began: Sequence[int], result: SweepResult, rung: int) -> set[int]:
        """Chooses the rows that continue, given those that began."""
        sound = [row for row in rows if not result.diverged[row].all()]
        scored = [score for score in result.ranked(self.metric) if np.isfinite(score.value)]
        on, chosen = result.environments, set()
        for name in dict.fromkeys(on[row] for row in sound):
            here = [row for row in sound if on[row] == name]
            known = [s.row for s in sorted(scored, key=lambda s: -s.value) if s.row in here]
            share = math.ceil(sum(on[row] == name for row in began) / self.eta**rung)
            unknown = [row for row in here if row not in known]
            chosen.update([*known, *unknown][:share] if known else here)
        return chosen

    def record(self) -> dict[str, Any]:
        return {"search": "halving", "eta": self.eta, "rungs": self.rungs, "metric": self.metric}

    def _end(self, group: Group, rungs: int) -> int:
        share = group.last / self.eta ** (self.rungs - rungs)
        return min(group.last, math.ceil(share / group.log_every) * group.log_every)


@dataclass(frozen=True)
class Optuna(Search):
    """Asks optuna for a batch of points, runs it as one program, tells it the scores; NaN counts as a failure.

    The study is made anew from stored results before each batch, its sampler seeded by the batch's number: so it needs
    no other storage, and a resumed sweep asks the same.

    Raises:
      ConfigError: optuna is not installed, or there is no distribution to ask for.
    """

    distributions: Mapping[str, Distribution]
    trials: int
    batch: int = 16
    metric: str = SCORE
    seed: int = 0

    def __post_init__(self) -> None:
        require(bool(self.distributions), "sampler", "optuna", "needs fields to sample, e.g. lr=log-uniform:1e-5:1e-2")
        for name in self.distributions:
            if name in ("algo", "env") or name.startswith(TASK):
                raise ConfigError(f"{name}: {ONE_OF_EACH}; use a grid for it")
        require(1 <= self.batch <= self.trials, "batch", self.batch, f"must lie between 1 and trials={self.trials}")
        require(self.trials % self.batch == 0, "trials", self.trials, f"must be a multiple of batch={self.batch}")
        _optuna()

    def check(self, rows: Sequence[Row]) -> None:
        for name, values in (("algo", [r.algo for r in rows]), ("env", environments([r.where for r in rows]))):
            one = len(set(values)) == 1
            require(one, name, ",".join(dict.fromkeys(values)), f"{ONE_OF_EACH}; give one")

    def points(self, result: SweepResult | None) -> list[Point]:
        optuna = _optuna()
        known = {name: _to_optuna(d) for name, d in self.distributions.items()}
        trials = [] if result is None else self._trials(result, known)
        if len(trials) >= self.trials:
            return []
        sampler = optuna.samplers.TPESampler(seed=self.seed + len(trials), multivariate=True, constant_liar=True)
        study = optuna.create_study(direction="maximize", sampler=sampler)
        study.add_trials(trials)
        asked = [study.ask(known) for _ in range(self.batch)]
        return [{name: self._value(name, trial.params[name]) for name in known} for trial in asked]

    def record(self) -> dict[str, Any]:
        return {
            "search": "optuna",
            "trials": self.trials,
            "batch": self.batch,
            "metric": self.metric,
            "seed": self.seed,
        }

    def _trials(self, result: SweepResult, known: Mapping[str, Any]) -> list[Any]:
        """Turns rows into trials of optuna."""
        optuna = _optuna()
        found = []
        for row, score, diverged in zip(result.rows, result.iqm(self.metric)[:, 0], result.diverged):
            params = {name: self._label(name, row[name]) for name in known}
            outcome: dict[str, Any] = {"value": float(score)}
            if diverged.all() or not np.isfinite(score):
                outcome = {"state": optuna.trial.TrialState.FAIL}
            found.append(optuna.trial.create_trial(params=params, distributions=known, **outcome))
        return found

    def _value(self, name: str, given: Any) -> Any:
        d = self.distributions[name]
        return d.options[int(given)] if d.kind == "choice" else given

    def _label(self, name: str, value: Any) -> Any:
        """Converts a recorded value for optuna: a choice to its number, since optuna takes plain ones alone."""
        d = self.distributions[name]
        if d.kind != "choice":
            return value
        return next(i for i, option in enumerate(d.options) if plain(option) == value)


def _to_optuna(d: Distribution) -> Any:
    optuna = _optuna()
    if d.kind == "choice":
        return optuna.distributions.CategoricalDistribution(range(len(d.options)))
    if d.kind == "int":
        return optuna.distributions.IntDistribution(int(d.low), int(d.high))
    return optuna.distributions.FloatDistribution(d.low, d.high, log=d.kind == "log-uniform")


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise ConfigError("sampler=optuna: needs optuna: pip install optuna") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
