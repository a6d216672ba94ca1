"""Registries: what can be chosen by a name, and what each name stands for. Needs no jax.

A name stands for an object, or for the import path `module:attribute` of one (`module` alone: the module itself), which
is followed when the object is asked for. Every room fills the registry of what it offers; what is added to them later,
by `rljax.algos.register`, `rljax.envs.register` and so on, is kept in one table, so that it can be sent as a whole to
other processes (`registered`, `restore`). An installed plugin will be one more caller of these functions.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Generic, TypeVar

from rljax.errors import ConfigError, require, unknown

T = TypeVar("T")
_registries: dict[str, Registry[Any]] = {}  # by what they hold
_added: dict[str, dict[str, Any]] = {}  # by what it is: what was registered from outside the package, by name


class Registry(Mapping[str, T], Generic[T]):
    """Names and what they stand for: those of the package first, in their order, then those that were registered.

    Args:
      what: an entry in an error message, e.g. `algorithm`.
      shipped: name -> object or import path, of the package.
      listing: the command that shows all names.
    """

    def __init__(self, what: str, shipped: Mapping[str, T | str], listing: str = "") -> None:
        self.what, self.listing = what, listing
        self._shipped: dict[str, Any] = dict(shipped)
        self._loaded: dict[str, tuple[Any, T]] = {}  # name -> (entry, what it led to)
        _registries[what] = self

    def __iter__(self) -> Iterator[str]:
        return iter({**self._shipped, **self.registered()})

    def __len__(self) -> int:
        return len({**self._shipped, **self.registered()})

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and (name in self._shipped or name in self.registered())

    def __getitem__(self, name: str) -> T:
        if name not in self:
            raise KeyError(name)
        return self.load(name)

    def names(self) -> list[str]:
        """All names."""
        return list(self)

    def registered(self) -> dict[str, Any]:
        """The entries that do not come with rljax, by name."""
        return _added.setdefault(self.what, {})

    def is_shipped(self, name: str) -> bool:
        """Whether a name comes with rljax."""
        return name in self._shipped

    def register(self, name: str, entry: T | str) -> None:
        """Adds an entry, or replaces one that was added under this name before.

        Raises:
          ConfigError: it is no name, or one that comes with rljax.
        """
        require(isinstance(name, str) and bool(name), "name", repr(name), f"must be a name for the {self.what}")
        taken = f"is {_article(self.what)} of rljax; choose another name"
        require(not self.is_shipped(name), f"{self.what} name", repr(name), taken)
        self.registered()[name] = entry

    def remove(self, name: str) -> None:
        """Forgets an entry that was added, if there is one."""
        self.registered().pop(name, None)

    def check(self, name: Any) -> None:
        """Raises ConfigError for a name that is not registered, with the nearest one that is."""
        if name not in self:
            raise unknown(self.what, name, self, self.listing)

    def entry(self, name: str) -> Any:
        """Gives the entry as it was registered, an import path as such. Raises ConfigError where there is none."""
        self.check(name)
        return self._shipped[name] if name in self._shipped else self.registered()[name]

    def load(self, name: str) -> T:
        """Gives the object that a name stands for, imported if need be.

        Raises:
          ConfigError: there is no such name, or its import path leads nowhere.
        """
        entry = self.entry(name)
        before = self._loaded.get(name)
        if before is None or before[0] is not entry:
            self._loaded[name] = before = entry, resolve(entry, f"{self.what} '{name}'")
        return before[1]


def resolve(entry: Any, what: str) -> Any:
    """The object that an import path leads to; anything else is returned as it is.

    Raises:
      ConfigError: the path leads nowhere; `what` says what was looked for.
    """
    if not isinstance(entry, str):
        return entry
    module, _, attributes = entry.partition(":")
    try:
        found = importlib.import_module(module)
        for attribute in attributes.split(".") if attributes else ():
            found = getattr(found, attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{what}: {entry} cannot be imported: {error}") from None
    return found


def of(what: str) -> Registry[Any]:
    """The registry of what is called so, e.g. `torso`."""
    return _registries[what]


def registered(names: Iterable[str] | None = None) -> dict[str, dict[str, Any]]:
    """Gives all that was registered from outside the package: what it is -> name -> entry.

    Args:
      names: only entries of these names; None: all.
    """
    wanted = None if names is None else set(names)
    every = {what: {n: x for n, x in some.items() if wanted is None or n in wanted} for what, some in _added.items()}
    return {what: some for what, some in every.items() if some}


def restore(entries: Mapping[str, Mapping[str, Any]]) -> None:
    """Registers in this process what `registered` gave in another; what is registered here already stays."""
    for what, some in entries.items():
        here = _added.setdefault(what, {})
        here |= {name: entry for name, entry in some.items() if name not in here}


def _article(what: str) -> str:
    return f"{'an' if what[0] in 'aeiou' else 'a'} {what}"


OBJECTIVES: Registry[type] = Registry(
    "objective",
    {
        "ppo-clip": "rljax.objectives.clip:PPOClip",
        "kl-penalty": "rljax.objectives.kl:KLPenalty",
        "dpo": "rljax.objectives.discovered:DPO",
        "lpo": "rljax.objectives.learned:LPO",
        "ta-lpo": "rljax.objectives.learned:TALPO",
    },
    "rljax list objectives",
)
LEARNED: Registry[type] = Registry(  # classes whose `load` reads a file of learned numbers, by what the file calls them
    "class of learned objectives",
    {"LPO": "rljax.objectives.learned:LPO", "TALPO": "rljax.objectives.learned:TALPO"},
)
TORSOS: Registry[Any] = Registry("torso", {"mlp": "rljax.nets.mlp:MLP", "cnn": "rljax.nets.cnn:CNN"})
MEMORIES: Registry[Any] = Registry("memory", {})
ACTIVATIONS: Registry[Any] = Registry(
    "activation",
    {
        "elu": "jax.nn:elu",
        "gelu": "jax.nn:gelu",
        "relu": "jax.nn:relu",
        "silu": "jax.nn:silu",
        "swish": "jax.nn:silu",
        "tanh": "jax.numpy:tanh",
    },
)
VALUE_HEADS: Registry[Any] = Registry(  # what is called with the number of outputs; the scalar head with its loss
    "value head",
    {
        "scalar": "rljax.ops.value_heads:ScalarHead",
        "categorical": "rljax.ops.value_heads:CategoricalHead",
        "hl-gauss": "rljax.ops.value_heads:HLGaussHead",
        "quantile": "rljax.ops.value_heads:QuantileHead",
    },
)
