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
    """The base of what rljax raises on purpose; the command line prints it as one line."""


class ConfigError(RljaxError, ValueError):
    """A name, a field or a value that cannot be used."""


class NotPluggedIn(ConfigError):
    """An objective of the user's own that a record names and that is not there; a record imports nothing.

    Attributes:
      name: `module:Class`, as recorded.
      call: what was called, up to the end of its arguments.
    """

    def __init__(self, name: str, call: str = ""):
        self.name, self.call = name, call
        module, _, kind = name.partition(":")
        origin = f"from {module} import {kind.split('.')[0]}; " if module != "__main__" else ""
        again = f"{origin}{call}, objective={kind})" if call else f"{origin}rljax.objectives.register({kind})"
        super().__init__(f"{self.why}: {again}")

    @property
    def why(self) -> str:
        return f"objective '{self.name}' is a class of the user's, and a record imports nothing; plug it in again"

    def __reduce__(self) -> Any:
        return type(self), (self.name, self.call)


class CheckpointError(RljaxError, RuntimeError):
    """A checkpoint that cannot be used: none is left, or it belongs to something else."""


class DivergedError(RljaxError, ArithmeticError):
    """Training produced a NaN or an infinity."""


class StorageError(RljaxError, OSError):
    """A result that cannot be stored; what was stored before is intact."""


class WorkerError(RljaxError, RuntimeError):
    """A process died."""


class Stopped(BaseException):
    """A signal ended what was running, after its checkpoint was written.

    Attributes:
      result: what it had come to: a `Run`, `SweepResult`, `Learned` ...; None where nothing is kept.
      by: the signal.
    """

    result: Any = None
    by: ClassVar[signal.Signals]

    def carrying(self, result: Any) -> Self:
        """The same, with a result of the caller's."""
        self.result = result
        return self

    def __str__(self) -> str:
        folder = getattr(self.result, "folder", None)
        return "stopped; .result holds what was reached" + (f", and {folder} can be gone on with" if folder else "")


class Interrupted(Stopped, KeyboardInterrupt):
    """SIGINT, as from Ctrl-C or a notebook's stop button: a KeyboardInterrupt, so that no loop goes on by itself."""

    by = signal.SIGINT


class Terminated(Stopped, SystemExit):
    """SIGTERM: ends the script, with the exit code that shells give to one that it ended."""

    by = signal.SIGTERM

    def __init__(self) -> None:
        super().__init__(SIGNALLED + signal.SIGTERM)


def out_of_memory(error: BaseException) -> bool:
    """Whether this says that there was none left, for Python or for XLA."""
    return isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error) or "Out of memory" in str(error)


def unknown(kind: str, name: str, known: Iterable[str], listing: str = "") -> ConfigError:
    """The error for a name that does not exist, with the nearest one that does.

    Args:
      kind: what it should have named, e.g. "environment".
      name: what was given.
      known: the names that exist.
      listing: how to see them all, e.g. "rljax list envs".
    """
    name = brief(name)
    hints = [nearest(name, known)]
    if listing:
        hints.append(f"{listing} shows all")
    hint = " ".join(filter(None, hints))
    return ConfigError("; ".join(filter(None, [f"unknown {kind} '{name}'", hint])))


def nearest(name: str, known: Iterable[str]) -> str:
    """`did you mean ...?` with the name that is most like this one, or nothing where none is."""
    lower = {k.lower(): k for k in known}
    near = difflib.get_close_matches(name.lower(), lower, n=1, cutoff=0.5)
    return f"did you mean '{lower[near[0]]}'?" if near else ""


def require(condition: bool, field: str, value: object, remedy: str) -> None:
    """Refuse a value: raises ConfigError `field=value: remedy` unless `condition` holds."""
    if not condition:
        raise ConfigError(f"{field}={brief(value)}: {remedy}")


def brief(value: object) -> str:
    """A value in one line that an error can hold."""
    if isinstance(value, int) and abs(value) >= 10**30:  # of which Python may refuse to write every digit
        return f"{'-' if value < 0 else ''}1e{math.log10(abs(value)):.0f}"
    text = " ".join(str(value).split())
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
