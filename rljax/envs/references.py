"""Returns that environments are known by: of random actions, of the best that remembers nothing, and of the best.

Plain data, so that listing them imports nothing. A return is that of whole episodes, undiscounted, under the
environment's default task; where the task is hidden, as in bandits and dark rooms, its mean over the tasks that are
drawn, and the best is whoever knows it.
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


_Three = tuple[float | None, float | None, float | None]
_UNKNOWN: _Three = (None, None, None)


def _popgym(family: str, source: str, random: _Three, memoryless: _Three, best: _Three) -> dict[str, Reference]:
    """The references of a family of POPGym's, in its levels."""
    levels = zip(("easy", "medium", "hard"), random, memoryless, best)
    return {f"popgym/{family}-{level}": Reference(a, b, c, source) for level, a, b, c in levels}


_ONE = (1.0, 1.0, 1.0)
_HALF = (-0.5, -0.5, -0.5)
_PUBLISHED = "best and without memory: the highest, and a perceptron's, in the table of Morad et al. 2023 (hard alone)"

POPGYM: dict[str, Reference] = {
    **_popgym("RepeatFirst", "exact: the newest suit is named, or the first", _HALF, (-0.499, -0.5, -0.5), _ONE),
    **_popgym(
        "RepeatPrevious",
        "exact: any suit but the newest is named, or that asked for",
        _HALF,
        (-0.49, -0.495, -0.497),
        _ONE,
    ),
    **_popgym(
        "Autoencode", "exact: the suit that is shown is named, or that asked for", _HALF, (-0.471, -0.486, -0.49), _ONE
    ),
    **_popgym(
        "CountRecall",
        "exact: one number for the kind that is shown and one for others; with a clock as well -.405, -.492, -.414",
        (-0.926, -0.926, -0.882),
        (-0.923, -0.924, -0.881),
        _ONE,
    ),
    **_popgym(
        "Concentration",
        "measured: no card that is up is flipped, or each card is remembered and pairs are taken when known",
        (-0.189, -0.186, -0.835),
        (0.451, 0.468, -0.819),
        (0.813, 0.813, 0.698),
    ),
    **_popgym(
        "HigherLower",
        "exact: higher below the middle rank; best measured: all cards are counted",
        (0.0, 0.0, 0.0),
        (0.497, 0.497, 0.497),
        (0.528, 0.517, 0.512),
    ),
    **_popgym(
        "Battleship",
        "measured; best: hunt and target, with parity; never to repeat a cell gives 1/13",
        (-0.448, -0.415, -0.4),
        _UNKNOWN,
        (0.48, 0.52, 0.56),
    ),
    **_popgym(
        "MineSweeper",
        "measured; best: a simple solver of constraints, +- 0.06",
        (-0.232, -0.4, -0.432),
        _UNKNOWN,
        (0.76, 0.36, 0.35),
    ),
    **_popgym(
        "MultiarmedBandit",
        "exact; best measured: Thompson sampling",
        (0.0, 0.0, 0.0),
        _UNKNOWN,
        (0.64, 0.73, 0.77),
    ),
    **_popgym(
        "PositionOnlyCartPole",
        "random measured, best exact: the pole is balanced; without memory: a perceptron's, Morad et al. 2023",
        (0.111, 0.056, 0.037),
        (None, None, 0.265),
        _ONE,
    ),
    **_popgym(
        "VelocityOnlyCartPole",
        "measured: a push to the right where the angle's velocity + 0.1 times the cart's is positive; best exact",
        (0.111, 0.056, 0.037),
        (1.0, 0.996, 0.828),
        _ONE,
    ),
    **_popgym(
        "NoisyPositionOnlyCartPole",
        f"random measured; {_PUBLISHED}",
        (0.111, 0.111, 0.111),
        (None, None, 0.229),
        (None, None, 0.404),
    ),
    **_popgym(
        "PositionOnlyPendulum",
        f"random measured; {_PUBLISHED}",
        (0.245, 0.244, 0.242),
        (None, None, 0.477),
        (None, None, 0.828),
    ),
    **_popgym(
        "NoisyPositionOnlyPendulum",
        f"random measured; {_PUBLISHED}",
        (0.244, 0.244, 0.244),
        (None, None, 0.351),
        (None, None, 0.657),
    ),
}

_OPEN_LOOP = "exact: a goal is anywhere, whatever is done unseen; best: it is known"

HIDDEN_TASKS: dict[str, Reference] = {
    **{
        f"bandit/{arms}x{pulls}": Reference(
            pulls / 2, pulls / 2, round(pulls * arms / (arms + 1), 2), "exact: n / 2, and the best arm is known"
        )
        for arms in (3, 5, 10)
        for pulls in (10, 100, 300)
    },
    "darkroom/5x5": Reference(0.8, 0.8, 16.96, _OPEN_LOOP),
    "darkroom/7x7": Reference(0.408, 0.408, 14.98, _OPEN_LOOP),
    "darkroom/9x9": Reference(0.247, 0.247, 16.543, _OPEN_LOOP),
    "darkroom/10x10": Reference(1.0, 1.0, 91.99, _OPEN_LOOP),
    "darkroom/hard": Reference(0.0373, 0.0692, 1.0, "exact: every step leads to a new cell; best: the goal is known"),
    "keydoor/9x9": Reference(0.2686, 0.804, 2.0, "exact: every step leads to a new cell; best: key and door are known"),
}

REFERENCES: dict[str, Reference] = {
    "MemoryChain-bsuite": Reference(0.0, 0.0, 1.0, "exact: a coin is guessed, or remembered"),
    "BernoulliBandit-misc": Reference(50.0, 50.0, 89.375, "exact: dynamic programme over two complementary arms"),
    "tmaze/passive": Reference(-0.966, 0.5, 1.0, "random measured, others exact: runs and guesses, or remembers"),
    "tmaze/active": Reference(
        -0.973, 0.5, 1.0, "random measured, others exact: runs and guesses, or looks and remembers"
    ),
    **POPGYM,
    **HIDDEN_TASKS,
}
