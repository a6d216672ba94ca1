"""Interaction with vectorised environments: the one place where episodes end and begin again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from rljax import modes
from rljax.types import Array, Env, Metrics, TimeStep

NOT_FINITE = "not_finite"
"""A metric: which `GIVEN` an environment gave as a NaN or an infinity, bit by bit; 0 where all is well."""
GIVEN = ("observation", "reward")


class Episodes(struct.PyTreeNode):
    """The episodes in progress, one per environment; part of an algorithm's state."""

    env_state: Any  # [E, ...]
    obs: Array  # [E, ...] what the policy acts on next
    reset: Array  # [E] bool: `obs` opens an episode
    returns: Array  # [E] undiscounted return so far
    lengths: Array  # [E] steps so far


def begin(env: Env, task: Any, key: Array, num_envs: int) -> Episodes:
    """`num_envs` fresh episodes."""
    return _opening(*_reset(env, task, key, jnp.arange(num_envs)))


def rollout(
    env: Env,
    task: Any,
    policy: Callable[..., tuple[Any, Array, Any]],
    carry: Any,
    episodes: Episodes,
    key: Array,
    num_steps: int,
) -> tuple[Episodes, Any, TimeStep, Any, Metrics]:
    """Takes `num_steps` steps in every environment, beginning a new episode wherever one ends.

    Args:
      policy: `(carry, obs [E, ...], reset [E], key) -> (carry, action [E, ...], extras [E, ...])`.
      carry: the policy's memory, `()` if it has none.
      episodes: where to go on from.
      num_steps: T.

    Returns:
      (episodes, carry, steps [T, E, ...], extras [T, E, ...], metrics): `steps.next_obs` is the true successor, also
      where an episode ends; `metrics` holds `episodes`, the number that ended here, their mean `episode_return` and
      `episode_length` (NaN where none ended, or 0 under `jax_debug_nans`), and `NOT_FINITE`.
    """
    num_envs = episodes.reset.shape[0]

    def one(loop, key):
        episodes, carry = loop
        k_act, k_step, k_reset = jax.random.split(key, 3)
        carry, action, extras = policy(carry, episodes.obs, episodes.reset, k_act)
        env_state, result = jax.vmap(modes.outside(env.step), (0, 0, 0, None))(
            jax.random.split(k_step, num_envs), episodes.env_state, action, task
        )
        result = result._replace(
            obs=result.obs.astype(episodes.obs.dtype), reward=result.reward.astype(episodes.returns.dtype)
        )
        ended = result.terminated | result.truncated
        returns, lengths = episodes.returns + result.reward, episodes.lengths + 1
        finished = (ended.sum(), jnp.where(ended, returns, 0.0).sum(), jnp.where(ended, lengths, 0).sum())
        step = TimeStep(episodes.obs, action, result.reward, result.obs, result.terminated, result.truncated)
        if env.costly_reset:
            fresh = _opening(*_reset_ended(env, task, k_reset, ended, env_state, result.obs))
        else:
            fresh = begin(env, task, k_reset, num_envs)
        going = episodes.replace(env_state=env_state, obs=result.obs, returns=returns, lengths=lengths)
        fault = not_finite(step, episodes.reset)
        return (_where(ended, fresh, going).replace(reset=ended), carry), (step, extras, finished, fault)

    (episodes, carry), (steps, extras, finished, faults) = jax.lax.scan(
        one, (episodes, carry), jax.random.split(key, num_steps)
    )
    count, returns, lengths = (x.sum() for x in finished)
    means = {"episode_return": modes.ratio(returns, count), "episode_length": modes.ratio(lengths, count)}
    return episodes, carry, steps, extras, {"episodes": count, **means, NOT_FINITE: either(faults)}


def not_finite(step: TimeStep, reset: Array | bool = False) -> Array:
    """Which `GIVEN` the environments gave as a NaN or an infinity: `[]` int32, bit i for the i-th.

    What follows an action that is none itself is not theirs: then it is the policy that has diverged.

    Args:
      step: `[...]`, of any batch axes.
      reset: `[...]` bool: `obs` opens an episode.
    """
    obs, after, reward, action = (
        _not_finite(x, step.reward.ndim) for x in (step.obs, step.next_obs, step.reward, step.action)
    )
    observation = (obs & (reset | ~action)) | (after & ~action)
    return jnp.int32(observation.any()) + 2 * jnp.int32((reward & ~action).any())


def either(codes: Array) -> Array:
    """What is set in any of these values of `NOT_FINITE`, `[...]` -> `[]`."""
    return (codes & 1).max() + 2 * (codes >> 1).max()


def in_words(code: int) -> str:
    """What a value of `NOT_FINITE` says."""
    return " and ".join(name for i, name in enumerate(GIVEN) if int(code) >> i & 1)


def _not_finite(tree: Any, axes: int) -> Array:
    """Where floats of a tree are NaN or infinite, over its leading axes.

    A product with a small vector is one wherever an entry is; a sum costs more, for compilers do not reorder it (PPO on
    Breakout is 2 % slower with the one, 3 % with the other). Small, so that large numbers do not add up to an infinity.
    """
    floats = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.floating)]
    rows = [jax.lax.stop_gradient(x).reshape(*x.shape[:axes], -1) for x in floats]
    totals = [x @ jnp.full(x.shape[-1], 1e-9, x.dtype) for x in rows]
    return ~jnp.isfinite(sum(totals[1:], totals[0])) if totals else jnp.array(False)


def _opening(env_state: Any, obs: Array) -> Episodes:
    num_envs = obs.shape[0]
    return Episodes(
        env_state=env_state,
        obs=obs,
        reset=jnp.ones(num_envs, bool),
        returns=jnp.zeros(num_envs, jnp.float32),
        lengths=jnp.zeros(num_envs, jnp.int32),
    )


def _reset(env: Env, task: Any, key: Array, rows: Array) -> tuple[Any, Array]:
    """Fresh starts for environments `rows`: what a row gets does not depend on which others are reset with it."""
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, rows)
    env_state, obs = jax.vmap(modes.outside(env.reset), (0, None))(keys, task)
    return env_state, obs.astype(env.observation_space.dtype)  # whatever it computes in


def _reset_ended(env: Env, task: Any, key: Array, ended: Array, env_state: Any, obs: Array) -> tuple[Any, Array]:
    """`_reset` of the rows where an episode ended, a block at a time; the other rows are of no use to the caller."""
    num_envs = ended.shape[0]
    block = min(num_envs, max(8, num_envs // 16))
    rows = jnp.nonzero(ended, size=num_envs, fill_value=num_envs)[0].astype(jnp.int32)
    rows = jnp.pad(rows, (0, block), constant_values=num_envs)  # writes to row `num_envs` are dropped

    def reset_block(loop):
        i, fresh = loop
        at = jax.lax.dynamic_slice(rows, (i,), (block,))
        new = _reset(env, task, key, at)
        with modes.as_outside():
            return i + block, jax.tree.map(lambda x, y: x.at[at].set(y, mode="drop"), fresh, new)

    # No derivative passes through a loop of unknown length, and none needs to: the caller keeps only fresh rows.
    start = jax.lax.stop_gradient((env_state, obs))
    return jax.lax.while_loop(lambda loop: loop[0] < ended.sum(), reset_block, (jnp.int32(0), start))[1]


def _where(mask: Array, x: Any, y: Any) -> Any:
    """`x` in the rows where `mask` [E] holds, `y` elsewhere, leaf by leaf (typed keys too)."""
    with modes.as_outside():  # an environment's state may have 64 bits
        return jax.tree.map(lambda a, b: jnp.where(mask.reshape(mask.shape + (1,) * (a.ndim - 1)), a, b), x, y)
