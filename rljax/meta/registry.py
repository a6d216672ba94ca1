"""Strategies by name, and back."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from rljax.arguments import SOME
from rljax.errors import require, unknown
from rljax.kinds import Number
from rljax.meta.evosax import Evosax, evosax
from rljax.meta.strategies import SHAPINGS, OpenES, Strategy, raw
from rljax.objectives import plugged

OPEN_ES = "open-es"
POSITIVE, RATE, DECAY = Number(above=0.0), Number(low=0.0), Number(0.0, 1.0)
NUMBERS = {
    "sigma": POSITIVE,
    "sigma_decay": DECAY,
    "sigma_limit": RATE,
    "lr": RATE,
    "lr_decay": DECAY,
    "lr_limit": RATE,
    "weight_decay": RATE,
    "beta1": Number(low=0.0, below=1.0),
    "beta2": Number(low=0.0, below=1.0),
    "eps": POSITIVE,
}


def strategy(name: str = OPEN_ES, popsize: int = 32, **settings: Any) -> Strategy:
    """A strategy: `open-es`, or one of evosax's (`CMA_ES`, `SNES`, ...), with its numbers.

    Fitness comes to it normalised, so OpenES does not shape it again unless it is told to.

    Raises:
      ConfigError: there is none of that name, or it has no such setting.
    """
    require(":" not in name, "strategy", name, "is a class of the user's: go on by the call that it was given to")
    for setting, value in settings.items():
        require(value == value, setting, value, "must be a number")
    if name != OPEN_ES:
        return evosax(name, SOME.convert("popsize", popsize), **settings)
    known = {f.name for f in dataclasses.fields(OpenES)} - {"popsize"}
    for setting in sorted(set(settings) - known):
        raise unknown(f"setting of {OPEN_ES}", setting, known)
    shaping = settings.pop("shaping", raw)
    if isinstance(shaping, str):
        require(shaping in SHAPINGS, "shaping", shaping, f"must be one of {', '.join(SHAPINGS)}")
        shaping = SHAPINGS[shaping]
    numbers = {name: NUMBERS[name].convert(name, value) for name, value in settings.items()}
    return OpenES(popsize=SOME.convert("popsize", popsize), shaping=shaping, **numbers)


def record(given: Strategy) -> dict[str, Any]:
    """The arguments of `strategy` that make this one, as JSON can hold them; of one of the user's own, what it is."""
    if isinstance(given, Evosax):
        numbers = {name: np.asarray(x).tolist() for name, x in given.numbers.items()}
        return {"name": given.name, "popsize": given.popsize, **dict(given.options), **numbers}
    if type(given) is not OpenES:  # the user's own: to be told from another, not to be made again
        require(dataclasses.is_dataclass(given), "strategy", type(given).__name__, "must be a flax.struct.PyTreeNode")
        fields = {f.name: getattr(given, f.name) for f in dataclasses.fields(given)}  # pyright: ignore
        shown = {name: x.__qualname__ if callable(x) else np.asarray(x).tolist() for name, x in fields.items()}
        return {**shown, "name": plugged.path_of(type(given))}
    shaping = next((name for name, function in SHAPINGS.items() if function is given.shaping), None)
    require(shaping is not None, "shaping", given.shaping, f"must be one of {', '.join(SHAPINGS)} to be recorded")
    numbers = {f.name: getattr(given, f.name) for f in dataclasses.fields(given) if f.name != "shaping"}
    return {"name": OPEN_ES, **{name: np.asarray(x).tolist() for name, x in numbers.items()}, "shaping": shaping}
