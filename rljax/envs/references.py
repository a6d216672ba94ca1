"""Returns that environments are known by: of random actions, of the best that remembers nothing, and of the best.

Plain data, so that listing them imports nothing. A return is that of whole episodes, undiscounted, under the
environment's default task.
"""

from __future__ import annotations

from typing import NamedTuple


class Reference(NamedTuple):
    """Mean returns of an environment; None where one is not known.

    Attributes:
      random: of uniformly random actions.
      memoryless: of the best policy that sees but the newest observation.
      best: of the best policy there is, or, if that is not known, of the best that is.
      source: where they are from.
    """

    random: float | None = None
    memoryless: float | None = None
    best: float | None = None
    source: str = ""

    def __str__(self) -> str:
        named = (("random", self.random), ("without memory", self.memoryless), ("best", self.best))
        return ", ".join(f"{name} {value:g}" for name, value in named if value is not None)


REFERENCES: dict[str, Reference] = {
    "MemoryChain-bsuite": Reference(0.0, 0.0, 1.0, "exact: a coin is guessed, or remembered"),
    "BernoulliBandit-misc": Reference(50.0, 50.0, 89.375, "exact: dynamic programme over two complementary arms"),
}
