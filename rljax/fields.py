"""Fields that say what they are: a default, a line of help, and which values they take. Needs no jax.

    class Hypers(struct.PyTreeNode):
        lr: Scalar = number(2.5e-4, "learning rate of Adam", low=0.0)
        horizon: Scalar = number(INF, "updates in this run", low=1.0, high=INF)

Each function here gives a `dataclasses.field`, for a frozen dataclass and for a `flax.struct.PyTreeNode` alike.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import rljax.catalogue  # noqa: F401  which fills the registries
from rljax import registry
from rljax.errors import ConfigError
from rljax.kinds import INF, LARGEST, Choice, Count, Flag, Kind, Number, Part, PolicyObjective, Several, Text, Weights
from rljax.plugins import COLON, HINT

__all__ = [
    "INF",
    "choice",
    "count",
    "entry",
    "flag",
    "number",
    "part",
    "policy_objective",
    "share",
    "sizes",
    "text",
    "weights",
]


@dataclasses.dataclass(frozen=True)
class Entry(Kind):
    """A name in a registry, such as that of torsos, possibly with arguments: `impala(features=(16,32))`."""

    what: str

    @property
    def type(self) -> Any:
        return str

    def convert(self, name: str, value: Any) -> str:
        """Checks a name, arguments in brackets included; `module:Class` is looked up when it is used.

        A class or a function is registered as `module:Class`, which stands for it from then on.
        """
        names = registry.of(self.what)
        if not isinstance(value, str):
            return names.register_own(value)
        called = registry.parsed(value).name
        if COLON not in called and not names.knows(called):
            try:
                Choice(tuple(names)).convert(name, called)
            except ConfigError as error:
                raise ConfigError(f"{error}; {HINT}") from None
        return value


def number(
    default: float,
    doc: str,
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | str | None = None,
    below: float | None = None,
) -> Any:
    """A number; see `Number` for what its bounds mean."""
    return _field(Number(low, high, above, below), default, doc)


def share(default: float, doc: str) -> Any:
    """A number from 0 to 1."""
    return _field(Number(0.0, 1.0), default, doc)


def count(default: int, doc: str, *, least: int = 1, most: int = LARGEST) -> Any:
    """A whole number, at least 1 unless told otherwise."""
    return _field(Count(least, most), default, doc)


def flag(default: bool, doc: str) -> Any:
    """True or false."""
    return _field(Flag(), default, doc)


def choice(default: Any, doc: str) -> Any:
    """One of what the field's annotation lists: `Literal["mlp", "cnn"]`."""
    return dataclasses.field(default=default, metadata={"doc": doc})


def entry(default: str, what: str, doc: str) -> Any:
    """A field that takes a name in the registry of `what`, such as `torso`; one's own, too, or a class."""
    return dataclasses.field(default=default, metadata={"doc": doc, "kind": Entry(what)})


def sizes(default: tuple[int, ...], doc: str) -> Any:
    """A tuple of positive whole numbers, such as the widths of layers."""
    return _field(Several(Count()), default, doc)


def text(default: str, doc: str) -> Any:
    """Any text."""
    return _field(Text(), default, doc)


def policy_objective(default: Callable[[], Any], doc: str) -> Any:
    """A policy objective, by default one of that class."""
    return dataclasses.field(default_factory=default, metadata={"doc": doc, "kind": PolicyObjective()})


def part(doc: str) -> Any:
    """A part with many numbers, which the algorithm's `make` gives."""
    return dataclasses.field(metadata={"doc": doc, "kind": Part()})


def weights(default: Callable[[], Any], doc: str) -> Any:
    """An array that is learned, by default what the function gives."""
    return dataclasses.field(default_factory=default, metadata={"doc": doc, "kind": Weights()})


def _field(kind: Kind, default: Any, doc: str) -> Any:
    return dataclasses.field(default=kind.convert("default", default), metadata={"doc": doc, "kind": kind})
