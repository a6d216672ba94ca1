"""Parts of every adapter of a suite: the count of an episode's steps, its limit, and the import of a library."""

from __future__ import annotations

import contextlib
import importlib
import io
import warnings
from typing import Any

import jax.numpy as jnp
from flax import struct

from rljax.envs.suites.catalogue import REQUIRES
from rljax.errors import ConfigError
from rljax.ops.tree import as_arrays
from rljax.types import Array, Scalar, StepResult

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


def counted(
    before: Counted, inner: Any, obs: Any, reward: Any, terminated: Any, max_steps: Scalar
) -> tuple[Counted, StepResult]:
    """The next state, and the result of a step by which the library's state became `inner`: the limit truncates."""
    time, terminated = before.time + 1, jnp.asarray(terminated, bool)
    truncated = jnp.logical_and(time >= max_steps, ~terminated)
    return as_arrays((Counted(inner, time), StepResult(obs, jnp.asarray(reward, jnp.float32), terminated, truncated)))


def as_bytes(obs: Array) -> Array:
    """Categories `[H, W, C]`, of which none has more than 256 kinds, as uint8."""
    return jnp.asarray(obs, jnp.uint8)


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
