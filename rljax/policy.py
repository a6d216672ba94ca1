"""A trained policy: acts on batches of observations, plays whole episodes, films one."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rljax import run as drivers
from rljax.errors import ConfigError, require
from rljax.ops import streams
from rljax.types import Algorithm, Array, Discrete, Env, MultiDiscrete, Space


class Policy:
    """A trained policy: call it with a batch of observations.

    Attributes:
      algo, env, state: what it is made of.
      step: environment steps it was trained for.
    """

    def __init__(self, algo: Algorithm, env: Env, state: Any, step: int):
        self.algo, self.env, self.state, self.step = algo, env, state, step
        self._carry: Any = None
        self._act = jax.jit(algo.act)

    def __call__(self, obs: Any, key: Array | None = None, reset: Any = None) -> np.ndarray:
        """Actions for a batch of observations `[B, ...]`, or for one alone: greedy ones, or samples if there is a key.

        Args:
          reset: `[B]` bool, which observations open an episode; by default those of the first call. Only a policy
            with a memory cares.

        Raises:
          ConfigError: observations that the environment cannot give, or a key that is none.
        """
        obs = _observations(self.env.observation_space, obs)
        alone = obs.ndim == len(self.env.observation_space.shape)
        obs = obs[None] if alone else obs
        first = self._carry is None
        if first:
            self._carry = self.algo.initial_carry(obs.shape[0])
        reset = np.full(obs.shape[0], first) if reset is None else np.asarray(reset, bool).reshape(-1)
        require(reset.shape == obs.shape[:1], "reset.shape", reset.shape, f"must be {obs.shape[:1]}, as there are obs")
        greedy = key is None
        self._carry, action = self._act(self.state, self._carry, obs, reset, _key(key), greedy)
        return np.asarray(action[0] if alone else action)

    def evaluate(self, episodes: int = 128, greedy: bool = True, seed: int = 0) -> np.ndarray:
        """Undiscounted returns `[episodes]` of whole episodes.

        Raises:
          ConfigError: a count or seed that cannot be.
        """
        _whole("episodes", episodes, 1)
        key = _key_of(seed)
        return np.asarray(drivers.evaluate(self.algo, self.state, self.env, key, episodes, greedy))

    def film(self, max_steps: int = 500, greedy: bool = True, seed: int = 0) -> list[np.ndarray]:
        """The frames `[H, W, 3]` uint8 of one episode, its first `max_steps` steps.

        Raises:
          ConfigError: the environment cannot be drawn, or a count or seed that cannot be.
        """
        _whole("max_steps", max_steps, 1)
        draw = self.env.render
        if draw is None:
            raise ConfigError(f"environment '{self.env.name}' has no picture; give its Env a render function")
        k_reset, k_play = jax.random.split(_key_of(seed))
        env_state, obs = jax.jit(self.env.reset)(k_reset, self.env.task)
        step, act, carry = jax.jit(self.env.step), jax.jit(self.algo.act), self.algo.initial_carry(1)
        frames = [draw(env_state, self.env.task)]
        for t in range(max_steps):
            k_act, k_step = jax.random.split(jax.random.fold_in(k_play, t))
            carry, action = act(self.state, carry, obs[None], jnp.full(1, t == 0), k_act, greedy)
            env_state, (obs, _, terminated, truncated) = step(k_step, env_state, action[0], self.env.task)
            frames.append(draw(env_state, self.env.task))
            if terminated | truncated:
                break
        return frames


def _key_of(seed: int) -> Array:
    """The key of an evaluation, apart from that of a training run of the same seed."""
    _whole("seed", seed, 0, 2**32 - 1)
    return streams.fold_in(jax.random.key(seed), streams.EVALUATION)


def _whole(name: str, value: Any, low: int, high: int = 2**31 - 1) -> None:
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    require(bool(whole and low <= value <= high), name, value, f"must be a whole number from {low} to {high}")


def _key(key: Any) -> Array:
    """A typed key, also of a raw one; any where there is none."""
    if key is None:
        return jax.random.key(0)
    typed = isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    data = jax.random.key_data(key) if typed else np.asarray(key)
    alone = data.dtype == np.uint32 and data.shape == jax.random.key_data(jax.random.key(0)).shape
    require(bool(alone), "key", key, "must be one key, such as jax.random.key(0)")
    return key if typed else jax.random.wrap_key_data(jnp.asarray(data))


def _observations(space: Space, given: Any) -> Array:
    """`[B, *shape]` or `[*shape]`, of the space's dtype. Raises ConfigError where nothing such is given."""
    shape = ", ".join(map(str, space.shape))
    try:
        obs = given if isinstance(given, jax.Array) else np.asarray(given)
        require(jnp.issubdtype(obs.dtype, jnp.number) or obs.dtype == bool, "obs.dtype", obs.dtype, "must be numbers")
    except ValueError as error:  # lists of different lengths
        raise ConfigError(f"obs: {str(error).splitlines()[0]}; must be [{shape}] or [B, {shape}]") from None
    fits = obs.shape in (space.shape, (*obs.shape[:1], *space.shape))
    require(fits, "obs.shape", obs.shape, f"must be [{shape}] or [B, {shape}]".replace(", ]", "]"))
    if np.issubdtype(space.dtype, np.integer) and not np.issubdtype(obs.dtype, np.integer):
        require(bool((obs == obs // 1).all()), "obs", "with fractions", f"must be whole numbers, {space.dtype}")
    if isinstance(space, Discrete | MultiDiscrete):
        most = space.n if isinstance(space, Discrete) else np.array(space.nvec)
        inside = bool(((obs >= 0) & (obs < most)).all())
        require(inside, "obs", np.asarray(obs).tolist(), f"must lie in [0, {np.asarray(most).tolist()})")
    return jnp.asarray(obs, space.dtype)
