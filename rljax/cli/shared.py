"""The end of commands: partial results, and results that cannot be stored."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

from rljax.errors import ConfigError, Stopped, StorageError


def file_name(text: str) -> str:
    """A name for a folder, of names of algorithms and environments."""
    return text.replace("/", "-").replace(":", "-")


def outcome(call: Callable[[], Any]) -> Any:
    """The result of a call, or its partial result if a signal stopped it (`stopped_by`)."""
    try:
        return call()
    except Stopped as stop:
        return stop.result


def keep(what: str, write: Callable[[], Any]) -> Any:
    """Stores what has been shown already; where that fails, says so in one line and continues."""
    try:
        return write()
    except (ConfigError, StorageError) as error:
        print(f"rljax: {what} is not kept: {error}", file=sys.stderr)
        return None


@contextlib.contextmanager
def elsewhere() -> Iterator[None]:
    """Adds to a StorageError that `--out` chooses another place."""
    try:
        yield
    except StorageError as error:
        raise StorageError(f"{error}; give another place with --out") from None
