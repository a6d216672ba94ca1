"""Safe reading of files that anybody may have written: records in JSON and arrays in npz, checked before use.

Nothing that a file names is imported or called. The `checksums` of a record tell for each field that nobody changed it,
and every size is known before memory is taken.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from rljax.errors import ConfigError, reason
from rljax.storage import shown

FORMAT, CHECKSUMS = "format", "checksums"
VERSION = 2  # of the form of records; those of rljax 0.1 had no number
GARBAGE = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, KeyError, IndexError, NotImplementedError)
"""The errors that parsers of npz raise on another file."""

LARGEST = 2**28  # bytes of JSON: a sweep of 20,000 rows takes 2**26

Form = Any  # a type, a `Whole`, None, a tuple of alternatives, [a form] of a list, or {name: form} of a dict


class Whole(NamedTuple):
    """A whole number between bounds."""

    low: int = 0
    high: int = 2**53

    def __str__(self) -> str:
        return f"a whole number from {self.low} to {self.high}"


COUNT = Whole(1)
SEED = Whole(0, 2**32 - 1)
RUN = {  # what `rljax.spec.RunSpec` writes, for a run of its own as for a row of a sweep
    "algo": str,
    "env": str,
    "env_args": dict,
    "curriculum": (str, None),
    "steps": COUNT,
    "seed": SEED,
    "config": dict,
    "hypers": dict,
    "objective": ({"name": str, "fields": dict}, None),
    "task": dict,
    "data": (str, None),
    "plugins": dict,
}


class Kind(Protocol):
    """A kind of folder: the name of its content, the file of its record, and the command that writes it."""

    @property
    def name(self) -> str: ...
    @property
    def record(self) -> str: ...
    @property
    def command(self) -> str: ...


def sealed(record: Mapping[str, Any]) -> dict[str, Any]:
    """Adds the number of its form to a record, and the checksum of each of its fields."""
    kept = versioned({name: value for name, value in record.items() if name != CHECKSUMS})
    return kept | {CHECKSUMS: {name: _checksum(value) for name, value in kept.items()}}


def versioned(record: Mapping[str, Any]) -> dict[str, Any]:
    """Adds the number of its form to a record."""
    return {**record, FORMAT: VERSION}


def read(folder: Path, kind: Kind, form: Mapping[str, Form]) -> dict[str, Any]:
    """Reads the record in a folder, without its checksums.

    Raises:
      ConfigError: there is none, it cannot be read, a field of it is missing, is of another type, or was changed.
    """
    record = _parsed(folder, kind)
    where, remedy = shown(folder / kind.record), f"put it back as {kind.command} wrote it, or start a new {kind.name}"
    check_version(record, where, kind.name)
    fault = difference(record, form)
    if fault:
        raise ConfigError(f"{where}: {fault}; {remedy}")
    sums = record.pop(CHECKSUMS, None)  # those of sweeps have none
    for name in form if sums is not None else ():
        found = _checksum(record[name]) if name in record else None
        if not isinstance(sums, dict) or sums.get(name) != found:
            raise ConfigError(f"{where}: {name} was changed after it was written; {remedy} with other settings")
    del record[FORMAT]
    return record


def check_version(record: Mapping[str, Any], where: str | Path, what: str) -> None:
    """Raises ConfigError for a record of an rljax that wrote another form; `what` is a `run`, say."""
    version = record.get(FORMAT, "that of rljax 0.1")
    if version != VERSION:
        why = f"is of another rljax (format {version}, this one reads {VERSION})"
        raise ConfigError(f"{where}: {why}; use the rljax that wrote it, or start a new {what}")


def difference(value: Any, form: Form, path: str = "") -> str:
    """Says in words where `value` differs from a form; empty where it does not."""
    if isinstance(form, Whole):
        fits = type(value) is int and form.low <= value <= form.high
        return "" if fits else f"{path}={_short(value)} must be {form}"
    if isinstance(form, tuple):
        return "" if any(not difference(value, each, path) for each in form) else _other(path, value, form)
    if isinstance(form, list):
        if not isinstance(value, list):
            return _other(path, value, list)
        return next((fault for i, x in enumerate(value) if (fault := difference(x, form[0], f"{path}[{i}]"))), "")
    if isinstance(form, Mapping):
        if not isinstance(value, dict):
            return _other(path, value, dict)
        for name, each in form.items():
            whole = f"{path}.{name}" if path else name
            if name not in value:
                return f"no {whole} there"
            fault = difference(value[name], each, whole)
            if fault:
                return fault
        return ""
    if form is None:
        return "" if value is None else _other(path, value, None)
    number = form is float and type(value) in (int, float)
    return "" if number or type(value) is form else _other(path, value, form)


class TooLarge(Exception):
    """An array would take more memory than it may."""


def check_npz(path: str | Path, largest: int) -> None:
    """Checks the headers of an npz, without reading its arrays.

    Raises:
      TooLarge: they claim more than `largest` bytes in all.
      ValueError: one claims another size than it has, or to be of objects.
      OSError, or one of `GARBAGE`: it cannot be read.
    """
    import numpy as np  # not before: what only reads records, and the command's help, needs none

    total = 0
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            with archive.open(member) as file:
                first = np.lib.format.read_magic(file) == (1, 0)
                read_header = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
                shape, _, dtype = read_header(file)
                claimed, size = math.prod(shape) * dtype.itemsize, member.file_size - file.tell()
            if dtype.hasobject or claimed != size:
                raise ValueError(f"{member.filename} claims {claimed} bytes of {dtype}, and {size} are there")
            total += claimed
            if total > largest:
                raise TooLarge(f"its arrays take more than {largest:,} bytes")


@contextlib.contextmanager
def understood(path: Path) -> Iterator[None]:
    """Turns the errors of code that uses a record into a ConfigError of one line."""
    try:
        yield
    except (KeyError, TypeError, AttributeError, IndexError, OverflowError) as error:
        why = reason(error)
        raise ConfigError(
            f"{shown(path)}: holds what rljax does not write there ({why}); put it back as it was"
        ) from None


def _parsed(folder: Path, kind: Kind) -> dict[str, Any]:
    path, what = folder / kind.record, f"{kind.name} '{shown(folder)}'"
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError(f"more than {LARGEST:,} bytes")
        record = json.loads(path.read_text())
    except FileNotFoundError:
        raise ConfigError(f"{what}: no {kind.record} there; give the folder that {kind.command} wrote") from None
    except (OSError, ValueError, RecursionError, MemoryError) as error:
        why = " ".join(str(error).split())[:160]
        raise ConfigError(
            f"{what}: {kind.record} cannot be read ({why}); restore it, or start a new {kind.name}"
        ) from None
    if not isinstance(record, dict):
        raise ConfigError(f"{what}: {kind.record} holds no record; restore it, or start a new {kind.name}")
    return record


def _checksum(value: Any) -> str:
    plain = json.dumps(json.loads(json.dumps(value)), sort_keys=True)  # as it is read back
    return hashlib.sha256(plain.encode()).hexdigest()[:12]


def _other(path: str, value: Any, form: Form) -> str:
    wanted = " or ".join(map(_words, form if isinstance(form, tuple) else (form,)))
    return f"{path or 'it'}={_short(value)} must be {wanted}"


def _words(form: Form) -> str:
    if isinstance(form, Whole):
        return str(form)
    if form is list or isinstance(form, list):
        return "a list"
    if form is dict or isinstance(form, Mapping):
        return "an object"
    return {str: "a text", int: "a whole number", float: "a number", bool: "true or false", None: "null"}[form]


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
