"""XLand-MiniGrid: MiniGrid's rooms, and worlds whose goal and rules are the task, of which there are millions.

An observation shows a tile and a colour for each cell in view, as categories: `MultiDiscrete(nvec, grid)`. The task of
an XLand is a ruleset: its goal, its rules, and the objects in its rooms; all rulesets of one benchmark share a program.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rljax import modes
from rljax.envs.suites.catalogue import XMINIGRID
from rljax.envs.suites.shared import as_bytes, library
from rljax.errors import require
from rljax.kinds import Count
from rljax.ops.tree import as_arrays
from rljax.types import Array, Discrete, Env, MultiDiscrete, StepResult

REMEDY = "has no goal of its own; give ruleset=, or benchmark= (a file of rulesets; new_task draws from it)"


@modes.in_32_bits()
def make(
    name: str,
    max_steps: int | None = None,
    view_size: int | None = None,
    ruleset: Any = None,
    benchmark: str | Path | None = None,
) -> Env:
    """Makes the environment `xminigrid/Empty-8x8` or `xminigrid/XLand-R1-9x9`, say.

    Args:
      max_steps: the limit; by default the library's. The reward, 1 - 0.9 t / max_steps at the goal, goes by it, so it
        is no number of the task.
      view_size: cells of a side of what the agent sees, odd.
      ruleset: of an XLand: one of the library's `RuleSet`s.
      benchmark: the name of one of the library's benchmarks, which downloads it once, or a file of rulesets; the task
        is its first one, and `new_task` draws from all.

    Raises:
      ConfigError: xminigrid is not installed, an XLand without rulesets, or an argument that cannot be.
    """
    core = library("xminigrid", "xminigrid.core.constants")
    made, params = _made(name, max_steps, view_size)
    worlds = "XLand" in name
    require(worlds or (ruleset is None and benchmark is None), "ruleset", "...", f"{name} has its own")
    rulesets = None if benchmark is None else _benchmark(benchmark)
    if rulesets is not None:
        ruleset = rulesets.get_ruleset(0)
    require(not worlds or ruleset is not None, "ruleset", ruleset, f"{name} {REMEDY}")

    def with_goal(task: Any) -> Any:
        return params.replace(ruleset=task) if worlds else params

    def reset(key: Array, task: Any) -> tuple[Any, Array]:
        timestep = made.reset(with_goal(task), key)
        return as_arrays((timestep, as_bytes(timestep.observation)))

    def step(key: Array, timestep: Any, action: Array, task: Any) -> tuple[Any, StepResult]:
        timestep = made.step(with_goal(task), _with_key(timestep, key), action)
        terminated = timestep.discount == 0.0
        truncated = jnp.logical_and(timestep.last(), ~terminated)
        reward = jnp.asarray(timestep.reward, jnp.float32)
        return as_arrays((timestep, StepResult(as_bytes(timestep.observation), reward, terminated, truncated)))

    task = as_arrays(ruleset) if worlds else ()
    height, width, _ = jax.eval_shape(reset, jax.random.key(0), task)[1].shape
    limit = int(params.max_steps)
    return Env(
        name=name,
        reset=modes.single(reset, (1,)),
        step=modes.single(step, (3,)),
        task=task,
        observation_space=MultiDiscrete((core.NUM_TILES, core.NUM_COLORS), (height, width), np.dtype(np.uint8)),
        action_space=Discrete(int(made.num_actions(params))),
        time_limit=lambda task: limit,
        new_task=None if rulesets is None else rulesets.sample_ruleset,
        render=lambda timestep, task: np.asarray(made.render(with_goal(task), timestep)),
    )


def _made(name: str, max_steps: int | None, view_size: int | None) -> tuple[Any, Any]:
    """The library's environment and its parameters, whose limit is a number."""
    given: dict[str, Any] = {}
    if max_steps is not None:
        given["max_steps"] = Count().convert("max_steps", max_steps)
    if view_size is not None:
        given["view_size"] = Count(3, 99).convert("view_size", view_size)
        require(view_size % 2 == 1, "view_size", view_size, "must be odd: the agent stands in its middle")
    made, params = library("xminigrid", "xminigrid").make(XMINIGRID[name.removeprefix("xminigrid/")], **given)
    return made, params.replace(max_steps=int(made.time_limit(params))) if params.max_steps is None else params


def _with_key(timestep: Any, key: Array) -> Any:
    """The timestep with the key of this step, where its state has one."""
    state = timestep.state
    return timestep.replace(state=state.replace(key=key)) if hasattr(state, "key") else timestep


def _benchmark(given: str | Path) -> Any:
    library_of = library("xminigrid", "xminigrid.benchmarks")
    path = Path(given).expanduser()
    if path.exists():
        return library_of.load_benchmark_from_path(str(path))
    return library("xminigrid", "xminigrid").load_benchmark(str(given))
