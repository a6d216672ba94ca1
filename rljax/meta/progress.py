"""How far a search is: generations, steps per second over all processes, what was learned against the start."""

from __future__ import annotations

import math
from typing import Any

from rljax.log import ProgressSink
from rljax.meta.judge import COLUMNS

GAIN = COLUMNS[-1]


class Progress(ProgressSink):
    """A progress bar over all generations; a line now and then where there is no terminal.

    Args:
      total: environment steps at the end; start: those done before.
      generations: how many there are; done: how many were done before.
    """

    def __init__(self, total: int, start: int, generations: int, done: int, **options: Any):
        super().__init__("search", total, start, **options)
        self._step, self._done, self._generations = start, done, generations
        self._fitness, self._gain = math.nan, ""

    def lived(self, steps: int) -> None:
        """Takes environment steps."""
        self._step += steps
        self.write({"step": self._step})

    def generation(self, number: int, row: dict[str, float]) -> None:
        """Takes the row of a generation."""
        self._done = min(number + 1, self._generations)
        self._fitness = row.get("fitness_mean", self._fitness)
        ends = ("/low", "/high")
        gains = [x for name, x in row.items() if name.startswith(f"{GAIN}/") and not name.endswith(ends)]
        self._gain = f"  gain {' '.join(f'{x:+.4g}' for x in gains)}" if gains else self._gain

    def _note(self) -> str:
        known = "" if math.isnan(self._fitness) else f"  fitness {self._fitness:.4g}"
        return f"{self._pace()}{self._done}/{self._generations} generations{known}{self._gain}"
