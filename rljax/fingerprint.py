"""Short hashes of code: the same in every process, and different once the code does something else."""

from __future__ import annotations

import dataclasses
import dis
import functools
import hashlib
import platform
import site
import sys
import sysconfig
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

LENGTH = 12  # hexadecimal digits
OURS = str(Path(__file__).parent)
GENERATED = (
    "__init__",
    "__repr__",
    "__eq__",
    "__hash__",
    "__setattr__",
    "__delattr__",
    "__replace__",
)  # of dataclasses
LIBRARIES = (
    *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
    *site.getsitepackages(),
    site.getusersitepackages(),
    OURS,
)


def fingerprint(*values: Any) -> str:
    """Hashes values: functions and classes by what they do, with all that they close over, call and refer to.

    Comments, formatting, docstrings and names of local variables do not count; numbers, arrays and the user's code do,
    wherever it is reached from. Code of a library, rljax included, counts by its name: versions are recorded apart.
    Another minor version of Python compiles to other instructions, so to another hash.
    """
    walk = _Walk()
    walk.visit(values)
    return walk.digest.hexdigest()[:LENGTH]


def differing(record: Mapping[str, Any], before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Names the hashes of a record that have changed; none where another minor version of Python made them.

    Args:
      record: the record that holds `before`, with the versions it was made by.
      before, now: name -> hash.
    """
    python = str(record.get("machine", {}).get("python", ""))
    if python.split(".")[:2] != list(platform.python_version_tuple()[:2]):
        return []
    return [name for name in now if before.get(name, now[name]) != now[name]]


def foreign(module: str) -> bool:
    """Whether a module belongs to a library, to rljax or to Python, not to the user."""
    if module.partition(".")[0] in sys.stdlib_module_names and module != "__main__":
        return True
    file = getattr(sys.modules.get(module), "__file__", None)
    return file is not None and str(Path(file).absolute()).startswith(LIBRARIES)


class _Walk:
    """Visits values, each object once, and hashes what it finds."""

    def __init__(self) -> None:
        self.digest = hashlib.sha256()
        self.seen: dict[int, tuple[int, Any]] = {}

    def say(self, *words: Any) -> None:
        """Adds words to the hash."""
        self.digest.update("\0".join(map(str, words)).encode() + b"\n")

    def visit(self, value: Any) -> None:
        """Adds a value to the hash, or its number if it was visited before."""
        if value is None or isinstance(value, bool | int | float | complex | str | bytes):
            self.say(type(value).__name__, repr(value))
        elif id(value) in self.seen:
            self.say("again", self.seen[id(value)][0])
        else:
            self.seen[id(value)] = len(self.seen), value  # kept, so that no other object gets its address
            self.say("array" if _is_array(value) else type(value).__name__)
            self._inside(value)

    def _inside(self, value: Any) -> None:
        match value:
            case types.CodeType():
                self._code(value, value.co_consts)
            case types.FunctionType():
                self._function(value)
            case types.MethodType():
                self.visit((value.__self__, value.__func__))
            case functools.partial():
                self.visit((value.func, value.args, value.keywords))
            case types.ModuleType():
                self.say(value.__name__)
            case type():
                self._class(value)
            case dict():
                self.visit([(name, value[name]) for name in sorted(value, key=repr)])
            case tuple() | list():
                self.say(len(value))
                for x in value:
                    self.visit(x)
            case set() | frozenset():
                self.visit(sorted(map(repr, value)))
            case _ if callable(getattr(value, "__wrapped__", None)):  # jitted, or cached
                self.visit(value.__wrapped__)
            case np.dtype():
                self.say(value)
            case _ if _is_array(value):
                self._array(value)
            case _:
                self._object(value)

    def _array(self, value: Any) -> None:
        try:
            array = np.asarray(value)
        except TypeError:  # a key of jax's
            self.say(value)
            return
        self.say(array.dtype, array.shape)
        if array.dtype == object:
            self.visit(array.tolist())
        else:
            self.digest.update(array.tobytes())

    def _code(self, code: types.CodeType, constants: tuple[Any, ...]) -> None:
        self.digest.update(code.co_code)
        self.say(code.co_argcount, code.co_kwonlyargcount, *code.co_names)
        self.visit(constants)

    def _function(self, function: types.FunctionType) -> None:
        code, module = function.__code__, function.__globals__.get("__name__", "")
        if foreign(module):
            self.say(module, function.__qualname__)
        else:
            self._code(code, tuple(x for x in code.co_consts if x is None or x != function.__doc__))
            for name in sorted(_globals(code) & function.__globals__.keys()):
                self.visit((name, function.__globals__[name]))
        self.visit((function.__defaults__, function.__kwdefaults__))
        for cell in function.__closure__ or ():
            try:
                self.visit(cell.cell_contents)
            except ValueError:  # empty
                self.say("empty")

    def _class(self, cls: type) -> None:
        self.say(cls.__qualname__)
        if foreign(cls.__module__):
            return
        self.visit(cls.__bases__)
        for name, value in sorted(vars(cls).items()):
            value = getattr(value, "__func__", getattr(value, "fget", value))  # of static methods, of properties
            written = isinstance(value, types.FunctionType) and not (
                name in GENERATED and dataclasses.is_dataclass(cls)
            )
            if written or not name.startswith("_"):
                self.visit((name, value))

    def _object(self, value: Any) -> None:
        self.visit(type(value))
        known = getattr(value, "__dict__", {})
        if foreign(type(value).__module__) and not dataclasses.is_dataclass(
            value
        ):  # the parts of a library's object are the library's
            known = {n: x for n, x in known.items() if isinstance(x, bool | int | float | str | tuple)}
        self.visit(dict(known))


def _is_array(value: Any) -> bool:
    return hasattr(value, "__array__") and not isinstance(value, type)


def _globals(code: types.CodeType) -> set[str]:
    """The global names that a function and the functions inside it read."""
    found = {i.argval for i in dis.get_instructions(code) if i.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    return found.union(*(_globals(x) for x in code.co_consts if isinstance(x, types.CodeType)))
