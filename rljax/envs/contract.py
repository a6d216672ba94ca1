"""What an environment gives, against what it says: one check when it is made, by abstract evaluation, without a step.

What can be cast without a loss of meaning is cast, by functions around the environment's own; everything else is
refused in one line. The functions are cached, so an environment that is checked again compiles nothing again, and one
in which nothing is to be cast is given back as it is.
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
from rljax.envs import spaces
from rljax.envs.abstract import evaluate
from rljax.errors import ConfigError
from rljax.ops.explore import check_legal
from rljax.spaces import cast, like
from rljax.types import Array, Dict, Env, Space, StepResult

FORM = "(state, StepResult(obs, reward, terminated, truncated))"


def checked(env: Any) -> Env:
    """The environment, or one around it that casts what it gives; see `rljax.envs.check`. Raises ConfigError."""
    runtime.start()
    if not isinstance(env, Env):
        raise ConfigError(f"env is {_kind(env)}: {_instead_of(env)}")
    try:
        _check_fields(env)
        space = spaces.action_space(env.action_space)
        env = env if space == env.action_space else dataclasses.replace(env, action_space=space)
        task, x64 = _numbers(env.task), modes.is_on("jax_enable_x64")
        functions = _functions(env.reset, env.step, env.observation_space, space, env.agents, task, x64)
        _check_tasks(env.new_task, env.time_limit, task)
    except ConfigError as error:
        raise ConfigError(f"environment '{env.name}': {error}") from error.__cause__
    return env if functions is None else dataclasses.replace(env, reset=functions[0], step=functions[1])


def _instead_of(given: Any) -> str:
    """What to give instead of something that is no Env."""
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
    _require(isinstance(env.name, str) and bool(env.name), f"name is {env.name!r}: must be a name, such as 'my/env'")
    for name in ("reset", "step", "render", "new_task", "time_limit"):
        given = getattr(env, name)
        needed = name in ("reset", "step")
        fits = callable(given) or (given is None and not needed)
        _require(fits, f"{name} is {_kind(given)}: must be a function{'' if needed else ' or None'}")
    count = isinstance(env.agents, int) and not isinstance(env.agents, bool) and env.agents >= 1
    _require(env.agents is None or count, f"agents is {env.agents!r}: must be their number, at least 1, or None")
    spaces.check("observation_space", env.observation_space)
    spaces.check("action_space", env.action_space)
    check_legal(env.observation_space, env.action_space)


class Numbers(NamedTuple):
    """A task but for its values; hashable."""

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
        _require(number, f"{where} is {_kind(x)}: must be a number; make the task a flax.struct.PyTreeNode of numbers")
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
    """(reset, step) that give what is declared; None where the environment's own do."""
    del x64  # what a function gives depends on it
    key = jax.random.key(0)
    state, obs = evaluate("reset(key, task)", reset, functools.partial(_of_reset, observation_space), key, task.like())
    same = _same_observation("observation of reset", obs, observation_space) and _strong(state)
    state = jax.tree.map(_strongly, state)
    action = like(action_space)
    while True:  # until it holds: a state of whole numbers may become one of fractions
        form = functools.partial(_of_step, observation_space)
        after, result = evaluate("step(key, state, action, task)", step, form, key, state, action, task.like())
        wider = _wider(state, after)
        same = same and _strong(after) and _dtypes(after) == _dtypes(state)
        if _dtypes(wider) == _dtypes(state):
            break
        state = wider
    same = _same_observation("observation of step", result.obs, observation_space) and same
    same = _same_reward(result.reward, agents) and _same_flags(result, agents) and same
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


def _of_reset(space: Space, out: Any) -> None:
    pair = isinstance(out, tuple) and len(out) == 2
    _require(pair, f"reset gives {_kind(out)}: must be (state, obs)")
    swapped = _fits(out[0], space) and not _fits(out[1], space)
    _require(not swapped, "reset gives (obs, state): must be (state, obs); swap the two")
    _require_observation("observation of reset", out[1], space)


def _of_step(space: Space, out: Any) -> None:
    if not (isinstance(out, tuple) and len(out) == 2):
        gym = isinstance(out, tuple) and len(out) in (4, 5)
        hint = "; it is the order of Gymnax or Gymnasium" if gym else ""
        raise ConfigError(f"step gives {_kind(out)}: must be {FORM}{hint}")
    swapped = isinstance(out[0], StepResult) and not isinstance(out[1], StepResult)
    _require(not swapped, f"step gives (StepResult, state): must be {FORM}; swap the two")
    _require(isinstance(out[1], StepResult), f"step gives a state and {_kind(out[1])}: must be {FORM}")
    _require_observation("observation of step", out[1].obs, space)
    for name in ("reward", "terminated", "truncated"):
        _require_array(name, getattr(out[1], name))


def _require_array(what: str, x: Any) -> None:
    remedy = "use jnp.stack or jnp.concatenate" if what.startswith("observation") else "give it alone"
    array = isinstance(x, jax.Array | np.ndarray | np.generic | bool | int | float)
    _require(array, f"{what} is {_kind(x)}: must be one array; {remedy}")


def _require_observation(what: str, obs: Any, space: Space) -> None:
    """Refuses what has not the structure of the space."""
    if not isinstance(space, Dict):
        _require_array(what, obs)
        return
    _require(type(obs) is dict, f"{what} is {_kind(obs)}: must be a dict, as observation_space has it")
    apart = sorted(obs.keys() ^ space.spaces.keys())
    _require(not apart, f"{what} and observation_space differ in {apart[:1]}: must have the same entries")
    for name, each in space.spaces.items():
        _require_observation(f"{what}[{name!r}]", obs[name], each)


def _fits(x: Any, space: Space) -> bool:
    if isinstance(space, Dict):
        return type(x) is dict and x.keys() == space.spaces.keys()
    return isinstance(x, jax.Array | np.ndarray | np.generic) and x.shape == space.shape


def _same_observation(what: str, obs: Any, space: Space) -> bool:
    """Whether nothing is to be cast."""
    if isinstance(space, Dict):
        same = [_same_observation(f"{what}[{name!r}]", obs[name], each) for name, each in space.spaces.items()]
        return all(same)
    given, declared = obs.dtype, space.dtype
    said = f"{what} has shape {obs.shape} and observation_space says {space.shape}: must be the same; change either"
    _require(obs.shape == space.shape, said)
    remedy = f"write obs.astype(jnp.{declared}), or declare {given}"
    _require(_holds(declared, given), f"{what} is {given} and observation_space says {declared}: {remedy}")
    return given == declared and not obs.weak_type


def _holds(declared: Any, given: Any) -> bool:
    """Whether numbers of dtype `given` are cast to `declared` without a loss of meaning (64 bits hold 32, for us)."""
    if given in (declared, np.bool_):
        return True
    if jnp.issubdtype(declared, jnp.floating):
        return jnp.issubdtype(given, jnp.integer) or jnp.issubdtype(given, jnp.floating)
    whole = jnp.issubdtype(declared, jnp.integer) and jnp.issubdtype(given, jnp.integer)
    return whole and (np.can_cast(given, declared) or declared.itemsize >= 4)


def _same_reward(reward: Any, agents: int | None) -> bool:
    _require_shape("reward", reward.shape, agents, "reward.sum()")
    real = jnp.issubdtype(reward.dtype, jnp.floating) or jnp.issubdtype(reward.dtype, jnp.integer)
    _require(real or reward.dtype == bool, f"reward is {reward.dtype}: must be a real number; write reward.real")
    return reward.dtype == jnp.float32 and not reward.weak_type


def _same_flags(result: StepResult, agents: int | None) -> bool:
    for name in ("terminated", "truncated"):
        flag = getattr(result, name)
        _require_shape(name, flag.shape, agents, f"{name}.any()")
        _require(flag.dtype == bool, f"{name} is {flag.dtype}: must be bool; write {name} > 0")
    return True


def _require_shape(name: str, shape: tuple[int, ...], agents: int | None, remedy: str) -> None:
    """Refuses what is no scalar or, where there are several agents, has no entry for each of them."""
    if agents is None:
        _require_scalar(name, shape, remedy + (f", or give agents={shape[0]}" if len(shape) == 1 else ""))
        return
    _require(shape == (agents,), f"{name} has shape {shape}: must be ({agents},), an entry for each agent")


def _require_scalar(name: str, shape: tuple[int, ...], remedy: str) -> None:
    remedy = f"{name}[0]" if shape == (1,) else remedy
    _require(shape == (), f"{name} has shape {shape}: must be a scalar; return {remedy}")


def _wider(before: Any, after: Any) -> Any:
    """The state with dtypes that hold those before a step and after it. Raises ConfigError where they do not fit."""
    old, new = ({jax.tree_util.keystr(p): x for p, x in jax.tree.leaves_with_path(t)} for t in (before, after))
    if jax.tree.structure(before) != jax.tree.structure(after):
        apart = sorted(old.keys() ^ new.keys())
        only = f"only one of them has {apart[0] or 'a leaf'}" if apart else f"{_kind(before)} and {_kind(after)}"
        raise ConfigError(f"state of step is of another structure than that of reset ({only}): must be the same")

    def join(path: Any, a: Any, b: Any) -> Any:
        where = f"state{jax.tree_util.keystr(path)}"
        _require(
            a.shape == b.shape, f"{where} has shape {a.shape} after reset and {b.shape} after step: keep one shape"
        )
        keys = [jnp.issubdtype(x.dtype, jax.dtypes.extended) for x in (a, b)]
        fits = a.dtype == b.dtype or not any(keys)
        _require(fits, f"{where} is {a.dtype} after reset and {b.dtype} after step: keep one dtype")
        return a if a.dtype == b.dtype else jax.ShapeDtypeStruct(a.shape, jnp.promote_types(a.dtype, b.dtype))

    return jax.tree.map_with_path(join, before, after)


def _check_tasks(new_task: Any, time_limit: Any, task: Numbers) -> None:
    """Refuses drawn tasks of other shapes than the default one, and a limit that is no number."""
    if new_task is not None:
        drawn = evaluate("new_task(key)", new_task, lambda out: None, jax.random.key(0))
        shapes = tuple(x.shape for x in jax.tree.leaves(drawn))
        same = jax.tree.structure(drawn) == task.structure and shapes == task.shapes
        _require(same, "new_task gives a task of another structure or shape than the default one: must be the same")
    if time_limit is not None:
        limit = evaluate("time_limit(task)", time_limit, functools.partial(_require_array, "time_limit"), task.like())
        _require_scalar("time_limit", limit.shape, "its greatest entry")


def _strongly(x: Any) -> Any:
    return jax.ShapeDtypeStruct(x.shape, x.dtype)


def _strong(tree: Any) -> bool:
    return not any(x.weak_type for x in jax.tree.leaves(tree))


def _dtypes(tree: Any) -> list[Any]:
    return [x.dtype for x in jax.tree.leaves(tree)]


def _cast(tree: Any, like: Any) -> Any:
    """`tree` with the dtypes of `like`; random keys are left alone."""
    return jax.tree.map(
        lambda x, y: x if jnp.issubdtype(y.dtype, jax.dtypes.extended) else jnp.asarray(x, y.dtype), tree, like
    )


def _kind(given: Any) -> str:
    """What something is, in words."""
    if given is None:
        return "None"
    if isinstance(given, jax.Array):
        return "an array"
    if isinstance(given, type):
        return f"the class {given.__name__}"
    if isinstance(given, tuple) and not hasattr(given, "_fields"):
        return f"a tuple of {len(given)}"
    return f"a {type(given).__name__}"


def _require(condition: Any, message: str) -> None:
    if not condition:
        raise ConfigError(message)
