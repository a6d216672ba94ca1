"""Names to numbers: the fields of algorithms and objectives as flat settings, read from source without importing jax.

A setting is named as it is on the command line and in a run record: `lr`, `num_envs`, `objective`, `objective.clip`.
"""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin

from rljax.errors import ConfigError, require, unknown

INF = float("inf")
RANGES = {  # what the field's standard numbers may be, wherever they occur
    "lr": (0.0, INF),
    "lr_final": (0.0, INF),
    "discount": (0.0, 1.0),
    "gae_lambda": (0.0, 1.0),
    "entropy_coef": (0.0, INF),
    "value_coef": (0.0, INF),
    "value_clip": (0.0, INF),
    "max_grad_norm": (0.0, INF),
    "horizon": (1.0, INF),
    "objective.clip": (0.0, INF),
}


class Setting(NamedTuple):
    """One field: its name, whether it is static (`config`) or traced (`hypers`), its type, default and meaning."""

    name: str
    group: Literal["config", "hypers"]
    type: Any
    default: Any
    doc: str


@cache
def of_algorithm(module: str) -> dict[str, Setting]:
    """The settings of the algorithm in `module` (an import path): `Config`, `Hypers` and its objective's fields."""
    classes = _classes(module)
    found = {s.name: s for s in _fields(classes["Config"], "config")}
    for setting in _fields(classes["Hypers"], "hypers"):
        if setting.name != "objective":
            found[setting.name] = setting
            continue
        kinds = objectives()
        default = next(name for name, kind in kinds.items() if f"{kind}()" == setting.default)
        found["objective"] = setting._replace(type=str, default=default, doc=f"{setting.doc}: {', '.join(kinds)}")
        for field in _fields(_classes("rljax.objectives")[kinds[default]], "hypers"):
            found[f"objective.{field.name}"] = field._replace(name=f"objective.{field.name}")
    return found


@cache
def objectives() -> dict[str, str]:
    """The registered objectives: name -> class, from the table in `rljax.objectives`."""
    for node in ast.parse(_source("rljax.objectives")).body:
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "OBJECTIVES":
            assert isinstance(node.value, ast.Dict)
            keys = (ast.literal_eval(key) for key in node.value.keys if key is not None)
            return dict(zip(keys, map(ast.unparse, node.value.values)))
    raise LookupError("rljax.objectives defines no OBJECTIVES")


def check(known: Mapping[str, Setting], given: Mapping[str, Any], algo: str) -> dict[str, Any]:
    """`given` with every value in its field's type.

    Raises:
      ConfigError: a name that is no field, a value of the wrong type or outside its range.
    """
    custom = not isinstance(given.get("objective", ""), str) or ":" in given.get("objective", "")
    checked = {}
    for name, value in given.items():
        if custom and name.startswith("objective"):
            checked[name] = value
            continue
        if name not in known:
            raise unknown(f"setting of {algo}", name, known, f"rljax train {algo} --help")
        checked[name] = _coerce(known[name], value)
        low, high = RANGES.get(name, (-INF, INF))
        if isinstance(checked[name], float):
            require(low <= checked[name] <= high, name, value, f"must lie between {low:g} and {high:g}")
    return checked


def assignments(pairs: Iterable[str]) -> dict[str, float]:
    """`["length=0.5", ...]` -> `{"length": 0.5, ...}`. Raises ConfigError where one is no `NAME=NUMBER`."""
    found = {}
    for pair in pairs:
        name, _, text = pair.partition("=")
        try:
            found[name] = int(text) if text.lstrip("-").isdigit() else float(text)
        except ValueError:
            raise ConfigError(f"task '{pair}': write it as NAME=NUMBER") from None
    return found


def _coerce(setting: Setting, value: Any) -> Any:
    kind = setting.type
    if kind is float and value == "inf":  # as a record says it
        return INF
    if get_origin(kind) is Literal:
        options = get_args(kind)
        require(value in options, setting.name, value, f"must be one of {', '.join(map(str, options))}")
        return value
    if get_origin(kind) is tuple:
        fits = isinstance(value, list | tuple) and all(type(x) is int and x > 0 for x in value)
        require(fits, setting.name, value, "must be a list of positive integers")
        return tuple(value)
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        require(value == value, setting.name, value, "must be a number")
        return float(value)
    if kind is float and hasattr(value, "dtype"):  # already an array
        return value
    require(type(value) is kind, setting.name, value, f"must be of type {kind.__name__}")
    return value


def _source(module: str) -> str:
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise ConfigError(f"no module '{module}'; it must be importable")
    return Path(spec.origin).read_text()


@cache
def _classes(module: str) -> dict[str, list[tuple[ast.AnnAssign, str]]]:
    """Class -> its fields, each with the comment behind it."""
    source = _source(module)
    lines = source.splitlines()
    return {
        node.name: [
            (field, lines[field.lineno - 1].partition("  # ")[2])
            for field in node.body
            if isinstance(field, ast.AnnAssign) and field.value
        ]
        for node in ast.parse(source).body
        if isinstance(node, ast.ClassDef)
    }


def _fields(fields: list[tuple[ast.AnnAssign, str]], group: Literal["config", "hypers"]) -> Iterable[Setting]:
    for field, doc in fields:
        assert field.value is not None
        annotation = ast.unparse(field.annotation)
        kind = float if annotation == "Scalar" else str if annotation == "Objective" else _evaluate(annotation)
        yield Setting(ast.unparse(field.target), group, kind, _default(field.value), doc)


def _evaluate(annotation: str) -> Any:
    return eval(annotation, {"Literal": Literal})


def _default(node: ast.expr) -> Any:
    text = ast.unparse(node)
    if text == "float('inf')":
        return INF
    try:
        return ast.literal_eval(node)
    except ValueError:
        return text
