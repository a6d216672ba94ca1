"""Values of actions that are read by a head: numbers, or distributions of the return."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from flax import struct

from rljax.errors import require
from rljax.fields import count, entry, number, share
from rljax.off_policy import loop
from rljax.off_policy.learner import Aux
from rljax.off_policy.targets import target_loss
from rljax.ops import schedules, value_heads
from rljax.ops.value_heads import Bootstrap, Head, HeadParams, head_of
from rljax.types import Array, Scalar


@dataclass(frozen=True)
class HeadConfig:
    """The choice of a head."""

    head: str = entry("scalar", "value head", "what the outputs for an action stand for")
    atoms: int = count(51, "outputs for an action, of the other heads", least=2)


class HeadHypers(struct.PyTreeNode):
    """Numbers of the heads."""

    value_low: Scalar = number(0.0, "returns that the categorical and hl-gauss heads can hold: the least")
    value_high: Scalar = number(100.0, "and the greatest", above="value_low")
    sigma: Scalar = number(0.75, "of the hl-gauss head: width of a target, in bins", above=0.0)


class EpsilonHypers(struct.PyTreeNode):
    """Numbers of exploration by random actions."""

    epsilon: Scalar = share(1.0, "share of random actions at the start")
    epsilon_final: Scalar = share(0.05, "and at the end")
    exploration_fraction: Scalar = number(0.3, "share of the run in which it falls", above=0.0)

    def epsilon_at(self, progress: Scalar, schedule: str = "linear") -> Array:
        """The share of random actions, `[]`, at that part `progress` `[]` of the run, by a schedule of that name."""
        ends = self.epsilon, self.epsilon_final
        return schedules.linear_schedule(progress, *ends, self.exploration_fraction, schedule)


@dataclass(frozen=True)
class HeadValues(loop.OffPolicy):
    """The base of algorithms whose values are read by a head. Their config has `loss`, which is that of a scalar head.

    Its `Config` and `Hypers` derive from `HeadConfig` and `HeadHypers`, and those of `loop`.
    """

    @cached_property
    def head(self) -> Head:
        return head_of(self.config.head, self.config.atoms, self.config.loss)

    def head_params(self, hypers: Any) -> HeadParams:
        """The numbers of the head."""
        return HeadParams(hypers.value_low, hypers.value_high, hypers.sigma)

    def target_loss(
        self, outputs: Array, after: Bootstrap, weight: Array, hypers: Any, expectile: Scalar = 0.5
    ) -> tuple[Array, Aux]:
        """The loss of M critics on one target, see `targets.target_loss`: outputs `[M, B, K]` of actions taken."""
        numbers = self.head_params(hypers)
        total, td_error = target_loss(self.head, outputs, after, weight, numbers, expectile)
        return total, Aux(td_error, {"value_loss": total, "value": self.head.value(outputs, numbers).mean()})

    @classmethod
    def unused(cls, config: Any, env: Any) -> dict[str, str]:
        return super().unused(config, env) | value_heads.unused(config.head)

    def check(self) -> None:
        require(self.config.atoms >= 2, "atoms", self.config.atoms, "must be at least 2")
        super().check()
