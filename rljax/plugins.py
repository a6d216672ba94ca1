"""Plugins: code from elsewhere that adds algorithms, environments and other named parts. Needs no jax.

A plugin is a module that registers what it offers when it is imported: `rljax.algos.register("a2c", A2C)`. It is found

* as an installed package with an entry point in the group `rljax.plugins`, whose value is that module. Such packages
  are imported when a name is not known otherwise, so they cost nothing until then;
* as a module or a file that the user gives: `--plugin my_package`, `--plugin ./mine.py`, the environment variable
  `RLJAX_PLUGINS` (several with commas), or `rljax.plugins.load("./mine.py")`.

A record of a run says which plugins it used, but never imports them: only what is installed, or given, is imported.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from rljax.errors import ConfigError, brief, reason, require

GROUP, VARIABLE = "rljax.plugins", "RLJAX_PLUGINS"
COLON = ":"  # in the names of the user's classes, `module:Class`
HINT = "one of a plugin's needs --plugin my_package, or ./mine.py"
DIGITS = 16  # hexadecimal, of a hash


class Plugin(NamedTuple):
    """A plugin that is loaded, or that failed to load.

    Attributes:
      source: what `--plugin` takes: its module, or the path of its file.
      version: name and version of its distribution, or a hash of its files.
      error: why it could not be imported; empty if it was.
    """

    source: str
    version: str
    error: str = ""


_known: dict[str, Plugin] = {}  # by source
_modules: dict[str, ModuleType] = {}  # of plugins, by name
_installed: set[str] = set()  # the sources of those that nobody had to give
_found = False  # whether installed plugins, and those of the environment variable, were looked for
_enabled = True
undo: list[Callable[[str], None]] = []  # called with the source of a plugin that failed half-way
_stack: list[str] = []  # the plugins that are being imported, the innermost last


def load(given: str | Path) -> Plugin:
    """Imports a plugin: an importable module, also of the working folder, or a Python file.

    A file that has changed since is run again, as a notebook's cell is.

    Raises:
      ConfigError: it cannot be imported; what it has registered by then is forgotten.
    """
    source = source_of(given)
    if is_loaded(source) and not (is_file(source) and _known[source].version != _version(source, None)):
        return _known[source]
    try:
        with _importing(source):
            module = _file(Path(source)) if is_file(source) else _module(source)
    except Exception as error:  # whatever the module raises
        for forget in undo:
            forget(source)
        raise ConfigError(f"plugin={given}: {_line(error)}") from (None if isinstance(error, ConfigError) else error)
    _modules[module.__name__] = module
    _known[source] = Plugin(source, _version(source, module))
    return _known[source]


def source_of(given: str | Path) -> str:
    """The module that is given, or the absolute path of a file. Raises ConfigError where it is neither."""
    text = str(given)
    if is_file(text):
        path = Path(text).expanduser().absolute()
        require(path.is_file() and path.suffix == ".py", "plugin", text, "there is no such Python file")
        return str(path.resolve())
    fits = bool(text) and all(part.isidentifier() for part in text.split("."))
    require(fits, "plugin", text, "give a module, my_package, or a file, ./mine.py")
    return text


def imported(path: str) -> Any:
    """Imports `module:Class`, as the user wrote it. Raises ConfigError where there is none."""
    module, _, names = path.partition(COLON)
    fits = all(part.isidentifier() for part in [*module.split("."), *names.split(".")])
    require(fits, "class", repr(path), "write it as module:Class")
    try:
        load(module)
    except ConfigError as error:
        why = str(error).removeprefix(f"plugin={module}: ")
        raise ConfigError(f"{path} {why}; put it into an importable module") from None
    found = loaded(path)
    if found is None:
        raise ConfigError(f"{path}: there is no {names} in module {module}")
    return found


def loaded(path: str) -> Any:
    """The object of a path, `module:Class`, where that module is a plugin that was loaded; else None.

    A script calls itself `__main__`: given as a plugin it has another name, so each of those that were given may be it.
    """
    module, _, names = path.partition(COLON)
    for each in reversed(_modules.values()) if module == "__main__" else [_modules.get(module)]:
        found: Any = each
        for name in names.split("."):
            found = getattr(found, name, None)
        if found is not None:
            return found
    return None


def find() -> bool:
    """Loads installed plugins and those of `RLJAX_PLUGINS`, once in a process; one that fails is a warning.

    Returns:
      Whether there was something to load.
    """
    global _found
    if _found or not _enabled:
        return False
    from importlib import metadata  # slow, and most runs have no use for it

    _found = True
    given = [text.strip() for text in os.environ.get(VARIABLE, "").split(",") if text.strip()]
    installed = {entry.value: entry.dist for entry in metadata.entry_points(group=GROUP)}
    _installed.update({*installed} - {*given} - {*_known})
    for source in dict.fromkeys([*given, *installed]):
        try:
            load(source)
        except ConfigError as error:
            dist = installed.get(source)
            whose = f"{dist.name} {dist.version}" if dist else VARIABLE
            why = str(error).removeprefix(f"plugin={source}: ")
            _known[source] = Plugin(source, whose, why)
            warnings.warn(f"plugin '{source}' of {whose} is left out: {why}; --no-plugins tries none", stacklevel=2)
    return bool(given or installed)


def options() -> list[str]:
    """The words of the command line that give another process the plugins that this one was given."""
    given = (plugin.source for plugin in _known.values() if not plugin.error and plugin.source not in _installed)
    return [word for source in given for word in ("--plugin", source)] + ["--no-plugins"] * (not _enabled)


def disable() -> None:
    """Looks for no plugins in this process, other than those given to `load`."""
    global _enabled
    _enabled = False


def known() -> list[Plugin]:
    """The plugins loaded so far, and those that could not be."""
    return list(_known.values())


def being_imported() -> str | None:
    """The plugin whose module runs now, if any."""
    return _stack[-1] if _stack else None


@contextlib.contextmanager
def _importing(source: str) -> Iterator[None]:
    _stack.append(source)
    try:
        yield
    finally:
        _stack.pop()


def version(source: str) -> str:
    """The version of a plugin, or of another module or script that registers something, as it was when first asked."""
    return _known[source].version if is_loaded(source) else _version_of_others(source)


@cache  # asked for every row of a sweep, and to find a distribution reads the files of all that are installed
def _version_of_others(source: str) -> str:
    return _version(source, sys.modules.get(source))


def is_loaded(source: str) -> bool:
    """Whether this plugin is loaded."""
    return source in _known and not _known[source].error


def is_file(text: str) -> bool:
    """Whether a text is meant as the path of a file, not as the name of a module."""
    return text.endswith(".py") or os.sep in text


def _module(name: str) -> ModuleType:
    if not {"", os.getcwd()} & {*sys.path}:  # the command's own path begins where it is installed, not where it is run
        sys.path.append(os.getcwd())
    return importlib.import_module(name)


def _file(path: Path) -> ModuleType:
    """Imports a file under its own name, or another one where that is taken."""
    name = path.stem if path.stem.isidentifier() else "plugin"
    taken = importlib.util.find_spec(name) if name not in sys.modules else sys.modules[name].__spec__
    if taken is not None and (taken.origin is None or Path(taken.origin).resolve() != path):
        name = f"{name}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # before it runs: dataclasses and pickles ask for it
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module


def _version(source: str, module: ModuleType | None) -> str:
    """Name and version of an installed distribution, else a hash of the file, or of all files of the package."""
    if not is_file(source):
        from importlib import metadata

        root = source.partition(".")[0]
        entries = (entry for entry in metadata.entry_points(group=GROUP) if entry.value.partition(".")[0] == root)
        dist = next((entry.dist for entry in entries), None)
        if dist is None and (names := metadata.packages_distributions().get(root)):
            dist = metadata.distribution(names[0])
        if dist is not None:
            return f"{dist.name} {dist.version}"
        origin = getattr(sys.modules.get(root), "__file__", None) or getattr(module, "__file__", None)
        if origin is None:
            return "unknown"
        source = origin
    path = Path(source)
    files = sorted(path.parent.rglob("*.py")) if path.name == "__init__.py" else [path]
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes() if file.exists() else b"")
    return f"sha256:{digest.hexdigest()[:DIGITS]}"


def _line(error: Exception) -> str:
    return brief(error) if isinstance(error, ConfigError) else f"cannot be imported ({reason(error)})"
