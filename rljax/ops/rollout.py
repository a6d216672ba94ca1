"""Interaction with vectorised environments: the one place where episodes end and begin again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from rljax import modes
from rljax.ops.metrics import NOT_FINITE, either, not_finite
from rljax.spaces import cast
from rljax.types import Array, Env, Metrics, StepResult, TimeStep

Policy = Callable[..., tuple[Any, Any, Any]]
"""`(carry, obs [E, ...], reset [E], key) -> (carry, action [E, ...], extras [E, ...])`."""


class Episodes(struct.PyTreeNode):
    """The episodes in progress, one per environment; part of an algorithm's state."""

    env_state: Any  # [E, ...]
    obs: Any  # [E, ...] what the policy acts on next
    reset: Array  # [E] bool: `obs` opens an episode
    returns: Array  # [E] or, where there are several, [E, agents] undiscounted return so far
    lengths: Array  # [E] steps so far


class Rollout(NamedTuple):
    """The result of `rollout`."""

    episodes: Episodes  # where the next rollout goes on from
    carry: Any  # of the policy, after the last step
    steps: TimeStep  # [T, E, ...]; what the policy noted is in `extras`
    after: Any  # [T, E, ...] what `after` gave; () without it
    metrics: Metrics


class Play(NamedTuple):
    """Whole episodes that are being played, none of which begins again."""

    t: Array  # [] steps so far
    alive: Array  # [B] bool: the episode has not ended
    env_state: Any  # [B, ...]
    obs: Any  # [B, ...]
    carry: Any  # of the policy
    key: Array  # [] of all steps


def begin(env: Env, task: Any, key: Array, num_envs: int, group: int = 1) -> Episodes:
    """Begins `num_envs` episodes, of which every `group` that follow each other start alike."""
    return _opening(env, *_reset(env, task, key, jnp.arange(num_envs) // group))


def rollout(
    env: Env,
    task: Any,
    policy: Policy,
    carry: Any,
    episodes: Episodes,
    key: Array,
    num_steps: int,
    after: Callable[[Any, Any, Array], Any] | None = None,
) -> Rollout:
    """Takes `num_steps` steps in every environment, beginning a new episode wherever one ends.

    Args:
      policy: `(carry, obs [E, ...], reset [E], key) -> (carry, action [E, ...], extras [E, ...])`.
      carry: the policy's memory, `()` if it has none.
      episodes: where to go on from.
      num_steps: T.
      after: `(carry, next_obs [E, ...], key) -> pytree [E, ...]`, called with the carry after the step and the true
        successor, before any reset: V(next_obs) of a policy that has a memory.

    Returns:
      The steps and where they end. `steps.next_obs` is the true successor, also where an episode ends; `metrics` holds
      `episodes`, the number that ended here, their mean `episode_return` and `episode_length` (NaN where none ended, or
      0 under `jax_debug_nans`), and `NOT_FINITE`. Where there are several agents a return is their mean.
    """
    num_envs = episodes.reset.shape[0]

    def one(loop, key):
        episodes, carry = loop
        k_act, k_step, k_reset, *k_after = jax.random.split(key, 3 if after is None else 4)
        carry, action, extras = policy(carry, episodes.obs, episodes.reset, k_act)
        env_state, result = _step(env, task, k_step, episodes.env_state, action, episodes.obs)
        ended = env.ended(result.terminated, result.truncated)
        returns, lengths = episodes.returns + result.reward, episodes.lengths + 1
        totals = jnp.where(ended, mean_over_agents(env, returns), 0.0), jnp.where(ended, lengths, 0)
        finished = (ended.sum(), *(x.sum() for x in totals))
        flags = result.terminated, result.truncated, episodes.reset
        step = TimeStep(episodes.obs, action, result.reward, result.obs, *flags, extras)
        seen = () if after is None else after(carry, result.obs, *k_after)
        if env.costly_reset:
            fresh = _opening(env, *_reset_ended(env, task, k_reset, ended, env_state, result.obs))
        else:
            fresh = begin(env, task, k_reset, num_envs)
        going = episodes.replace(env_state=env_state, obs=result.obs, returns=returns, lengths=lengths)
        return (_where(ended, fresh, going).replace(reset=ended), carry), (step, seen, finished, not_finite(step))

    (episodes, carry), (steps, seen, finished, faults) = jax.lax.scan(
        one, (episodes, carry), jax.random.split(key, num_steps)
    )
    count, returns, lengths = (x.sum() for x in finished)
    means = {"episode_return": modes.ratio(returns, count), "episode_length": modes.ratio(lengths, count)}
    return Rollout(episodes, carry, steps, seen, {"episodes": count, **means, NOT_FINITE: either(faults)})


def joined(rollouts: list[Rollout]) -> tuple[TimeStep, Metrics]:
    """Rollouts of which each goes on from the one before, as one: (steps `[T, E, ...]`, metrics)."""
    if len(rollouts) == 1:
        return rollouts[0].steps, rollouts[0].metrics
    steps = jax.tree.map(lambda *x: jnp.concatenate(x), *(each.steps for each in rollouts))
    found = {name: jnp.stack([each.metrics[name] for each in rollouts]) for name in rollouts[0].metrics}
    count = found["episodes"]

    def mean(x):
        return modes.ratio(jnp.where(count > 0, x * count, 0.0).sum(), count.sum())

    means = {name: mean(found[name]) for name in ("episode_return", "episode_length")}
    return steps, {"episodes": count.sum(), **means, NOT_FINITE: either(found[NOT_FINITE])}


def play(
    env: Env, task: Any, policy: Policy, carry: Any, key: Array, num_episodes: int, max_steps: int, group: int = 1
) -> tuple[TimeStep, Array]:
    """Plays whole episodes from their start, of which every `group` that follow each other start alike.

    Args:
      policy, carry: as for `rollout`.
      num_episodes: B.
      max_steps: T; an episode that takes longer is truncated there.

    Returns:
      (steps `[T, B, ...]`, mask `[T, B]` bool: the step belongs to the episode; what follows its end means nothing).
    """

    def one(play, _):
        play, step = play_step(env, task, policy, play)
        cut = (play.t == max_steps) & ~step.terminated
        return play, step._replace(truncated=step.truncated | cut)

    first = play_init(env, task, carry, key, num_episodes, group)
    _, steps = jax.lax.scan(one, first, None, max_steps)
    ended = env.ended(steps.terminated, steps.truncated)
    return steps, jnp.cumsum(ended, axis=0) - ended == 0


def play_init(env: Env, task: Any, carry: Any, key: Array, num_episodes: int, group: int = 1) -> Play:
    """Starts `num_episodes` whole episodes; see `play`."""
    k_reset, k_play = jax.random.split(key)
    keys = jax.random.split(k_reset, num_episodes)
    keys = keys[jnp.arange(num_episodes) // group] if group > 1 else keys
    env_state, obs = jax.vmap(modes.outside(env.reset), (0, None))(keys, task)
    return Play(jnp.int32(0), jnp.ones(num_episodes, bool), env_state, obs, carry, k_play)


def play_step(env: Env, task: Any, policy: Policy, play: Play) -> tuple[Play, TimeStep]:
    """Takes one step of every episode -> (what is played, step `[B, ...]`), those that have ended included."""
    k_act, k_step = jax.random.split(jax.random.fold_in(play.key, play.t))
    reset = jnp.full(play.alive.shape, play.t == 0)
    carry, action, extras = policy(play.carry, play.obs, reset, k_act)
    env_state, result = _step(env, task, k_step, play.env_state, action, play.obs)
    step = TimeStep(play.obs, action, result.reward, result.obs, result.terminated, result.truncated, reset, extras)
    alive = play.alive & ~env.ended(result.terminated, result.truncated)
    return Play(play.t + 1, alive, env_state, result.obs, carry, play.key), step


def mean_over_agents(env: Env, x: Array) -> Array:
    """The mean over the agents of an environment, `[..., agents]` -> `[...]`; `x` itself where there is but one."""
    return x if env.agents is None else x.mean(-1)


def _step(env: Env, task: Any, key: Array, env_state: Any, action: Any, obs: Any) -> tuple[Any, StepResult]:
    """A step of every environment `[E, ...]`, its observation of the dtypes of `obs` and its reward float32."""
    keys = jax.random.split(key, jax.tree.leaves(obs)[0].shape[0])
    env_state, result = jax.vmap(modes.outside(env.step), (0, 0, 0, None))(keys, env_state, action, task)
    seen = jax.tree.map(lambda x, like: x.astype(like.dtype), result.obs, obs)
    return env_state, result._replace(obs=seen, reward=result.reward.astype(jnp.float32))


def _opening(env: Env, env_state: Any, obs: Any) -> Episodes:
    num_envs = jax.tree.leaves(obs)[0].shape[0]
    agents = () if env.agents is None else (env.agents,)
    return Episodes(
        env_state=env_state,
        obs=obs,
        reset=jnp.ones(num_envs, bool),
        returns=jnp.zeros((num_envs, *agents), jnp.float32),
        lengths=jnp.zeros(num_envs, jnp.int32),
    )


def _reset(env: Env, task: Any, key: Array, rows: Array) -> tuple[Any, Any]:
    """Fresh starts for environments `rows`: what a row gets does not depend on which others are reset with it."""
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, rows)
    env_state, obs = jax.vmap(modes.outside(env.reset), (0, None))(keys, task)
    return env_state, cast(env.observation_space, obs)  # whatever it computes in


def _reset_ended(env: Env, task: Any, key: Array, ended: Array, env_state: Any, obs: Any) -> tuple[Any, Any]:
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
