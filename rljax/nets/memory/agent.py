"""The part of an algorithm that says whether its agent has a memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rljax.errors import require
from rljax.nets.memory import check_memory
from rljax.nets.memory.base import Past
from rljax.types import Algorithm, Array


@dataclass(frozen=True)
class Agent(Algorithm):
    """The base of algorithms whose config may have a `memory`; without it, or with `none`, they have none."""

    @property
    def remembers(self) -> bool:
        """Whether the agent has a memory."""
        return getattr(self.config, "memory", "none") != "none"

    def one_step(self, carry: Any, reset: Array) -> Any:
        """The `past` of one step, `[B]`, before which the memory is `carry`; () without a memory."""
        return Past(carry, reset[None]) if self.remembers else ()

    def check(self) -> None:
        if self.remembers:
            can = type(self).initial_carry is not Algorithm.initial_carry
            require(can, "memory", self.config.memory, f"{type(self).__name__} has none; leave it out")
            check_memory(self.config.memory)
