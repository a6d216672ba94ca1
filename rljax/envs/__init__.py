"""Environments by name: `make("CartPole-v1")`, `make("brax/ant", backend="spring")`, `make("probe/constant")`.

An environment is a `rljax.types.Env`: pure functions and two spaces, without auto-reset. Importing this package is
cheap: Gymnax and Brax are loaded when the first of their environments is made.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rljax.envs import catalogue
from rljax.errors import ConfigError, require, unknown

if TYPE_CHECKING:
    from rljax.types import Env

__all__ = ["make", "names", "register"]

_registered: dict[str, Callable[..., Env]] = {}


def names() -> list[str]:
    """The names that `make` takes, the user's own last; imports nothing."""
    return [*catalogue.GYMNAX, *catalogue.BRAX, *catalogue.GRIDWORLDS, *catalogue.PROBES, *_registered]


def register(name: str, factory: Callable[..., Env]) -> None:
    """Let `make(name, **kwargs)` return `factory(**kwargs)`.

    Raises:
      ConfigError: the name is taken.
    """
    require(name not in names(), "name", repr(name), "taken by another environment; choose another name")
    _registered[name] = factory


def make(name: str, **kwargs: Any) -> Env:
    """The environment of that name; the same arguments give the same object, so nothing compiles twice.

    Args:
      name: one of `names()`; Brax also takes its backend in the name: `brax/ant/spring`.
      **kwargs: Gymnax: arguments of the environment's class and fields of its parameters (`max_steps_in_episode=200`).
        Brax: `backend`, `max_steps` and arguments of the environment's class. Others: arguments of the factory.

    Raises:
      ConfigError: an unknown name or argument.
    """
    try:
        return _make(name, **dict(sorted(kwargs.items())))
    except TypeError as error:
        unhashable = [k for k, v in kwargs.items() if v.__hash__ is None]
        if not unhashable:
            raise
        raise ConfigError(f"{unhashable[0]}={kwargs[unhashable[0]]}: must be hashable; pass a tuple") from error


@functools.lru_cache(maxsize=None, typed=True)
def _make(name: str, **kwargs: Any) -> Env:
    import jax

    # A cached environment outlives the trace in which it may be made, so its arrays must be values, not tracers.
    with jax.ensure_compile_time_eval():
        return _factory(name)(**kwargs)


def check(name: str) -> None:
    """Refuse a name that `make` does not take, before anything is imported: raises ConfigError."""
    if name in names() or "/".join(name.split("/")[:2]) in catalogue.BRAX:
        return
    excluded = catalogue.GYMNAX_EXCLUDED | catalogue.BRAX_EXCLUDED
    if name in excluded:
        raise ConfigError(f"environment '{name}' is left out: it {excluded[name]}")
    raise unknown("environment", name, names(), "rljax list envs")


def _factory(name: str) -> Callable[..., Env]:
    check(name)
    if name in _registered:
        return functools.partial(_checked, name, _registered[name])
    if name in catalogue.GYMNAX:
        from rljax.envs import gymnax

        return functools.partial(gymnax.make, name)
    if name in catalogue.GRIDWORLDS:
        from rljax.envs import gridworld

        return functools.partial(_checked, name, functools.partial(gridworld.make, name.removeprefix("gridworld/")))
    if name in catalogue.PROBES:
        from rljax.envs import probes

        return functools.partial(_checked, name, probes.FACTORIES[name])
    from rljax.envs import brax

    return functools.partial(brax.make, name)


def _checked(name: str, factory: Callable[..., Env], **kwargs: Any) -> Env:
    """`factory(**kwargs)`, refusing the arguments that it does not have."""
    parameters = inspect.signature(factory).parameters
    if all(p.kind is not p.VAR_KEYWORD for p in parameters.values()):
        catalogue.check_arguments(name, kwargs, parameters)
    return factory(**kwargs)
