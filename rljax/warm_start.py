"""A run that begins with what another has learned: its networks and normalisers, not its optimiser or its memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from rljax.checkpoint import Checkpointer
from rljax.errors import ConfigError, require
from rljax.fingerprint import fingerprint
from rljax.ops.tree import named_leaves
from rljax.results import store
from rljax.saved_leaves import difference, from_saved, schema_of
from rljax.storage import absolute

FRESH = {"episodes", "carry", "key", "updates", "buffer", "exploration", "opt", "gradient_steps", "returns"}
"""The parts of a state, at its top or one below, that belong to a run and not to what it has learned."""


class Start(NamedTuple):
    """The part of another run's state that it has learned."""

    run: str  # its folder
    updates: int
    leaves: dict[str, np.ndarray]

    def record(self) -> dict[str, Any]:
        """Plain values that say which it was."""
        return {"run": self.run, "updates": self.updates, "fingerprint": fingerprint(self.leaves)}

    def check(self, state: Any) -> None:
        """Raises ConfigError where this state, or one of these shapes, would need other leaves."""
        wanted = {name: leaf for name, leaf in named_leaves(state).items() if _is_learned(name)}
        other = difference(schema_of(self.leaves), schema_of(wanted))
        remedy = "give the algorithm and the sizes of its networks as they were there"
        require(not other, "start", self.run, f"does not fit: {other}; {remedy}")

    def into(self, state: Any) -> Any:
        """A state that has just begun, with these leaves."""
        leaves = named_leaves(state)
        merged = [from_saved(self.leaves[n], leaf) if _is_learned(n) else leaf for n, leaf in leaves.items()]
        return jax.tree.unflatten(jax.tree.structure(state), merged)


def read(folder: str | Path, recorded: dict[str, Any] | None = None) -> Start:
    """Reads what a run has learned from its newest checkpoint; no code of the user's is needed for that.

    Args:
      recorded: what `Start.record` said of it before, if that is to be the same.

    Raises:
      ConfigError: there is no run, or it has saved nothing yet, or something else than recorded.
    """
    path = absolute(folder, "run")
    record = store.read(path)
    with Checkpointer(path / store.CHECKPOINTS, record["algo"], record["config"]) as checkpoints:
        newest = checkpoints.read_leaves(_is_learned)
    if newest is None:
        raise ConfigError(f"start={path}: has no checkpoint yet")
    found = Start(str(path), *newest)
    if recorded is not None and found.record()["fingerprint"] != recorded["fingerprint"]:
        raise ConfigError(f"start={path}: has learned something else since this run began with it; begin anew")
    return found


def _is_learned(name: str) -> bool:
    return not FRESH & {*name.split("/")[:2]}
