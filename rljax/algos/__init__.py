"""The registry of algorithms: a name, and the module with its `Config`, `Hypers` and `make(env, config)`.

Nothing here imports jax; `load` does.
"""

from __future__ import annotations

import importlib
from types import ModuleType

from rljax import settings as _settings
from rljax.errors import ConfigError, unknown

_modules = {"ppo": "rljax.algos.ppo"}


def names() -> list[str]:
    """The registered algorithms."""
    return sorted(_modules)


def register(name: str, module: str) -> None:
    """Adds an algorithm: a module, by its import path, that defines `Config`, `Hypers` and `make(env, config)`.

    Raises:
      ConfigError: the name is taken by another module.
    """
    if _modules.setdefault(name, module) != module:
        raise ConfigError(f"algorithm '{name}' is taken by {_modules[name]}; register it under another name")


def load(name: str) -> ModuleType:
    """The module of an algorithm. Raises ConfigError for a name that is not registered."""
    return importlib.import_module(_path(name))


def settings(name: str) -> dict[str, _settings.Setting]:
    """Every field of an algorithm, without importing it. Raises ConfigError for a name that is not registered."""
    return _settings.of_algorithm(_path(name))


def _path(name: str) -> str:
    if name not in _modules:
        raise unknown("algorithm", name, _modules, "rljax list algos")
    return _modules[name]
