"""The learner of off-policy algorithms: networks with their optimisers and slow copies, and the phases of learning."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct

from rljax.ops import optim
from rljax.ops.metrics import mean
from rljax.types import Array, Metrics, Scalar, TimeStep


class Learner(struct.PyTreeNode):
    """The part of a state that gradient steps change: networks, by name."""

    params: dict[str, Any]
    target_params: dict[str, Any]  # slow copies, of some of them
    opt: dict[str, Any]
    gradient_steps: Array  # [] batches that were learned from

    def apply_gradients(self, name: str, optimiser: optax.GradientTransformation, grads: Any) -> Learner:
        """Takes one gradient step of one network."""
        params, opt = optim.apply(optimiser, grads, self.opt[name], self.params[name])
        return self.replace(params=self.params | {name: params}, opt=self.opt | {name: opt})

    def polyak_update(self, rate: Scalar) -> Learner:
        """Moves every slow copy by the share `rate`, `[]`, of its way to what it is a copy of."""
        now = {name: self.params[name] for name in self.target_params}
        slow = jax.tree.map(lambda slow, now: slow + rate * (now - slow), self.target_params, now)
        return self.replace(target_params=slow)


def init_learner(params: dict[str, Any], targets: tuple[str, ...], optimisers: dict[str, Any]) -> Learner:
    """Starts a learner, with slow copies of the networks that `targets` names."""
    opt = {name: each.init(params[name]) for name, each in optimisers.items()}
    return Learner(params, {name: params[name] for name in targets}, opt, jnp.int32(0))


class Batch(NamedTuple):
    """A batch that a phase learns from."""

    steps: TimeStep  # [run, B, ...], those of a run in the order in which they were taken
    weight: Array  # [B] that undoes the bias of prioritised draws
    carry: Any = ()  # [B, ...] what a policy with a memory remembered before the first step; () if it is not stored


class Context(NamedTuple):
    """The rest of what a phase may read."""

    hypers: Any
    task: Any  # what is learned on
    progress: Array  # [] the part of the run that is over
    key: Array


class Phase(NamedTuple):
    """A part of learning, which takes its turns on the last batch that was drawn.

    Attributes:
      learn: `(Learner, Batch, Context) -> (Learner, priority [B] or None, metrics)`; a priority is an error, >= 0.
      every: one turn for so many batches: 1 of the first phase, of every other a multiple of the one before.
    """

    learn: Callable[[Learner, Batch, Context], tuple[Learner, Array | None, Metrics]]
    every: int = 1


IDLE = Phase(lambda learner, batch, context: (learner, None, {}))


class Aux(NamedTuple):
    """The results of a loss beside its value."""

    td_error: Array  # [B] absolute errors, by which steps are drawn again
    metrics: Metrics
    averages: Any = ()  # a dict of parameters that take these values: running averages, whose gradient is 0


def nested(phases: tuple[Phase, ...], draw: Callable[..., Any], turn: Callable[..., Any]) -> tuple[Any, int]:
    """Nests the turns of phases in each other.

    Args:
      draw: `(loop, key) -> (loop, (metrics, sample))`: a new batch, for the first phase.
      turn: `(phase, loop, sample, key) -> (loop, metrics)`: a turn of a phase on that batch.

    Returns:
      (a function like `draw` that ends with a turn of the last phase, how many batches it draws).
    """

    def then(phase, inner, times):
        def both(loop, key):
            k_inner, k_phase = jax.random.split(key)
            loop, (metrics, samples) = jax.lax.scan(inner, loop, jax.random.split(k_inner, times))
            sample = jax.tree.map(lambda x: x[-1], samples)
            loop, more = turn(phase, loop, sample, k_phase)
            return loop, (mean(metrics) | more, sample)

        return both

    cycle, batches = draw, 1
    for phase in phases[1:] or (IDLE,):
        cycle, batches = then(phase, cycle, phase.every // batches), phase.every
    return cycle, batches
