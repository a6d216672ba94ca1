"""From names and numbers to something that could run: presets, settings, algorithm, environment; nothing compiled."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rljax import algos, declarations, envs, objectives, runtime, shipped
from rljax import settings as fields
from rljax.algos.presets import preset
from rljax.arguments import STEPS
from rljax.errors import ConfigError, require, unknown
from rljax.fingerprint import fingerprint, foreign
from rljax.kinds import LARGEST, Flag, Kind, Number, Part, Table
from rljax.ops.tree import as_arrays, named_leaves
from rljax.types import Algorithm, Env

GIVEN = "given as arrays"  # what is recorded of a part that no file holds


def make(
    algo: str,
    env: str | Env,
    *,
    task: Mapping[str, Any] | None = None,
    env_args: Mapping[str, Any] | None = None,
    **settings: Any,
) -> tuple[Algorithm, Env]:
    """Builds an algorithm on an environment; keyword arguments go to its `Config` or `Hypers` by field.

    Args:
      algo: a registered algorithm.
      env: the name of an environment, or an `Env` of your own.
      task: fields of the environment's parameters to change; traced, so changing them compiles nothing.
      env_args: arguments of the environment's factory, e.g. `backend` for Brax.
      **settings: fields of `Config` and `Hypers`; `objective` is a name, `module:Class`, the file of a learned one
        (`mine.npz`), or an objective. Fields of a named objective are given as `**{"objective.clip": 0.1}`.

    Returns:
      (algorithm, whose `hypers` hold the given numbers; environment, whose `task` does).

    Raises:
      ConfigError: an unknown name or field, or a value that cannot be.
    """
    if "objective" in settings:
        settings["objective"] = objectives.own.plug_in(settings["objective"])
    return _made(algo, env, task, env_args, settings)


def made_again(
    algo: str, env: str | Env, task: Any, env_args: Any, settings: Mapping[str, Any]
) -> tuple[Algorithm, Env]:
    """What a record describes, which imports nothing. Arguments, results and errors as for `make`."""
    return _made(algo, env, task, env_args, settings, recorded=True)


def _made(
    algo: str,
    env: str | Env,
    task: Mapping[str, Any] | None,
    env_args: Mapping[str, Any] | None,
    settings: Mapping[str, Any],
    recorded: bool = False,
) -> tuple[Algorithm, Env]:
    runtime.start()
    task, env_args = Table().convert("task", task), Table().convert("env_args", env_args)
    settings = _with_own_objective(settings)
    settings = fields.check(algos.settings(algo), algos.with_defaults(algo, settings), algo)
    env = _with_task(envs.make(env, **env_args) if isinstance(env, str) else envs.check(env), task)
    module, known = algos.load(algo), algos.settings(algo)
    config = {name: value for name, value in settings.items() if name in known and known[name].group == "config"}
    shapes = module.Config(**config)
    built = module.make(env, shapes)
    numbers = {name: value for name, value in settings.items() if name not in config}
    for name, need in (module.unused(shapes, env) if hasattr(module, "unused") and not recorded else {}).items():
        given = numbers.get(name, known[name].default)  # a record holds what were the defaults then
        require(np.array_equal(given, known[name].default), name, given, f"has no effect without {need}")
    for name in numbers.keys() & _parts(algo):
        numbers[name] = _part(getattr(built.hypers, name), name, numbers[name], shapes)
    return dataclasses.replace(built, hypers=_with_numbers(built.hypers, numbers)), env


class Prepared(NamedTuple):
    """A run that could start: everything checked, nothing compiled."""

    algorithm: Algorithm  # its hypers hold the run's numbers, its length among them
    env: Env
    steps: int  # asked for
    updates: int  # whole updates that cover them
    config: dict[str, Any]  # every static setting, given or default, so that a record outlives a change of defaults


def prepare(
    algo: str,
    env: str | Env,
    *,
    steps: int | None = None,
    use_preset: bool = True,
    task: Mapping[str, Any] | None = None,
    env_args: Mapping[str, Any] | None = None,
    recorded: bool = False,
    **settings: Any,
) -> Prepared:
    """Settles what a run is: presets, length, algorithm and environment. Arguments and errors as for `train`.

    Args:
      recorded: all settings are of a record, which holds defaults as well.
    """
    algos.settings(algo)  # refuses an unknown one
    known = preset(algo, env) if Flag().convert("use_preset", use_preset) and isinstance(env, str) else None
    settings = {**(known.settings if known else {}), **settings}
    if steps is None:
        require(known is not None, "steps", None, f"there is no preset for {algo} on this environment; say how many")
        steps = known.steps  # pyright: ignore[reportOptionalMemberAccess]
    steps = STEPS.convert("steps", steps)
    algorithm, environment = _made(algo, env, task, env_args, settings, recorded)
    updates = algorithm.updates(steps)
    require(updates >= 1, "steps", steps, f"must be more than the {algorithm.warmup_steps} before learning begins")
    most = algorithm.steps(LARGEST)
    require(updates <= LARGEST, "steps", steps, f"must be at most {most:,}: updates are counted in 32 bits")
    single = _numbers(algo)
    for name, value in settings.items():
        require(name not in single or not np.ndim(value), name, value, "must be one number")
    if "horizon" not in settings:
        algorithm = dataclasses.replace(algorithm, hypers=algorithm.hypers.replace(horizon=float(updates)))
    given = algos.with_defaults(algo, settings)
    config = {
        name: setting.kind.convert(name, given.get(name, setting.default))
        for name, setting in algos.settings(algo).items()
        if setting.group == "config"
    }
    return Prepared(algorithm, environment, steps, updates, config)


def abstract_state(algorithm: Algorithm, env: Env) -> Any:
    """Shapes and dtypes of a state."""
    hypers, task = as_arrays(algorithm.hypers), as_arrays(env.task)
    return jax.eval_shape(algorithm.init, jax.random.key(0), hypers, task)


def describe(hypers: Any) -> dict[str, Any]:
    """Hypers as flat settings that JSON can hold and `make` takes back; large parts are left out, see `files_of`."""
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


def files_of(algo: str, settings: Mapping[str, Any]) -> dict[str, str]:
    """Those of the given settings that are large parts of hypers: the files that hold them, to be recorded.

    Where they are does not depend on the working directory of whoever reads the record.
    """
    given = {name: settings[name] for name in settings.keys() & _parts(algo)}
    return {name: _file(value) if isinstance(value, str) else GIVEN for name, value in given.items()}


def _file(name: str) -> str:
    path = Path(name).expanduser()
    return str(path.absolute()) if path.is_file() else name


def fingerprints(algo: str, env: str | Env, algorithm: Algorithm, there: Env) -> dict[str, str]:
    """What ran beyond names and numbers, as hashes: runs that differ in one of these are not seeds of one setting.

    Args:
      algo, env: as given to `make`.
      algorithm, there: what it gave.

    Returns:
      `task`: all numbers of the environment, given or its own; `parts`: large parts of hypers, such as a learned rule;
      `env`, `objective`, `algo`: their code, where it does not come with rljax.
    """
    found = {"task": fingerprint(named_leaves(as_arrays(there.task)))}
    if parts := {name: as_arrays(getattr(algorithm.hypers, name)) for name in sorted(_parts(algo))}:
        found["parts"] = fingerprint(named_leaves(parts))
    if not isinstance(env, str) or not envs.ours(env):
        found["env"] = _code(there)
    objective, module = type(getattr(algorithm.hypers, "objective", None)), algos.load(algo)
    if not foreign(objective.__module__):
        found["objective"] = fingerprint(objective)
    code = module if isinstance(module, type) and issubclass(module, Algorithm) else module.make
    if not foreign(getattr(code, "__module__", "")):
        found["algo"] = fingerprint(code)
    return found


@functools.lru_cache
def _code(env: Env) -> str:
    return fingerprint(env.reset, env.step, env.new_task, env.observation_space, env.action_space)


def _numbers(algo: str) -> set[str]:
    return {name for name, setting in algos.settings(algo).items() if isinstance(setting.kind, Number)}


def _parts(algo: str) -> set[str]:
    return {name for name, setting in algos.settings(algo).items() if isinstance(setting.kind, Part)}


def _part(default: Any, name: str, given: Any, shapes: Any) -> Any:
    """A part of hypers, from the file that holds it (or the name of one that comes with rljax), or as given.

    Raises:
      ConfigError: the file cannot be read, or its arrays have other names or shapes.
    """
    if not isinstance(given, str):
        return given
    require(given != GIVEN, name, given, "is not recorded; write it to a file and give that")
    stored, wanted = objectives.files.read(shipped.file_of(given)), named_leaves({name: default})
    require(all(np.isfinite(x).all() for x in stored.arrays.values()), name, given, "holds what is no number")
    if {n: x.shape for n, x in stored.arrays.items()} != {n: x.shape for n, x in wanted.items()}:
        made, own = _made_with(stored), dataclasses.asdict(shapes)
        other = ", ".join(f"{n}={x}" for n, x in made.items() if n in own and not np.array_equal(x, own[n]))
        raise ConfigError(f"{name}={given}: its arrays are of other sizes; it was made with {other or 'other parts'}")
    return jax.tree.unflatten(jax.tree.structure(default), [stored.arrays[n] for n in wanted])


def _made_with(stored: objectives.files.Stored) -> dict[str, Any]:
    """The settings that a part was learned with, where its file says so."""
    tasks = stored.provenance.get("tasks")
    first = tasks[0] if isinstance(tasks, list) and tasks else None
    made = first.get("settings") if isinstance(first, dict) else None
    return made if isinstance(made, dict) else {}


def _with_task(env: Env, changes: Mapping[str, Any]) -> Env:
    if not changes:
        return env
    names = [f.name for f in dataclasses.fields(env.task)] if dataclasses.is_dataclass(env.task) else []
    require(bool(names), "task", dict(changes), f"{env.name} has none by name; make it a flax.struct.PyTreeNode")
    for name in changes:
        if name not in names:
            raise ConfigError(f"{unknown(f'task parameter of {env.name}', name, names)}; there are {', '.join(names)}")
    task: Any = env.task
    declared = {f.name: f.metadata.get("kind") for f in dataclasses.fields(task)}
    numbers = {n: _like(getattr(task, n), f"task.{n}", value, declared[n]) for n, value in changes.items()}
    env = dataclasses.replace(env, task=dataclasses.replace(task, **numbers))
    bound = int(env.longest_episode())
    for name, value in changes.items():  # whichever it is that bounds episodes
        require(bound >= 1, f"task.{name}", value, f"makes episodes of {bound} steps; give at least 1")
    return env


def _like(default: Any, name: str, value: Any, kind: Kind | None) -> Any:
    """A number of the type of `default`, so that all numbers share a program; an array of the same shape and type."""
    kind = kind or declarations.of_number(default)
    if not np.ndim(default) and not np.ndim(value):
        return kind.convert(name, value)
    require(np.shape(default) == np.shape(value), name, value, f"must have the shape {np.shape(default)}")
    array = np.asarray(value)
    for number in {x for x in array.ravel().tolist() if x == x} | set(array[array != array].tolist()[:1]):
        kind.convert(name, number)
    return array.astype(np.result_type(default))


def _with_own_objective(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """Settings in which an objective that is named `module:Class` stands as such, with its fields."""
    name = settings.get("objective")
    if name is None or not objectives.own.is_path(name):
        return settings
    nested = {n.removeprefix("objective."): value for n, value in settings.items() if n.startswith("objective.")}
    rest = {n: value for n, value in settings.items() if not n.startswith("objective")}
    return {**rest, "objective": objectives.own.make(name, nested)}


def _with_numbers(hypers: Any, numbers: dict[str, Any]) -> Any:
    nested = {name.removeprefix("objective."): v for name, v in numbers.items() if name.startswith("objective.")}
    plain = {name: value for name, value in numbers.items() if not name.startswith("objective.")}
    objective = plain.pop("objective", None)
    if isinstance(objective, str):
        nested = {name: jnp.asarray(v) if isinstance(v, list) else v for name, v in nested.items()}
        plain["objective"] = objectives.build(objective, **nested)
    elif objective is not None:
        plain["objective"] = dataclasses.replace(objective, **nested)
    elif nested:
        plain["objective"] = dataclasses.replace(hypers.objective, **nested)
    return hypers.replace(**plain)


def plain_value(value: Any) -> Any:
    """As JSON can hold it: it has no infinity."""
    value = np.asarray(value).tolist() if hasattr(value, "dtype") else value
    return str(value) if isinstance(value, float) and np.isinf(value) else value
