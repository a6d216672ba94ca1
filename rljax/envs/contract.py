"""Checks what an environment gives against what it says, when it is made: by abstract evaluation, without a step.

What can be cast without a loss of meaning is cast, by functions around the environment's own; everything else is
refused in one line. The functions are cached, so an environment that is checked again compiles nothing again, and one
without anything to cast is returned as it is.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rljax import modes, runtime
from rljax.envs import space_checks
from rljax.envs.abstract import demand, described, evaluate
from rljax.envs.results import (
    check_flags,
    of_reset,
    of_step,
    require_array,
    require_scalar,
    same_observation,
    same_reward,
)
from rljax.errors import ConfigError
from rljax.ops.explore import check_legal
from rljax.spaces import cast, like
from rljax.types import Array, Env, Space, StepResult


def checked(env: Any) -> Env:
    """Checks an environment -> itself, or one around it that casts its results; see `rljax.envs.check`."""
    runtime.start()
    if not isinstance(env, Env):
        raise ConfigError(f"env is {described(env)}: {_instead_of(env)}")
    try:
        _check_fields(env)
        space = space_checks.action_space(env.action_space)
        env = env if space == env.action_space else dataclasses.replace(env, action_space=space)
        task, x64 = _numbers(env.task), modes.is_on("jax_enable_x64")
        functions = _functions(env.reset, env.step, env.observation_space, space, env.agents, task, x64)
        _check_tasks(env.new_task, env.time_limit, task)
    except ConfigError as error:
        raise ConfigError(f"environment '{env.name}': {error}") from error.__cause__
    return env if functions is None else dataclasses.replace(env, reset=functions[0], step=functions[1])


def _instead_of(given: Any) -> str:
    """Says what to give instead of something that is no Env."""
    first = given[0] if isinstance(given, tuple | list) and given else given
    if hasattr(first, "step_env"):
        return "give a Gymnax environment by its name, or its reset_env and step_env in an rljax.types.Env"
    if inspect.isfunction(first) or isinstance(first, functools.partial):
        return "give what it returns, or register it and give its name: rljax.envs.register('my/env', it)"
    if hasattr(first, "step"):
        return "give an rljax.types.Env; its reset and step are functions of (key, task), written in JAX"
    return "must be a name (rljax list envs shows all) or an rljax.types.Env"


def _check_fields(env: Env) -> None:
    """Refuses what cannot be, before anything is called."""
    demand(isinstance(env.name, str) and bool(env.name), f"name is {env.name!r}: must be a name, such as 'my/env'")
    for name in ("reset", "step", "render", "new_task", "time_limit"):
        given = getattr(env, name)
        needed = name in ("reset", "step")
        fits = callable(given) or (given is None and not needed)
        demand(fits, f"{name} is {described(given)}: must be a function{'' if needed else ' or None'}")
    count = isinstance(env.agents, int) and not isinstance(env.agents, bool) and env.agents >= 1
    demand(env.agents is None or count, f"agents is {env.agents!r}: must be their number, at least 1, or None")
    space_checks.check("observation_space", env.observation_space)
    space_checks.check("action_space", env.action_space)
    check_legal(env.observation_space, env.action_space)


class Numbers(NamedTuple):
    """The structure, shapes and dtypes of a task; hashable."""

    structure: Any
    shapes: tuple[tuple[int, ...], ...]
    dtypes: tuple[Any, ...]

    def like(self) -> Any:
        leaves = [jax.ShapeDtypeStruct(*leaf) for leaf in zip(self.shapes, self.dtypes)]
        return jax.tree.unflatten(self.structure, leaves)


def _numbers(task: Any) -> Numbers:
    for path, x in jax.tree.leaves_with_path(task):
        number = isinstance(x, bool | int | float | np.generic | np.ndarray | jax.Array)
        number = number and (isinstance(x, jax.Array) or np.asarray(x).dtype.kind in "biuf")
        where = f"task{jax.tree_util.keystr(path)}"
        demand(
            number, f"{where} is {described(x)}: must be a number; make the task a flax.struct.PyTreeNode of numbers"
        )
    leaves, structure = jax.tree.flatten(task)
    dtypes = (x.dtype if isinstance(x, jax.Array) else jnp.result_type(x) for x in leaves)
    return Numbers(structure, tuple(np.shape(x) for x in leaves), tuple(dtypes))


@functools.cache
def _functions(
    reset: Callable[..., Any],
    step: Callable[..., Any],
    observation_space: Space,
    action_space: Space,
    agents: int | None,
    task: Numbers,
    x64: bool,
) -> tuple[Callable[..., Any], Callable[..., Any]] | None:
    """Makes (reset, step) that give what is declared; None where the given ones do."""
    del x64  # what a function gives depends on it
    key = jax.random.key(0)
    state, obs = evaluate("reset(key, task)", reset, functools.partial(of_reset, observation_space), key, task.like())
    same = same_observation("observation of reset", obs, observation_space) and _strong(state)
    state = jax.tree.map(_strongly, state)
    action = like(action_space)
    while True:  # until it holds: a state of whole numbers may become one of fractions
        form = functools.partial(of_step, observation_space)
        after, result = evaluate("step(key, state, action, task)", step, form, key, state, action, task.like())
        wider = _wider(state, after)
        same = same and _strong(after) and _dtypes(after) == _dtypes(state)
        if _dtypes(wider) == _dtypes(state):
            break
        state = wider
    same = same_observation("observation of step", result.obs, observation_space) and same
    same = same_reward(result.reward, agents) and same
    check_flags(result, agents)
    if same:
        return None

    def cast_reset(key: Array, task: Any) -> tuple[Any, Array]:
        begun, obs = reset(key, task)
        return _cast(begun, state), cast(observation_space, obs)

    def cast_step(key: Array, state_: Any, action: Array, task: Any) -> tuple[Any, StepResult]:
        after, (obs, reward, terminated, truncated) = step(key, state_, action, task)
        flags = (jnp.asarray(flag, bool) for flag in (terminated, truncated))
        shown = cast(observation_space, obs)
        return _cast(after, state), StepResult(shown, jnp.asarray(reward, jnp.float32), *flags)

    return cast_reset, cast_step


def _wider(before: Any, after: Any) -> Any:
    """Joins the states before and after a step: dtypes that hold both. Raises ConfigError where they do not fit."""
    old, new = ({jax.tree_util.keystr(p): x for p, x in jax.tree.leaves_with_path(t)} for t in (before, after))
    if jax.tree.structure(before) != jax.tree.structure(after):
        apart = sorted(old.keys() ^ new.keys())
        only = (
            f"only one of them has {apart[0] or 'a leaf'}" if apart else f"{described(before)} and {described(after)}"
        )
        raise ConfigError(f"state of step is of another structure than that of reset ({only}): must be the same")

    def join(path: Any, a: Any, b: Any) -> Any:
        where = f"state{jax.tree_util.keystr(path)}"
        demand(a.shape == b.shape, f"{where} has shape {a.shape} after reset and {b.shape} after step: keep one shape")
        keys = [jnp.issubdtype(x.dtype, jax.dtypes.extended) for x in (a, b)]
        fits = a.dtype == b.dtype or not any(keys)
        demand(fits, f"{where} is {a.dtype} after reset and {b.dtype} after step: keep one dtype")
        return a if a.dtype == b.dtype else jax.ShapeDtypeStruct(a.shape, jnp.promote_types(a.dtype, b.dtype))

    return jax.tree.map_with_path(join, before, after)


def _check_tasks(new_task: Any, time_limit: Any, task: Numbers) -> None:
    """Refuses drawn tasks of other shapes than the default one, and a limit that is no number."""
    if new_task is not None:
        drawn = evaluate("new_task(key)", new_task, lambda out: None, jax.random.key(0))
        shapes = tuple(x.shape for x in jax.tree.leaves(drawn))
        same = jax.tree.structure(drawn) == task.structure and shapes == task.shapes
        demand(same, "new_task gives a task of another structure or shape than the default one: must be the same")
    if time_limit is not None:
        limit = evaluate("time_limit(task)", time_limit, functools.partial(require_array, "time_limit"), task.like())
        require_scalar("time_limit", limit.shape, "its greatest entry")


def _strongly(x: Any) -> Any:
    return jax.ShapeDtypeStruct(x.shape, x.dtype)


def _strong(tree: Any) -> bool:
    return not any(x.weak_type for x in jax.tree.leaves(tree))


def _dtypes(tree: Any) -> list[Any]:
    return [x.dtype for x in jax.tree.leaves(tree)]


def _cast(tree: Any, like: Any) -> Any:
    """Casts `tree` to the dtypes of `like`; leaves random keys alone."""
    return jax.tree.map(
        lambda x, y: x if jnp.issubdtype(y.dtype, jax.dtypes.extended) else jnp.asarray(x, y.dtype), tree, like
    )
