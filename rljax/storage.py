"""Absolute paths, atomic writes, and the system's refusals as one-line errors."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import textwrap
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rljax.errors import ConfigError, StorageError, require

WIDTH = 120  # of a line of JSON
PARTIAL = ".partial"  # the end of the name of what is being written; all that a kill leaves
FULL = (errno.ENOSPC, errno.EDQUOT)


def absolute(path: str | os.PathLike[str], field: str = "out") -> Path:
    """Makes a path absolute, so that a change of the working directory does not matter; `~` is the home.

    Raises:
      ConfigError: it is empty, no local path but an address (gs://bucket/a), or of nobody's home.
    """
    text = os.fspath(path) if isinstance(path, str | os.PathLike) else path
    require(isinstance(text, str) and bool(text) and "\0" not in text, field, repr(text), "give the path of a folder")
    local = re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", text) is None
    require(local, field, text, "is an address; give a local path, and copy what is there when it is finished")
    try:
        return Path(text).expanduser().absolute()
    except (RuntimeError, OSError) as error:  # no such home; no working directory
        raise ConfigError(f"{field}={text}: {error}; give an absolute path") from None


def shown(path: Path) -> Path:
    """Shortens a path for a reader: relative to the working directory where it is inside."""
    with contextlib.suppress(ValueError, OSError):
        return path.relative_to(Path.cwd())
    return path


def reason(error: BaseException) -> str:
    """Says in a few words why the system refused."""
    number = number_of(error)
    if number in FULL:
        return "the disk is full"
    if number == errno.EFBIG:
        return "the limit on the size of a file is reached"
    if number is not None:
        return os.strerror(number)
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:160]}{'...' if len(text) > 160 else ''}"


def number_of(error: BaseException) -> int | None:
    """Finds the system's number of an error, e.g. `errno.ENOSPC`; None if the system did not raise it.

    tensorstore raises ValueError, and ends its text with the system's words.
    """
    if isinstance(error, OSError) and error.errno:
        return error.errno
    text = str(error)
    return next((number for number in errno.errorcode if f": {os.strerror(number)}" in text), None)


@contextlib.contextmanager
def storing(path: str | Path) -> Iterator[None]:
    """Turns the system's refusals to write into a StorageError that names the path, in one line."""
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {reason(error)}") from None


@contextlib.contextmanager
def reading(path: str | Path) -> Iterator[None]:
    """Turns the system's refusals to read into a StorageError, which says nothing of what the file holds."""
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {reason(error)}") from None


@contextlib.contextmanager
def replacing(path: Path, durable: bool = True) -> Iterator[Path]:
    """Gives a temporary path that replaces `path` afterwards: there is the old file or the new one, never half of one.

    Makes the folder if need be. What is not `durable` outlives a kill, but perhaps no power cut. Raises StorageError
    where it cannot be written.
    """
    partial = path.with_name(f".{uuid.uuid4().hex[:12]}{PARTIAL}")
    try:
        with storing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield partial
            if durable:
                _sync(partial)
            partial.replace(path)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, content: Any) -> None:
    """Writes a JSON file atomically. Raises StorageError where it cannot be written."""
    text = formatted(content)
    with replacing(path) as partial:
        partial.write_text(text + "\n")


def formatted(content: Any, indent: int = 0) -> str:
    """Formats JSON for readers: one line for each part that fits on it; long parts are split, numbers fill lines."""
    line = json.dumps(content)
    parts = content if isinstance(content, list | tuple | dict) else ()
    if not parts or (indent and indent + len(line) <= WIDTH):
        return line
    inner = " " * (indent + 2)
    if isinstance(content, dict):
        lines = [f"{json.dumps(name)}: {formatted(value, indent + 2)}" for name, value in json.loads(line).items()]
        ends = "{}"
    elif any(isinstance(part, list | tuple | dict | str) for part in parts):
        lines, ends = [formatted(part, indent + 2) for part in parts], "[]"
    else:
        lines, ends = textwrap.wrap(line[1:-1], WIDTH - indent - 2, break_on_hyphens=False), "[]"
        return f"{ends[0]}\n{inner}" + f"\n{inner}".join(lines) + f"\n{' ' * indent}{ends[1]}"
    return f"{ends[0]}\n{inner}" + f",\n{inner}".join(lines) + f"\n{' ' * indent}{ends[1]}"
