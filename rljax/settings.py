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
FILE = ".npz"  # what the name of a file with learned numbers ends with
DRIFT = ("objective.hidden", "objective.output")  # of a learned policy objective, what is learned
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
    "objective.forward": (0.0, INF),
    "objective.reverse": (0.0, INF),
    "objective.final": (0.0, INF),
    "objective.alpha": (1e-6, INF),  # divided by
    "objective.beta": (1e-6, INF),
    "objective.ppo": (0.0, INF),
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
    classes = _classes(_file(module))
    found = {s.name: s for s in _fields(classes["Config"], "config")}
    for setting in _fields(classes["Hypers"], "hypers"):
        if setting.name != "objective":
            found[setting.name] = setting
            continue
        kinds = objectives()
        default = next(name for name, kind in kinds.items() if f"{kind}()" == setting.default)
        found["objective"] = setting._replace(type=str, default=default, doc=f"{setting.doc}: {', '.join(kinds)}")
        found |= of_objective(default)
    return found


@cache
def of_objective(name: str) -> dict[str, Setting]:
    """The fields of a registered objective, `objective.clip` and so on, by its name or its class's.

    Raises:
      ConfigError: there is none.
    """
    kind = objectives()[_registered(name)]
    files = sorted(_file("rljax.objectives").parent.glob("*.py"))
    classes = next(classes for classes in map(_classes, files) if kind in classes)
    fields = (s._replace(name=f"objective.{s.name}") for s in _fields(classes[kind], "hypers"))
    return {s.name: s for s in fields}


def with_objective(known: Mapping[str, Setting], name: str) -> dict[str, Setting]:
    """`known` with the fields of a registered objective instead of the default one's.

    Raises:
      ConfigError: there is no such objective.
    """
    objective = known["objective"]._replace(default=_registered(name))
    kept = {n: s for n, s in known.items() if not n.startswith("objective.")}
    return {**kept, "objective": objective, **of_objective(name)}


@cache
def objectives() -> dict[str, str]:
    """The registered objectives: name -> class, from the table in `rljax.objectives`."""
    for node in ast.parse(_file("rljax.objectives").read_text()).body:
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "OBJECTIVES":
            assert isinstance(node.value, ast.Dict)
            keys = (ast.literal_eval(key) for key in node.value.keys if key is not None)
            return dict(zip(keys, map(ast.unparse, node.value.values)))
    raise LookupError("rljax.objectives defines no OBJECTIVES")


def check(known: Mapping[str, Setting], given: Mapping[str, Any], algo: str) -> dict[str, Any]:
    """`given` with every value in its field's type.

    The fields of an objective are those of the one that is given, if any. One of a user's own is taken as it is.

    Raises:
      ConfigError: a name that is no field, a value of the wrong type or outside its range.
    """
    chosen = given.get("objective", "")
    custom = not isinstance(chosen, str) or is_own(chosen)
    if chosen and not custom and "objective" in known:
        known = with_objective(known, chosen)
        given = {**given, "objective": known["objective"].default}
    checked = {}
    for name, value in given.items():
        if custom and name.startswith("objective"):
            checked[name] = value
            continue
        if name not in known and name.startswith("objective.") and "objective" in known:
            fields = [n for n in known if n.startswith("objective.")]
            raise unknown(f"field of objective {known['objective'].default}", name, fields)
        if name not in known:
            raise unknown(f"setting of {algo}", name, known, f"rljax train {algo} --help")
        checked[name] = _coerce(known[name], value)
        low, high = RANGES.get(name, (-INF, INF))
        if isinstance(checked[name], float):
            require(low <= checked[name] <= high, name, value, f"must lie between {low:g} and {high:g}")
    return checked


def is_own(objective: str) -> bool:
    """Whether this is no registered name: a user's own `module:Class`, or the file of a learned one."""
    return ":" in objective or objective.endswith(FILE)


def assignment(text: str, form: str, what: str = "") -> tuple[str, str]:
    """`NAME=SOMETHING` in two. Raises ConfigError where it is none, and says that SOMETHING is `form`."""
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise ConfigError(f"{what} '{text}': write it as NAME={form}".lstrip())
    return name.replace("-", "_"), value


def assignments(pairs: Iterable[str], what: str = "task") -> dict[str, float]:
    """`["length=0.5", ...]` -> `{"length": 0.5, ...}`. Raises ConfigError where one is no `NAME=NUMBER`."""
    found = {}
    for pair in pairs:
        name, text = assignment(pair, "NUMBER", what)
        try:
            found[name] = int(text) if text.lstrip("-").isdigit() else float(text)
        except ValueError:
            raise ConfigError(f"{what} '{pair}': write it as NAME=NUMBER") from None
    return found


def _coerce(setting: Setting, value: Any) -> Any:
    kind = setting.type
    if kind is object:  # a part: the file that holds it, or its arrays
        return value
    if kind is float and value == "inf":  # as a record says it
        return INF
    if get_origin(kind) is Literal:
        options = get_args(kind)
        require(value in options, setting.name, value, f"must be one of {', '.join(map(str, options))}")
        return value
    if get_origin(kind) is tuple:
        value = (value,) if type(value) is int else value
        fits = isinstance(value, list | tuple) and all(type(x) is int and x > 0 for x in value)
        require(fits, setting.name, value, "must be a list of positive integers")
        return tuple(value)
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        require(value == value, setting.name, value, "must be a number")
        return float(value)
    if kind in (float, list) and hasattr(value, "dtype"):  # already an array
        return value
    if kind is list:
        require(_is_numbers(value), setting.name, "...", "must be a list of numbers, or of such lists")
        return value
    require(type(value) is kind, setting.name, value, f"must be of type {kind.__name__}")
    return value


def _is_numbers(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_numbers, value))
    return isinstance(value, int | float) and not isinstance(value, bool)


def _registered(objective: str) -> str:
    """The name of an objective, from that or from its class's. Raises ConfigError if there is none."""
    kinds = objectives()
    name = {kind: name for name, kind in kinds.items()}.get(objective, objective)
    if name not in kinds:
        raise unknown("objective", name, kinds, "rljax list objectives")
    return name


def _file(module: str) -> Path:
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise ConfigError(f"no module '{module}'; it must be importable")
    return Path(spec.origin)


@cache
def _classes(file: Path) -> dict[str, dict[str, tuple[ast.AnnAssign, str]]]:
    """Class -> its fields, by name, each with the comment behind it; those of its bases in the same file first."""
    source = file.read_text()
    lines = source.splitlines()
    found: dict[str, dict[str, tuple[ast.AnnAssign, str]]] = {}
    for node in ast.parse(source).body:
        if not isinstance(node, ast.ClassDef):
            continue
        found[node.name] = {}
        for base in map(ast.unparse, node.bases):
            found[node.name] |= found.get(base, {})
        for field in node.body:
            if isinstance(field, ast.AnnAssign):
                found[node.name][ast.unparse(field.target)] = field, lines[field.lineno - 1].partition("  # ")[2]
    return found


def _fields(fields: Mapping[str, tuple[ast.AnnAssign, str]], group: Literal["config", "hypers"]) -> Iterable[Setting]:
    for name, (field, doc) in fields.items():
        annotation = ast.unparse(field.annotation)
        if field.value is None:  # a part with many numbers, such as weights; `make` gives it
            yield Setting(name, group, object, None, doc)
            continue
        if annotation == "Array":  # a list in a record; its default is not written down
            yield Setting(name, group, list, None, doc)
            continue
        kind = float if annotation == "Scalar" else str if annotation == "Objective" else _evaluate(annotation)
        yield Setting(name, group, kind, _default(field.value), doc)


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
