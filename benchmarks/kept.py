"""What experiments with searches share: results kept between starts, and a search as a part of a result."""

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
    """What is in the file; made and kept if it is not there yet."""
    if not path.exists():
        found = make()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(found))
    return json.loads(path.read_text())


def met(contenders: dict[str, list[Domain]], seeds: int, kind: fitness.Kind) -> compare.Comparison:
    """Contenders in the same lives."""
    return compare.compare(contenders, seeds, kind, progress=False)


def finished(found: Learned) -> Learned:
    """A search, whose result and pictures are put into its folder."""
    assert found.folder is not None
    found.save(found.folder / "learned.npz")
    found.plot()
    return found


def summary(found: Learned) -> dict[str, Any]:
    """A search in a result: how it was done and how it went."""
    judged = {n: x for n, x in found.history.items() if n.split("/")[0] in ("generation", "held_out", "start", "gain")}
    kept = np.isfinite(next(x for n, x in judged.items() if n.startswith("gain/")))
    return found.provenance() | {"course": {n: np.round(x[kept], 4).tolist() for n, x in judged.items()}}
