"""A trained policy: acts on batches of observations, plays whole episodes, films one."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rljax import run as drivers
from rljax.errors import ConfigError, require
from rljax.types import Algorithm, Array, Env

EVALUATION_STREAM = 1  # folded into a seed's key, so that evaluation never shares training's randomness


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
        """Actions for a batch of observations `[B, ...]`: greedy ones, or samples if there is a key.

        Args:
          reset: `[B]` bool, which observations open an episode; by default those of the first call. Only a policy
            with a memory cares.
        """
        obs = jnp.asarray(obs, self.env.observation_space.dtype)
        shape = self.env.observation_space.shape
        require(obs.shape[1:] == shape, "obs.shape", obs.shape, f"must be [B, {', '.join(map(str, shape))}]")
        first = self._carry is None
        if first:
            self._carry = self.algo.initial_carry(obs.shape[0])
        reset = jnp.full(obs.shape[0], first) if reset is None else jnp.asarray(reset)
        greedy = key is None
        key = jax.random.key(0) if key is None else key
        self._carry, action = self._act(self.state, self._carry, obs, reset, key, greedy)
        return np.asarray(action)

    def evaluate(self, episodes: int = 128, greedy: bool = True, seed: int = 0) -> np.ndarray:
        """Undiscounted returns `[episodes]` of whole episodes."""
        require(episodes >= 1, "episodes", episodes, "must be at least 1")
        key = jax.random.fold_in(jax.random.key(seed), EVALUATION_STREAM)
        return np.asarray(drivers.evaluate(self.algo, self.state, self.env, key, episodes, greedy))

    def film(self, max_steps: int = 500, greedy: bool = True, seed: int = 0) -> list[np.ndarray]:
        """The frames `[H, W, 3]` uint8 of one episode, its first `max_steps` steps.

        Raises:
          ConfigError: the environment cannot be drawn.
        """
        draw = self.env.render
        if draw is None:
            raise ConfigError(f"environment '{self.env.name}' has no picture; give its Env a render function")
        key = jax.random.fold_in(jax.random.key(seed), EVALUATION_STREAM)
        env_state, obs = jax.jit(self.env.reset)(key, self.env.task)
        step, act, carry = jax.jit(self.env.step), jax.jit(self.algo.act), self.algo.initial_carry(1)
        frames = [draw(env_state, self.env.task)]
        for t in range(max_steps):
            k_act, k_step = jax.random.split(jax.random.fold_in(key, t))
            carry, action = act(self.state, carry, obs[None], jnp.full(1, t == 0), k_act, greedy)
            env_state, (obs, _, terminated, truncated) = step(k_step, env_state, action[0], self.env.task)
            frames.append(draw(env_state, self.env.task))
            if terminated | truncated:
                break
        return frames
