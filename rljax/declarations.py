"""The declared fields of a class: taken from the class, or read from the source of the package's modules.

A field made by `rljax.fields` has a kind, a default and a meaning. A subclass may give it another default,
`lr: Scalar = 1e-4`. The kind of any other field is that of its annotation or else of its default, and its meaning is
the comment behind it.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import textwrap
import types
import typing
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin

from rljax import fields
from rljax.errors import ConfigError
from rljax.kinds import (
    INF,
    Choice,
    Count,
    Flag,
    Kind,
    Maybe,
    Number,
    PolicyObjective,
    Several,
    Text,
    Weights,
    is_array,
    plain,
)

WHOLE = Count(None, 2**63 - 1)
REAL = Number(-INF, INF)
SIMPLE: dict[Any, Kind] = {bool: Flag(), int: WHOLE, float: REAL, str: Text()}


class Declared(NamedTuple):
    """One field."""

    name: str
    kind: Kind
    default: Any  # None for arrays that are learned, and where there is none
    doc: str


def of_class(cls: type, instance: Any = None) -> list[Declared]:
    """Lists the fields of a dataclass or a pytree, with their defaults.

    Args:
      instance: of it, whose values are the defaults; None: those of the class.

    Raises:
      ConfigError: it is neither.
    """
    if not dataclasses.is_dataclass(cls):
        raise ConfigError(f"{cls.__name__}: must be a dataclass, or a flax.struct.PyTreeNode, to have fields")
    every = [field for field in dataclasses.fields(cls) if field.init]
    said = {field.name: _metadata(cls, field) for field in every}
    comments = {} if all("doc" in metadata for metadata in said.values()) else _comments(cls)
    hints = _hints(cls)
    found = []
    for field in every:
        default = None if field.default is dataclasses.MISSING else field.default
        if instance is not None:
            default = getattr(instance, field.name)
        elif field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        kind = said[field.name].get("kind") or kind_of(hints.get(field.name), default)
        default = None if isinstance(kind, Weights) else plain(default)
        doc = said[field.name].get("doc") or comments.get(field.name, "")
        found.append(Declared(field.name, kind, default, doc))
    return found


def in_source(module: str, name: str) -> list[Declared]:
    """Reads the fields of a class, all made by `rljax.fields`, from the source of a module of rljax; runs nothing.

    Its bases may be in other modules of the package, imported as a class, `from rljax.off_policy.loop import Config`,
    or with their module, `from rljax.off_policy import loop` and `loop.Config`.
    """
    return list(_read(module, name).values())


def file_of(module: str) -> Path:
    """Finds the file of a module of the package, without importing the package that it is in."""
    path = Path(__file__).parent.joinpath(*module.split(".")[1:])
    package = path / "__init__.py"
    return package if package.exists() else path.with_suffix(".py")


def kind_of(annotation: Any, default: Any) -> Kind:
    """Infers the kind of a field that declares none."""
    if is_array(default) and default.shape:
        return Weights()
    if default is None and annotation is not None and type(None) not in get_args(annotation):
        found = of_annotation(annotation)
        return Maybe(found) if found else Kind()
    return of_annotation(annotation) or _kind_of_value(default)


def of_annotation(annotation: Any) -> Kind | None:
    """Infers a kind from an annotation; None where it does not determine one."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if annotation in SIMPLE:
        return SIMPLE[annotation]
    if origin is Literal:
        return Choice(inner)
    if origin in (typing.Union, types.UnionType):
        some = [kind for kind in map(of_annotation, (x for x in inner if x is not type(None))) if kind]
        found = REAL if REAL in some else some[0] if some else None  # a number or an array of them is a number
        return Maybe(found) if found and type(None) in inner else found
    if isinstance(origin, type) and issubclass(origin, Sequence):
        kinds = [of_annotation(x) for x in inner if x is not ...]
        return Several(kinds[0]) if kinds and kinds[0] and len(set(kinds)) == 1 else None
    return None


def of_number(value: Any) -> Kind:
    """The kind of values that may replace a number or an array: never NaN, and infinity only in place of infinity."""
    import numpy as np

    dtype = np.result_type(value)
    if np.issubdtype(dtype, np.bool_):
        return Flag()
    if np.issubdtype(dtype, np.integer):
        return Count(int(np.iinfo(dtype).min), int(np.iinfo(dtype).max))
    numbers = np.asarray(value)
    return Number(low=-INF if (numbers == -INF).any() else None, high=INF if (numbers == INF).any() else None)


def _kind_of_value(value: Any) -> Kind:
    value = plain(value)
    if is_array(value):  # of no axes
        return REAL
    if isinstance(value, tuple | list) and value:
        kinds = {_kind_of_value(x) for x in value}
        return Several(kinds.pop()) if len(kinds) == 1 else Kind()
    return SIMPLE.get(type(value), Kind())


def _metadata(cls: type, field: dataclasses.Field) -> Mapping[str, Any]:
    """The metadata of a field, or those of the nearest base that declares it by `rljax.fields`."""
    same = (vars(base).get("__dataclass_fields__", {}).get(field.name) for base in cls.__mro__)
    return next((one.metadata for one in same if one is not None and "doc" in one.metadata), field.metadata)


def _hints(cls: type) -> dict[str, Any]:
    """Resolves annotations; empty where one of them names something that does not exist at run time."""
    try:
        return typing.get_type_hints(cls)
    except (NameError, TypeError, AttributeError):
        return {}


def _comments(cls: type) -> dict[str, str]:
    """The comments behind the fields of a class and its bases, where their source is available."""
    found: dict[str, str] = {}
    for each in reversed(cls.__mro__):
        try:
            source = textwrap.dedent(inspect.getsource(each))
            (node,) = ast.parse(source).body
        except (OSError, TypeError, ValueError, SyntaxError):
            continue
        lines = source.splitlines()
        for field in node.body if isinstance(node, ast.ClassDef) else ():
            if isinstance(field, ast.AnnAssign):
                found[ast.unparse(field.target)] = lines[(field.end_lineno or 1) - 1].partition("  # ")[2]
    return found


@cache
def _read(module: str, name: str) -> dict[str, Declared]:
    tree = ast.parse(file_of(module).read_text())
    imported = _imports(tree)
    cls = next((node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name), None)
    if cls is None and name in imported:  # a package re-exports a class of one of its modules
        return _read(*imported[name].rsplit(".", 1))
    if cls is None:
        raise LookupError(f"{module} defines no class {name}")
    here = {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
    found: dict[str, Declared] = {}
    for base in reversed([ast.unparse(base) for base in cls.bases]):  # the order in which dataclasses collects fields
        first, dot, rest = base.partition(".")
        if base in here:
            found |= _read(module, base)
        elif first in imported:
            found |= _read(*f"{imported[first]}{dot}{rest}".rsplit(".", 1))
    for node in cls.body:
        if isinstance(node, ast.AnnAssign):
            field = ast.unparse(node.target)
            found[field] = _declared(field, node, found.get(field))
    return found


def _imports(tree: ast.Module) -> dict[str, str]:
    """The imports of a module from the package: local name -> full path of the class or module."""
    return {
        alias.asname or alias.name: f"{node.module}.{alias.name}"
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "rljax"
        for alias in node.names
    }


def _declared(name: str, node: ast.AnnAssign, inherited: Declared | None) -> Declared:
    """Evaluates the call that makes a field, of plain values and names alone, or an inherited field's new default."""
    if not isinstance(node.value, ast.Call):
        if inherited is None or node.value is None:
            raise LookupError(f"{name}: declare it by a function of rljax.fields")
        return inherited._replace(default=inherited.kind.convert(name, _argument(node.value)))
    helper = getattr(fields, ast.unparse(node.value.func).removeprefix("fields."))
    keywords = {keyword.arg: _argument(keyword.value) for keyword in node.value.keywords if keyword.arg}
    field = helper(*map(_argument, node.value.args), **keywords)
    kind, default = field.metadata.get("kind"), None if field.default is dataclasses.MISSING else field.default
    if kind is None:  # a choice: of what the annotation lists
        assert isinstance(node.annotation, ast.Subscript)
        options = ast.literal_eval(node.annotation.slice)
        kind = Choice(options if isinstance(options, tuple) else (options,))
    if isinstance(kind, PolicyObjective):
        default = field.default_factory  # the name of a class
    return Declared(name, kind, default, field.metadata["doc"])


def _argument(node: ast.expr) -> Any:
    """Evaluates a value in the source; a name, such as that of a class, becomes text."""
    text = ast.unparse(node)
    if text in ("INF", "-INF"):
        return float(text)
    try:
        return ast.literal_eval(node)
    except ValueError:
        return text
