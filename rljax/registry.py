"""Registries: what can be chosen by a name, and what each name stands for. Needs no jax.

A name stands for an object, or for the import path `module:attribute` of one (`module` alone: the module itself), which
is followed when the object is asked for. Every room fills the registry of what it offers; what is added to them later,
by `rljax.algos.register`, `rljax.envs.register` and so on, is kept in one table, so that it can be sent as a whole to
other processes (`registered`, `restore`), with the plugin, module or script that added it. A name that is not known is
looked for in the plugins (see `rljax.plugins`) before it is refused.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Generic, NamedTuple, TypeVar

from rljax import plugins
from rljax.errors import ConfigError, brief, require, unknown
from rljax.plugins import COLON

T = TypeVar("T")
_registries: dict[str, Registry[Any]] = {}  # by what they hold
_added: dict[str, dict[str, Any]] = {}  # by what it is: what was registered from outside the package, by name
_sources: dict[tuple[str, str], str] = {}  # by what it is and its name: the plugin, module or script that added it


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

    def register(self, name: str, entry: T | str, warn: bool = True, source: str | None = None) -> None:
        """Adds an entry, or replaces one that was added under this name before, with a warning if its code is another.

        Args:
          warn: whether to warn.
          source: what it belongs to, see `source`; by default the plugin that is being imported, or who calls.

        Raises:
          ConfigError: it is no name, or one that comes with rljax, or with another plugin.
        """
        require(isinstance(name, str) and bool(name), "name", repr(name), f"must be a name for the {self.what}")
        taken = f"is {_article(self.what)} of rljax; choose another name"
        require(not self.is_shipped(name), f"{self.what} name", repr(name), taken)
        here, before = source if source is not None else _caller(), _sources.get((self.what, name))
        both = f"is {_article(self.what)} of {before}, too; of two plugins one must choose another name"
        require(plugins.being_imported() is None or before in (None, here), f"{self.what} name", repr(name), both)
        if warn and name in self.registered() and _differs(self.registered()[name], entry):
            again = f"{self.what} '{name}' is registered again, with other code, which counts from now on"
            warnings.warn(again, stacklevel=3)
        self.registered()[name] = entry
        _sources[self.what, name] = here

    def register_own(self, entry: Any) -> str:
        """Adds a class or a function under the name `module:Class`, which is returned, whatever was there before.

        Raises:
          ConfigError: it is neither.
        """
        fits = callable(entry) and hasattr(entry, "__qualname__")
        require(fits, self.what, brief(entry), f"must be the name of {_article(self.what)}, or a class")
        name = f"{entry.__module__}{COLON}{entry.__qualname__}"
        taken: Any = entry
        self.register(name, taken, warn=False, source=_script(vars(sys.modules.get(entry.__module__, sys))))
        return name

    def register_path(self, path: str) -> None:
        """Adds what `module:Class` or `module:function` leads to, as the user wrote it, under that name.

        Raises:
          ConfigError: there is nothing.
        """
        self.register(path, plugins.imported(path), warn=False, source=path.partition(COLON)[0])

    def remove(self, name: str) -> None:
        """Forgets an entry that was added, if there is one."""
        self.registered().pop(name, None)
        _sources.pop((self.what, name), None)

    def check(self, name: Any) -> None:
        """Raises ConfigError for a name that neither rljax nor a plugin has, with the nearest one that is known."""
        if not self.knows(name):
            raise ConfigError(f"{unknown(self.what, name, self, self.listing)}; {plugins.HINT}")

    def knows(self, name: Any) -> bool:
        """Whether a name is registered; plugins are looked for where it is not."""
        if name in self:
            return True
        if isinstance(name, str) and COLON in name:
            found = plugins.loaded(name)
            if found is not None:
                self.register(name, found, warn=False, source=_script(vars(sys.modules[found.__module__])))
            return found is not None
        return plugins.find() and name in self

    def entry(self, name: str) -> Any:
        """Gives the entry as it was registered, an import path as such. Raises ConfigError where there is none."""
        self.check(name)
        return self._shipped[name] if name in self._shipped else self.registered()[name]

    def make(self, text: str, *first: Any, **given: Any) -> Any:
        """Calls what a name stands for with these arguments, or those in brackets after the name: `relu6(limit=6)`.

        Raises:
          ConfigError: there is no such name, or it does not take them.
        """
        call = parsed(text)
        try:
            return self.load(call.name)(*first, *call.args, **{**given, **call.named})  # pyright: ignore
        except TypeError as error:
            raise ConfigError(f"{self.what} '{text}': {' '.join(str(error).split())}") from error

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


class Call(NamedTuple):
    """A name with arguments."""

    name: str
    args: tuple[Any, ...] = ()
    named: Mapping[str, Any] = MappingProxyType({})


def parsed(text: str) -> Call:
    """Reads a name with arguments, `frame_stack(4)` or `rmsprop(decay=0.9)`; without brackets it has none.

    Raises:
      ConfigError: it is neither, or an argument is no plain value.
    """
    name, bracket, _ = text.strip().partition("(")
    if not bracket:
        return Call(name)
    with contextlib.suppress(SyntaxError, ValueError):
        call = ast.parse(f"_{text.strip().removeprefix(name)}", mode="eval").body
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name):
            named = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in call.keywords}
            return Call(name.strip(), tuple(map(ast.literal_eval, call.args)), named)
    raise ConfigError(f"'{text}': write it as a name with plain arguments, such as frame_stack(4)")


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


def source(what: str, name: str) -> str | None:
    """The plugin, module or script that registered a name, as `rljax.plugins.load` takes it; None if unknown."""
    return _sources.get((what, name)) or None


def forget(source: str) -> None:
    """Forgets all that this plugin, module or script registered."""
    for (what, name), by in list(_sources.items()):
        if by == source:
            _added[what].pop(name, None)
            del _sources[what, name]


plugins.undo.append(forget)


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


def _caller() -> str:
    """The plugin that is being imported, else the module or the script that called; empty for a notebook's cell."""
    plugin = plugins.being_imported()
    if plugin is not None:
        return plugin
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "rljax":
        frame = frame.f_back
    return _script(frame.f_globals)


def _script(names: Mapping[str, Any]) -> str:
    """The module that has these global names, by its name; the script that runs by its path; else empty."""
    module, file = names.get("__name__", ""), names.get("__file__")
    return module if module != "__main__" else str(Path(file).absolute()) if file else ""


def _differs(before: Any, entry: Any) -> bool:
    """Whether two entries have other code."""
    if before is entry or isinstance(before, str) or isinstance(entry, str):
        return before != entry
    if hasattr(before, "__code__") or hasattr(entry, "__code__"):  # the numbers that a function closes over may differ
        return getattr(before, "__code__", before) != getattr(entry, "__code__", entry)
    from rljax.fingerprint import fingerprint  # with numpy, which is slow to import

    return fingerprint(before) != fingerprint(entry)


def _article(what: str) -> str:
    return f"{'an' if what[0] in 'aeiou' else 'a'} {what}"
