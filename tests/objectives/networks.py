"""Learned objectives with any weights."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def random_network(kind, seed, scale=1.0):
    """An LPO or TALPO whose every weight is a normal draw times `scale`."""
    plain = kind()
    k_hidden, k_output = jax.random.split(jax.random.key(seed))
    return plain.replace(
        hidden=scale * jax.random.normal(k_hidden, plain.hidden.shape, jnp.float32),
        output=scale * jax.random.normal(k_output, plain.output.shape, jnp.float32),
    )
