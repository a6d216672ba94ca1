"""Objectives of the user: classes that may be used by a name, and named by a record.

A name alone imports nothing. `module:Class` from the user is imported; a record that says so can be read once the user
has plugged the class in again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import jax.numpy as jnp
from flax import struct

from rljax import declarations, plugins
from rljax.catalogue import LEARNED, OBJECTIVES
from rljax.errors import ConfigError, NotPluggedIn, brief, require
from rljax.kinds import shown
from rljax.registry import Registry
from rljax.shipped import FILE

FORM = "give module:Class, a class that extends flax.struct.PyTreeNode and is called as an objective"
PLUGGED: Registry[type] = Registry("objective of the user's own", {})  # by `module:Class`, and their names in records


def register(objective: Any, name: str | None = None) -> type:
    """Lets records name an objective of your own: a class, one of its instances, or `module:Class`, which is imported.

    It is a decorator of classes, too. A class replaces an earlier one of the same name.

    Args:
      objective: the class, an instance, or `module:Class`.
      name: to choose it by, as those of rljax are; a class with a `load` then reads files of its learned numbers too.

    Returns:
      The class.

    Raises:
      ConfigError: it is no such class, or cannot be imported.
    """
    found = _imported(objective) if isinstance(objective, str) else objective
    kind = found if isinstance(found, type) else type(found)
    fits = dataclasses.is_dataclass(kind) and "__call__" in dir(kind)
    require(fits, "objective", brief(shown(objective)), FORM)
    PLUGGED.register(path_of(kind), kind, warn=False)  # whenever an instance is given
    if isinstance(objective, str):
        PLUGGED.register(objective, kind, warn=False)
    if name is not None:
        OBJECTIVES.register(name, kind)
        if hasattr(kind, "load"):
            LEARNED.register(kind.__name__, kind)
    return kind


def plug_in(given: Any) -> Any:
    """Converts a user's objective to the form that settings take; records may name its class from now on.

    Raises:
      ConfigError: it is none.
    """
    if is_path(given):
        found = _imported(given)
        register(given)
        return given if isinstance(found, type) else found
    if isinstance(given, str) or given is None:  # a registered name, or a file
        return given
    kind = register(given)
    return path_of(kind) if isinstance(given, type) else given


def plug_in_again(names: Iterable[Any], given: Any, call: str) -> None:
    """Makes the objectives that a record names usable, where they are the user's own.

    Args:
      names: of objectives, in a record.
      given: the class that the user plugs in, or an instance of it, or `module:Class`; None: those plugged in before.
      call: what was called, up to its arguments' end, e.g. `rljax.load('runs/a'`, to say what would work.

    Raises:
      ConfigError: what is given is no objective.
      NotPluggedIn: one of them has not been plugged in.
    """
    paths = list(dict.fromkeys(filter(is_path, names)))
    if given is not None:
        require(bool(paths), "objective", repr(given), "nothing there is a class of your own; leave it out")
        kind = register(given)
        alike = [name for name in paths if name.partition(":")[2] == kind.__qualname__]
        missing = [name for name in paths if name not in PLUGGED]
        for name in alike or (missing if len(missing) == 1 else []):
            PLUGGED.register(name, kind, warn=False)
    for name in paths:
        if name not in PLUGGED:
            raise not_plugged_in(name, call)


def not_plugged_in(name: str, call: str = "") -> NotPluggedIn:
    """The error for a class, `module:Class`, that a record names and that was not plugged in."""
    module, _, kind = name.partition(":")
    origin = f"from {module} import {kind.split('.')[0]}; " if module != "__main__" else ""
    again = f"{origin}{call}, objective={kind})" if call else f"{origin}rljax.objectives.register({kind})"
    why = f"objective '{name}' is a class of the user's, and a record imports nothing; plug it in again"
    return NotPluggedIn(why, again, ("--objective", name if module != "__main__" else f"MODULE:{kind}"))


def named(name: str) -> type:
    """Finds the class that was plugged in under a name. Raises NotPluggedIn if there is none."""
    if name not in PLUGGED:
        raise not_plugged_in(name)
    return PLUGGED[name]


def name_of(kind: type) -> str:
    """The name of a class in a record: the one in the record that is being continued, else `module:Class`."""
    return next((name for name, known in reversed(PLUGGED.registered().items()) if known is kind), path_of(kind))


def path_of(kind: type) -> str:
    """The name of a class by where it is defined, `module:Class`."""
    return f"{kind.__module__}:{kind.__qualname__}"


def is_path(objective: Any) -> bool:
    """Whether an objective is given as `module:Class`."""
    return isinstance(objective, str) and ":" in objective and not objective.endswith(FILE)


def make(name: str, fields: Mapping[str, Any]) -> Any:
    """Makes an objective of the class that was plugged in under a name, with these fields.

    Raises:
      NotPluggedIn: there is no such class.
      ConfigError: an unknown field, a missing one, or a value that a field does not take.
    """
    kind = named(name)
    known = {field.name: field for field in declarations.of_class(kind)}
    for field, value in fields.items():
        require(field in known, f"objective.{field}", value, f"{name} has {', '.join(known) or 'no fields'}")
    checked = {field: known[field].kind.convert(f"objective.{field}", value) for field, value in fields.items()}
    none = dataclasses.MISSING
    needed = [f.name for f in dataclasses.fields(kind) if f.init and f.default is f.default_factory is none]
    missing = [f"objective.{field}" for field in needed if field not in fields]
    require(not missing, "objective", name, f"needs {', '.join(missing)}")
    return kind(**{field: jnp.asarray(x) if isinstance(x, list) else x for field, x in checked.items()})


def _imported(text: str) -> Any:
    try:
        found = plugins.imported(text)
    except ConfigError as error:
        raise ConfigError(f"objective '{text}': {error}") from None
    kind = found if isinstance(found, type) else type(found)
    require(issubclass(kind, struct.PyTreeNode) or hasattr(kind, "_flax_dataclass"), "objective", repr(text), FORM)
    return found
