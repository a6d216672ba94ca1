"""Scores of theta in validation runs, beside those of the point where the search began."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rljax.meta.tasks import Run
from rljax.results import stats

COLUMNS = ("held_out", "start", "gain")  # score, score of the start, and their paired difference


def columns(names: Sequence[str], runs: Sequence[Run], scores: np.ndarray, start: np.ndarray) -> dict[str, float]:
    """Columns of a generation's row: `KIND/NAME`, `KIND/NAME/low` and `KIND/NAME/high` for each kind and domain.

    A run that diverged counts as the worst on its domain: leaving it out would flatter.

    Args:
      names: of the domains.
      runs: the validation runs, J.
      scores, start: fitnesses in them `[J]`; NaN where one diverged.

    Returns:
      Means over runs with their 95 % intervals; NaN for what diverged in all of them.
    """
    row: dict[str, float] = {}
    for number, name in enumerate(names):
        here = np.array([run.domain == number for run in runs])
        both = np.stack([scores[here], start[here]])
        found = dict.fromkeys(COLUMNS, (np.nan, np.nan, np.nan))
        if np.isfinite(both).any():
            worst = np.min(both, where=np.isfinite(both), initial=np.inf)
            sound = np.isfinite(both).any(1, keepdims=True)
            now, before = np.where(np.isfinite(both), both, np.where(sound, worst, np.nan))
            means = (stats.mean_ci(now), stats.mean_ci(before), stats.paired_difference(now, before))
            found = dict(zip(COLUMNS, means))
        for kind, values in found.items():
            row |= {f"{kind}/{name}{end}": float(x) for end, x in zip(("", "/low", "/high"), values)}
    return row
