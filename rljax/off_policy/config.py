"""The settings of all algorithms that learn from stored steps."""

from __future__ import annotations

from dataclasses import dataclass

from flax import struct

from rljax.fields import INF, count, entry, flag, number, share
from rljax.types import Scalar


@dataclass(frozen=True)
class Config:
    """Shapes and branches of the loop."""

    num_envs: int = count(1, "parallel environments, E")
    num_steps: int = count(1, "steps per environment and update, T")
    gradient_steps: int = count(1, "batches that are drawn and learned from, per update")
    batch_size: int = count(256, "of each gradient step")
    capacity: int = count(100_000, "steps that are remembered")
    warmup: int = count(1_000, "random steps before learning begins")
    n_step: int = count(1, "steps whose rewards a target takes as they were", most=10_000)
    optimiser: str = entry("adam", "optimiser", "of optax, possibly with arguments, 'adamw(weight_decay=1e-4)'")
    lr_schedule: str = entry("linear", "schedule", "how learning rates go to their end")
    prioritised: bool = flag(False, "draw steps by how large their errors were")


class Hypers(struct.PyTreeNode):
    """Numbers of the loop, all traced."""

    lr_final: Scalar = number(1.0, "fraction of learning rates that is left at the end; 1 keeps them constant", low=0.0)
    discount: Scalar = share(0.99, "gamma")
    priority_exponent: Scalar = number(0.6, "of prioritised draws; 0: uniform", low=0.0)
    priority_max: Scalar = share(0.9, "eta: of a sequence, how much its largest error counts, beside their mean")
    priority_beta: Scalar = share(0.4, "how much of their bias is undone at the start; all of it at the end")
    horizon: Scalar = number(INF, "updates in this run, to anneal by; inf: no annealing", low=1.0, high=INF)
