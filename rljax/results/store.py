"""A run folder: the record of the run (`config.json`), its results (`metrics.jsonl`, `evaluation.json`), its states.

runs/a/config.json      what to build and how it was built: names, numbers, seed, machine, versions
runs/a/metrics.jsonl    one row per logged chunk
runs/a/tensorboard/     the same rows
runs/a/checkpoints/     the newest states
runs/a/best/            the state that evaluated best, where that is kept
runs/a/evaluation.json  the last evaluation
runs/a/.lock            locked by the process that writes here, until it ends
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rljax import records
from rljax.log import METRICS as METRICS
from rljax.results.folder import RUN

CONFIG = RUN.record
FORM = {
    **records.RUN,
    "updates": records.COUNT,
    "extended": [
        {"updates": records.Whole(), "steps": records.COUNT}
    ],  # where it was given another end, and the old one
    "start": ({"run": str, "updates": records.Whole(), "fingerprint": str}, None),  # another run, which it began with
    "steps_per_update": records.Whole(),
    "warmup_steps": records.Whole(),
    "log_every": (records.COUNT, None),
    "save_every": (records.COUNT, None),
    "tensorboard": bool,
    "wandb": (dict, None),
    "sinks": [str],
    "evaluation": (
        {"every": records.COUNT, "episodes": records.COUNT, "greedy": bool, "env": (str, None), "task": dict},
        None,
    ),
    "keep": str,
    "until_return": (float, None),
    "fingerprints": dict,
    "machine": dict,
}
CHECKPOINTS, BEST = "checkpoints", "best"
EVALUATION = "evaluation.json"


def read(folder: Path) -> dict[str, Any]:
    """The record of a run. Raises ConfigError where there is none, or where it is not as it was written."""
    return records.read(folder, RUN, FORM)
