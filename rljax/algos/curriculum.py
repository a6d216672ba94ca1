"""A curriculum: the task of a run changes as the run goes on.

A number of the task that is written `linear(5, 15)` goes from 5 to 15, by any schedule (`rljax list schedules`):
`cosine(5, 15)`, `steps(5, 15, 0.5)`, `warmup(5, 15, 0.1)`. A function does what no schedule can.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
from flax import struct

from rljax.errors import ConfigError, reason, require
from rljax.ops import schedules
from rljax.types import Algorithm, Metrics, Scalar


class Moving(struct.PyTreeNode):
    """A task some of whose numbers move; all are traced, so that both ends can be swept."""

    task: Any  # as it is at the start
    ends: dict[str, Scalar]


@dataclass(frozen=True)
class Curriculum(Algorithm):
    """An algorithm whose task follows a curriculum; in all else it is that algorithm.

    Attributes:
      inner: it.
      along: (number of the task, its schedule) of those that move; the task is then a `Moving`.
      function: `(progress [], task) -> task`, what becomes of the task, or None.
    """

    inner: Any = None
    along: tuple[tuple[str, str], ...] = ()
    function: Callable[[Any, Any], Any] | None = None
    hypers: Any = field(default=None, compare=False)

    def __getattr__(self, name: str) -> Any:  # what only some algorithms have, such as networks
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.inner, name)

    @property
    def steps_per_update(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.inner.steps_per_update

    @property
    def warmup_steps(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.inner.warmup_steps

    @property
    def diagnostics(self) -> frozenset[str]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.inner.diagnostics

    @property
    def policy(self) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.inner.policy

    @property
    def outer_weights(self) -> Mapping[str, float]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.inner.outer_weights

    def at(self, progress: Any, task: Any) -> Any:
        """The task at that part of the run, `[]` in [0, 1]."""
        if self.along:
            numbers = {}
            for name, schedule in self.along:
                start, gone = getattr(task.task, name), schedules.along(schedule, progress)
                numbers[name] = start + gone * (task.ends[name] - start)
            task = task.task.replace(**numbers)
        return task if self.function is None else self.function(progress, task)

    def init(self, key: Any, hypers: Any, task: Any) -> Any:
        return self.inner.init(key, hypers, self.at(jax.numpy.zeros(()), task))

    def step(self, state: Any, hypers: Any, task: Any) -> tuple[Any, Metrics]:
        progress = schedules.progress(state.updates, hypers.horizon)
        return self.inner.step(state, hypers, self.at(progress, task))

    def initial_carry(self, state: Any, batch_size: int) -> Any:
        return self.inner.initial_carry(state, batch_size)

    def act(self, state: Any, carry: Any, obs: Any, reset: Any, key: Any, greedy: Any) -> tuple[Any, Any]:
        return self.inner.act(state, carry, obs, reset, key, greedy)

    def check(self) -> None:
        has = hasattr(self.inner, "config") and hasattr(self.hypers, "horizon")
        require(has, "curriculum", type(self.inner).__name__, "goes by the hyperparameter horizon; give Hypers one")


def check_function(function: Callable[[Any, Any], Any], task: Any) -> None:
    """Refuses a function that gives another kind of task. Raises ConfigError."""
    try:
        found = jax.eval_shape(lambda progress: function(progress, task), jax.numpy.zeros(()))
    except Exception as error:  # whatever the user's code raises
        why = reason(error)
        raise ConfigError(f"curriculum: cannot be called with (progress, task) ({why})") from error
    same = jax.tree.structure(found) == jax.tree.structure(task)
    require(same, "curriculum", type(found).__name__, f"must give a task as it gets one, {type(task).__name__}")
