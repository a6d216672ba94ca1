"""The runs of a sweep at Weights & Biases: one run there for each, in one group, sent when it is stored here."""

from __future__ import annotations

import json
import secrets
from typing import Any

import numpy as np

from rljax import log
from rljax.storage import write_json
from rljax.sweeps.result import SweepResult
from rljax.sweeps.rows import describe

SENT = "wandb.json"


def send(found: SweepResult, options: dict[str, Any]) -> None:
    """Sends what has been stored since the last call; a run that was killed while it sent goes on with the same ones.

    Args:
      options: of `wandb.init`; the group is by default the name of the sweep's folder.
    """
    path = found.folder / SENT
    before = json.loads(path.read_text()) if path.exists() else {"id": secrets.token_hex(4), "updates": {}}
    for row in range(len(found)):
        for column, seed in enumerate(found.seeds):
            name, reached = f"{row}-{seed}", int(found.reached[row, column])
            done = before["updates"].get(name, 0)
            if reached > done:
                about = f"{describe(found.rows[row])} seed={seed}".strip()
                _send(found, row, column, done, {"id": f"{before['id']}-{name}", "name": about, **options})
                before["updates"][name] = reached
                write_json(path, before)


def _send(found: SweepResult, row: int, column: int, done: int, options: dict[str, Any]) -> None:
    """Sends the points of one run after so many updates."""
    config = {**found.settings(row), **found.rows[row], "seed": found.seeds[column]}
    sink = log.WandbSink(
        **{"group": found.folder.name, "resume": "allow", "dir": str(found.folder), "config": config, **options}
    )
    try:
        for point in np.flatnonzero((found.update[row] > done) & (found.update[row] <= found.reached[row, column])):
            counted = {"updates": int(found.update[row, point]), "step": int(found.step[row, point])}
            sink.write(counted | {name: float(x[row, column, point]) for name, x in found.metrics.items()})
    finally:
        sink.close()
