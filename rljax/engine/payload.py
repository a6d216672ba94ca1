"""A job on its way to another process: its rows and the registrations that they need, compared when they arrive.

A number that arrived as another would train, and be labelled with the one that was asked for.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
import sys
from collections.abc import Iterable, Mapping
from types import MappingProxyType, ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rljax import registry
from rljax.build import Prepared, abstract_state
from rljax.engine.pickling import MAIN, REMEDY, dumps, is_unimportable
from rljax.engine.plan import Programs
from rljax.engine.work import Job
from rljax.errors import WorkerError
from rljax.objectives import plugged
from rljax.ops.tree import named_leaves
from rljax.spec import Data, RunSpec
from rljax.types import WithData

PARTS = ("Config", "Hypers", "make", "unused")  # of an algorithm's module
ADDRESS = re.compile(r" at 0x[0-9a-f]+")
SHOWN = 8  # a leaf of at most so many numbers is shown; of a larger one there is a digest


class Payload(NamedTuple):
    """Gives the job when it is called in the other process, with the data that came before it, by fingerprint.

    Raises:
      WorkerError: anything arrived changed.
    """

    rows: dict[int, RunSpec]  # the first of each group, without data; what differs in members comes with their shards
    job: Job  # without programs
    registered: dict[str, dict[str, Any]]  # what rows name and does not come with rljax, see `registry.registered`
    sent: dict[int, dict[str, Any]]  # `described` of each row
    states: dict[int, dict[str, Any]]  # paths, shapes and dtypes of the state of each row, where code is the user's

    def __call__(self, data: Mapping[str, Data] = MappingProxyType({})) -> Job:
        registry.restore(self.registered)  # those of an earlier round stay: its programs are compiled
        prepared = {
            number: dataclasses.replace(row, data=data.get(str(row.data), row.data)).prepare()
            for number, row in self.rows.items()
        }
        for number, sent in self.sent.items():
            _compare(f"row {number}", described(prepared[number]), sent)
        for number, sent in self.states.items():
            _compare(f"the state of row {number}", _state(prepared[number]), sent)
        programs = dataclasses.replace(self.job.programs, prepared=prepared)
        return dataclasses.replace(self.job, programs=programs)


def data_of(job: Job) -> dict[str, Data]:
    """The data that the rows of a job learn from, by fingerprint: a process gets each once, before its first job."""
    rows = (job.programs.rows[group.rows[0]] for group in job.groups)
    return {row.data.fingerprint: row.data for row in rows if isinstance(row.data, Data)}


def arrived(arrays: Any, fingerprint: str) -> Data:
    """The data that came with this fingerprint. Raises WorkerError where it is other data."""
    data = Data(arrays)
    _compare("data", {"its fingerprint": data.fingerprint}, {"its fingerprint": fingerprint})
    return data


def pack(job: Job) -> bytes:
    """Packs a job for other processes: `pickling.loads(...)(data)` gives it there, where `data_of` it is.

    Raises:
      ConfigError: something in it cannot be pickled.
    """
    programs = job.programs
    rows = {group.rows[0]: programs.rows[group.rows[0]] for group in job.groups}
    prepared = {number: programs.prepared[number] for number in rows}
    named = registry.registered(_names(rows.values()))
    named["algorithm"] = {name: _sendable(entry) for name, entry in named.get("algorithm", {}).items()}
    states = {} if all(map(_is_shipped, rows.values())) else {n: _state(built) for n, built in prepared.items()}
    bare = dataclasses.replace(job, programs=Programs({}, evaluate=programs.evaluate, every=programs.every))
    rows = {n: dataclasses.replace(r, data=getattr(r.data, "fingerprint", None)) for n, r in rows.items()}
    payload = Payload(rows, bare, named, {n: described(built) for n, built in prepared.items()}, states)
    trees = [(prepared[n].algorithm.hypers, prepared[n].task, _abstract(prepared[n])) for n in states]
    return dumps(payload, trees)


def _names(rows: Iterable[RunSpec]) -> set[str]:
    """All names in rows: of algorithms, environments, wrappers, and whatever settings choose by name."""
    chosen = {value for row in rows for value in row.settings.values() if isinstance(value, str)}
    return chosen | {name for row in rows for _, name in row.names()}


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
    task = prepared.task.env if isinstance(prepared.task, WithData) else prepared.task  # data has a fingerprint
    for part, tree in (("hypers", prepared.algorithm.hypers), ("task", task)):
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
