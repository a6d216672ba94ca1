"""Sinks: they take the rows of a run, on the host between compiled chunks.

A row is a flat dict of numbers, e.g. `{"updates": 50, "step": 51200, "seconds": 1.9, "episode_return": 212.3}`; `step`
counts environment steps, 0 where there are none. A NaN or None says that there was nothing to measure.
"""

from __future__ import annotations

import json
import math
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from rljax import storage
from rljax.errors import ConfigError, require
from rljax.jsonl import read_jsonl as read_jsonl
from rljax.jsonl import read_rows
from rljax.kinds import Table
from rljax.parts import of_record
from rljax.progress import ProgressSink as ProgressSink
from rljax.progress import Row as Row
from rljax.progress import clock
from rljax.progress import compact as compact
from rljax.registry import Registry

FLUSH_SECONDS = 10.0
METRICS, TENSORBOARD, WANDB_ID = "metrics.jsonl", "tensorboard", "wandb-id"  # in a run folder


class Sink(Protocol):
    """Something that takes rows."""

    def write(self, row: Row) -> None:
        """Takes one row."""
        ...

    def close(self) -> None:
        """Takes no more rows."""
        ...


class Logged(NamedTuple):
    """A run, as far as its sinks may know it."""

    record: dict[str, Any]  # as in `config.json`
    folder: Path | None
    updates: int  # behind it
    steps: int  # likewise, of the environment
    total: int  # steps at its end; 0 where there are none

    @property
    def clock(self) -> int:
        """Steps behind it, or updates of what takes none."""
        return self.steps or self.updates


class JsonlSink:
    """Writes one JSON object a line, on disk when `write` returns; a number that is not finite becomes null.

    Args:
      path: the file, e.g. `run_dir / "metrics.jsonl"`.
      resume_step: None starts the file afresh; a number keeps its rows up to that step and continues.
      by: the column that `resume_step` is of.

    Raises:
      StorageError: it cannot be written, here and in `write`.
    """

    def __init__(self, path: str | Path, resume_step: int | None = None, by: str = "step"):
        self._path = Path(path)
        rows = [] if resume_step is None or not self._path.exists() else read_rows(self._path)
        with storage.replacing(self._path) as partial, partial.open("w") as file:  # a kill here loses nothing
            file.writelines(f"{line}\n" for line, row in rows if row.get(by, math.inf) <= (resume_step or 0))
        with storage.storing(self._path):
            self._file = self._path.open("ab", buffering=0)  # no buffer whose rest would be written, and fail, later

    def write(self, row: Row) -> None:
        line = json.dumps({name: _finite(value) for name, value in row.items()}) + "\n"
        with storage.storing(self._path):
            rest = memoryview(line.encode())
            while rest:  # the system may take a part
                rest = rest[self._file.write(rest) :]

    def close(self) -> None:
        self._file.close()


class TensorBoardSink:
    """Writes scalars for TensorBoard; numbers that are not finite are left out.

    The events are written here and now: where the library's own thread meets a full disk it dies, and its queue blocks
    for ever.

    Args:
      folder: where the event files go.
      resume_step: rows after this step, written before, are hidden.
      hparams: settings by name, for the page that compares runs by them and by their return.

    Raises:
      StorageError: `write` or `close` cannot write.
    """

    def __init__(self, folder: str | Path, resume_step: int | None = None, hparams: Mapping[str, Any] | None = None):
        self._folder, self._purge = Path(folder), None if resume_step is None else resume_step + 1
        self._hparams = hparams or {}
        self._writer: Any = None  # opened by the first row: its import would delay the first sign of progress
        self._flushed = -math.inf

    def write(self, row: Row) -> None:
        from tensorboardX.proto.event_pb2 import Event, SessionLog  # pyright: ignore[reportAttributeAccessIssue]
        from tensorboardX.summary import scalar

        step, now = clock(row), time.time()
        with storage.storing(self._folder):
            if self._writer is None:
                self._writer = self._open()
                if self._purge is not None:
                    start = SessionLog(status=SessionLog.START)
                    self._writer.write_event(Event(wall_time=now, step=self._purge, session_log=start))
                for summary in self._settings():
                    self._writer.write_event(Event(wall_time=now, summary=summary))
            for name, value in _measured(row).items():
                self._writer.write_event(Event(wall_time=now, step=step, summary=scalar(name, value)))
            if now - self._flushed >= FLUSH_SECONDS:
                self._writer.flush()
                self._flushed = now

    def close(self) -> None:
        if self._writer is not None:
            writer, self._writer = self._writer, None
            with storage.storing(self._folder):
                writer.close()

    def _settings(self) -> Sequence[Any]:
        """The summaries that say what settings the run has, and which columns to compare it by."""
        from tensorboardX.summary import hparams

        plain = {n: x if isinstance(x, bool | int | float | str) else str(x) for n, x in self._hparams.items()}
        return hparams(plain, {"episode_return": 0.0}) if plain else ()

    def _open(self) -> Any:
        from tensorboardX.event_file_writer import EventsWriter

        self._folder.mkdir(parents=True, exist_ok=True)
        return EventsWriter(str(self._folder / "events"))


class WandbSink:
    """Sends rows to Weights & Biases, less numbers that are not finite. Its first error is a warning, no other is.

    Args:
      folder: of the run, where its id is kept: made again there, the sink goes on with the same W&B run.
      **options: what `wandb.init` takes: `project`, `name`, `config`, `mode="offline"`.
    """

    def __init__(self, folder: Path | None = None, **options: Any):
        self._run: Any = None
        self._warned = False
        with self._forgiven():
            kept = None if folder is None else folder / WANDB_ID
            known = kept is not None and kept.exists()
            if kept is not None:
                options["dir"] = str(folder)
            if kept is not None and known:
                options |= {"id": kept.read_text().strip(), "resume": "allow"}
            self._run = _wandb().init(**options)
            if kept is not None and not known:
                kept.write_text(f"{self._run.id}\n")

    def write(self, row: Row) -> None:
        with self._forgiven():
            if self._run is not None:
                self._run.log(_measured(row), step=clock(row))

    def close(self) -> None:
        with self._forgiven():
            if self._run is not None:
                self._run.finish()

    @contextmanager
    def _forgiven(self) -> Iterator[None]:
        try:
            yield
        except ConfigError:
            raise
        except Exception as error:  # its own errors, and those of the network
            if not self._warned:
                warnings.warn(f"wandb: {_line(error)}; the run goes on, but is not all logged there", stacklevel=3)
            self._warned = True


WANDB = ("project", "entity", "group", "job_type", "name", "notes", "tags", "mode")
"""The options of `wandb.init` that a run may have, and a record holds."""


def wandb_options(given: Any) -> dict[str, Any] | None:
    """Reads the options of `wandb.init`: a project stands for its options. Raises ConfigError for what cannot be."""
    if given is None:
        return None
    options = Table().convert("wandb", {"project": given} if isinstance(given, str) else given)
    for name, value in options.items():
        require(name in WANDB, "wandb", name, f"must be one of {', '.join(WANDB)}")
        texts = value if name == "tags" and isinstance(value, list | tuple) else [value]
        require(all(isinstance(x, str) for x in texts), f"wandb.{name}", value, "must be text")
    require(bool(options.get("project", "").strip()), "wandb", repr(given), "name a project")
    return options | ({"tags": [*options["tags"]]} if not isinstance(options.get("tags", ""), str) else {})


def check_wandb(project: str) -> None:
    """Raises ConfigError where runs cannot be logged to W&B: not installed, or not logged in."""
    wandb = _wandb()
    if os.environ.get("WANDB_MODE") in ("offline", "disabled") or not hasattr(wandb, "login"):
        return
    try:
        wandb.login()
    except Exception as error:
        remedy = "run `wandb login`, set WANDB_MODE=offline, or leave wandb out"
        raise ConfigError(f"wandb={project}: {_line(error)}; {remedy}") from None


def _wandb() -> Any:
    """Imports the package wandb; a folder of that name, as its runs leave behind, is no package."""
    try:
        import wandb  # pyright: ignore[reportMissingImports]
    except ImportError:
        wandb = None
    if not hasattr(wandb, "init"):
        raise ConfigError("logging to wandb needs wandb: pip install wandb")
    return wandb


def _line(error: Exception) -> str:
    """The first line of an error, without a full stop."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200].rstrip(".")


def _finite(value: Any) -> Any:
    """Turns a number into one that JSON has, or None."""
    number = value.item() if hasattr(value, "item") else value
    return None if isinstance(number, float) and not math.isfinite(number) else number


def _measured(row: Row) -> dict[str, Any]:
    """The finite numbers of a row, without its step."""
    finite = {name: _finite(value) for name, value in row.items() if name != "step"}
    return {name: value for name, value in finite.items() if value is not None}


def _progress(run: Logged) -> Sink:
    name = f"{run.record['algo']} {run.record['env']}"
    return ProgressSink(
        name, run.total or run.record["updates"], start=run.clock, unit="steps" if run.total else "updates"
    )


def _jsonl(run: Logged) -> Sink:
    assert run.folder is not None
    return JsonlSink(run.folder / METRICS, run.updates, by="updates")


def _tensorboard(run: Logged) -> Sink:
    assert run.folder is not None
    settings = {name: run.record[name] for name in ("algo", "env", "seed", "steps")} | of_record(run.record)
    return TensorBoardSink(run.folder / TENSORBOARD, run.clock or None, {} if run.updates else settings)


def _wandb_run(run: Logged) -> Sink:
    return WandbSink(run.folder, **run.record["wandb"], config=run.record)


SINKS: Registry[Callable[[Logged], Sink]] = Registry(
    "sink", {"progress": _progress, "jsonl": _jsonl, "tensorboard": _tensorboard, "wandb": _wandb_run}
)


def register(name: str, sink: Callable[[Logged], Sink] | str) -> None:
    """Lets `rljax.train(..., sinks=[name])` log to what `sink` makes of a run.

    Args:
      sink: called with what is logged, when the run begins and when it goes on; or its import path.

    Raises:
      ConfigError: the name is that of a sink of rljax.
    """
    SINKS.register(name, sink)
