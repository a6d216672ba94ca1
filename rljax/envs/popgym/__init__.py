"""POPGym: small partially observable tasks, each a test of one kind of memory, `popgym/RepeatPrevious-easy`.

Written from the specification that the numpy package `popgym` is, and tested against it step by step; other copies in
JAX differ from it, in lags, lengths and spaces. Returns are scaled so that a perfect episode gives about 1. Nothing
resets by itself, `terminated` and `truncated` are told apart and exclude each other, where POPGym may set both.

Observations are as POPGym's without wrappers. Battleship, MineSweeper, Concentration and MultiarmedBandit need the
previous action as well, which `|with_past` shows. LabyrinthEscape and LabyrinthExplore are left out: their authors
found that a network without memory does better on them than one with.

Source: Morad et al. 2023 (POPGym: Benchmarking Partially Observable Reinforcement Learning, ICLR, arXiv:2303.01859).
"""

from __future__ import annotations

import importlib
import inspect
from typing import Any

from rljax.envs.catalogue import check_arguments
from rljax.types import Env

LEVELS = ("easy", "medium", "hard")
FAMILIES: dict[str, tuple[str, dict[str, tuple[Any, ...]]]] = {
    "RepeatFirst": ("repeat_first:make", {"decks": (1, 8, 16)}),
    "RepeatPrevious": ("repeat_previous:make", {"decks": (1, 2, 3), "k": (4, 32, 64)}),
    "Autoencode": ("autoencode:make", {"decks": (1, 2, 3)}),
    "CountRecall": ("count_recall:make", {"decks": (1, 2, 4), "kind": ("colours", "suits", "ranks")}),
    "Concentration": ("concentration:make", {"decks": (1, 2, 1), "kind": ("colours", "colours", "ranks")}),
    "HigherLower": ("higher_lower:make", {"decks": (1, 2, 3)}),
    "Battleship": ("battleship:make", {"board": (8, 10, 12)}),
    "MineSweeper": ("minesweeper:make", {"board": (4, 6, 8), "mines": (2, 6, 10)}),
    "MultiarmedBandit": ("bandit:make", {"arms": (10, 20, 30), "max_steps": (200, 400, 600)}),
    "PositionOnlyCartPole": ("control:position_only_cartpole", {"max_steps": (200, 400, 600)}),
    "VelocityOnlyCartPole": ("control:velocity_only_cartpole", {"max_steps": (200, 400, 600)}),
    "NoisyPositionOnlyCartPole": ("control:noisy_position_only_cartpole", {"sigma": (0.1, 0.2, 0.3)}),
    "PositionOnlyPendulum": ("control:position_only_pendulum", {"max_steps": (200, 150, 100)}),
    "NoisyPositionOnlyPendulum": ("control:noisy_position_only_pendulum", {"sigma": (0.1, 0.2, 0.3)}),
}
"""The function that makes each, and its arguments in the levels."""


def make(name: str, **kwargs: Any) -> Env:
    """Makes the environment `popgym/FAMILY-LEVEL`.

    Args:
      name: one of `catalogue.POPGYM`.
      **kwargs: arguments of the family's function, in place of the level's: `decks=2`, `k=8`.

    Raises:
      ConfigError: there is no such argument, or it has a value that cannot be.
    """
    family, _, level = name.removeprefix("popgym/").partition("-")
    path, arguments = FAMILIES[family]
    module, _, function = path.partition(":")
    factory = getattr(importlib.import_module(f"{__name__}.{module}"), function)
    check_arguments(name, kwargs, [x for x in inspect.signature(factory).parameters if x != "name"])
    usual = {argument: values[LEVELS.index(level)] for argument, values in arguments.items()}
    return factory(name, **{**usual, **kwargs})
