"""The logs of runs, with what ran: those that differ by seed only are grouped."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rljax.errors import ConfigError, StorageError
from rljax.jsonl import read_jsonl, read_rows
from rljax.parts import of_record
from rljax.records import check_version
from rljax.results.labels import CODE, labels
from rljax.storage import shown

RETURN, EPISODES = "episode_return", "episodes"
LARGE, SPARSE = 5 * 10**7, 10  # bytes of a file of which one row in so many is enough for what is drawn small


@dataclass(frozen=True)
class LoggedRun:
    """A run as its folder has it.

    Attributes:
      fields: what ran: all that makes it differ from others, its seed aside.
      columns: what was logged, `[rows]` each; where no environment steps are taken, `step` counts updates.
      unit: what `step` counts.
      every: one row in so many was read of the columns beside the metric; the others are NaN there.
    """

    fields: dict[str, Any]
    columns: dict[str, np.ndarray]
    unit: str = "environment steps"
    every: int = 1

    @property
    def environment(self) -> str:
        """The environment and its code: runs on one are drawn together."""
        return json.dumps([self.fields.get("env"), self.fields.get(f"{CODE}env")])


def load(folder: Path, metric: str, others: Collection[str] = ()) -> LoggedRun:
    """Reads a run's `metric`, and of the columns `others` those that it has, of a large file every 10th row of these.

    Raises:
      ConfigError: the folder has no metrics, or none of this name.
    """
    path = folder / "metrics.jsonl"
    if not path.is_file():
        raise ConfigError(f"{folder} has no metrics.jsonl: give the folder of a training run")
    every = SPARSE if path.stat().st_size > LARGE else 1
    columns, unit = read_jsonl(path, {"step", "episodes", metric, *others}, others, every), LoggedRun.unit
    if metric not in columns or not np.isfinite(columns[metric]).any():
        raise ConfigError(f"{path} has no '{metric}' yet: let the run go on, or plot another column (--metric)")
    if not columns["step"].any() and "updates" in (updates := read_jsonl(path, {"step", "updates"})):
        columns["step"], unit = updates["updates"], "updates"
    try:
        config = json.loads((folder / "config.json").read_text())
    except (OSError, ValueError):
        config = {}
    if isinstance(config, dict) and "algo" in config:
        check_version(config, shown(folder / "config.json"), "run")
    try:
        if not config:
            raise KeyError("algo")
        fields = {name: config[name] for name in ("algo", "env", "steps") if name in config}
        fields |= _flat(of_record(config))
        for part, prefix in {"env_args": "env_args.", "fingerprints": CODE}.items():
            fields |= _flat(config.get(part, {}), prefix)
        if config.get("updates") is not None and fields.get("horizon") == config["updates"]:
            del fields["horizon"]  # follows from the steps
    except (AttributeError, TypeError, KeyError):  # nothing that rljax wrote
        fields = {"algo": folder.name, "folder": str(folder)}  # nothing says that it is a seed of another
    return LoggedRun(fields, columns, unit, every)


def first_metric(folder: Path) -> str:
    """The return, or the first metric of a run that logs none: of what learns from data, say."""
    with contextlib.suppress(StorageError):
        for _, row in read_rows(folder / "metrics.jsonl"):
            names = [name for name in row if name not in (RETURN, "step", "updates", "seconds", EPISODES)]
            return RETURN if RETURN in row or not names else names[0]
    return RETURN


def by_setting(runs: list[LoggedRun]) -> dict[str, list[LoggedRun]]:
    """The runs that differ by seed only, under a label that says what sets them apart from the other groups."""
    settings: dict[str, list[LoggedRun]] = {}
    for run in runs:
        numbers_known = f"{CODE}task" in run.fields  # those given and those left as they are
        same = {n: x for n, x in run.fields.items() if not (numbers_known and n.startswith("task."))}
        settings.setdefault(json.dumps(same, sort_keys=True), []).append(run)
    return dict(zip(labels([group[0].fields for group in settings.values()]), settings.values(), strict=True))


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for name, value in tree.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat
