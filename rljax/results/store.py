"""A run folder: the record of the run (`config.json`), its results (`metrics.jsonl`, `evaluation.json`), its states.

runs/a/config.json      what to build and how it was built: names, numbers, seed, machine, versions
runs/a/metrics.jsonl    one row per logged chunk
runs/a/tensorboard/     the same rows
runs/a/checkpoints/     the newest states
runs/a/evaluation.json  the last evaluation
runs/a/.lock            locked by the process that writes here, until it ends
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rljax import algos, records
from rljax.errors import require
from rljax.results.folder import RUN
from rljax.storage import shown

CONFIG = RUN.record
FORM = {
    "algo": str,
    "env": str,
    "seed": records.SEED,
    "steps": records.COUNT,
    "updates": records.COUNT,
    "steps_per_update": records.Whole(),
    "warmup_steps": records.Whole(),
    "config": dict,
    "hypers": dict,
    "task": dict,
    "env_args": dict,
    "log_every": (records.COUNT, None),
    "save_every": (records.COUNT, None),
    "tensorboard": bool,
    "wandb": (str, None),
    "fingerprints": records.Later(dict),
    "machine": records.Later(dict),
}
METRICS = "metrics.jsonl"
CHECKPOINTS = "checkpoints"
TENSORBOARD = "tensorboard"
EVALUATION = "evaluation.json"


def read(folder: Path) -> dict[str, Any]:
    """The record of a run. Raises ConfigError where there is none, or where it is not as it was written."""
    record = records.read(folder, RUN, FORM)
    if not records.is_sealed(folder, RUN):  # of an older rljax: nothing else says that a field was taken out
        settings = {**record["config"], **record["hypers"]}
        for name, setting in algos.settings(record["algo"]).items():
            whole = name in settings or name.startswith("objective.") or setting.kind.type is None
            require(whole, f"{shown(folder / CONFIG)}: {name}", None, "is missing; put it back as it was written")
    return record
