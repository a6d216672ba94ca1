"""A job on its way to another process: its rows and the registrations that they need, compared when they arrive.

A number that arrived as another would train, and be labelled with the one that was asked for.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
import sys
from collections.abc import Iterable
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rljax import algos, envs, registry
from rljax.build import Prepared, abstract_state
from rljax.engine.pickling import MAIN, REMEDY, dumps, is_unimportable
from rljax.engine.plan import Programs
from rljax.engine.work import Job
from rljax.errors import WorkerError
from rljax.objectives import plugged
from rljax.ops.tree import named_leaves
from rljax.spec import RunSpec

PARTS = ("Config", "Hypers", "make", "unused")  # of an algorithm's module
ADDRESS = re.compile(r" at 0x[0-9a-f]+")
SHOWN = 8  # a leaf of at most so many numbers is shown; of a larger one there is a digest


class Payload(NamedTuple):
    """Gives the job when it is called in the other process. Raises WorkerError where anything arrived changed."""

    rows: dict[int, RunSpec]  # the first of each group; what differs between members comes with their shards
    job: Job  # without programs
    registered: dict[str, dict[str, Any]]  # what rows name and does not come with rljax, see `registry.registered`
    sent: dict[int, dict[str, Any]]  # `described` of each row
    states: dict[int, dict[str, Any]]  # paths, shapes and dtypes of the state of each row, where code is the user's

    def __call__(self) -> Job:
        registry.restore(self.registered)  # those of an earlier round stay: its programs are compiled
        prepared = {number: row.prepare() for number, row in self.rows.items()}
        for number, sent in self.sent.items():
            _compare(f"row {number}", described(prepared[number]), sent)
        for number, sent in self.states.items():
            _compare(f"the state of row {number}", _state(prepared[number]), sent)
        programs = dataclasses.replace(self.job.programs, prepared=prepared)
        return dataclasses.replace(self.job, programs=programs)


def pack(job: Job) -> bytes:
    """Packs a job for other processes: `pickling.loads(...)()` gives it there.

    Raises:
      ConfigError: something in it cannot be pickled.
    """
    programs = job.programs
    rows = {group.rows[0]: programs.rows[group.rows[0]] for group in job.groups}
    prepared = {number: programs.prepared[number] for number in rows}
    named = registry.registered(_names(rows.values()))
    named["algorithm"] = {name: _sendable(entry) for name, entry in named.get("algorithm", {}).items()}
    states = {} if all(map(_is_shipped, rows.values())) else {n: _state(built) for n, built in prepared.items()}
    bare = dataclasses.replace(job, programs=Programs({}, evaluate=programs.evaluate))
    payload = Payload(rows, bare, named, {n: described(built) for n, built in prepared.items()}, states)
    trees = [(prepared[n].algorithm.hypers, prepared[n].task, _abstract(prepared[n])) for n in states]
    return dumps(payload, trees)


def _names(rows: Iterable[RunSpec]) -> set[str]:
    """All names in rows: of algorithms, environments, wrappers, and whatever settings choose by name."""
    found: set[str] = set()
    for row in rows:
        found |= {value for value in row.settings.values() if isinstance(value, str)}
        found |= {row.algo, algos.base(row.algo), *(envs.parts(row.env) if isinstance(row.env, str) else ())}
    return found


def _is_shipped(row: RunSpec) -> bool:
    """Whether a row has no code of the user, so that its state is the same in another process."""
    objective = row.settings.get("objective", "")
    ours = (
        not plugged.is_path(objective)
        if isinstance(objective, str)
        else type(objective).__module__.startswith("rljax.")
    )
    return ours and isinstance(row.env, str) and not any(registry.registered(_names([row])).values())


def described(prepared: Prepared) -> dict[str, Any]:
    """Describes a row's numbers by path and class, in words that do not depend on how its classes are registered."""
    found: dict[str, Any] = {"updates": prepared.updates, "config": ADDRESS.sub("", repr(prepared.config))}
    for part, tree in (("hypers", prepared.algorithm.hypers), ("task", prepared.task)):
        for path, leaf in jax.tree.leaves_with_path(tree):
            found[f"{_kind(tree)} {part}{jax.tree_util.keystr(path)}"] = _described(leaf)
    return found


def _sendable(module: Any) -> Any:
    """Makes an algorithm's module sendable: its parts by value, where another process cannot import it."""
    module = sys.modules.get(module, module) if isinstance(module, str) else module
    if not isinstance(module, ModuleType):
        return module
    root = sys.modules.get(module.__name__.split(".")[0])
    if module.__name__ not in MAIN and not is_unimportable(root):
        return module.__name__
    parts = ModuleType(f"{module.__name__}_sent")  # unknown there, so it goes by value
    vars(parts).update({name: getattr(module, name) for name in PARTS if hasattr(module, name)})
    return parts


def _abstract(prepared: Prepared) -> Any:
    return abstract_state(prepared)


def _state(prepared: Prepared) -> dict[str, Any]:
    return {name: (x.shape, str(x.dtype)) for name, x in named_leaves(_abstract(prepared)).items()}


def _kind(tree: Any) -> str:
    return plugged.path_of(type(tree))


def _described(leaf: Any) -> Any:
    """Describes a leaf as (shape, dtype, numbers), or by the name of its class where it is something else."""
    if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    x = np.asarray(leaf)
    if x.dtype == object:
        return _kind(leaf)
    return x.shape, str(x.dtype), repr(x.tolist()) if x.size <= SHOWN else hashlib.sha256(x.tobytes()).hexdigest()


def _compare(what: str, here: dict[str, Any], sent: dict[str, Any]) -> None:
    for name in [*sent, *here]:
        if here.get(name) != sent.get(name):
            told, got = sent.get(name, "nothing"), here.get(name, "nothing")
            raise WorkerError(f"{what}: {name} is {told} here and {got} in another process; {REMEDY}")
