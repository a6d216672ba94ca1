"""Errors a user can act on. Each names the thing, the value and the remedy, in one line."""

from __future__ import annotations

import difflib
import math
import signal
from collections.abc import Iterable
from typing import Any, ClassVar, Self

SIGNALLED = 128  # plus the signal's number: the exit code of what a signal ended, as shells have it
LONGEST = 200  # characters of a value that an error repeats


class RljaxError(Exception):
    """The base of the errors that rljax raises on purpose; the command line prints them as one line."""


class ConfigError(RljaxError, ValueError):
    """A name, a field or a value that cannot be used."""


class NotPluggedIn(ConfigError):
    """A record names code of the user's, or of a plugin, that this process does not have; a record imports nothing.

    Attributes:
      why: what is missing.
      options: what the command line must say besides, to plug it in.
    """

    def __init__(self, why: str, remedy: str = "", options: tuple[str, ...] = ()):
        self.why, self.remedy, self.options = why, remedy, options
        super().__init__(f"{why}: {remedy}" if remedy else why)

    def __reduce__(self) -> Any:
        return type(self), (self.why, self.remedy, self.options)


class CheckpointError(RljaxError, RuntimeError):
    """A checkpoint cannot be used: none is left, or it belongs to another algorithm."""


class DivergedError(RljaxError, ArithmeticError):
    """Training produced a NaN or an infinity."""


class StorageError(RljaxError, OSError):
    """A result cannot be stored; earlier results are intact."""


class WorkerError(RljaxError, RuntimeError):
    """A worker process died."""


class Stopped(BaseException):
    """A signal ended a run, a sweep or a search, after its checkpoint was written.

    Attributes:
      result: the partial result: a `Run`, `SweepResult`, `Learned` ...; None where nothing is kept.
      by: the signal.
    """

    result: Any = None
    by: ClassVar[signal.Signals]

    def carrying(self, result: Any) -> Self:
        """Attaches the caller's partial result."""
        self.result = result
        return self

    def __str__(self) -> str:
        folder = getattr(self.result, "folder", None)
        return "stopped; .result holds what was reached" + (f", and {folder} can be gone on with" if folder else "")


class Interrupted(Stopped, KeyboardInterrupt):
    """SIGINT, as from Ctrl-C or a notebook's stop button: a KeyboardInterrupt, so that no loop continues by itself."""

    by = signal.SIGINT


class Terminated(Stopped, SystemExit):
    """SIGTERM: ends the script with the exit code that shells report for it."""

    by = signal.SIGTERM

    def __init__(self) -> None:
        super().__init__(SIGNALLED + signal.SIGTERM)


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, in Python or in XLA."""
    return isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error) or "Out of memory" in str(error)


def unknown(kind: str, name: str, known: Iterable[str], listing: str = "") -> ConfigError:
    """Makes the error for an unknown name, with the nearest known one.

    Args:
      kind: of thing that the name should stand for, e.g. "environment".
      name: the unknown name.
      known: the names that exist.
      listing: the command that shows them all, e.g. "rljax list envs".
    """
    name = brief(name)
    hints = [nearest(name, known)]
    if listing:
        hints.append(f"{listing} shows all")
    hint = " ".join(filter(None, hints))
    return ConfigError("; ".join(filter(None, [f"unknown {kind} '{name}'", hint])))


def nearest(name: str, known: Iterable[str]) -> str:
    """Asks `did you mean ...?` with the most similar name; empty where none is similar."""
    lower = {k.lower(): k for k in known}
    near = difflib.get_close_matches(name.lower(), lower, n=1, cutoff=0.5)
    return f"did you mean '{lower[near[0]]}'?" if near else ""


def require(condition: bool, field: str, value: object, remedy: str) -> None:
    """Refuses a value: raises ConfigError `field=value: remedy` unless `condition` holds."""
    if not condition:
        raise ConfigError(f"{field}={brief(value)}: {remedy}")


def reason(error: BaseException) -> str:
    """Says what went wrong in code that is not rljax's, in one line: `ValueError: too many`."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"


def brief(value: object) -> str:
    """Writes a value in one line, short enough for an error."""
    if isinstance(value, int) and abs(value) >= 10**30:  # of which Python may refuse to write every digit
        return f"{'-' if value < 0 else ''}1e{math.log10(abs(value)):.0f}"
    text = " ".join(str(value).split())
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
