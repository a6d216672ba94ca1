"""Builds an algorithm and an environment from names and numbers; compiles nothing."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rljax import algos, envs, objectives, registry, runtime, settings, shipped
from rljax.errors import ConfigError, require
from rljax.fields import Entry
from rljax.fingerprint import fingerprint, foreign
from rljax.kinds import Part, PolicyObjective
from rljax.ops.tree import as_arrays, named_leaves
from rljax.parts import Chosen, Parts, of_record, split
from rljax.plugins import COLON
from rljax.settings import Setting
from rljax.task import with_task
from rljax.types import Algorithm, Env

GIVEN = "given as arrays"  # the record of a part that is in no file


class Prepared(NamedTuple):
    """A run that can start: everything is checked, nothing is compiled."""

    algorithm: Algorithm  # its hypers hold the run's numbers, its length among them
    env: Env  # its task is what a policy is evaluated on
    task: Any  # what is learned on: that of the environment, or `WithData`
    steps: int  # asked for
    updates: int  # whole updates that cover them
    config: dict[str, Any]  # every static setting, given or default, so that a record outlives a change of defaults

    @property
    def acting(self) -> Algorithm:
        """The algorithm whose policy acts: it knows of no curriculum."""
        return getattr(self.algorithm, "inner", self.algorithm)


def plugged_in(known: Mapping[str, Setting], given: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as a user gave them, with names for the user's own classes: a record may name these from now on.

    Raises:
      ConfigError: what is given as `module:Class`, or as an object, is nothing of the kind.
    """
    found = dict(given)
    for name, value in given.items():
        kind = known[name].kind if name in known else None
        if isinstance(kind, Entry):
            found[name] = plugged_name(kind.what, value) if _is_code(value) else kind.convert(name, value)
    if "objective" in given:
        found["objective"] = objectives.plugged.plug_in(PolicyObjective().convert("objective", given["objective"]))
    return found


def plugged_name(what: str, given: Any) -> str:
    """The name of something of the user's, given as such, as `module:Class`, or by a name that is registered.

    Raises:
      ConfigError: there is none.
    """
    if not isinstance(given, str):
        return registry.of(what).register_own(given)
    called = registry.parsed(given).name
    if COLON in called:
        registry.of(what).register_path(called)
    registry.of(what).check(called)
    return given


def _is_code(value: Any) -> bool:
    return not isinstance(value, str) or COLON in value


def build(
    algo: str, env: str | Env, env_args: Mapping[str, Any], parts: Parts, recorded: bool = False
) -> tuple[Algorithm, Env]:
    """Builds an algorithm, whose `hypers` hold the given numbers, on an environment, whose `task` does.

    Args:
      recorded: the settings are of a record, which holds defaults as well.

    Raises:
      ConfigError: an unknown name or field, or a value that cannot be.
    """
    runtime.start()
    known = algos.settings(algo)
    parts = _with_own_objective(parts)
    given = parts._replace(task={}).flat()
    given = split(known, settings.check(known, algos.with_defaults(algo, given), algo))
    env = with_task(envs.make(env, **env_args) if isinstance(env, str) else envs.check(env), parts.task)
    module = algos.load(algo)
    start = settings.defaults_of(module, "config")
    config = module.Config(**given.config) if start is None else dataclasses.replace(start, **given.config)
    built = module.make(env, config)
    require(isinstance(built, Algorithm), f"make of {algo}", type(built).__name__, "must give an rljax.types.Algorithm")
    counted = "has no steps_per_update; say how many environment steps a step takes, 0 offline"
    require(hasattr(built, "steps_per_update"), "algorithm", algo, counted)
    if jax.tree.leaves(built.hypers) == [built.hypers]:
        raise ConfigError(f"Hypers of {algo}: is no pytree; derive it from flax.struct.PyTreeNode")
    for name, need in (module.unused(config, env) if hasattr(module, "unused") and not recorded else {}).items():
        value = given.hypers.get(name, known[name].default)  # a record holds what were the defaults then
        require(np.array_equal(value, known[name].default), name, value, f"has no effect without {need}")
    numbers = dict(given.hypers)
    for name in numbers.keys() & _parts(algo):
        numbers[name] = _part(getattr(built.hypers, name), name, numbers[name], config)
    return dataclasses.replace(built, hypers=_with_numbers(built.hypers, numbers, given.objective)), env


def abstract_state(prepared: Prepared) -> Any:
    """Shapes and dtypes of a state."""
    hypers, task = as_arrays(prepared.algorithm.hypers), as_arrays(prepared.task)
    return jax.eval_shape(prepared.algorithm.init, jax.random.key(0), hypers, task)


def state_of(prepared: Prepared, stored: Mapping[str, np.ndarray]) -> Any:
    """A state with the stored leaves, by their paths; the policy reads no other, so that those may be anything."""
    shapes = abstract_state(prepared)

    def leaf(name: str, like: Any) -> Any:
        if name not in stored:
            return jnp.zeros(())
        data = jnp.asarray(stored[name])
        key = jnp.issubdtype(like.dtype, jax.dtypes.prng_key)
        wanted = jax.eval_shape(jax.random.key_data, like) if key else like
        require(data.shape == wanted.shape, f"state {name}", data.shape, f"must have the shape {wanted.shape}")
        return jax.random.wrap_key_data(data) if key else data

    leaves = [leaf(name, like) for name, like in named_leaves(shapes).items()]
    return jax.tree.unflatten(jax.tree.structure(shapes), leaves)


def describe(hypers: Any) -> dict[str, Any]:
    """Writes hypers as flat settings that JSON has and `make` takes; large parts are left out, see `files_of`."""
    flat = {}
    for field in dataclasses.fields(hypers):
        value = getattr(hypers, field.name)
        if isinstance(value, Mapping):
            continue
        if field.name == "objective":
            flat["objective"] = objectives.name_of(value)
            flat |= {f"objective.{f.name}": plain_value(getattr(value, f.name)) for f in dataclasses.fields(value)}
        else:
            flat[field.name] = plain_value(value)
    return flat


def files_of(algo: str, hypers: Mapping[str, Any]) -> dict[str, str]:
    """Finds the files of the given settings that are large parts of hypers, to be recorded.

    Their paths do not depend on the working directory of whoever reads the record.
    """
    given = {name: hypers[name] for name in hypers.keys() & _parts(algo)}
    return {name: _file(value) if isinstance(value, str) else GIVEN for name, value in given.items()}


def _file(name: str) -> str:
    path = Path(name).expanduser()
    return str(path.absolute()) if path.is_file() else name


Hashed = dict[Any, tuple[list[Any], str]]
"""Leaves that were hashed, kept so that no others get their identities, and their hash; by structure and identities."""


def fingerprints(algo: str, env: str | Env, prepared: Prepared, hashed: Hashed | None = None) -> dict[str, str]:
    """Hashes what names and numbers do not say of a run: runs with different hashes are not seeds of one setting.

    Args:
      algo, env: the names that it was built by.
      hashed: what was hashed for other rows of one plan, between which no array changes; what is new is added.

    Returns:
      `task`: all numbers of the environment, given or default; `parts`: large parts of hypers, such as a learned rule;
      `env`, `objective`, `algo`: their code, where it does not come with rljax.
    """
    hypers, module, hashed = prepared.algorithm.hypers, algos.load(algo), {} if hashed is None else hashed
    found = {"task": _hash(prepared.env.task, hashed)}
    if parts := {name: getattr(hypers, name) for name in sorted(_parts(algo))}:
        found["parts"] = _hash(parts, hashed)
    if not isinstance(env, str) or not envs.ours(env):
        found["env"] = _code(prepared.env)
    objective = type(getattr(hypers, "objective", None))
    if not foreign(objective.__module__):
        found["objective"] = fingerprint(objective)
    code = module if isinstance(module, type) and issubclass(module, Algorithm) else module.make
    if not foreign(getattr(code, "__module__", "")):
        found["algo"] = fingerprint(code)
    for name, setting in algos.settings(algo).items():
        if isinstance(setting.kind, Entry):
            known, called = registry.of(setting.kind.what), registry.parsed(prepared.config[name]).name
            if not known.is_shipped(called):
                found[name] = fingerprint(known.load(called))
    return found


def _hash(tree: Any, hashed: Hashed) -> str:
    """Hashes the leaves of a tree, unless the same were hashed before."""
    leaves, structure = jax.tree.flatten(tree)
    key = structure, *map(id, leaves)
    if key not in hashed:
        hashed[key] = leaves, fingerprint(named_leaves(as_arrays(tree)))
    return hashed[key][1]


@functools.lru_cache
def _code(env: Env) -> str:
    return fingerprint(env.reset, env.step, env.new_task, env.observation_space, env.action_space)


def _parts(algo: str) -> set[str]:
    return {name for name, setting in algos.settings(algo).items() if isinstance(setting.kind, Part)}


def _part(default: Any, name: str, given: Any, shapes: Any) -> Any:
    """Reads a part of hypers from its file (or by the name of one that comes with rljax), or takes it as given.

    Raises:
      ConfigError: the file cannot be read, or its arrays have other names or shapes.
    """
    if not isinstance(given, str):
        return given
    require(given != GIVEN, name, given, "is not recorded; write it to a file and give that")
    stored, wanted = objectives.files.read(shipped.file_of(given)), named_leaves({name: default})
    require(all(np.isfinite(x).all() for x in stored.arrays.values()), name, given, "holds what is no number")
    if {n: x.shape for n, x in stored.arrays.items()} != {n: x.shape for n, x in wanted.items()}:
        made, here = _made_with(stored), dataclasses.asdict(shapes)
        other = ", ".join(f"{n}={x}" for n, x in made.items() if n in here and not np.array_equal(x, here[n]))
        raise ConfigError(f"{name}={given}: its arrays are of other sizes; it was made with {other or 'other parts'}")
    return jax.tree.unflatten(jax.tree.structure(default), [stored.arrays[n] for n in wanted])


def _made_with(stored: objectives.files.Stored) -> dict[str, Any]:
    """The settings that a part was learned with, where its file says so."""
    try:
        return of_record(stored.provenance["tasks"][0])
    except (KeyError, TypeError, IndexError, AttributeError):
        return {}


def _with_own_objective(parts: Parts) -> Parts:
    """Replaces an objective that is named `module:Class` by the objective itself, with its fields."""
    chosen = parts.objective
    if chosen is None or not objectives.plugged.is_path(chosen.name):
        return parts
    return parts._replace(objective=Chosen(objectives.plugged.make(*chosen), {}))


def _with_numbers(hypers: Any, numbers: dict[str, Any], chosen: Chosen | None) -> Any:
    if chosen is None:
        return dataclasses.replace(hypers, **numbers)
    fields = dict(chosen.fields)
    if isinstance(chosen.name, str):
        fields = {name: jnp.asarray(v) if isinstance(v, list) else v for name, v in fields.items()}
        objective = objectives.build(chosen.name, **fields)
    else:
        objective = dataclasses.replace(hypers.objective if chosen.name is None else chosen.name, **fields)
    return dataclasses.replace(hypers, **numbers, objective=objective)


def plain(value: Any) -> Any:
    """Converts a value for JSON: environments and objectives to their names, infinity to text."""
    if isinstance(value, Env):
        return value.name
    if callable(value):  # as an objective is
        return objectives.name_of(value)  # pyright: ignore[reportArgumentType]
    value = plain_value(value.item() if getattr(value, "shape", None) == () else value)
    return list(value) if isinstance(value, tuple) else value


def plain_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same of every value."""
    return {name: plain(value) for name, value in values.items()}


def plain_value(value: Any) -> Any:
    """Converts a value for JSON, which has no infinity."""
    value = np.asarray(value).tolist() if hasattr(value, "dtype") else value
    return str(value) if isinstance(value, float) and np.isinf(value) else value
