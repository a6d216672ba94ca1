"""A run folder: what was run (`config.json`), what came of it (`metrics.jsonl`, `evaluation.json`), and its state.

runs/a/config.json      what to build and how it was built: names, numbers, seed, machine, versions
runs/a/metrics.jsonl    one row per logged chunk
runs/a/tensorboard/     the same rows
runs/a/checkpoints/     the newest states
runs/a/evaluation.json  the last evaluation
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from rljax.errors import ConfigError

CONFIG = "config.json"
METRICS = "metrics.jsonl"
CHECKPOINTS = "checkpoints"
TENSORBOARD = "tensorboard"
EVALUATION = "evaluation.json"


def create(folder: Path, record: dict[str, Any]) -> None:
    """Makes a run folder with its record. Raises ConfigError if anything is there already."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        resumable = (folder / CONFIG).exists()
        hint = f"rljax train --resume {folder} goes on with it, or choose another folder"
        raise ConfigError(f"out={folder}: exists; " + (hint if resumable else "choose another folder"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write(folder / CONFIG, record)
    except OSError as error:
        raise ConfigError(f"out={folder}: cannot be written ({error.strerror}); choose another folder") from None


def read(folder: Path) -> dict[str, Any]:
    """The record of a run. Raises ConfigError where there is none."""
    try:
        return json.loads((folder / CONFIG).read_text())
    except FileNotFoundError:
        raise ConfigError(f"run '{folder}': no {CONFIG} there; give the folder that rljax train wrote") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"run '{folder}': {CONFIG} cannot be read ({error}); restore it or train again") from None


def write(path: Path, content: Any) -> None:
    """Writes JSON atomically: the old file or the new one, never half of one."""
    partial = path.with_suffix(".partial")
    with partial.open("w") as file:
        json.dump(content, file, indent=2)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def free_folder(parent: Path, name: str) -> Path:
    """`parent/name`, or the first of `parent/name-2`, `-3`, ... that does not exist."""
    candidates = (parent / (name if i == 1 else f"{name}-{i}") for i in range(1, 10**6))
    return next(folder for folder in candidates if not folder.exists())
