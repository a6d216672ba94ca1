"""Parts of every adapter of a suite: the count of an episode's steps, its limit, and the import of a library."""

from __future__ import annotations

import contextlib
import importlib
import io
import warnings
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import struct

from rljax.envs.suites.catalogue import REQUIRES
from rljax.errors import ConfigError
from rljax.types import Array, Scalar

NEVER = 2**31 - 1  # a limit that no episode comes to


class Counted(struct.PyTreeNode):
    """The library's state, and the steps of the episode."""

    inner: Any
    time: Array  # [] int32


class Limit(struct.PyTreeNode):
    """The task of an environment none of whose numbers can be traced but its limit."""

    max_steps: Scalar


def begun(inner: Any) -> Counted:
    """A state at the beginning of an episode."""
    return Counted(inner, jnp.zeros((), jnp.int32))


def library(suite: str, module: str) -> Any:
    """Imports a module of a suite's library, without what it prints and warns of.

    Raises:
      ConfigError: it is not installed.
    """
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(module)
    except ModuleNotFoundError as error:
        why = "" if (error.name or module).partition(".")[0] == module.partition(".")[0] else f" ({error})"
        raise ConfigError(f"an environment of {suite} needs {suite}: pip install '{REQUIRES[suite]}'{why}") from None


def one_hot(obs: Array, sizes: tuple[int, ...]) -> Array:
    """Categories `[..., C]`, of so many kinds in each channel, as `[..., sum(sizes)]` zeros and ones of float32."""
    return jnp.concatenate([(obs[..., i, None] == np.arange(n)).astype(jnp.float32) for i, n in enumerate(sizes)], -1)
