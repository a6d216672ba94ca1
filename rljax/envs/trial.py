"""Plays an environment with random actions, to find what its shapes cannot show."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rljax.ops.explore import legal, random_action
from rljax.spaces import Single
from rljax.types import DEFAULT_BOUND, Array, Dict, Env, Space, StepResult

NUM_ENVS = 8  # side by side
SAMPLES = 6  # steps that are taken again alone
CLOSE = {"rtol": 1e-3, "atol": 1e-4}  # what rounding may change between two ways to compile a step


class Steps(NamedTuple):
    """Steps that were played, `[T, E, ...]`."""

    state: Any
    obs: Any
    action: Any
    key: Array
    after: Any
    result: StepResult
    length: Array  # steps of the episode so far, this one among them


class Finding(NamedTuple):
    """The result of one check."""

    what: str
    fault: str = ""  # empty where all is well
    note: str = ""


def play(env: Env, steps: int, seed: int) -> tuple[Steps, tuple[Any, Any]]:
    """Plays random legal steps -> (steps `[T, E, ...]`, (state, obs) `[2E, ...]` of starts with other keys)."""
    keys = jax.random.split(jax.random.key(seed), NUM_ENVS)

    def step(loop, key):
        state, obs, length = loop
        k_action, k_step, k_reset = jax.random.split(key, 3)
        action = random_action(env, obs, k_action)
        after, result = env.step(k_step, state, action, env.task)
        ended = env.ended(result.terminated, result.truncated)
        first = (*env.reset(k_reset, env.task), jnp.int32(0))
        kept = jax.tree.map(lambda a, b: jnp.where(ended, a, b), first, (after, result.obs, length + 1))
        return kept, Steps(state, obs, action, k_step, after, result, length + 1)

    def one(key):
        k_reset, k_play = jax.random.split(key)
        start = (*env.reset(k_reset, env.task), jnp.int32(0))
        return jax.lax.scan(step, start, jax.random.split(k_play, -(-steps // NUM_ENVS)))[1]

    seen = jax.jit(lambda keys: jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1), jax.vmap(one)(keys)))(keys)
    more = jax.random.split(jax.random.fold_in(jax.random.key(seed), 2**31 + 4), 2 * NUM_ENVS)
    return seen, jax.jit(jax.vmap(env.reset, (0, None)))(more, env.task)


def findings(env: Env, steps: int = 400, seed: int = 0) -> Iterator[Finding]:
    """Yields the result of each check, in turn, of about `steps` random steps."""
    seen, starts = play(env, steps, seed)
    again = play(env, steps, seed)
    space: Any
    for where, shown in {"reset": starts[1], "step": _flat(seen.result.obs)}.items():
        for entry, space, obs in _entries("observation", env.observation_space, shown):
            yield Finding(f"{entry}s of {where} are finite", _where(where, ~_finite(obs), obs))
            outside = ~jax.vmap(space.contains)(obs) & _finite(obs)
            yield Finding(f"{entry}s of {where} lie in observation_space", _where(where, outside, obs))
    reward = _flat(seen.result.reward)
    yield Finding("rewards are finite", _where("step", ~_finite(reward), reward))
    for entry, space, action in _entries("action", env.action_space, _flat(seen.action)):
        yield Finding(f"{entry}s lie in action_space", _where("step", ~jax.vmap(space.contains)(action), action))
    allowed = legal(env.observation_space, _flat(seen.obs))
    if allowed is not None:
        yield Finding("some action is legal before every step", _where("step", ~allowed.any(-1), allowed))
    both = _flat(seen.result.terminated & seen.result.truncated)
    both = both if env.agents is None else both.any(-1)
    remedy = "; truncated must be False where terminated is True"
    yield Finding("terminated and truncated are never both set", _where("step", both, both, remedy))
    yield _lengths(env, seen)
    yield _resets_itself(env, seen, starts[1])
    same = _same((seen, starts), again)
    yield Finding("the same keys give the same", "" if same else "they do not; draw from the key alone, keep nothing")
    yield from _alone(env, seen)
    yield _starts(starts)


def _lengths(env: Env, seen: Steps) -> Finding:
    """Checks that no episode is longer than the environment says."""
    most, limit = int(np.max(seen.length)), int(env.longest_episode())
    ended = np.asarray(env.ended(seen.result.terminated, seen.result.truncated))
    said = env.time_limit is not None
    what = f"episodes end within {limit:,} steps"
    if said and most > limit:
        return Finding(what, f"one took {most} or more; truncate it, or say the right time_limit")
    note = f"{ended.sum()} of them ended" if ended.any() else "none ended in so few steps"
    return Finding(
        what if said else "episodes end",
        note=note if said else f"{note}; no time_limit says when: {DEFAULT_BOUND:,} is taken",
    )


def _resets_itself(env: Env, seen: Steps, starts: Any) -> Finding:
    """Checks that a step that ends an episode shows its true successor, not the start of the next one."""
    what = "step shows the true successor where an episode ends"
    ends = env.ended(seen.result.terminated, seen.result.truncated)
    ended, opening = (np.asarray(_flat(x)) for x in (ends, seen.length == 1))
    shown, acted_on = _rows(_flat(seen.result.obs)), _rows(_flat(seen.obs))
    openings = {*_rows(starts), *itertools.compress(acted_on, opening)}
    inside = any(x in openings for x in itertools.compress(shown, ~ended))
    if ended.sum() < 2 or ended.all() or inside or not all(x in openings for x in itertools.compress(shown, ended)):
        return Finding(what)
    return Finding(what, f"all {ended.sum()} show what reset shows, and no other step does; never reset in step")


def _starts(starts: tuple[Any, Any]) -> Finding:
    note = f"{len(set(_rows(starts)))} different ones of {2 * NUM_ENVS}"
    return Finding("starts differ with the key", note=note)


def _alone(env: Env, seen: Steps) -> Iterator[Finding]:
    """Takes some steps again one by one, compiled and not, and compares."""
    shape = seen.length.shape
    chosen = np.unravel_index(np.linspace(0, np.prod(shape) - 1, SAMPLES).astype(int), shape)
    kinds: dict[str, tuple[Callable[..., Any], int]] = {
        "a step alone gives what it gives under vmap": (jax.jit(env.step), SAMPLES),
        "a step gives the same without jit": (env.step, 1),
    }
    for what, (step, count) in kinds.items():
        fault = ""
        for at in list(zip(*chosen))[:count]:
            state, action, key, after = jax.tree.map(
                lambda x, at=at: x[at], (seen.state, seen.action, seen.key, (seen.after, seen.result))
            )
            if not _same(step(key, state, action, env.task), after, **CLOSE):
                fault = f"step {at[0] + 1} gives something else; let it depend on its arguments alone"
        yield Finding(what, fault)


def _where(where: str, bad: Array, x: Array, remedy: str = "") -> str:
    """Says how often a `[N]` bool holds and shows the first of the `[N, ...]` it is about; '' where it never holds."""
    at = np.flatnonzero(bad)
    if not at.size:
        return ""
    when = f"step {at[0] // NUM_ENVS + 1}" if where == "step" else "a reset"
    value = np.array2string(np.asarray(x[at[0]]).reshape(-1)[:8], separator=", ", precision=4, max_line_width=200)
    return f"{at.size} of {len(bad)} do not; the first after {when}: {value}{remedy}"


def _entries(name: str, space: Space, x: Any) -> Iterator[tuple[str, Single, Array]]:
    """Yields (name, space, values) of everything in a space that is one array."""
    if not isinstance(space, Dict):
        yield name, space, x
        return
    for each, part in space.spaces.items():
        yield from _entries(f"{name}[{each!r}]", part, x[each])


def _flat(tree: Any) -> Any:
    """Flattens leaves `[T, E, ...]` to `[N, ...]`."""
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), tree)


def _rows(tree: Any) -> list[bytes]:
    """The bytes of each entry of leaves `[N, ...]`."""
    leaves = [_data(x) for x in jax.tree.leaves(tree)]
    return [b"".join(row.tobytes() for row in rows) for rows in zip(*leaves)]


def _finite(x: Array) -> Array:
    """Finds the entries `[N]` of `[N, ...]` that are finite everywhere."""
    return jnp.isfinite(x.astype(jnp.float32)).reshape(len(x), -1).all(1)


def _data(x: Any) -> np.ndarray:
    keys = isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(x) if keys else x)


def _same(one: Any, other: Any, **close: float) -> bool:
    pairs = zip(map(_data, jax.tree.leaves(one)), map(_data, jax.tree.leaves(other)), strict=True)
    return all(
        a.shape == b.shape and np.allclose(a, b, **({"rtol": 0, "atol": 0} | close), equal_nan=True) for a, b in pairs
    )
