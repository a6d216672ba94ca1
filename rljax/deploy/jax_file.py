"""A policy as a program of JAX, weights inside: `jax.export` reads it without rljax, on any device, for any batch.

import jax

with open("policy.jax", "rb") as file:
    act = jax.export.deserialize(bytearray(file.read()))
action = act.call(obs)  # [B, ...] -> [B, ...]
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.export
import jax.numpy as jnp

from rljax.errors import ConfigError
from rljax.policy import Policy
from rljax.spaces import zeros
from rljax.storage import replacing

PLATFORMS = ("cpu", "cuda", "tpu")


def write(policy: Policy, path: Path) -> None:
    """Writes `obs [B, ...] -> action`; of a policy with a memory `(carry, obs, reset [B]) -> (carry, action)`.

    A carry is of dicts, lists and tuples: named tuples are written as plain ones, for whoever reads has no such class.

    Raises:
      ConfigError: `flatbuffers` is not installed.
    """
    (batch,) = jax.export.symbolic_shape("batch")
    obs = jax.tree.map(lambda x: jax.ShapeDtypeStruct((batch, *x.shape), x.dtype), zeros(policy.env.observation_space))
    carry = jax.eval_shape(lambda: policy.algo.initial_carry(policy.state, 1))

    structure = jax.tree.structure(carry)

    def act(carry: Any, obs: Any, reset: Any) -> Any:
        carry = structure.unflatten(jax.tree.leaves(carry))
        carry, action = policy.algo.act(policy.state, carry, obs, reset, jax.random.key(0), True)
        return _plain(carry), action

    def without_memory(obs: Any) -> Any:
        count = jax.tree.leaves(obs)[0].shape[0]
        return act(policy.algo.initial_carry(policy.state, count), obs, jnp.zeros(count, bool))[1]

    if jax.tree.leaves(carry):
        carry = jax.tree.map(lambda x: jax.ShapeDtypeStruct((batch, *x.shape[1:]), x.dtype), _plain(carry))
        reset = jax.ShapeDtypeStruct((batch,), jnp.bool_)
        exported = jax.export.export(jax.jit(act), platforms=PLATFORMS)(carry, obs, reset)
    else:
        exported = jax.export.export(jax.jit(without_memory), platforms=PLATFORMS)(obs)
    try:
        data = exported.serialize()
    except ImportError:
        raise ConfigError("a .jax file needs flatbuffers: pip install flatbuffers") from None
    with replacing(path) as partial:
        partial.write_bytes(data)


def _plain(tree: Any) -> Any:
    """The same tree, its named tuples as tuples."""
    if isinstance(tree, dict):
        return {name: _plain(part) for name, part in tree.items()}
    if isinstance(tree, tuple | list):
        return list(map(_plain, tree)) if isinstance(tree, list) else tuple(map(_plain, tree))
    return tree
