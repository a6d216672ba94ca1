"""Helpers of experiments with searches: results stored between starts, and a search as a part of a result."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from rljax.meta import compare, fitness
from rljax.meta.result import Learned
from rljax.meta.tasks import Domain


def once(path: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Reads a result from a file; makes and stores it if there is none yet."""
    if not path.exists():
        found = make()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(found))
    return json.loads(path.read_text())


def compared(contenders: dict[str, list[Domain]], seeds: int, kind: fitness.Kind) -> compare.Comparison:
    """Compares contenders in the same runs."""
    return compare.compare(contenders, seeds, kind, progress=False)


def finished(found: Learned) -> Learned:
    """Stores the result and the pictures of a search in its folder."""
    assert found.folder is not None
    found.save(found.folder / "learned.npz")
    found.plot()
    return found


def summary(found: Learned) -> dict[str, Any]:
    """Summarises a search for a result: its provenance, and the course of its scores."""
    scores = {n: x for n, x in found.history.items() if n.split("/")[0] in ("generation", "held_out", "start", "gain")}
    kept = np.isfinite(next(x for n, x in scores.items() if n.startswith("gain/")))
    return found.provenance() | {"course": {n: np.round(x[kept], 4).tolist() for n, x in scores.items()}}
