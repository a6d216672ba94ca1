"""Initial weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from rljax.types import Array


def orthogonal(gain: float = 1.0) -> Callable[..., Array]:
    """Matrices with orthonormal rows or columns, uniformly distributed, times `gain`; kernels are flattened to them.

    The columns of a Gaussian matrix, orthonormalised in turn (Gram-Schmidt, each projected out twice, which is as
    exact as float32 allows). Same distribution as by QR, but no LAPACK: that cost half a second of start-up.

    Source: Saxe, McClelland and Ganguli 2014, arXiv:1312.6120; twice is enough: Giraud et al. 2005,
    doi:10.1007/s00211-005-0615-4.
    """

    def initialise(key: Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
        rows, columns = math.prod(shape[:-1]), shape[-1]
        tall = jax.random.normal(key, (max(rows, columns), min(rows, columns)), dtype)

        def orthonormalise(i, basis):
            column = tall[:, i]
            for _ in range(2):
                column -= basis @ (basis.T @ column)
            return basis.at[:, i].set(column * jax.lax.rsqrt(jnp.sum(jnp.square(column))))

        basis = jax.lax.fori_loop(0, tall.shape[1], orthonormalise, jnp.zeros_like(tall))
        return gain * (basis if rows >= columns else basis.T).reshape(shape)

    return initialise
