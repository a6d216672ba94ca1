"""The task of a run: the numbers of an environment, as they are or on their way from one to another."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from rljax import declarations
from rljax.algos.curriculum import Curriculum, Moving, check_function
from rljax.errors import ConfigError, require, unknown
from rljax.kinds import Kind, Number
from rljax.ops import schedules
from rljax.registry import parsed
from rljax.types import Algorithm, Env


class Way(NamedTuple):
    """The way that a number of the task goes."""

    start: float
    end: float
    schedule: str


def with_task(env: Env, changes: Mapping[str, Any]) -> Env:
    """The environment with other numbers in its task. Raises ConfigError for a name or value that cannot be."""
    if not changes:
        return env
    names = [f.name for f in dataclasses.fields(env.task)] if dataclasses.is_dataclass(env.task) else []
    require(bool(names), "task", dict(changes), f"{env.name} has none by name; make it a flax.struct.PyTreeNode")
    for name in changes:
        if name not in names:
            raise ConfigError(f"{unknown(f'task parameter of {env.name}', name, names)}; there are {', '.join(names)}")
    task: Any = env.task
    for name, value in changes.items():
        require(getattr(task, name) is not None, f"task.{name}", value, f"{env.name} draws it anew; leave it out")
    declared = {f.name: f.metadata.get("kind") for f in dataclasses.fields(task)}
    numbers = {n: _like(getattr(task, n), f"task.{n}", value, declared[n]) for n, value in changes.items()}
    env = dataclasses.replace(env, task=dataclasses.replace(task, **numbers))
    bound = int(env.longest_episode())
    for name, value in changes.items():  # whichever it is that bounds episodes
        require(bound >= 1, f"task.{name}", value, f"makes episodes of {bound} steps; give at least 1")
    return env


def _like(default: Any, name: str, value: Any, kind: Kind | None) -> Any:
    """Converts a number, or an array, to the type and shape of `default`, so that all values share a program."""
    kind = kind or declarations.of_number(default)
    if not np.ndim(default) and not np.ndim(value):
        return kind.convert(name, value)
    require(np.shape(default) == np.shape(value), name, value, f"must have the shape {np.shape(default)}")
    array = np.asarray(value)
    for number in {x for x in array.ravel().tolist() if x == x} | set(array[array != array].tolist()[:1]):
        kind.convert(name, number)
    return array.astype(np.result_type(default))


def _way(name: str, text: str) -> Way:
    """Reads `linear(5, 15)`. Raises ConfigError where it is no schedule from one number to another."""
    call = parsed(text)
    form = "must be a number, or the way from one to another, such as linear(5,15)"
    require(len(call.args) >= 2, name, text, form)
    start, end = (Number().convert(name, x) for x in call.args[:2])
    given = [*map(repr, call.args[2:]), *(f"{key}={value!r}" for key, value in call.named.items())]
    schedule = f"{call.name}({','.join(given)})" if given else call.name
    schedules.check(schedule)
    return Way(start, end, schedule)


def ways(task: Mapping[str, Any]) -> dict[str, Way]:
    """The numbers of a task that move, `linear(5,15)`, and how. Raises ConfigError for other brackets."""
    return {name: _way(f"task.{name}", x) for name, x in task.items() if isinstance(x, str) and "(" in x}


def at_end(task: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers of a task as they are in the end: on that one a policy is evaluated."""
    return {**task, **{name: way.end for name, way in ways(task).items()}}


def with_curriculum(
    algorithm: Algorithm, env: Env, changes: Mapping[str, Any], function: Callable[[Any, Any], Any] | None
) -> tuple[Algorithm, Any]:
    """The algorithm and the task that it learns on, where that moves.

    Args:
      env: the environment, its task as it is in the end.
      changes: numbers of the task, as given.
      function: a curriculum, or None.

    Raises:
      ConfigError: the function is none.
    """
    moving, task = ways(changes), env.task
    if moving:
        start = with_task(env, {name: way.start for name, way in moving.items()}).task
        task = Moving(start, {name: getattr(env.task, name) for name in moving})
    if function is not None:
        check_function(function, env.task)
    along = tuple((name, way.schedule) for name, way in moving.items())
    return Curriculum(env, algorithm.config, algorithm.hypers, algorithm, along, function), task
