"""Environments by name: `make("CartPole-v1|frame_stack(4)")`, `make("brax/ant", backend="spring")`.

An environment is a `rljax.types.Env`: pure functions and two spaces, without auto-reset. Importing this package is
cheap: Gymnax and Brax are loaded when the first of their environments is made.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rljax import registry, runtime
from rljax.arguments import NUMBER, SEED
from rljax.envs import catalogue
from rljax.envs.suites import catalogue as suites
from rljax.errors import ConfigError, require
from rljax.plugins import COLON
from rljax.registry import Registry, parsed

if TYPE_CHECKING:
    from rljax.envs.gymnasium import from_gymnasium
    from rljax.envs.gymnax_api import from_gymnax
    from rljax.types import Env

__all__ = ["check", "from_gymnasium", "from_gymnax", "make", "names", "register", "register_wrapper"]

GYMNASIUM = "gymnasium/"  # followed by the name that an environment has there
WRAPPED = "|"  # what stands between an environment and its wrappers in a name

ENVIRONMENTS: Registry[Callable[..., Env]] = Registry(
    "environment",
    {
        **dict.fromkeys(catalogue.GYMNAX, "rljax.envs.gymnax:make"),
        **dict.fromkeys(catalogue.BRAX, "rljax.envs.brax:make"),
        **dict.fromkeys(catalogue.GRIDWORLDS, "rljax.envs.gridworld:make"),
        **dict.fromkeys(catalogue.POPGYM, "rljax.envs.popgym:make"),
        **{name: f"rljax.envs.tmaze:{name.removeprefix('tmaze/')}" for name in catalogue.TMAZES},
        **{name: f"rljax.envs.{name.partition('/')[0]}:make" for name in catalogue.HIDDEN_TASKS},
        **{name: f"rljax.envs.suites.{name.partition('/')[0]}:make" for name in suites.NAMES},
        GYMNASIUM: "rljax.envs.gymnasium:make",
        **{name: f"rljax.envs.probes:{name.removeprefix('probe/').replace('-', '_')}" for name in catalogue.PROBES},
    },
    "rljax list envs",
)
WRAPPERS: Registry[Callable[..., Env]] = Registry(
    "wrapper", {name: f"rljax.envs.{file}:{name}" for name, file in catalogue.WRAPPERS.items()}
)


def __getattr__(name: str) -> Any:  # which imports jax
    if name == "from_gymnax":
        from rljax.envs.gymnax_api import from_gymnax

        return from_gymnax
    if name == "from_gymnasium":
        from rljax.envs.gymnasium import from_gymnasium

        return from_gymnasium
    raise AttributeError(f"module 'rljax.envs' has no attribute '{name}'")


def names() -> list[str]:
    """The names that `make` takes but for those of Gymnasium, the user's own last; imports nothing."""
    return [name for name in ENVIRONMENTS if name != GYMNASIUM]


def register(name: str, factory: Callable[..., Env] | str) -> None:
    """Let `make(name, **kwargs)` return `factory(**kwargs)`, checked as by `check`.

    Registered again, the name stands for the new factory, with a warning if its code is another.

    Args:
      factory: a function that returns an `Env`, or its import path, `my_package.my_module:make`.

    Raises:
      ConfigError: the name is taken by an environment that comes with rljax, or there is no factory.
    """
    require(isinstance(name, str) and bool(name), "name", repr(name), "must be a name, such as 'my/env'")
    require(not ours(name), "name", repr(name), "taken by another environment; choose another name")
    require(WRAPPED not in name, "name", repr(name), f"what follows {WRAPPED} are wrappers; choose another name")
    fits = callable(factory) or (isinstance(factory, str) and ":" in factory)
    require(fits, "factory", repr(factory)[:80], "must be a function that returns an Env; write lambda: env")
    ENVIRONMENTS.register(name, factory)


def register_wrapper(name: str, wrapper: Callable[..., Env] | str) -> None:
    """Let names of environments end in `|name(arguments)`, which stands for `wrapper(env, *arguments)`.

    The wrapper adds itself to the name of the environment in these words.

    Raises:
      ConfigError: the name is taken by a wrapper of rljax, or cannot be called by.
    """
    require(
        isinstance(name, str) and name.isidentifier(), "name", repr(name), "must be an identifier, such as 'my_wrapper'"
    )
    WRAPPERS.register(name, wrapper)


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

    checked = contract.checked(make(env) if isinstance(env, str) else given(env))
    steps, seed = NUMBER.convert("steps", steps), SEED.convert("seed", seed)
    if steps:
        from rljax.envs import trial

        for found in trial.findings(checked, steps, seed):
            if found.fault:
                raise ConfigError(f"environment '{checked.name}': {found.what}: {found.fault}")
    return checked


def given(env: Any) -> Any:
    """An environment as drivers take it: a name and an `Env` as they are, one of Gymnax's or Gymnasium's as an `Env`.

    Others are returned as they are, to be refused by `check`.
    """
    from rljax.types import Env

    if isinstance(env, str | Env):
        return env
    from rljax.envs.gymnasium import from_gymnasium, is_gymnasium
    from rljax.envs.gymnax_api import from_gymnax, is_gymnax

    if is_gymnasium(env):
        return from_gymnasium(env)
    return from_gymnax(env) if is_gymnax(env) else env


def make(name: str, **kwargs: Any) -> Env:
    """The environment of that name; the same arguments give the same object, so nothing compiles twice.

    Args:
      name: one of `names()`; Brax also takes its backend in the name: `brax/ant/spring`. Wrappers may follow, with
        their arguments, the innermost first: `CartPole-v1|sticky_actions(0.25)|frame_stack(4)`.
      **kwargs: Gymnax: arguments of the environment's class and fields of its parameters (`max_steps_in_episode=200`).
        Brax: `backend`, `max_steps` and arguments of the environment's class. Others: arguments of the factory.

    Raises:
      ConfigError: an unknown name or argument.
    """
    try:
        return _make(name, ENVIRONMENTS.registered().get(base(name)), **dict(sorted(kwargs.items())))
    except TypeError as error:
        unhashable = [k for k, v in kwargs.items() if v.__hash__ is None]
        if not unhashable and "unhashable" in str(error):  # arrays within it: made anew each time
            return _make.__wrapped__(name, ENVIRONMENTS.registered().get(base(name)), **kwargs)
        if not unhashable:
            raise
        raise ConfigError(f"{unhashable[0]}={kwargs[unhashable[0]]}: must be hashable; pass a tuple") from error


@functools.lru_cache(maxsize=None, typed=True)
def _make(name: str, registered: Callable[..., Env] | str | None, /, **kwargs: Any) -> Env:
    import jax

    runtime.start()
    # A cached environment outlives the trace in which it may be made, so its arrays must be values, not tracers.
    with jax.ensure_compile_time_eval():
        made = _with_arguments(base(name), _factory(base(name)), **kwargs)
        made = check(made) if registered else made
        for call in map(parsed, name.split(WRAPPED)[1:]):
            try:
                made = WRAPPERS.load(call.name)(made, *call.args, **call.named)
            except TypeError as error:
                raise ConfigError(f"environment '{name}': {call.name}: {error}") from None
    return made


def base(name: str) -> str:
    """The name without its wrappers."""
    return name.partition(WRAPPED)[0]


def named(name: str) -> list[tuple[str, str]]:
    """The parts of a name, each with what it is: `("environment", "CartPole-v1")`, `("wrapper", "frame_stack")`."""
    inner, *wrappers = name.split(WRAPPED)
    known = inner if inner in ENVIRONMENTS else GYMNASIUM if inner.startswith(GYMNASIUM) else _family(inner)
    return [(ENVIRONMENTS.what, known), *((WRAPPERS.what, parsed(wrapper).name) for wrapper in wrappers)]


def accept(name: str) -> None:
    """Refuse a name that a user gave and `make` does not take, and import `module:function`, a factory of the user's.

    A record imports nothing: what it names goes by `check_name` alone.

    Raises:
      ConfigError: there is no such environment or wrapper.
    """
    if COLON in base(name):
        ENVIRONMENTS.register_path(base(name))
    check_name(name)


def check_name(name: str) -> None:
    """Refuse a name that `make` does not take, before anything is imported: raises ConfigError."""
    inner = base(name)
    for what, part in named(name)[1:]:
        registry.of(what).check(part)
    if ours(inner):
        return
    excluded = catalogue.GYMNAX_EXCLUDED | catalogue.BRAX_EXCLUDED | suites.EXCLUDED
    if inner in excluded:
        raise ConfigError(f"environment '{inner}' is left out: it {excluded[inner]}")
    ENVIRONMENTS.check(inner)


def ours(name: str) -> bool:
    """Whether it names an environment that comes with rljax, in wrappers that do."""
    return all(registry.of(what).is_shipped(part) for what, part in named(name))


def _family(name: str) -> str:
    return "/".join(name.split("/")[:2])  # brax/ant/spring is a brax/ant


def _factory(name: str) -> Callable[..., Env]:
    check_name(name)
    made = ENVIRONMENTS.load(named(name)[0][1])
    if name in catalogue.GRIDWORLDS:
        return functools.partial(made, name.removeprefix("gridworld/"))
    by_name = name in (*catalogue.GYMNAX, *catalogue.POPGYM, *catalogue.HIDDEN_TASKS, *suites.NAMES)
    by_name = by_name or _family(name) in catalogue.BRAX or name.startswith(GYMNASIUM)
    return functools.partial(made, name) if by_name else made


def _with_arguments(name: str, factory: Callable[..., Env], **kwargs: Any) -> Env:
    """`factory(**kwargs)`, refusing the arguments that it does not have."""
    parameters = inspect.signature(factory).parameters
    if all(p.kind is not p.VAR_KEYWORD for p in parameters.values()):
        catalogue.check_arguments(name, kwargs, parameters)
    return factory(**kwargs)
