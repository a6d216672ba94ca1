"""What to try next, given what came of what was tried: successive halving, and a sampler that learns.

A sweep that searches runs in rounds. After each, its search gives new points of the space, or goes on with some of the
rows that are there. What it decides follows from what is stored, so a resumed sweep decides the same.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rljax.errors import ConfigError, require
from rljax.sweeps.plan import Group
from rljax.sweeps.result import SCORE, SweepResult
from rljax.sweeps.rows import plain
from rljax.sweeps.space import Distribution

Point = dict[str, Any]


class Search:
    """Tries what it is given, and nothing after that."""

    keep_states = False  # whether rows may go on from where they are

    @property
    def goes_by(self) -> str | None:
        """The metric that it raises."""
        return getattr(self, "metric", None)

    def begin(self, groups: Sequence[Group]) -> list[Group]:
        """The groups of the first round, from those that would train every row to its end."""
        return list(groups)

    def points(self, result: SweepResult | None) -> list[Point]:
        """New points of the space, given the results so far; none when it is done."""
        return []

    def further(self, groups: Sequence[Group], result: SweepResult) -> list[Group]:
        """Groups that go on with rows that are there; none when it is done."""
        return []

    def record(self) -> dict[str, Any]:
        """What it is, to be recorded and to tell it from another."""
        return {}


@dataclass(frozen=True)
class Halving(Search):
    r"""Successive halving: after each rung the best $1/\eta$ of the rows go on from their states, the others stop.

    Rung $k = 1 \ldots K$ ends after $U \eta^{k-K}$ updates, rounded up to a logged point. Jamieson and Talwalkar 2016,
    arXiv:1502.07943, algorithm 1.
    """

    eta: int = 3
    rungs: int = 3
    metric: str = SCORE
    keep_states = True

    def __post_init__(self) -> None:
        require(self.eta >= 2, "halving", self.eta, "must be at least 2: one in so many rows goes on")
        require(self.rungs >= 2, "rungs", self.rungs, "must be at least 2")

    def begin(self, groups: Sequence[Group]) -> list[Group]:
        return [dataclasses.replace(g, updates=self._end(g, 1)) for g in groups]

    def further(self, groups: Sequence[Group], result: SweepResult) -> list[Group]:
        rung = max(g.rung for g in groups) + 1
        if rung == self.rungs:
            return []
        last = [g for g in groups if g.rung == rung - 1]
        sound = {row for g in last for row in g.rows if not result.diverged[row].all()}
        ranking = sorted((s for s in result.ranked(self.metric) if s.row in sound), key=lambda s: -s.value)
        best = {score.row for score in ranking[: math.ceil(len(result) / self.eta**rung)]}
        going = [(g, [row for row in g.rows if row in best]) for g in last]
        return [
            dataclasses.replace(g, rows=rows, rung=rung, start=g.updates, updates=self._end(g, rung + 1))
            for g, rows in going
            if rows
        ]

    def record(self) -> dict[str, Any]:
        return {"search": "halving", "eta": self.eta, "rungs": self.rungs, "metric": self.metric}

    def _end(self, group: Group, rungs: int) -> int:
        share = group.last / self.eta ** (self.rungs - rungs)
        return min(group.last, math.ceil(share / group.log_every) * group.log_every)


@dataclass(frozen=True)
class Optuna(Search):
    """Asks optuna for a batch of points, runs it as one program, tells it the scores; NaN counts as a failure.

    The study is made anew from what is stored before each batch, its sampler seeded by the batch's number: so it needs
    no storage of its own, and a resumed sweep asks the same.

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
        for name in {"algo", "env"} & set(self.distributions):
            raise ConfigError(f"{name}: optuna samples settings of one algorithm on one environment; use a grid for it")
        require(1 <= self.batch <= self.trials, "batch", self.batch, f"must lie between 1 and trials={self.trials}")
        require(self.trials % self.batch == 0, "trials", self.trials, f"must be a multiple of batch={self.batch}")
        _optuna()

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
        """What has been tried, as optuna knows it."""
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
        """A recorded value as optuna knows it: a choice by its number, since optuna takes plain ones alone."""
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
