"""A lower bound on the memory of a run, known before anything is compiled: a run above it is refused in one line."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import jax

from rljax import algos, resources
from rljax.algos import contract
from rljax.build import Prepared
from rljax.errors import ConfigError, require
from rljax.ops.tree import as_arrays
from rljax.run import point_size, start, step
from rljax.types import Algorithm

STORED = {"scan", "while", "dot_general", "conv_general_dilated", "sort", "gather"}  # XLA does not fuse their results


def check(algo: str, prepared: Prepared, log_every: int | None = None) -> list[str]:
    """Checks that a run fits into the free memory, and gives the names of its metrics.

    Raises:
      ConfigError: it does not fit; the error names the field whose half saves most.
    """
    free = resources.free()
    try:
        need, metrics = least(prepared.algorithm, prepared.task, point_size(prepared.updates, log_every))
    except OverflowError:
        need, metrics = math.inf, []
    if need <= free:
        return metrics
    name = _field(algo, prepared, point_size(prepared.updates, log_every))
    value = prepared.config.get(name, log_every)
    if need == math.inf:
        raise ConfigError(f"{name}={value}: makes arrays of more entries than 32 bits count; give a smaller one")
    short = f"takes at least {resources.write(need)} and {resources.write(free)} are free"
    raise ConfigError(f"{name}={value}: {short}; give a smaller one")


def check_together(field: str, count: int, each: float) -> None:
    """Raises ConfigError where `count` things of `each` bytes are more than what is free."""
    free = resources.free()
    short = f"takes at least {resources.write(count * each)} and {resources.write(free)} are free; give a smaller one"
    require(count * each <= free, field, count, short)


def least(algorithm: Algorithm, task: Any, points: int) -> tuple[float, list[str]]:
    """The least bytes of arrays at one time, and the names of the metrics, with `points` updates logged together.

    The run does not trace again what is traced here.

    Raises:
      ConfigError: the algorithm does not keep the contract.
    """
    hypers, task = as_arrays(algorithm.hypers), as_arrays(task)
    state = jax.eval_shape(partial(start, algorithm), jax.random.key(0), hypers, task)
    traced, result = jax.make_jaxpr(partial(step, algorithm), return_shape=True)(state, hypers, task)
    contract.check(algorithm, state, result)
    metrics = result[1]
    rows = points * sum(map(_bytes, jax.tree.leaves(metrics)))
    return rows + max(sum(map(_bytes, jax.tree.leaves(state))), *_stored(traced.jaxpr), 0), sorted(metrics)


def _stored(jaxpr: Any) -> Iterator[int]:
    """The bytes of the results of every operation that writes them to memory."""
    for equation in jaxpr.eqns:
        if equation.primitive.name in STORED:
            yield sum(_bytes(x.aval) for x in equation.outvars if type(x).__name__ != "DropVar")
        for inner in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda x: hasattr(x, "eqns")):
            if hasattr(inner, "eqns"):
                yield from _stored(getattr(inner, "jaxpr", inner))


def _bytes(x: Any) -> int:
    return math.prod(x.shape) * getattr(x.dtype, "itemsize", 8)


def _field(algo: str, prepared: Prepared, points: int) -> str:
    """Finds the field whose half saves most memory."""
    module, halves = algos.load(algo), {}
    for name, value in prepared.config.items():
        half = tuple(max(1, x // 2) for x in value) if isinstance(value, tuple) and value else value
        half = value // 2 if type(value) is int and value > 1 else half
        if half == value or type(value) is bool:
            continue
        try:
            smaller = module.make(prepared.env, module.Config(**prepared.config | {name: half}))
            halves[name] = least(smaller, prepared.task, points)[0]
        except (ConfigError, OverflowError):  # it must divide something, or is still too big
            continue
    sizes: dict[str, Any] = {n: max(x) if isinstance(x, tuple) and x else x for n, x in prepared.config.items()}
    if halves:  # of those that save about as much the largest
        return min(halves, key=lambda n: (round(math.log2(halves[n] + 1), 1), -sizes[n]))
    return max((n for n, x in sizes.items() if type(x) is int), key=lambda n: sizes[n])
