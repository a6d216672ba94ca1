"""How far a search is: generations, steps per second over all processes, the mean against the start."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from rljax.api import Prepared
from rljax.log import ProgressSink
from rljax.meta import tasks
from rljax.meta.spec import Evolution


class Progress(ProgressSink):
    """A progress bar over all generations; a line now and then where there is no terminal."""

    def __init__(self, asked: Evolution, prepared: Sequence[Prepared], done: int, steps: int, **options: Any):
        total = steps + sum(_steps(asked, prepared, generation) for generation in range(done, asked.generations))
        super().__init__("evolve", total, steps, **options)
        self._step, self._done, self._generations = steps, done, asked.generations
        self._fitness, self._gain = math.nan, ""

    def lived(self, steps: int) -> None:
        """Takes environment steps."""
        self._step = min(self._step + steps, self._total)  # held-out lives are not counted
        self.write({"step": self._step})

    def generation(self, number: int, row: dict[str, float]) -> None:
        """Takes the row of a generation."""
        self._done = min(number + 1, self._generations)
        self._fitness = row.get("fitness_mean", self._fitness)
        gains = [x for name, x in row.items() if name.startswith("gain/") and name.count("/") == 1 and math.isfinite(x)]
        self._gain = f"  held out {sum(gains) / len(gains):+.4g}" if gains else self._gain

    def _note(self) -> str:
        known = "" if math.isnan(self._fitness) else f"  fitness {self._fitness:.4g}"
        return f"{self._pace()}{self._done}/{self._generations} generations{known}{self._gain}"


def _steps(asked: Evolution, prepared: Sequence[Prepared], generation: int) -> int:
    """Environment steps of a generation: what will be drawn is known."""
    draws, each = asked.drawn, asked.strategy.popsize * asked.lives // asked.drawn
    lives = tasks.draw(asked.domains, prepared, draws, asked.seed, generation)
    return each * sum(life.updates * prepared[life.domain].algorithm.steps_per_update for life in lives)
