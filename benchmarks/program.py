"""A contestant of a benchmark: a program that is compiled, trained and scored. Imports nothing of rljax."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple


class Program(NamedTuple):
    """A contestant, set up but not compiled."""

    compile: Callable[[], Callable[[int], Any]]  # () -> (seed -> output, on the device or not)
    score: Callable[[Any], float | list[float]]  # output -> final return: of all agents, or of each


def jitted(function: Callable, arguments: Callable[[int], tuple]) -> Callable[[], Callable[[int], Any]]:
    """The `compile` of a pure function: trace, lower and compile ahead of time."""
    import jax

    def build():
        compiled = jax.jit(function).lower(*arguments(0)).compile()
        return lambda seed: compiled(*arguments(seed))

    return build


def final_return(episodes: Any, returns: Any) -> float:
    """Mean return of the episodes that ended in the last tenth of training, NaN if none did; `[U]`, `[agents, U]`."""
    import numpy as np

    last = max(1, np.shape(episodes)[-1] // 10)
    episodes, returns = np.asarray(episodes)[..., -last:], np.asarray(returns)[..., -last:]
    total = episodes.sum()
    return float(np.where(episodes > 0, returns * episodes, 0.0).sum() / total) if total else float("nan")


def keys(seed: int, agents: int) -> Any:
    """The key of a seed, or one for each of several agents."""
    import jax

    key = jax.random.key(seed)
    return jax.random.split(key, agents) if agents else key


def each(states: Any, agents: int) -> list[Any]:
    """The states of all agents, one by one."""
    import jax

    return [jax.tree.map(lambda x, i=i: x[i], states) for i in range(agents)] if agents else [states]
