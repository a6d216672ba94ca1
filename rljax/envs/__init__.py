"""Environments by name: `make("CartPole-v1")`, `make("brax/ant", backend="spring")`, `make("probe/constant")`.

An environment is a `rljax.types.Env`: pure functions and two spaces, without auto-reset. Importing this package is
cheap: Gymnax and Brax are loaded when the first of their environments is made.
"""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rljax import runtime
from rljax.arguments import NUMBER, SEED
from rljax.envs import catalogue
from rljax.errors import ConfigError, require, unknown

if TYPE_CHECKING:
    from rljax.types import Env

__all__ = ["check", "make", "names", "register"]

_registered: dict[str, Callable[..., Env]] = {}


def names() -> list[str]:
    """The names that `make` takes, the user's own last; imports nothing."""
    return [*_catalogue(), *_registered]


def register(name: str, factory: Callable[..., Env]) -> None:
    """Let `make(name, **kwargs)` return `factory(**kwargs)`, checked as by `check`.

    Registered again, the name stands for the new factory, with a warning if its code is another.

    Raises:
      ConfigError: the name is taken by an environment that comes with rljax, or there is no factory.
    """
    require(isinstance(name, str) and bool(name), "name", repr(name), "must be a name, such as 'my/env'")
    require(not ours(name), "name", repr(name), "taken by another environment; choose another name")
    require(
        callable(factory), "factory", repr(factory)[:80], "must be a function that returns an Env; write lambda: env"
    )
    before = _registered.get(name)
    if before is not None and _code(before) != _code(factory):
        warnings.warn(
            f"environment '{name}' is registered again, with other code, which counts from now on", stacklevel=2
        )
    _registered[name] = factory


def check(env: str | Env, steps: int = 0, seed: int = 0) -> Env:
    """The environment as `train` takes it, after a check of what it says and gives, without a step of it.

    Shapes, dtypes, spaces, flags, the order of results and the structure of states are found by abstract evaluation.
    What can be cast without a loss is: whole-number and bool rewards to float32, observations to the declared dtype,
    states to dtypes that hold.

    Args:
      env: a name in `names()`, or an `Env` of your own.
      steps: random steps to play as well, to find NaNs, what lies outside its space, wrong ends and hidden state.
      seed: of these.

    Returns:
      The environment itself where nothing was to be cast, else one around it; the same one every time.

    Raises:
      ConfigError: what is wrong, where, and how to mend it.
    """
    from rljax.envs import contract

    checked = contract.checked(make(env) if isinstance(env, str) else env)
    steps, seed = NUMBER.convert("steps", steps), SEED.convert("seed", seed)
    if steps:
        from rljax.envs import trial

        for found in trial.findings(checked, steps, seed):
            if found.wrong:
                raise ConfigError(f"environment '{checked.name}': {found.what}: {found.wrong}")
    return checked


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
        return _make(name, _registered.get(name), **dict(sorted(kwargs.items())))
    except TypeError as error:
        unhashable = [k for k, v in kwargs.items() if v.__hash__ is None]
        if not unhashable:
            raise
        raise ConfigError(f"{unhashable[0]}={kwargs[unhashable[0]]}: must be hashable; pass a tuple") from error


@functools.lru_cache(maxsize=None, typed=True)
def _make(name: str, own: Callable[..., Env] | None, /, **kwargs: Any) -> Env:
    import jax

    runtime.start()
    # A cached environment outlives the trace in which it may be made, so its arrays must be values, not tracers.
    with jax.ensure_compile_time_eval():
        made = _with_arguments(name, own, **kwargs) if own else _factory(name)(**kwargs)
    return check(made) if own else made


def check_name(name: str) -> None:
    """Refuse a name that `make` does not take, before anything is imported: raises ConfigError."""
    if name in _registered or ours(name):
        return
    excluded = catalogue.GYMNAX_EXCLUDED | catalogue.BRAX_EXCLUDED
    if name in excluded:
        raise ConfigError(f"environment '{name}' is left out: it {excluded[name]}")
    raise unknown("environment", name, names(), "rljax list envs")


def ours(name: str) -> bool:
    """Whether it names an environment that comes with rljax."""
    return name in _catalogue() or "/".join(name.split("/")[:2]) in catalogue.BRAX


def _catalogue() -> tuple[str, ...]:
    return (*catalogue.GYMNAX, *catalogue.BRAX, *catalogue.GRIDWORLDS, *catalogue.PROBES)


def _code(factory: Callable[..., Env]) -> Any:
    return getattr(factory, "__code__", factory)


def _factory(name: str) -> Callable[..., Env]:
    check_name(name)
    if name in catalogue.GYMNAX:
        from rljax.envs import gymnax

        return functools.partial(gymnax.make, name)
    if name in catalogue.GRIDWORLDS:
        from rljax.envs import gridworld

        return functools.partial(
            _with_arguments, name, functools.partial(gridworld.make, name.removeprefix("gridworld/"))
        )
    if name in catalogue.PROBES:
        from rljax.envs import probes

        return functools.partial(_with_arguments, name, probes.FACTORIES[name])
    from rljax.envs import brax

    return functools.partial(brax.make, name)


def _with_arguments(name: str, factory: Callable[..., Env], **kwargs: Any) -> Env:
    """`factory(**kwargs)`, refusing the arguments that it does not have."""
    parameters = inspect.signature(factory).parameters
    if all(p.kind is not p.VAR_KEYWORD for p in parameters.values()):
        catalogue.check_arguments(name, kwargs, parameters)
    return factory(**kwargs)
