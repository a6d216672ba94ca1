"""Settings: the fields of algorithms and objectives under flat names.

A setting has the same name on the command line and in a run record: `lr`, `num_envs`, `objective`, `objective.clip`.
Those of the package's algorithms are read from source, so that help and a misspelt option need no jax; any other module
is imported, and its classes tell their fields.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, Literal, NamedTuple

from rljax import declarations, shipped
from rljax.catalogue import OBJECTIVES
from rljax.declarations import Declared
from rljax.errors import ConfigError, require, unknown
from rljax.kinds import Kind, PolicyObjective, Weights

DRIFT = ("objective.hidden", "objective.output")  # the learned fields of a policy objective
SHIPPED = "rljax.algos."  # algorithms that are read, not imported

Group = Literal["config", "hypers"]


class Setting(NamedTuple):
    """One field: its name, whether it is static (`config`) or traced (`hypers`), its kind, default and meaning."""

    name: str
    group: Group
    kind: Kind
    default: Any
    doc: str


def of_algorithm(algorithm: Any) -> dict[str, Setting]:
    """The settings of an algorithm (see `parts_of`): `Config`, `Hypers` and its objective's kinds.

    Raises:
      ConfigError: its module cannot be imported, or lacks one of these.
    """
    if isinstance(algorithm, str) and algorithm.startswith(SHIPPED):
        return _shipped(algorithm)
    found = parts_of(algorithm)
    config, hypers = (defaults_of(found, name) for name in ("config", "hypers"))
    return _settings(declarations.of_class(found.Config, config), declarations.of_class(found.Hypers, hypers))


def parts_of(algorithm: Any) -> Any:
    """Finds an algorithm's `Config`, `Hypers` and `make`: in a class, a module, an import path of these, an object.

    Raises:
      ConfigError: it cannot be imported, or lacks one of these.
    """
    found = _imported(algorithm) if isinstance(algorithm, str) else algorithm
    for name in ("Config", "Hypers", "make"):
        what = f"'{getattr(found, '__name__', type(found).__name__)}'"
        require(hasattr(found, name), "algorithm", what, f"has no {name}; give it Config, Hypers and make")
    return found


def defaults_of(parts: Any, name: str) -> Any:
    """The default `config` or `hypers` of an algorithm, an instance; None where it has but their classes."""
    return parts.default(name) if hasattr(parts, "default") else None


def _imported(path: str) -> Any:
    """A module, or `module:Class`. Raises ConfigError where there is none."""
    module, _, name = path.partition(":")
    try:
        found = importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(f"module '{module}' cannot be imported: {error}") from None
    require(not name or hasattr(found, name), "algorithm", path, f"module '{module}' has no {name}")
    return getattr(found, name) if name else found


@cache
def _shipped(path: str) -> dict[str, Setting]:
    module, _, _ = path.partition(":")
    return _settings(*(declarations.in_source(module, name) for name in ("Config", "Hypers")))


def _settings(config: Iterable[Declared], hypers: Iterable[Declared]) -> dict[str, Setting]:
    found = [_setting(field, "config") for field in config]
    for field in hypers:
        setting = _setting(field, "hypers")
        if field.name != "objective":
            found.append(setting)
            continue
        instance = not isinstance(field.default, str)  # and not the name of a class, read from source
        name = name_of(type(field.default)) if instance else registered_name(field.default)
        setting = setting._replace(kind=PolicyObjective(), default=name, doc=f"{field.doc}: {', '.join(OBJECTIVES)}")
        found += [setting, *(of_instance(field.default) if instance else of_objective(name)).values()]
    return {setting.name: setting for setting in found}


def _setting(field: Declared, group: Group, prefix: str = "") -> Setting:
    return Setting(prefix + field.name, group, field.kind, field.default, field.doc)


def of_objective(name: str) -> dict[str, Setting]:
    """The fields of a registered objective, `objective.clip` and so on, by its name or its class's.

    Raises:
      ConfigError: there is none.
    """
    entry = OBJECTIVES.entry(registered_name(name))
    if isinstance(entry, str) and entry.startswith("rljax."):
        return _read_objective(entry)
    return _of_objective(declarations.of_class(OBJECTIVES.load(registered_name(name))))


@cache
def _read_objective(path: str) -> dict[str, Setting]:
    return _of_objective(declarations.in_source(*path.split(":")))


def _of_objective(found: Iterable[Declared]) -> dict[str, Setting]:
    return {s.name: s for s in (_setting(field, "hypers", "objective.") for field in found)}


def of_instance(objective: Any) -> dict[str, Setting]:
    """The fields of an objective that is given as an instance, with its values as defaults.

    Raises:
      ConfigError: it has no fields: it is no pytree.
    """
    found = declarations.of_class(type(objective))
    values = {f.name: None if isinstance(f.kind, Weights) else getattr(objective, f.name) for f in found}
    return _of_objective(f._replace(default=values[f.name]) for f in found)


def with_objective(known: Mapping[str, Setting], chosen: Any) -> dict[str, Setting]:
    """Replaces the fields of the default objective by those of another, a registered name or an instance.

    Raises:
      ConfigError: there is no such objective.
    """
    instance = not isinstance(chosen, str)
    objective = known["objective"]._replace(default=name_of(type(chosen)) if instance else registered_name(chosen))
    kept = {n: s for n, s in known.items() if not n.startswith("objective.")}
    return {**kept, "objective": objective, **(of_instance(chosen) if instance else of_objective(chosen))}


def registered_name(objective: str) -> str:
    """The registered name of an objective, from that or its class's name. Raises ConfigError if there is none."""
    if objective in OBJECTIVES:
        return objective
    entries = {name: OBJECTIVES.entry(name) for name in OBJECTIVES}
    classes = {e.rpartition(":")[2] if isinstance(e, str) else e.__name__: name for name, e in entries.items()}
    name = classes.get(objective, objective)
    OBJECTIVES.check(name)
    return name


def name_of(kind: type) -> str:
    """The name of an objective's class: as registered, or `module:Class`."""
    path = f"{kind.__module__}:{kind.__qualname__}"
    return next((name for name in OBJECTIVES if OBJECTIVES.entry(name) in (kind, path)), path)


def check(known: Mapping[str, Setting], given: Mapping[str, Any], algo: str) -> dict[str, Any]:
    """Converts every given value to its field's type.

    The fields of an objective are those of the given one, if any; one that is yet to be loaded, from a file or as
    `module:Class`, may have any.

    Raises:
      ConfigError: a name that is no field, a value of the wrong type or outside its bounds.
    """
    unseen = is_own(given.get("objective", ""))
    known = _with_chosen(known, given)
    checked = {}
    for name, value in given.items():
        if name in known:
            checked[name] = known[name].kind.convert(name, value)
        elif not name.startswith("objective.") or "objective" not in known:
            raise unknown(f"setting of {algo}", name, known, f"rljax train {algo} --help")
        elif unseen:
            checked[name] = value
        else:
            fields = [n for n in known if n.startswith("objective.")]
            raise unknown(f"field of objective {known['objective'].default}", name, fields)
    if isinstance(checked.get("objective"), str) and not unseen:
        checked["objective"] = known["objective"].default  # as it is registered
    _check_order(known, checked)
    return checked


def is_own(objective: Any) -> bool:
    """Whether a text is no registered name: a user's `module:Class`, or a learned objective, by file or name."""
    if not isinstance(objective, str) or not objective or objective in OBJECTIVES:
        return False
    return ":" in objective or shipped.is_learned(objective)


def _with_chosen(known: Mapping[str, Setting], given: Mapping[str, Any]) -> Mapping[str, Setting]:
    """Replaces the fields of the objective by those of the given one, and checks the numbers that an instance has."""
    chosen = given.get("objective")
    if chosen is None or "objective" not in known:
        return known
    if is_own(chosen):
        return {n: s for n, s in known.items() if not n.startswith("objective.")}
    known = with_objective(known, chosen)
    for name, setting in known.items() if not isinstance(chosen, str) else ():
        if name.startswith("objective.") and setting.default is not None:
            setting.kind.convert(name, setting.default)
    return known


def _check_order(known: Mapping[str, Setting], given: Mapping[str, Any]) -> None:
    """Refuses a number that is not above the field that it must be above, given or by default."""
    for name, setting in known.items():
        other = getattr(setting.kind, "above", None)
        if not isinstance(other, str) or not given.keys() & {name, other}:
            continue
        high, low = (given.get(n, known[n].default) for n in (name, other))
        if all(isinstance(x, float) for x in (high, low)):
            require(high > low, name, high, f"must be above {other}={low:g}")


def assignment(text: str, form: str, what: str = "") -> tuple[str, str]:
    """Splits `NAME=SOMETHING`. Raises ConfigError where it is none, and says that SOMETHING is `form`."""
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise ConfigError(f"{what} '{text}': write it as NAME={form}".lstrip())
    return name.replace("-", "_"), value


def pairs(texts: Iterable[str], form: str, what: str) -> dict[str, str]:
    """Splits several `NAME=SOMETHING`. Raises ConfigError where one is none, or a name is given twice."""
    found: dict[str, str] = {}
    for text in texts:
        name, value = assignment(text, form, what)
        require(name not in found, name, value, f"is given twice in the {what}; write all its values once")
        found[name] = value
    return found


def values(texts: Iterable[str], what: str) -> dict[str, Any]:
    """Reads `["backend=spring", "n=4"]` as `{"backend": "spring", "n": 4}`. Raises ConfigError as `pairs`."""
    return {name: literal(value) for name, value in pairs(texts, "VALUE", what).items()}


def assignments(texts: Iterable[str], what: str = "task") -> dict[str, Any]:
    """Reads `["length=0.5", ...]` as `{"length": 0.5, ...}`, and leaves `length=linear(0.5,1)` a text.

    Raises:
      ConfigError: one is neither.
    """
    found = {name: literal(value) for name, value in pairs(texts, "NUMBER", what).items()}
    for name, value in found.items():
        fits = isinstance(value, int | float) or (isinstance(value, str) and value.endswith(")"))
        require(fits, what, f"{name}={value}", "write it as NAME=NUMBER")
    return found


def literal(text: str) -> Any:
    """Reads a value as it is written on the command line: `3`, `1e-4`, `true`, `64x64` or `[64,64]`, or a name."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    if text.startswith("[") and text.endswith("]"):
        return tuple(map(literal, filter(None, split_commas(text[1:-1]))))
    parts = text.split("x")
    return tuple(map(int, parts)) if len(parts) > 1 and all(p.isdigit() for p in parts) else text


def split_commas(text: str) -> list[str]:
    """Splits a text at its commas outside brackets: `A|x(1,2),B` are `A|x(1,2)` and `B`."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and depth <= 0:
            parts.append("")
        else:
            parts[-1] += letter
    return parts
