"""The legal actions of observations, and random actions among greedy ones."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rljax.errors import ConfigError, require
from rljax.spaces import like
from rljax.types import LEGAL, Array, Dict, Discrete, Env, MultiDiscrete, Scalar, Space


def legal(space: Space, obs: Any) -> Array | None:
    """Finds the mask of legal actions in observations, `[..., A]` bool; None where all actions are always legal.

    Args:
      space: of the observations.
      obs: leaves `[..., *shape]`.
    """
    return obs[LEGAL] if isinstance(space, Dict) and LEGAL in space.spaces else None


def mask(values: Array, legal: Array | None) -> Array:
    """Sets the values or logits `[..., A]` of illegal actions to -inf, but where no action is legal.

    There the MDP has ended: such values count nowhere, and must not spoil those that do.
    """
    if legal is None:
        return values
    return jnp.where(legal | ~legal.any(-1, keepdims=True), values, -jnp.inf)


def softmax(logits: Array, legal: Array | None) -> tuple[Array, Array]:
    """The probabilities of legal actions and their logarithms, `[..., A]` each; 0 and 0 for illegal actions."""
    log_prob = jax.nn.log_softmax(mask(logits, legal))
    prob = jnp.exp(log_prob)
    return prob, log_prob if legal is None else jnp.where(jnp.isneginf(log_prob), 0.0, log_prob)


def epsilon_greedy(key: Array, action: Array, epsilon: Scalar, actions: int, legal: Array | None = None) -> Array:
    """Replaces each action by a uniform one with probability `epsilon`.

    Args:
      action: `[B]` or, of several entries, `[B, D]`.
      actions: A, how many there are to choose from.
      legal: `[B, A]` bool; None: all of them.
    """
    k_explore, k_random = jax.random.split(key)
    explore = jax.random.uniform(k_explore, (action.shape[0], *(1,) * (action.ndim - 1))) < epsilon
    if legal is None:
        uniform = jax.random.randint(k_random, action.shape, 0, actions)
    else:
        uniform = jax.random.categorical(k_random, mask(jnp.zeros(legal.shape), legal)).astype(action.dtype)
    return jnp.where(explore, uniform, action)


def random_action(env: Env, obs: Any, key: Array) -> Any:
    """Draws a uniform legal action for one observation, leaves `[*shape]`."""
    space, allowed = env.action_space, legal(env.observation_space, obs)
    if allowed is None or not isinstance(space, Discrete | MultiDiscrete):
        return space.sample(key)
    parts = jnp.split(allowed, np.cumsum(_choices(space))[:-1])
    keys = jax.random.split(key, len(parts))
    drawn = [jax.random.categorical(k, mask(jnp.zeros(part.shape), part)) for k, part in zip(keys, parts)]
    return jnp.stack(drawn).reshape(space.shape).astype(space.dtype)


def check_legal(observation_space: Space, action_space: Space) -> None:
    """Refuses a mask of legal actions that does not fit the actions.

    Raises:
      ConfigError: actions are continuous, or it is not `[A]` bool, A being `n` or, of several entries, all of `nvec`.
    """
    if not (isinstance(observation_space, Dict) and LEGAL in observation_space.spaces):
        return
    name = f"observation_space[{LEGAL!r}]"
    if not isinstance(action_space, Discrete | MultiDiscrete):
        kind = type(action_space).__name__
        raise ConfigError(f"{name} says which discrete actions are legal, but action_space is a {kind}: drop either")
    given, size = like(observation_space.spaces[LEGAL]), sum(_choices(action_space))
    said = "a Dict" if isinstance(given, dict) else f"{given.dtype} {given.shape}"
    fits = not isinstance(given, dict) and (given.shape, given.dtype) == ((size,), bool)
    require(fits, name, said, f"must be a Box of bool with shape ({size},), an entry for each action")


def check_env(env: Env) -> None:
    """Refuses what no algorithm for one agent can learn on.

    Raises:
      ConfigError: several agents, actions of several parts, or a mask that does not fit the actions.
    """
    alone = "must be None: this algorithm learns for one agent"
    require(env.agents is None, "env.agents", env.agents, alone)
    kind = type(env.action_space).__name__
    require(kind != "Dict", "action_space", kind, "must be one space; put the parts into one Box or MultiDiscrete")
    check_legal(env.observation_space, env.action_space)


def _choices(space: Discrete | MultiDiscrete) -> tuple[int, ...]:
    """The number of actions to choose from, for each entry."""
    return (space.n,) if isinstance(space, Discrete) else space.nvec
