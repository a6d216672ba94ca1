"""Environments of Gymnasium, on the host: `gymnasium/CartPole-v1`, an object of its, or a function that makes one.

A step waits for Python, so nothing here is fast: measured on one core, PPO on `gymnasium/CartPole-v1` takes some 13,000
steps a second, on `CartPole-v1` 100,000. It is for environments that have no JAX form, for evaluation, and for checks.

An `Env` is pure, and so is this one: its state is the seed of its episode and the actions since. The host keeps the
environments that were used last; one that it does not have any more, as after a resume, is made again by playing the
episode's actions. What is not decided by the seed and the actions is not reproduced.
"""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from rljax import modes
from rljax.errors import ConfigError, require
from rljax.kinds import Count
from rljax.ops.tree import as_arrays
from rljax.spaces import like
from rljax.types import Array, Box, Dict, Discrete, Env, MultiDiscrete, Space, StepResult

KEPT = 1024  # environments that the host keeps of each kind


class State(struct.PyTreeNode):
    """An episode so far: all that plays it again."""

    seed: Array  # [] uint32
    time: Array  # [] int32
    actions: Array  # [limit, *shape], those before `time` count


def is_gymnasium(given: Any) -> bool:
    """Whether this is an environment of Gymnasium's."""
    names = ("reset", "step", "observation_space", "action_space", "unwrapped", "metadata")
    return not isinstance(given, type | Env) and all(hasattr(given, name) for name in names)


@modes.in_32_bits()
def make(name: str, max_steps: int | None = None, **kwargs: Any) -> Env:
    """Makes `gymnasium/CartPole-v1`: what `gymnasium.make("CartPole-v1", **kwargs)` makes.

    Raises:
      ConfigError: Gymnasium cannot make it, or it has a space or no limit as is refused in `from_gymnasium`.
    """
    import gymnasium

    identity = name.partition("/")[2]
    try:
        gymnasium.make(identity, **kwargs).close()
    except Exception as error:  # of Gymnasium, or of what the environment needs
        raise ConfigError(f"environment '{name}': {' '.join(str(error).split())[:200]}") from error
    return from_gymnasium(functools.partial(gymnasium.make, identity, **kwargs), max_steps, name)


@modes.in_32_bits()
def from_gymnasium(env: Any, max_steps: int | None = None, name: str | None = None) -> Env:
    """An `Env` of an environment of Gymnasium's.

    Args:
      env: a function that makes one, or one that `gymnasium.make` has made.
      max_steps: the limit; by default that of its specification.
      name: by default its own, behind `gymnasium/`.

    Raises:
      ConfigError: it has no limit, a space of another kind, or cannot be made again.
    """
    factory = _factory(env)
    first = factory()
    spec = getattr(first, "spec", None)
    most = getattr(spec, "max_episode_steps", None) if max_steps is None else max_steps
    name = name or f"gymnasium/{spec.id if spec is not None else type(first.unwrapped).__name__}"
    require(most is not None, "max_steps", most, f"{name} has no limit; give one")
    limit = Count().convert("max_steps", most)
    observation_space, action_space = space_of(first.observation_space), space_of(first.action_space)
    if isinstance(action_space, Dict):
        raise ConfigError(f"environment '{name}': action_space is a Dict: must be one space")
    host = _Host(factory, observation_space, first)
    seen = like(observation_space)
    flags = (jax.ShapeDtypeStruct((), np.float32), jax.ShapeDtypeStruct((), bool), jax.ShapeDtypeStruct((), bool))

    def reset(key: Array, task: Any) -> tuple[State, Any]:
        seed = jax.random.bits(key, (), jnp.uint32) >> 1  # Gymnasium takes 31 bits
        obs = jax.pure_callback(host.reset, seen, seed, vmap_method="expand_dims")
        actions = jnp.zeros((limit, *action_space.shape), action_space.dtype)
        return as_arrays((State(seed, jnp.int32(0), actions), obs))

    def step(key: Array, state: State, action: Array, task: Any) -> tuple[State, StepResult]:
        del key  # chance follows the seed of the episode
        actions = state.actions.at[state.time].set(action)
        given = (state.seed, state.time, actions)
        obs, reward, terminated, truncated = jax.pure_callback(
            host.step, (seen, *flags), *given, vmap_method="broadcast_all"
        )
        time = state.time + 1
        truncated = (truncated | (time >= limit)) & ~terminated
        return as_arrays((State(state.seed, time, actions), StepResult(obs, reward, terminated, truncated)))

    return Env(
        name=name,
        reset=modes.single(reset, (1,)),
        step=modes.single(step, (3,)),
        task=(),
        observation_space=observation_space,
        action_space=action_space,
        time_limit=lambda task: limit,
        costly_reset=True,
    )


def _factory(env: Any) -> Callable[[], Any]:
    """A function that makes this environment again."""
    if not is_gymnasium(env):
        require(callable(env), "env", type(env).__name__, "must be an environment of Gymnasium's, or a function")
        return env
    import gymnasium

    spec: Any = getattr(env, "spec", None)
    remedy = "was not made by gymnasium.make, so it cannot be made again; give a function that makes it"
    require(spec is not None, "env", type(env).__name__, remedy)
    return functools.partial(gymnasium.make, spec)


class _Host:
    """The environments on the host, each at some step of an episode; those that were used last are kept."""

    def __init__(self, factory: Callable[[], Any], space: Space, first: Any):
        self._factory, self._space, self._idle = factory, space, [first]
        self._playing: OrderedDict[tuple[int, int], Any] = OrderedDict()  # (seed, time) -> environment
        self._over: OrderedDict[int, tuple[int, Any]] = OrderedDict()  # seed -> its length, and its last observation

    def reset(self, seed: Any) -> Any:
        """The first observations of episodes `[...]`."""
        seeds = np.asarray(seed)
        return self._stacked([self._begin(int(x)) for x in seeds.ravel()], seeds.shape)

    def step(self, seed: Any, time: Any, actions: Any) -> Any:
        """The results `[...]` of the last of these actions."""
        seeds, times, every = np.asarray(seed), np.asarray(time), np.asarray(actions)
        every = every.reshape(seeds.size, *every.shape[seeds.ndim :])
        results = [self._step(*x) for x in zip(seeds.ravel().tolist(), times.ravel().tolist(), every)]
        obs, reward, terminated, truncated = zip(*results)
        shaped = [np.asarray(x, t).reshape(seeds.shape) for x, t in zip((reward, terminated, truncated), "f??")]
        return self._stacked(obs, seeds.shape), *shaped

    def _begin(self, seed: int) -> Any:
        env = self._idle.pop() if self._idle else self._factory()
        obs, _ = env.reset(seed=seed)
        self._keep(seed, 0, env)
        return obs

    def _step(self, seed: int, time: int, actions: np.ndarray) -> StepResult:
        env, (length, last) = self._playing.pop((seed, time), None), self._over.get(seed, (time + 1, None))
        if env is None and time >= length:  # whoever plays whole episodes side by side goes on where one has ended
            return StepResult(last, 0.0, True, False)  # pyright: ignore[reportArgumentType]
        if env is None:  # it is played again
            self._begin(seed)
            env = self._playing.pop((seed, 0))
            for action in actions[:time]:
                env.step(self._action(env, action))
        obs, reward, terminated, truncated, _ = env.step(self._action(env, actions[time]))
        if terminated or truncated or time + 1 == len(actions):
            self._idle.append(env)
            self._over[seed] = time + 1, obs
            while len(self._over) > KEPT:
                self._over.popitem(last=False)
        else:
            self._keep(seed, time + 1, env)
        return StepResult(obs, reward, terminated, truncated)

    def _keep(self, seed: int, time: int, env: Any) -> None:
        before = self._playing.pop((seed, time), None)
        if before is not None:
            self._idle.append(before)
        self._playing[seed, time] = env
        while len(self._playing) > KEPT:
            self._idle.append(self._playing.popitem(last=False)[1])

    def _action(self, env: Any, action: np.ndarray) -> Any:
        start = getattr(env.action_space, "start", 0)
        return int(action) + int(start) if np.ndim(action) == 0 and hasattr(env.action_space, "n") else action

    def _stacked(self, obs: Any, shape: tuple[int, ...]) -> Any:
        """Observations as arrays `[*shape, ...]` of the dtypes of the space."""

        def one(space: Space, values: Any) -> Any:
            if isinstance(space, Dict):
                return {name: one(each, [x[name] for x in values]) for name, each in space.spaces.items()}
            return np.asarray(values, space.dtype).reshape((*shape, *space.shape))

        return one(self._space, list(obs))


def space_of(space: Any) -> Space:
    """Converts a space of Gymnasium's. Raises ConfigError for a kind that is none of ours."""
    kind = type(space).__name__
    if kind == "Dict" and isinstance(space.spaces, Mapping):
        return Dict({name: space_of(each) for name, each in space.spaces.items()})
    if kind == "Discrete":
        return Discrete(int(space.n))
    if kind == "MultiDiscrete":
        return MultiDiscrete(tuple(int(n) for n in np.ravel(space.nvec)))
    if kind == "MultiBinary":
        return MultiDiscrete((2,) * int(np.prod(space.shape)))
    require(kind == "Box", "space", kind, "must be Box, Discrete, MultiDiscrete, MultiBinary or Dict")
    dtype = np.dtype(np.float32) if np.issubdtype(space.dtype, np.floating) else np.dtype(space.dtype)
    return Box(space.low.astype(np.float32), space.high.astype(np.float32), dtype)
