"""CartPole and Pendulum of which positions alone, or velocities alone, are shown, with noise or without.

The physics are those of `CartPole-v1` and `Pendulum-v1` as they are here, and so are ends; T is the limit.

| environment | shows | reward of a step | T |
|---|---|---|---|
| PositionOnlyCartPole | x, angle | 1 / T | 200, 400, 600 |
| VelocityOnlyCartPole | their velocities | 1 / T | 200, 400, 600 |
| NoisyPositionOnlyCartPole | x, angle + N(0, sigma) | 1 / T | 200 |
| PositionOnlyPendulum | cos, sin of the angle | (r + c) / (c T), c = 8.1368022 | 200, 150, 100 |
| NoisyPositionOnlyPendulum | the same + N(0, sigma) | the same | 200 |

Noise has a sigma of .1, .2 and .3 in the levels, and what it makes of an observation is clipped to its space.
VelocityOnlyCartPole is no test of memory: velocities are enough to balance the pole, for 200 steps always and for 600
mostly.

Source: Morad et al. 2023 (POPGym, ICLR), `popgym.envs.position_only_cartpole` and its neighbours. Decided here:
VelocityOnlyCartPole shows velocities from the first observation on, where POPGym's shows positions after a reset.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from rljax import envs, modes
from rljax.errors import require
from rljax.kinds import Count
from rljax.types import Array, Box, Env, StepResult

CARTPOLE, PENDULUM = "CartPole-v1", "Pendulum-v1"
POSITIONS, VELOCITIES, ANGLE = (0, 2), (1, 3), (0, 1)
WORST = 16.2736044 / 2  # half of the highest cost of a step of Pendulum


class Task(struct.PyTreeNode):
    """The standard deviation of the noise, and the numbers of the system."""

    sigma: Array  # [] float32
    physics: Any  # those of `CartPole-v1` or `Pendulum-v1`


def position_only_cartpole(name: str, max_steps: int = 200) -> Env:
    """Makes PositionOnlyCartPole; its task is that of `CartPole-v1`, with T as its `max_steps_in_episode`.

    Args:
      max_steps: T.

    Raises:
      ConfigError: `max_steps` is no positive whole number.
    """
    return _shown(name, _system(CARTPOLE, max_steps), POSITIONS, _scaled)


def velocity_only_cartpole(name: str, max_steps: int = 200) -> Env:
    """Makes VelocityOnlyCartPole; arguments, task and errors as of `position_only_cartpole`."""
    return _shown(name, _system(CARTPOLE, max_steps), VELOCITIES, _scaled)


def noisy_position_only_cartpole(name: str, sigma: float = 0.1, max_steps: int = 200) -> Env:
    """Makes NoisyPositionOnlyCartPole; its task is `sigma` and that of `CartPole-v1`.

    Args:
      sigma: the standard deviation of the noise.
      max_steps: T.

    Raises:
      ConfigError: `max_steps` is no positive whole number, or `sigma` is negative.
    """
    return _noisy(position_only_cartpole(name, max_steps), sigma)


def position_only_pendulum(name: str, max_steps: int = 200) -> Env:
    """Makes PositionOnlyPendulum; its task is that of `Pendulum-v1`, with T as its `max_steps_in_episode`.

    Args:
      max_steps: T.

    Raises:
      ConfigError: `max_steps` is no positive whole number.
    """
    return _shown(name, _system(PENDULUM, max_steps), ANGLE, lambda reward, limit: (reward + WORST) / (WORST * limit))


def noisy_position_only_pendulum(name: str, sigma: float = 0.1, max_steps: int = 200) -> Env:
    """Makes NoisyPositionOnlyPendulum; its task is `sigma` and that of `Pendulum-v1`.

    Arguments and errors as of `noisy_position_only_cartpole`.
    """
    return _noisy(position_only_pendulum(name, max_steps), sigma)


def _system(system: str, max_steps: int) -> Env:
    return envs.make(system, max_steps_in_episode=Count().convert("max_steps", max_steps))


def _scaled(reward: Array, limit: Array) -> Array:
    return reward / limit


def _shown(name: str, env: Env, shown: tuple[int, ...], pay: Callable[[Array, Array], Array]) -> Env:
    """Shows some entries of an environment's observation alone, and pays `pay(its reward, its limit)`."""
    entries, space = np.array(shown), env.observation_space
    assert isinstance(space, Box)

    def reset(key: Array, task: Any) -> tuple[Any, Array]:
        state, obs = env.reset(key, task)
        return state, obs[entries]

    def step(key: Array, state: Any, action: Array, task: Any) -> tuple[Any, StepResult]:
        state, result = env.step(key, state, action, task)
        return state, result._replace(obs=result.obs[entries], reward=pay(result.reward, task.max_steps_in_episode))

    seen = Box(space.low[entries], space.high[entries])
    return dataclasses.replace(
        env, name=name, reset=modes.single(reset, (1,)), step=modes.single(step, (3,)), observation_space=seen
    )


def _noisy(env: Env, sigma: float) -> Env:
    """Adds noise to the observations of an environment, and clips them to their space."""
    require(sigma >= 0, "sigma", sigma, "must be at least 0")
    space, picture, limit = env.observation_space, env.render, env.time_limit
    assert isinstance(space, Box) and limit is not None

    def seen(key: Array, obs: Array, sigma: Array) -> Array:
        return space.clip(obs + sigma * jax.random.normal(key, obs.shape))

    def reset(key: Array, task: Task) -> tuple[Any, Array]:
        k_reset, k_noise = jax.random.split(key)
        state, obs = env.reset(k_reset, task.physics)
        return state, seen(k_noise, obs, task.sigma)

    def step(key: Array, state: Any, action: Array, task: Task) -> tuple[Any, StepResult]:
        k_step, k_noise = jax.random.split(key)
        state, result = env.step(k_step, state, action, task.physics)
        return state, result._replace(obs=seen(k_noise, result.obs, task.sigma))

    return dataclasses.replace(
        env,
        reset=modes.single(reset, (1,)),
        step=modes.single(step, (3,)),
        task=Task(jnp.float32(sigma), env.task),
        render=None if picture is None else lambda state, task: picture(state, task.physics),
        time_limit=lambda task: limit(task.physics),
    )
