"""The rows of a sweep that are shown together: their ranking, their fields as axes, and labels for both."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from rljax.ops.metrics import RETURN
from rljax.results import importance
from rljax.results.labels import shown
from rljax.results.stats import iqm, paired_difference
from rljax.sweeps.ranking import Score
from rljax.sweeps.result import SweepResult

FEW = 8  # values of a number that get a tick each


@dataclass(frozen=True)
class Field:
    """A swept field as an axis.

    Attributes:
      name: of the field.
      places: `[N]`, the position of each row on the axis.
      ticks: place -> name of the value, where there are few; None for a continuous axis.
      ordered: its values are numbers.
      log: a continuous axis is logarithmic.
    """

    name: str
    places: np.ndarray
    ticks: dict[float, str] | None
    ordered: bool
    log: bool = False

    @classmethod
    def of(cls, name: str, values: Sequence[Any]) -> Field:
        """Makes the axis of a field from its values, `[N]`: numbers to scale, unless that would crowd them."""
        names = [text if len(text) <= 24 else f"{text[:11]}…{text[-11:]}" for text in shown(values)]
        if not all(isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in values):
            order = list(dict.fromkeys(map(str, values)))
            places = np.array([order.index(str(value)) for value in values], float)
            return cls(name, places, dict(zip(places.tolist(), names)), False)
        numbers = np.array(values, float)
        distinct, inverse = np.unique(numbers, return_inverse=True)
        log = _loglike(distinct)
        if len(distinct) > FEW:
            return cls(name, numbers, None, True, log)
        spots = np.log(distinct) if log else distinct
        spots = (spots - spots[0]) * (len(spots) - 1) / max(np.ptp(spots), 1e-300)
        if np.diff(spots).min(initial=1) < 0.3:
            spots = np.arange(len(spots), dtype=float)
        places = np.round(spots, 6)[inverse]
        return cls(name, places, dict(zip(places.tolist(), names)), True)

    @property
    def apart(self) -> np.ndarray:
        """`places`, but rows of the same value side by side rather than one over the other."""
        shifts = np.arange(len(self.places)) * 0.6180339887 % 1 - 0.5  # the golden ratio's: neighbours are far apart
        return self.places if self.ticks is None else self.places + 0.22 * shifts

    @property
    def even(self) -> Field:
        """The same axis with its few values evenly spaced."""
        spots, texts = zip(*sorted((self.ticks or {}).items()))
        return replace(self, places=np.searchsorted(spots, self.places).astype(float), ticks=dict(enumerate(texts)))

    def parts(self, known: np.ndarray) -> list[np.ndarray]:
        """The rows (of the mask `known`, `[N]`) with each value in order, or up to 8 equal shares where continuous."""
        rows = np.flatnonzero(known)
        if self.ticks is not None:
            return [rows[self.places[rows] == spot] for spot in np.unique(self.places[rows])]
        return np.array_split(rows[np.argsort(self.places[rows], kind="stable")], max(1, min(8, len(rows) // 4)))

    def marginal(self, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Places on the axis and the interquartile means there, of the rows' scores `[N]`, whatever else varies."""
        parts = self.parts(np.isfinite(scores))
        return np.array([np.median(self.places[p]) for p in parts]), np.array([iqm(scores[p]) for p in parts])


@dataclass(frozen=True)
class View:
    """The rows of a sweep that can be compared: a `SweepResult` with its ranking and its labels."""

    result: SweepResult
    metric: str

    @cached_property
    def every(self) -> list[Score]:
        scores = self.result.ranked(self.metric) if self.result.metrics else []
        return scores if self.ranks else sorted(scores, key=lambda score: score.row)

    @cached_property
    def ranking(self) -> list[Score]:
        """The rows that have a score, the best first."""
        return [score for score in self.every if np.isfinite(score.value)]

    @cached_property
    def unscored(self) -> list[Score]:
        """The rows that were run and have no score: they diverged, or ended no episode."""
        return [score for score in self.every if not np.isfinite(score.value)]

    @property
    def ranks(self) -> bool:
        """Whether more of the metric is better: of a return it is, and of what a search went by."""
        went_by = self.result.record.get("asked", {}).get("search", {}).get("metric")
        return self.metric in (RETURN, went_by, self.result.score)

    @cached_property
    def compares(self) -> bool:
        """Whether there is a best row: all ran on one environment, and more of the metric is better."""
        return self.ranks and len(set(self.result.environments)) == 1

    @property
    def unranked(self) -> str:
        """The reason why there is no best row, where `compares` is false."""
        if not self.ranks:
            return f"nobody has said that more {self.title} is better"
        return f"every setting has an environment of its own ({', '.join(self.names)})"

    @cached_property
    def values(self) -> np.ndarray:
        """The score of each row, `[N]`; NaN where it has none."""
        values = np.full(len(self.result), np.nan)
        values[[score.row for score in self.ranking]] = [score.value for score in self.ranking]
        return values

    @cached_property
    def scores(self) -> np.ndarray:
        """The score of each run, `[N, S]`, a diverged one's being the worst, as in `SweepResult.ranked`."""
        return self.result.comparable(self.metric)

    @cached_property
    def behind(self) -> dict[int, tuple[float, float, float] | None]:
        """Row -> the lead of the best over it, seed by seed, with a 95% interval; None without two common seeds."""
        found: dict[int, tuple[float, float, float] | None] = {}
        for score in self.ranking[1:] if self.compares else ():
            best, other = self.scores[self.ranking[0].row], self.scores[score.row]
            both = np.isfinite(best) & np.isfinite(other)
            found[score.row] = paired_difference(best[both], other[both], iqm) if both.sum() > 1 else None
        return found

    @cached_property
    def tied(self) -> list[int]:
        """The rows that are not told apart from the best at 95%."""
        return [row for row, difference in self.behind.items() if difference is None or difference[1] <= 0]

    @cached_property
    def names(self) -> dict[str, list[str]]:
        """Field -> its value in each row, as text; only fields that differ between these rows."""
        texts = {name: shown([row.get(name) for row in self.result.rows]) for name in self.result.varied}
        return {name: values for name, values in texts.items() if len(set(values)) > 1}

    @cached_property
    def importance(self) -> tuple[dict[str, float], list[str]]:
        """Field -> the share of the differences between rows that it explains, and the fields told from chance."""
        worst = np.min(self.values, where=np.isfinite(self.values), initial=np.inf)
        scores = np.where(self.result.diverged.all(1), worst, self.values)
        known = np.flatnonzero(np.isfinite(scores))
        fields = [replace(field, places=field.places[known]) for field in self.fields]
        shares, told = importance.importance(fields, scores[known])
        return shares, [] if self.missing else told

    @property
    def effects(self) -> dict[str, float]:
        """Field -> the share of the differences between rows that it explains, the most telling first."""
        return self.importance[0]

    @property
    def missing(self) -> int:
        """The number of further rows that it takes to tell which field matters."""
        known = np.isfinite(self.values) | self.result.diverged.all(1)
        return importance.enough(int(known.sum()), len(self.fields))

    @cached_property
    def fields(self) -> list[Field]:
        """The swept fields."""
        return [Field.of(name, [row.get(name) for row in self.result.rows]) for name in self.names]

    @property
    def title(self) -> str:
        return self.metric.replace("_", " ")

    def label(self, row: int) -> list[str]:
        """The values by which a row differs from others, `["lr=0.001", "num_envs=16"]`."""
        return [f"{name}={values[row]}" for name, values in self.names.items()] or ["all seeds"]

    def text(self, *values: float) -> str:
        """Scores with as many decimals as their spread over the runs deserves: `12.3 to 45.6`."""
        known = self.scores[np.isfinite(self.scores)]
        decimals = max(0, 2 - math.floor(math.log10(np.ptp(known) or abs(known[0]) or 1.0)))
        return " to ".join(f"{round(value, decimals) + 0.0:,.{decimals}f}".replace("-", "−") for value in values)


def _loglike(distinct: np.ndarray) -> bool:
    """Whether ascending values are spread more evenly in their logarithm: their middle is nearer the geometric one."""
    if distinct[0] <= 0 or distinct[-1] / distinct[0] < 3:
        return False
    middle, ends = np.median(np.log(distinct)), distinct[[0, -1]]
    return abs(middle - np.log(ends).mean()) < abs(middle - np.log(ends.mean()))
