r"""Wrappers for environments with many tasks: trials of several episodes on one task, and random projections.

A name says what is around what, the innermost first. What draws tasks comes before `trials`, what an agent is shown of
its past comes last:

    CartPole-v1|random_projection(obs=8)|trials(4)|with_past

A trial is one episode to whoever plays it, and a memory lasts for it: so an agent can learn the task in its first inner
episodes. Where one of these ends, the next begins in the same step: its first observation is the successor, and no
flag is set. `with_past` behind `trials` shows where they begin, and the last action and reward of the one before, which
an agent would never see if it stood before `trials`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from rljax.envs.abstract import depends
from rljax.envs.wrappers import action_box, box
from rljax.errors import require
from rljax.kinds import Count, Flag
from rljax.nets.features import feature_bounds, flat_features
from rljax.ops.rollout import mean_over_agents
from rljax.types import Array, Box, Env, StepResult

ROUNDING = 1 + 1e-5  # by as much a projection may be longer than what it is of


class TrialState(struct.PyTreeNode):
    """A trial in progress."""

    inner: Any  # the state of the episode
    drawn: Any  # the numbers of the task that were drawn, None in place of others
    episode: Array  # [] int32: the episodes that have ended
    first: Array  # [] bool: no step of this episode was taken yet
    returns: Array  # [k] float32: of each episode, so far


def trials(env: Env, k: int, objective: bool = False) -> Env:
    """Make one episode of `k` in a row, all on one task, which `new_task` draws when they begin.

    The k-th end sets one flag. `truncated`, by default: it would go on in the same way, and the successor is the
    beginning of one more. `terminated`: the sum of these k returns is the objective. With k = 1 the flags and the
    successor are those of the environment, whose every episode has another task then.

    Numbers of the task that are not drawn may be given as ever. In the default task the others are None; a task that
    has them is what every trial is on. An environment without `new_task` keeps its task.
    `Policy.trial_returns` plays trials and gives the return of each of their episodes.

    Args:
      k: episodes of a trial.
      objective: whether the trial's end terminates.

    Raises:
      ConfigError: `k` is no positive whole number, or `objective` no bool.

    Source: Duan et al. 2016 (RL^2, arXiv:1611.02779), section 2.2, where the trial is the objective.
    """
    k, objective = Count().convert("k", k), Flag().convert("objective", objective)
    task_of = _Numbers(env)

    def reset(key: Array, task: Any) -> tuple[TrialState, Any]:
        k_task, k_reset = jax.random.split(key)
        drawn = task_of.draw(k_task)
        inner, obs = env.reset(k_reset, _whole(task, drawn))
        return TrialState(inner, drawn, jnp.int32(0), jnp.array(True), jnp.zeros(k, jnp.float32)), obs

    def step(key: Array, state: TrialState, action: Any, task: Any) -> tuple[TrialState, StepResult]:
        k_step, k_reset = jax.random.split(key)
        task = _whole(task, state.drawn)
        inner, result = env.step(k_step, state.inner, action, task)
        ended = env.ended(result.terminated, result.truncated)
        reward = mean_over_agents(env, result.reward).astype(jnp.float32)
        returns = state.returns + jnp.where(jnp.arange(k) == state.episode, reward, 0.0)
        episode, first = state.episode + ended, jnp.array(False)
        if k > 1:  # else there is no next one
            first, fresh = ended, env.reset(k_reset, task)
            inner, obs = jax.tree.map(lambda new, old: jnp.where(ended, new, old), fresh, (inner, result.obs))
            result = result._replace(obs=obs)
        if k > 1 or objective:
            over = jnp.broadcast_to(episode >= k, result.terminated.shape)
            no = jnp.zeros_like(over)
            result = result._replace(terminated=over if objective else no, truncated=no if objective else over)
        return TrialState(inner, state.drawn, episode, first, returns), result

    return _around(env, f"trials({k}{',objective=True' if objective else ''})", task_of, k, reset, step)


def _around(env: Env, label: str, numbers: _Numbers, k: int, *functions: Callable[..., Any]) -> Env:
    """Puts trials around an environment, whose task they draw."""
    limit, picture = numbers.limit, env.render
    return dataclasses.replace(
        env,
        name=f"{env.name}|{label}",
        reset=functions[0],
        step=functions[1],
        task=numbers.others,
        new_task=None,
        time_limit=None if limit is None else lambda task: k * limit(task),
        costly_reset=True,  # rare, and it draws a task: 1.3 to 11 times as fast, by the draw (one core)
        render=None if picture is None else lambda state, task: picture(state.inner, _whole(task, state.drawn)),
    )


def trial_of(state: Any) -> TrialState | None:
    """The trial in the state of an environment, in whatever wrappers; None where there is none."""
    is_trial = lambda x: isinstance(x, TrialState)  # noqa: E731
    return next(filter(is_trial, jax.tree.leaves(state, is_leaf=is_trial)), None)


class _Numbers:
    """The numbers of an environment's task: those that `new_task` draws, and others, which it merely repeats.

    Attributes:
      others: the default task, None in place of what is drawn.
      limit: the environment's limit, of `others`; None where nothing bounds its episodes, or what is drawn does.
    """

    def __init__(self, env: Env):
        self._leaves, self._structure = jax.tree.flatten(env.task)
        self._new_task, limit, self.limit = env.new_task, env.time_limit, None
        self._marks = [False] * len(self._leaves)
        if env.new_task is not None:
            self._marks = depends(env.new_task, jax.random.key(0), on=[True])
        self.others = self._put(None if mark else x for mark, x in zip(self._marks, self._leaves))
        if limit is not None and not depends(limit, env.task, on=self._marks)[0]:
            self.limit = lambda task: limit(_whole(task, env.task))

    def draw(self, key: Array) -> Any:
        """Draws what is drawn, of the dtypes of the default task; None in place of others."""
        if self._new_task is None:
            return self._put(None for _ in self._leaves)
        drawn = zip(self._marks, jax.tree.leaves(self._new_task(key)), self._leaves)
        return self._put(jnp.asarray(x, jnp.result_type(like)) if mark else None for mark, x, like in drawn)

    def _put(self, leaves: Any) -> Any:
        return self._structure.unflatten(list(leaves))


def _whole(task: Any, drawn: Any) -> Any:
    """Fills in what is None in a task."""
    return jax.tree.map(lambda x, new: new if x is None else x, task, drawn, is_leaf=lambda x: x is None)


class Projected(struct.PyTreeNode):
    """The task of an environment, and a matrix with orthonormal columns or rows, whichever are fewer."""

    inner: Any
    matrix: Array  # [out, in] float32, drawn


def random_projection(env: Env, obs: int | None = None, action: int | None = None) -> Env:
    r"""Show observations, and take actions, by way of random linear maps, other ones in each task.

    $$x' = P x, \quad P \in R^{\mathtt{obs} \times F}, \qquad
    a = \mathrm{box}(Q a'), \quad Q \in R^{A \times \mathtt{action}}, \quad a' \in [-1, 1]^\mathtt{action}$$

    where box maps the cube of -1 to 1 to the bounds of actions, and what is outside to the nearest point. P and Q are
    uniform among matrices with orthonormal columns, or rows. They belong to the task, see `Projected`: `trials` after
    this wrapper draws them for each trial; without it they are always the same.

    Args:
      obs: entries of an observation; None: they are shown as they are.
      action: entries of an action; None: they are taken as they are.

    Raises:
      ConfigError: neither is given, or one is no positive whole number, or is for what is no Box or has no bounds.

    Source: Lu et al. 2023 (Structured State Space Models for In-Context RL, arXiv:2303.03982), with 12 and 2 entries.
    """
    require(obs is not None or action is not None, "random_projection", "()", "give obs=, action= or both")
    given = {name: Count().convert(name, x) for name, x in (("obs", obs), ("action", action)) if x is not None}
    projected = _of_actions(env, given["action"]) if "action" in given else env
    projected = _of_observations(projected, given["obs"]) if "obs" in given else projected
    label = ",".join(f"{name}={size}" for name, size in given.items())
    return dataclasses.replace(projected, name=f"{env.name}|random_projection({label})")


def _of_observations(env: Env, size: int) -> Env:
    """Projects observations to `[size]`."""
    space = box(env, "random_projection(obs)")
    low, high = feature_bounds(space)
    with np.errstate(over="ignore"):  # of bounds as large as a float32 can be
        longest = float(np.linalg.norm(np.maximum(abs(low), abs(high)))) * ROUNDING

    def reset(key: Array, task: Projected) -> tuple[Any, Array]:
        state, obs = env.reset(key, task.inner)
        return state, _times(task.matrix, flat_features(space, obs))

    def step(key: Array, state: Any, action: Any, task: Projected) -> tuple[Any, StepResult]:
        state, result = env.step(key, state, action, task.inner)
        return state, result._replace(obs=_times(task.matrix, flat_features(space, result.obs)))

    return _with_matrix(env, (size, low.size), reset=reset, step=step, observation_space=_cube(size, longest))


def _of_actions(env: Env, size: int) -> Env:
    """Takes actions `[size]`."""
    space = action_box(env, "random_projection(action)")
    require(space.bounded, "env", env.name, "random_projection(action) needs finite action bounds; leave it out")

    def reset(key: Array, task: Projected) -> tuple[Any, Any]:
        return env.reset(key, task.inner)

    def step(key: Array, state: Any, action: Array, task: Projected) -> tuple[Any, StepResult]:
        unit = _times(task.matrix, jnp.clip(action.astype(jnp.float32), -1.0, 1.0))
        return env.step(key, state, space.from_unit(unit.reshape(space.shape)), task.inner)

    return _with_matrix(env, (space.low.size, size), reset=reset, step=step, action_space=_cube(size, 1.0))


def _with_matrix(env: Env, shape: tuple[int, int], **changes: Any) -> Env:
    """Makes a matrix a part of the task."""
    limit, picture = env.time_limit, env.render

    def matrix(key: Array) -> Array:
        return jax.nn.initializers.orthogonal()(key, shape, jnp.float32)

    def new_task(key: Array) -> Projected:
        k_inner, k_matrix = jax.random.split(key)
        return Projected(env.task if env.new_task is None else env.new_task(k_inner), matrix(k_matrix))

    return dataclasses.replace(
        env,
        task=Projected(env.task, matrix(jax.random.key(0))),
        new_task=new_task,
        time_limit=None if limit is None else lambda task: limit(task.inner),
        render=None if picture is None else lambda state, task: picture(state, task.inner),
        **changes,
    )


def _times(matrix: Array, x: Array) -> Array:
    return jnp.matmul(matrix, x, precision="highest")  # bounds hold to rounding, on any device


def _cube(size: int, most: float) -> Box:
    end = np.full(size, most, np.float32)
    return Box(-end, end)
