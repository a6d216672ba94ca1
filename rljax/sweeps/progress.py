"""How far a sweep is: rows done, steps per second over all processes, the best row so far, the time left."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from rljax.engine import progress
from rljax.engine.work import Report

FEW = 3  # environments of which the best row is said


class Progress(progress.Progress):
    """A progress bar over all runs; a line now and then where there is no terminal.

    Args:
      description: what runs.
      total: environment steps of all runs; start: of those that were finished before.
      runs: how many; stored: how many were finished before.
      seeds: runs a row; a row is done when they all are.
      environments: what each row runs on: the best is said of each of a few, as they do not compare.
    """

    def __init__(
        self,
        description: str,
        total: int,
        start: int,
        runs: int,
        stored: int,
        seeds: int,
        environments: Sequence[str] = (),
        **options: Any,
    ):
        super().__init__(description, total, start, **options)
        self._environments = environments
        self._runs, self._stored, self._seeds = runs, stored, seeds
        self._scores: dict[int, list[float]] = defaultdict(list)

    def report(self, report: Report) -> None:
        self._stored += len(report.finished)
        for (row, _), score in report.finished:
            self._scores[row].append(score)
        super().report(report)

    def _note(self) -> str:
        done = f"{self._pace()}{self._stored // self._seeds}/{self._runs // self._seeds} rows"
        means = {row: sum(x) / len(x) for row, x in self._scores.items() if math.isfinite(sum(x))}
        if not means:
            return done if math.isnan(self._return) else f"{done}  return {self._return:.4g}"
        several = len(set(self._environments)) > 1
        best: dict[str, int] = {}
        for row in sorted(means, key=means.__getitem__):
            best[self._environments[row] if several else ""] = row
        if len(best) > FEW:
            return done
        return f"{done}  best {', '.join(self._words(row, means[row], name) for name, row in sorted(best.items()))}"

    def _words(self, row: int, mean: float, environment: str) -> str:
        """The best row, on an environment if there are several: `1.5 (row 0, 1 of 2 seeds)`."""
        seeds = len(self._scores[row])
        few = f"{seeds} of {self._seeds} seeds" if seeds < self._seeds else ""
        return f"{mean:.4g} ({', '.join(filter(None, [f'row {row}', environment, few]))})"
