"""A job on its way to another process: its rows and the registrations that they need, compared when they arrive.

A number that arrived as another would train, and be labelled with the one that was asked for.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rljax import algos, envs, registry
from rljax.build import Prepared, abstract_state
from rljax.engine.pickling import MAIN, REMEDY, dumps, is_unimportable
from rljax.engine.plan import Setting, signature
from rljax.errors import WorkerError
from rljax.objectives import own
from rljax.ops.tree import named_leaves

PARTS = ("Config", "Hypers", "make", "unused")  # of an algorithm's module
ADDRESS = re.compile(r" at 0x[0-9a-f]+")
SHOWN = 8  # a leaf of at most so many numbers is shown; of a larger one there is a digest


class Payload(NamedTuple):
    """Gives the job when it is called in the other process. Raises WorkerError where anything arrived changed."""

    rows: list[Setting]
    job: Callable[[list[Prepared]], Any]
    registered: dict[str, dict[str, Any]]  # what rows name and does not come with rljax, see `registry.registered`
    sent: list[dict[str, Any]]  # `described` of each row
    states: dict[int, dict[str, Any]]  # paths, shapes and dtypes of the state, for the first row of each structure

    def __call__(self) -> Any:
        registry.restore(self.registered)  # those of an earlier round stay: its programs are compiled
        prepared = [row.prepare() for row in self.rows]
        for number, (built, sent) in enumerate(zip(prepared, self.sent)):
            _compare(f"row {number}", described(built), sent)
        for number, sent in self.states.items():
            _compare(f"the state of row {number}", _state(prepared[number]), sent)
        return self.job(prepared)


def pack(rows: Sequence[Setting], prepared: Sequence[Prepared], job: Callable[[list[Prepared]], Any]) -> bytes:
    """Packs `job(built rows)` for other processes: `pickling.loads(...)()` gives it there.

    Args:
      rows: N.
      prepared: the same, built.

    Raises:
      ConfigError: something in it cannot be pickled.
    """
    named = registry.registered(_names(rows))
    named["algorithm"] = {name: _sendable(entry) for name, entry in named.get("algorithm", {}).items()}
    sent = [described(one) for one in prepared]
    first = [] if all(map(_is_shipped, rows)) else _first_of_each(prepared)
    states = {number: _state(prepared[number]) for number in first}
    payload = Payload(list(rows), job, named, sent, states)
    trees = [(prepared[n].algorithm.hypers, prepared[n].task, _abstract(prepared[n])) for n in first]
    return dumps(payload, trees)


def _first_of_each(prepared: Sequence[Prepared]) -> list[int]:
    """The numbers of the first rows of each structure."""
    first = {}
    for number, one in enumerate(prepared):
        first.setdefault(signature(one), number)
    return list(first.values())


def _names(rows: Sequence[Setting]) -> set[str]:
    """All names in rows: of algorithms, environments, wrappers, and whatever settings choose by name."""
    found = {value for row in rows for value in row.settings.values() if isinstance(value, str)}
    for row in rows:
        found |= {row.algo, algos.base(row.algo), *(envs.parts(row.env) if isinstance(row.env, str) else ())}
    return found


def _is_shipped(row: Setting) -> bool:
    """Whether a row has no code of the user, so that its state is the same in another process."""
    objective = row.settings.get("objective", "")
    ours = not own.is_path(objective) if isinstance(objective, str) else type(objective).__module__.startswith("rljax.")
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
    return own.path_of(type(tree))


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
