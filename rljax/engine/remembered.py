"""Measurements of plans on this machine, kept for a day: whoever looks at a plan and then runs it measures once.

It lies beside the compiled programs, in `~/.cache/rljax/plans`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Mapping
from typing import Any

from rljax import runtime
from rljax.errors import StorageError
from rljax.storage import write_json

DAY = 86400.0  # seconds


def key_of(*what: Any) -> str:
    """The name of a measurement: of these plain values, on this machine, with these versions."""
    return hashlib.sha256(json.dumps([what, runtime.report()], sort_keys=True, default=str).encode()).hexdigest()[:32]


def recall(key: str) -> dict[str, Any] | None:
    """Gives what was kept under this name, if it is not older than a day."""
    folder = runtime.cache_folder("plans")
    if folder is None:
        return None
    path = folder / f"{key}.json"
    with contextlib.suppress(OSError, ValueError):
        if time.time() - path.stat().st_mtime < DAY:
            return json.loads(path.read_text())
    return None


def keep(key: str, values: Mapping[str, Any]) -> None:
    """Keeps plain values under this name, and forgets what is old; where nothing can be kept it does nothing."""
    folder = runtime.cache_folder("plans")
    if folder is None:
        return
    with contextlib.suppress(OSError, StorageError):
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.glob("*.json"):
            if time.time() - path.stat().st_mtime > DAY:
                path.unlink(missing_ok=True)
        write_json(folder / f"{key}.json", dict(values))
