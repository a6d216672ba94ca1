"""Checks what an algorithm gives against the contract of `types`, by its shapes; nothing runs."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from rljax.errors import ConfigError
from rljax.ops.tree import named_leaves
from rljax.spaces import like
from rljax.types import Algorithm


def check(algorithm: Algorithm, state: Any, result: Any) -> None:
    """Checks `step` and, where it is not of rljax, `act`.

    Args:
      state: the shapes of a state, as `init` gives them.
      result: those of what `step` gives for it.

    Raises:
      ConfigError: `step` gives no pair, another state than it was given, or metrics that are no flat dict of scalars;
        `act` gives no pair, another carry, or no actions `[B, ...]` of the environment.
    """
    after, metrics = _pair(algorithm, "step", result, "(state, metrics)")
    _check_same(algorithm, "step", "state", state, after)
    where = f"{type(algorithm).__name__}.step"
    if not isinstance(metrics, dict) or not metrics:
        raise ConfigError(f"{where}: metrics are {_shown(metrics)}; give a dict of scalars, such as its loss")
    for name, x in metrics.items():
        if not isinstance(name, str) or getattr(x, "shape", None) != ():
            raise ConfigError(f"{where}: metric {name!r} is {_shown(x)}; give scalars by name, such as its mean")
    if not type(algorithm).__module__.startswith("rljax."):
        _check_act(algorithm, state)


def _check_act(algorithm: Algorithm, state: Any) -> None:
    env, batch = algorithm.env, 2
    obs, wanted = (
        jax.tree.map(lambda x: jax.ShapeDtypeStruct((batch, *x.shape), x.dtype), like(space))
        for space in (env.observation_space, env.action_space)
    )
    carry = jax.eval_shape(lambda state: algorithm.initial_carry(state, batch), state)
    reset, greedy = jax.ShapeDtypeStruct((batch,), jnp.bool_), jax.ShapeDtypeStruct((), jnp.bool_)
    result = jax.eval_shape(algorithm.act, state, carry, obs, reset, jax.random.key(0), greedy)
    after, action = _pair(algorithm, "act", result, "(carry, action)")
    _check_same(algorithm, "act", "carry", carry, after)
    given, found = named_leaves(wanted), named_leaves(action)
    fits = given.keys() == found.keys() and all(_alike(given[name], found[name]) for name in given)
    if not fits:
        raise ConfigError(
            f"{type(algorithm).__name__}.act: actions are {_shown(action)}; {env.name} takes {_shown(wanted)} here, B=2"
        )


def _pair(algorithm: Algorithm, method: str, result: Any, wanted: str) -> tuple[Any, Any]:
    if not isinstance(result, tuple) or len(result) != 2:
        raise ConfigError(f"{type(algorithm).__name__}.{method}: gives {_shown(result)}; it must give {wanted}")
    return result


def _check_same(algorithm: Algorithm, method: str, what: str, before: Any, after: Any) -> None:
    where, given, found = f"{type(algorithm).__name__}.{method}", named_leaves(before), named_leaves(after)
    if jax.tree.structure(before) != jax.tree.structure(after):
        names = [name for name in {**given, **found} if (name in given) != (name in found)]
        raise ConfigError(f"{where}: gives another {what} than it took: {', '.join(names) or _shown(after)} differs")
    for name, x in given.items():
        if (x.shape, x.dtype) != (found[name].shape, found[name].dtype):
            raise ConfigError(f"{where}: {what} '{name}' was {_shown(x)} and is {_shown(found[name])}; keep both alike")


def _alike(wanted: Any, found: Any) -> bool:
    kinds = (jnp.floating, jnp.integer)
    same = any(jnp.issubdtype(wanted.dtype, k) and jnp.issubdtype(found.dtype, k) for k in kinds)
    return wanted.shape == found.shape and (same or wanted.dtype == found.dtype)


def _shown(tree: Any) -> str:
    """A tree by its shapes: `float32[2,3]`, or the name of its type."""
    if hasattr(tree, "dtype"):
        return f"{tree.dtype}[{','.join(map(str, tree.shape))}]"
    if isinstance(tree, tuple | list | dict) and type(tree) in (tuple, list, dict) and len(tree) <= 8:
        items = [f"{k!r}: {_shown(x)}" for k, x in tree.items()] if isinstance(tree, dict) else list(map(_shown, tree))
        return f"{'{' if isinstance(tree, dict) else '('}{', '.join(items)}{'}' if isinstance(tree, dict) else ')'}"
    return f"a {type(tree).__name__}"
