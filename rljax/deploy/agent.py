"""A policy that acts in environments of Gymnasium's interface, one or a vector of them."""

from __future__ import annotations

import copy
from typing import Any

import jax
import numpy as np

from rljax.arguments import SEED, SOME
from rljax.kinds import Flag
from rljax.policy import Policy
from rljax.types import Discrete


class Agent:
    """A trained policy for Gymnasium: `action = agent(obs)`.

    Args:
      policy: the policy; the agent has a memory of its own.
      greedy: the most likely actions, or sampled ones.
      seed: of the samples.
    """

    def __init__(self, policy: Policy, greedy: bool = True, seed: int = 0):
        self._policy, self._greedy = copy.copy(policy), Flag().convert("greedy", greedy)
        self._key = jax.random.key(SEED.convert("seed", seed))
        self._single = isinstance(policy.env.action_space, Discrete)
        self.reset()

    def reset(self) -> None:
        """Forgets what was seen: the next observations open episodes."""
        self._policy.forget()

    def __call__(self, obs: Any, reset: Any = None) -> Any:
        """The action for an observation as Gymnasium gives it, or the actions `[B, ...]` for those of B environments.

        Args:
          reset: `[B]` bool, which observations open an episode; by default those after `reset`.
        """
        self._key, key = jax.random.split(self._key)
        action = self._policy(obs, None if self._greedy else key, reset)
        return int(action) if self._single and not np.ndim(action) else action

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = True
    ) -> tuple[Any, Any]:
        """(action, None), as tools for Stable-Baselines3 ask for it; the memory is the agent's own, not `state`."""
        before, self._greedy = self._greedy, bool(deterministic)
        try:
            return self(observation, episode_start), None
        finally:
            self._greedy = before

    def play(self, env: Any, episodes: int = 10, seed: int = 0) -> np.ndarray:
        """The undiscounted returns `[episodes]` in one environment of Gymnasium's, one episode after the other.

        Args:
          env: it has `reset(seed=)` and `step(action)`, with `terminated` and `truncated`.
          seed: of the first episode; each has the next one.
        """
        returns = np.zeros(SOME.convert("episodes", episodes))
        for i in range(len(returns)):
            obs, _ = env.reset(seed=SEED.convert("seed", seed) + i)
            self.reset()
            over = False
            while not over:
                obs, reward, terminated, truncated, _ = env.step(self(obs))
                returns[i] += float(reward)
                over = bool(terminated or truncated)
        return returns
