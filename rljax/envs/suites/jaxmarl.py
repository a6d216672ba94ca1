"""JaxMARL: environments of several agents, played as one agent who sees what all see and acts for all.

The joint observation has the agents' ones in a row, each filled up to the longest; the joint action is a
`MultiDiscrete`, or a `Box`, of all agents' actions; the reward is their mean. The limit is `task.max_steps`.
"""

from __future__ import annotations

import inspect
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rljax import modes
from rljax.envs.catalogue import check_arguments
from rljax.envs.suites.catalogue import JAXMARL
from rljax.envs.suites.shared import NEVER, Counted, Limit, begun, counted, library
from rljax.kinds import Count
from rljax.ops.tree import as_arrays
from rljax.types import Array, Box, Env, MultiDiscrete, StepResult

DEFAULT = 100  # steps, where the library's environment has no limit of its own


@modes.in_32_bits()
def make(name: str, max_steps: int | None = None, **kwargs: Any) -> Env:
    """Makes the environment `jaxmarl/MPE_simple_spread_v3`, say.

    Args:
      max_steps: the limit; by default the library's.
      **kwargs: arguments of the environment's class (`num_agents=5`).

    Raises:
      ConfigError: jaxmarl is not installed, or there is no such argument.
    """
    jaxmarl, number = library("jaxmarl", "jaxmarl"), JAXMARL[name.removeprefix("jaxmarl/")]
    default = jaxmarl.make(number)
    known = [argument for argument in inspect.signature(type(default).__init__).parameters if argument != "self"]
    check_arguments(name, kwargs, known)
    limit = int(getattr(default, "max_steps", DEFAULT)) if max_steps is None else max_steps
    limit = Count().convert("max_steps", limit)
    made = jaxmarl.make(number, **kwargs, **({"max_steps": NEVER} if "max_steps" in known else {}))
    if hasattr(made, "max_steps"):
        made.max_steps = NEVER
    agents = list(made.agents)
    discrete = all(hasattr(made.action_space(agent), "n") for agent in agents)
    sizes = [_size(made.action_space(agent)) for agent in agents]

    def seen(obs: dict[str, Array]) -> Array:
        flat = [jnp.ravel(obs[agent]).astype(jnp.float32) for agent in agents]
        longest = max(x.size for x in flat)
        return jnp.concatenate([jnp.pad(x, (0, longest - x.size)) for x in flat])

    def each(action: Array) -> dict[str, Array]:
        if discrete:
            return {agent: action[i] for i, agent in enumerate(agents)}
        parts = jnp.split(action, np.cumsum(sizes)[:-1])
        return dict(zip(agents, parts))

    def reset(key: Array, task: Limit) -> tuple[Counted, Array]:
        obs, state = made.reset(key)
        return as_arrays((begun(state), seen(obs)))

    def step(key: Array, state: Counted, action: Array, task: Limit) -> tuple[Counted, StepResult]:
        obs, inner, rewards, dones, _ = made.step_env(key, state.inner, each(action))
        terminated = jnp.asarray(dones["__all__"], bool).reshape(())
        reward = jnp.stack([jnp.asarray(rewards[agent], jnp.float32).reshape(()) for agent in agents]).mean()
        return counted(state, inner, seen(obs), reward, terminated, task.max_steps)

    task = as_arrays(Limit(limit))
    like = jax.eval_shape(reset, jax.random.key(0), task)[1]
    unbounded = np.full(like.shape, np.inf, np.float32)
    return Env(
        name=name,
        reset=modes.single(reset, (1,)),
        step=modes.single(step, (3,)),
        task=task,
        observation_space=Box(-unbounded, unbounded),
        action_space=MultiDiscrete(tuple(sizes)) if discrete else _bounds(made, agents),
        time_limit=lambda task: task.max_steps,
    )


def _size(space: Any) -> int:
    return int(space.n) if hasattr(space, "n") else int(np.prod(space.shape))


def _bounds(made: Any, agents: list[str]) -> Box:
    spaces = [made.action_space(agent) for agent in agents]
    low, high = (
        np.concatenate([np.broadcast_to(np.asarray(getattr(x, end), np.float32), x.shape).ravel() for x in spaces])
        for end in ("low", "high")
    )
    return Box(low, high)
