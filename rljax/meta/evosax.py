"""The evolution strategies of evosax behind the protocol of `rljax.meta.strategies`, by their names there."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jax.flatten_util import ravel_pytree

from rljax.errors import ConfigError, unknown
from rljax.meta.strategies import as_parameters, at_worst
from rljax.ops.tree import as_arrays
from rljax.types import Array, Scalar


def evosax(name: str, popsize: int = 32, **settings: Any) -> Evosax:
    """A strategy of evosax that samples from a distribution with a mean: CMA_ES, Sep_CMA_ES, SNES, xNES, PGPE, ...

    Args:
      name: as evosax has it.
      popsize: N.
      settings: numbers of the strategy's `Params` (traced, so they can be swept), and further arguments of its
        constructor (static), both by their names in evosax. Mind the width of the first generation: most begin with a
        standard deviation of 1. It is `std_init` for CMA_ES, SNES and their like,
        `std_schedule=optax.constant_schedule(0.1)` for Open_ES and its like.

    Raises:
      ConfigError: evosax is missing, or does not know the name, a setting or its value.
    """
    static = set(inspect.signature(_class(name).__init__).parameters) - {"self", "population_size", "solution"}
    options = tuple(sorted((k, v) for k, v in settings.items() if k in static))
    numbers = {k: v for k, v in settings.items() if k not in static}
    _, params = _make(name, popsize, options, size=2)  # of any size, to hear at once what is refused
    traced = {field.name for field in dataclasses.fields(params)}
    for setting in sorted(set(numbers) - traced):
        raise unknown(f"setting of {name}", setting, static | traced)
    return Evosax(name, popsize, options, numbers)


class State(struct.PyTreeNode):
    """The state of an evosax strategy."""

    inner: Any  # evosax's own
    start: Any  # like theta: where the search began; it says into what flat vectors unfold
    key: Array  # for `tell`: some of evosax's strategies draw there


class Evosax(struct.PyTreeNode):
    """A strategy of evosax; built by `evosax`. Theta is flattened for it, and fitness is maximised as everywhere.

    What its strategies draw at the start of a search (few do) is the same in every search.
    """

    name: str = struct.field(pytree_node=False)
    popsize: int = struct.field(pytree_node=False)
    options: tuple[tuple[str, Any], ...] = struct.field(pytree_node=False, default=())  # static
    numbers: dict[str, Scalar] = struct.field(default_factory=dict)  # in place of the defaults

    def init(self, theta: Any) -> State:
        """The state of a search that begins at `theta`, a pytree of floating-point numbers."""
        theta = as_parameters(theta)
        flat, _ = ravel_pytree(theta)
        made, params = self._made(theta)
        key, k_init = jax.random.split(jax.random.key(0))
        return State(inner=as_arrays(made.init(k_init, flat, params)), start=theta, key=key)

    def ask(self, key: Array, state: State) -> tuple[Any, State]:
        """(population, state): leaves `[N, ...]`."""
        made, params = self._made(state.start)
        k_ask, k_tell = jax.random.split(key)
        flat, inner = made.ask(k_ask, state.inner, params)
        population = jax.vmap(ravel_pytree(state.start)[1])(flat)
        return population, state.replace(inner=as_arrays(inner), key=k_tell)

    def tell(self, population: Any, fitness: Array, state: State) -> State:
        """The state after a generation; `fitness` `[N]`, those that are not finite counting like the worst."""
        made, params = self._made(state.start)
        flat = jax.vmap(lambda theta: ravel_pytree(theta)[0])(population)
        inner, _ = made.tell(state.key, flat, -at_worst(fitness), state.inner, params)  # evosax minimises
        return state.replace(inner=as_arrays(inner))

    def mean(self, state: State) -> Any:
        """The mean of the distribution, like theta."""
        return ravel_pytree(state.start)[1](state.inner.mean)

    def _made(self, theta: Any) -> tuple[Any, Any]:
        """(evosax's strategy, its numbers) for trees like theta."""
        made, params = _make(self.name, self.popsize, self.options, sum(x.size for x in jax.tree.leaves(theta)))
        return made, params.replace(**self.numbers)


@cache  # evosax tells strategies apart by identity: another object would compile anew
def _make(name: str, popsize: int, options: tuple[tuple[str, Any], ...], size: int) -> tuple[Any, Any]:
    """(the strategy for vectors of `size` numbers, its default numbers)."""
    kind = _class(name)
    try:
        with jax.ensure_compile_time_eval():  # they are kept: their arrays must not belong to a trace
            made = kind(population_size=popsize, solution=jnp.zeros(size), **dict(options))
            return made, as_arrays(made.default_params)
    except (AssertionError, TypeError, ValueError) as error:
        raise ConfigError(f"{name} of evosax with popsize={popsize}: {error}") from None


def _class(name: str) -> Any:
    """The class of a strategy that has a mean: without one (genetic algorithms) or with several, what is learned?"""
    try:
        found = importlib.import_module("evosax.algorithms").distribution_based_algorithms
    except ImportError:
        raise ConfigError("strategies of evosax need evosax: pip install evosax") from None
    known = {k: v for k, v in found.items() if not k.startswith("SV_")}
    if name not in known:
        raise unknown("strategy of evosax", name, known)
    return known[name]
