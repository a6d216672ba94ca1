"""Whatever rljax wrote into a folder, read again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rljax import api
from rljax.errors import require
from rljax.meta import result as searches
from rljax.results.folder import SEARCH, SWEEP
from rljax.storage import absolute
from rljax.sweeps import result as sweeps


def open(folder: str | Path, **given: Any) -> Any:
    """Reads what is in a folder: a `Run`, a `SweepResult` or a `Learned`, as far as it has come; trains nothing.

    Args:
      folder: what `train`, `sweep` or a search wrote.
      given: what a record does not hold: `env` of a run, `envs` of a sweep or a search, `objective`, `data`.

    Raises:
      ConfigError: there is none of these.
      CheckpointError: its checkpoints are all damaged, or of something else.
    """
    path = absolute(folder, "run")
    for kind, load in ((SWEEP, sweeps.load), (SEARCH, searches.load)):
        if (path / kind.record).exists():
            return load(folder, **given)
    env, objective, data = (given.pop(name, None) for name in ("env", "objective", "data"))
    require(not given, "open", ", ".join(given), "a run takes env, objective and data")
    return api.read(folder, env, objective, data, "rljax.open")
