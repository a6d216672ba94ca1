"""Result folders of runs, sweeps and searches: one process writes at a time, and a kill leaves nothing broken.

A folder is locked by one process while it is written to. It is made when everything is checked, its record first and
atomically; where there is no result, it is removed again. Readers need no lock.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shlex
import shutil
import socket
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from rljax import records
from rljax.errors import ConfigError, StorageError
from rljax.storage import FULL, PARTIAL, absolute, reason, storing, write_json

LOCK = ".lock"
BUSY = (errno.EAGAIN, errno.EACCES)  # what flock says where another process has the lock


@dataclass(frozen=True)
class Kind:
    """A kind of result folder.

    Attributes:
      name: of its content, e.g. "run".
      record: the file that says what was asked for; a folder without it is empty.
      command: the command that continues it, by its option `--resume`.
      parts: the files that are written over time, and are of no use without the record.
    """

    name: str
    record: str
    command: str
    parts: tuple[str, ...]

    def again(self, folder: Path) -> str:
        """The command that continues a folder, to be pasted into a shell."""
        return f"{self.command} --resume {shlex.quote(str(folder))}"

    def kept(self, folder: Path) -> str:
        """The advice after an error, once the record is written."""
        return f"what is finished is kept: {self.again(folder)} goes on with it"


RUN = Kind(
    "run", "config.json", "rljax train", ("metrics.jsonl", "checkpoints", "best", "tensorboard", "wandb-id", "wandb")
)
SWEEP = Kind("sweep", "sweep.json", "rljax sweep", ("chunks", "progress", "wandb.json", "wandb"))
SEARCH = Kind("search", "meta.json", "rljax meta-train", ("metrics.jsonl", "checkpoints", "logs"))


def chosen(out: str | os.PathLike[str] | Numbered) -> Path | Numbered:
    """Makes the chosen folder absolute. Raises ConfigError where it can be none."""
    return out if isinstance(out, Numbered) else absolute(out)


class Numbered(NamedTuple):
    """A folder to be chosen when it is made: `parent/name`, or the first of `name-2`, `name-3`, ... that is free."""

    parent: Path
    name: str

    def make(self) -> Path:
        """Makes the folder. The system decides which number is free, so processes that start together get one each."""
        number = 1
        while True:
            folder = self.parent / (self.name if number == 1 else f"{self.name}-{number}")
            self.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):  # another process has removed the parent again
                try:
                    folder.mkdir()
                    return folder
                except FileExistsError:
                    number += 1


class Locked:
    """A result folder that this process has locked, to write to it."""

    def __init__(self, path: Path, kind: Kind, lock: TextIO):
        self.path, self.kind, self._lock = path, kind, lock

    @property
    def recorded(self) -> bool:
        """Whether it has a record."""
        return (self.path / self.kind.record).exists()

    def record(self, record: dict[str, Any]) -> None:
        """Writes the record, atomically."""
        write_json(self.path / self.kind.record, records.sealed(record))

    def forget(self) -> None:
        """Deletes the record and all parts: there is no result."""
        self._remove([self.kind.record, *self.kind.parts])

    def clear(self) -> None:
        """Deletes parts that were written after somebody deleted the folder: they are of no use without a record."""
        if not self.recorded:
            self._remove(self.kind.parts)
            with contextlib.suppress(OSError):
                self.path.rmdir()

    def _remove(self, names: Iterable[str]) -> None:
        with contextlib.suppress(OSError):
            for path in (self.path / name for name in names):
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)

    def check(self) -> None:
        """Raises StorageError if the folder was deleted or moved meanwhile: results would be lost."""
        if not _is_current(self._lock, self.path):
            raise StorageError(f"{self.path}: the {self.kind.name}'s folder was deleted or moved while it was in use")


def stopping(folder: Locked | None, received: Sequence[Any]) -> Callable[[], bool]:
    """Makes a function that says whether a signal came, and raises StorageError where the folder was deleted."""

    def asked() -> bool:
        if folder is not None:
            folder.check()
        return bool(received)

    return asked


@contextlib.contextmanager
def locked(out: Path | Numbered, kind: Kind) -> Iterator[Locked]:
    """Locks a folder for this process, and makes it if need be; the lock ends with the process, however it ends.

    Args:
      out: the folder, absolute: a new one, or one of this kind.

    Raises:
      ConfigError: it is locked by another process, holds something else, or cannot be made.
      StorageError: what the block raised, with how to continue.
    """
    path, made = _made(out)
    try:
        _refuse_strangers(path, kind)
        with _lock(path, kind) as lock:
            found = Locked(path, kind, lock)
            _refuse_strangers(path, kind)
            try:
                yield found
            except OSError as error:
                said = _said(error, path)
                if not said:  # not of this folder
                    raise
                raise StorageError(_after(said, found)) from None
            finally:
                _clear(found)
    finally:
        for folder in reversed(made):
            with contextlib.suppress(OSError):  # it is not empty
                folder.rmdir()


def _clear(found: Locked) -> None:
    """Removes the lock, and files that a kill left half written, from a folder without a record."""
    with contextlib.suppress(OSError):
        if not found.recorded and not _strangers(found.path):
            for name in os.listdir(found.path):
                (found.path / name).unlink()


def _made(out: Path | Numbered) -> tuple[Path, list[Path]]:
    """Makes the folder; -> (its path, the folders that were made for it, from the outermost)."""
    path = out.parent / out.name if isinstance(out, Numbered) else out
    missing: list[Path] = []
    try:
        missing += [folder for folder in [*reversed(path.parents), path] if not folder.exists()]
        if isinstance(out, Numbered):
            path = out.make()
            return path, [*(folder for folder in missing if folder in path.parents), path]
        path.mkdir(parents=True, exist_ok=True)
        return path, missing
    except OSError as error:
        for folder in reversed(missing):
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise _unwritable(path, error) from None


def _unwritable(path: Path, error: OSError) -> Exception:
    """Makes the error for a folder that cannot be made or locked."""
    if error.errno in FULL:
        return StorageError(f"{path} cannot be written: {reason(error)}")
    if isinstance(error, FileExistsError | NotADirectoryError):
        return ConfigError(f"out={path}: exists, or leads through a file; choose another folder")
    return ConfigError(f"out={path}: cannot be written ({reason(error)}); choose another folder, or copy it to one")


@contextlib.contextmanager
def _lock(path: Path, kind: Kind) -> Iterator[TextIO]:
    """Opens and locks the lock file of a folder. Raises ConfigError where another process has locked it."""
    while True:
        try:
            file = (path / LOCK).open("a+")
        except OSError as error:
            raise _unwritable(path, error) from None
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno in BUSY:
                    raise _taken(path, kind, file) from None
                warnings.warn(f"{path}: cannot be locked ({reason(error)}); let no other process use it", stacklevel=6)
            if _is_current(file, path):
                _sign(file)
                yield file
                return
        # the process that had it has removed it since: the next one counts


def _is_current(lock: TextIO, path: Path) -> bool:
    """Whether the lock file of a folder is still this one."""
    try:
        return os.path.samestat(os.fstat(lock.fileno()), os.stat(path / LOCK))
    except OSError:
        return False


def _sign(file: TextIO) -> None:
    """Writes into the lock which process has it, for those that are refused."""
    with storing(file.name):
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()


def _taken(path: Path, kind: Kind, file: TextIO) -> ConfigError:
    file.seek(0)
    who = file.read(200)
    who = f" ({who})" if who else ""
    return ConfigError(
        f"out={path}: exists; another process is running this {kind.name}{who}; wait for it or stop it, or choose "
        "another folder"
    )


def _strangers(path: Path) -> list[str]:
    """The files of a folder, without what a process leaves that was killed before it wrote its record."""
    return [name for name in os.listdir(path) if name != LOCK and not name.endswith(PARTIAL)]


def _refuse_strangers(path: Path, kind: Kind) -> None:
    try:
        strange = not (path / kind.record).exists() and _strangers(path)
    except OSError as error:
        raise _unwritable(path, error) from None
    if strange:
        raise ConfigError(f"out={path}: exists, and is not of a {kind.name}; choose another folder")


def _said(error: OSError, path: Path) -> str:
    """Describes an error of this folder; empty for any other error, e.g. of the user's code."""
    if isinstance(error, StorageError):
        return str(error)
    mine = error.filename and Path(os.fsdecode(error.filename)).is_relative_to(path)
    return f"{os.fsdecode(error.filename)} cannot be used: {reason(error)}" if mine else ""


def _after(said: str, found: Locked) -> str:
    """Adds to an error how to continue; clears what is left of a folder that somebody deleted."""
    try:
        found.check()
    except StorageError as gone:
        found.clear()
        return str(gone)
    return f"{said}; {found.kind.kept(found.path)}" if found.recorded else said
