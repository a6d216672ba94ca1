"""A run folder: what was run (`config.json`), what came of it (`metrics.jsonl`, `evaluation.json`), and its state.

runs/a/config.json      what to build and how it was built: names, numbers, seed, machine, versions
runs/a/metrics.jsonl    one row per logged chunk
runs/a/tensorboard/     the same rows
runs/a/checkpoints/     the newest states
runs/a/evaluation.json  the last evaluation
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rljax.errors import ConfigError
from rljax.results.folder import RUN
from rljax.storage import shown

CONFIG = RUN.record
METRICS = "metrics.jsonl"
CHECKPOINTS = "checkpoints"
TENSORBOARD = "tensorboard"
EVALUATION = "evaluation.json"


def read(folder: Path) -> dict[str, Any]:
    """The record of a run. Raises ConfigError where there is none."""
    try:
        return json.loads((folder / CONFIG).read_text())
    except FileNotFoundError:
        raise ConfigError(f"run '{shown(folder)}': no {CONFIG} there; give the folder that rljax train wrote") from None
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"run '{shown(folder)}': {CONFIG} cannot be read ({error}); restore it or train again"
        ) from None
