"""What commands share as they end: partial results, and what could not be kept."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

from rljax.errors import ConfigError, Stopped, StorageError


def outcome(call: Callable[[], Any]) -> Any:
    """What a call comes to, or had come to when a signal stopped it (`stopped_by`)."""
    try:
        return call()
    except Stopped as stop:
        return stop.result


def keep(what: str, write: Callable[[], Any]) -> Any:
    """Writes what has been shown already; where it cannot be written, says so in one line and goes on."""
    try:
        return write()
    except (ConfigError, StorageError) as error:
        print(f"rljax: {what} is not kept: {error}", file=sys.stderr)
        return None


@contextlib.contextmanager
def elsewhere() -> Iterator[None]:
    """Says that a picture can be put elsewhere, where it cannot be written."""
    try:
        yield
    except StorageError as error:
        raise StorageError(f"{error}; give another place with --out") from None
