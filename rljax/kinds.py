"""Kinds of fields: the values that they take, and the conversion of values of numpy, YAML or a record. Needs no jax.

Every `convert` here raises ConfigError for a value that the field does not take.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal

from rljax.errors import nearest, require

INF = math.inf
LARGEST = 2**31 - 1  # the largest int32
SMALLEST = 2.0**-126  # the smallest float32 that a program does not take for 0


@dataclass(frozen=True)
class Kind:
    """The values that a field takes; the base class takes any."""

    def convert(self, name: str, value: Any) -> Any:
        """Converts a value to the type of the field."""
        return value

    @property
    def type(self) -> Any:
        """The annotation of an option on the command line; None where the field cannot be written there."""
        return None


@dataclass(frozen=True)
class Number(Kind):
    """A number within bounds, or an array of such numbers.

    Attributes:
      low, high: inclusive bounds. Without one the number is still finite; an infinite bound allows infinity.
      above, below: exclusive bounds; the name of another field stands for that one's value.
    """

    low: float | None = None
    high: float | None = None
    above: float | str | None = None
    below: float | None = None

    @property
    def type(self) -> Any:
        return float

    def convert(self, name: str, value: Any) -> Any:
        value = plain(value)
        if isinstance(value, str) and value in ("inf", "-inf"):  # as a record says it
            value = float(value)
        if is_array(value):
            self.check_array(name, value)
            return value
        fits = isinstance(value, Real) and not isinstance(value, bool)
        require(fits, name, shown(value), f"must be a number{not_text(value)}")
        self.check(name, value)
        return float(value) if math.isfinite(single(value)) else single(value)

    def check_array(self, name: str, value: Any) -> None:
        """Checks every number of an array as `check` does."""
        for end in extremes(name, value):
            self.check(name, end)

    def check(self, name: str, value: Any) -> None:
        """Raises ConfigError unless a number is within the bounds, also when it is rounded to float32."""
        require(value == value, name, value, "must be a number")
        x = single(value)
        infinite = (x == INF and self.high != INF) or (x == -INF and self.low != -INF)
        require(not infinite, name, value, "must be finite")
        fits = (self.low is None or value >= self.low) and (self.high is None or value <= self.high)
        fits = fits and (not isinstance(self.above, int | float) or x > self.above)
        require(fits and (self.below is None or x < self.below), name, value, str(self))

    def __str__(self) -> str:
        if self.low not in (None, -INF) and self.high not in (None, INF):
            return f"must lie between {self.low:g} and {self.high:g}"
        words = {"at least": self.low, "above": self.above, "at most": self.high, "below": self.below}
        given = (f"{word} {x:g}" for word, x in words.items() if isinstance(x, int | float) and math.isfinite(x))
        return f"must be {' and '.join(given)}"


@dataclass(frozen=True)
class Count(Kind):
    """A whole number from `least` to `most`."""

    least: int | None = 1
    most: int = LARGEST

    @property
    def type(self) -> Any:
        return int

    def convert(self, name: str, value: Any) -> int:
        value = whole(value)
        fits = isinstance(value, int) and not isinstance(value, bool)
        require(fits, name, shown(value), f"must be a whole number{not_text(value)}")
        least = -self.most - 1 if self.least is None else self.least
        require(value >= least, name, value, f"must be at least {least}")
        require(value <= self.most, name, value, f"must be at most {self.most}")
        return value


@dataclass(frozen=True)
class Flag(Kind):
    """True or false."""

    @property
    def type(self) -> Any:
        return bool

    def convert(self, name: str, value: Any) -> bool:
        value = whole(value)
        require(isinstance(value, bool), name, shown(value), f"must be true or false{not_text(value)}")
        return value


@dataclass(frozen=True)
class Choice(Kind):
    """One of several values."""

    options: tuple[Any, ...]

    @property
    def type(self) -> Any:
        return Literal[self.options]

    def convert(self, name: str, value: Any) -> Any:
        value = plain(value)
        if not any(type(value) is type(x) and value == x for x in self.options):
            names = list(map(str, self.options))
            hint = nearest(value, names) if isinstance(value, str) else ""
            require(False, name, value, "; ".join(filter(None, [f"must be one of {', '.join(names)}", hint])))
        return value


@dataclass(frozen=True)
class Table(Kind):
    """A dictionary of names and values; None is an empty one. Numbers of numpy become Python's."""

    def convert(self, name: str, value: Any) -> dict[str, Any]:
        fits = value is None or (isinstance(value, Mapping) and all(isinstance(key, str) for key in value))
        require(fits, name, value, "must be a dictionary of names and values")
        return {key: plain(x) for key, x in (value or {}).items()}


@dataclass(frozen=True)
class Text(Kind):
    """Any text."""

    @property
    def type(self) -> Any:
        return str

    def convert(self, name: str, value: Any) -> str:
        require(isinstance(value, str), name, value, "must be text")
        return value


@dataclass(frozen=True)
class Maybe(Kind):
    """None, or a value of another kind."""

    kind: Kind

    @property
    def type(self) -> Any:
        return self.kind.type and self.kind.type | None

    def convert(self, name: str, value: Any) -> Any:
        return None if value is None else self.kind.convert(name, value)


@dataclass(frozen=True)
class Several(Kind):
    """A tuple of values of another kind; a single value stands for a tuple of one."""

    kind: Kind

    @property
    def type(self) -> Any:
        return self.kind.type and tuple[self.kind.type, ...]

    def convert(self, name: str, value: Any) -> tuple[Any, ...]:
        return tuple(self.kind.convert(name, x) for x in _items(value))


@dataclass(frozen=True)
class PolicyObjective(Kind):
    """A policy objective: its name, or the objective."""

    @property
    def type(self) -> Any:
        return str

    def convert(self, name: str, value: Any) -> Any:
        require(isinstance(value, str) or callable(value), name, value, "must be an objective, or the name of one")
        return value


@dataclass(frozen=True)
class Part(Kind):
    """Learned numbers: the file that holds them, or their tree."""

    @property
    def type(self) -> Any:
        return str | None


@dataclass(frozen=True)
class Weights(Kind):
    """An array of finite numbers, or a list of them from a record."""

    def convert(self, name: str, value: Any) -> Any:
        if is_array(value):
            for end in extremes(name, value):
                require(math.isfinite(end), name, "...", "must be finite")
            return value
        require(_is_numbers(value), name, "...", "must be a list of numbers, or of such lists")
        return value


def convert(given: Any, **kinds: Kind) -> None:
    """Converts these fields of a frozen dataclass in place. Raises ConfigError for a value that one does not take."""
    for name, kind in kinds.items():
        object.__setattr__(given, name, kind.convert(name, getattr(given, name)))


def plain(value: Any) -> Any:
    """Converts a number of numpy, alone or in an array without axes, to one of Python; leaves anything else."""
    kind: Any = type(value)
    return value.item() if kind.__module__.partition(".")[0] == "numpy" and value.shape == () else value


def whole(value: Any) -> Any:
    """Converts as `plain`, and a float that is a whole number to an int: 1e3 is a thousand."""
    value = plain(value)
    value = value.item() if is_array(value) and value.shape == () else value
    return int(value) if type(value) is float and value.is_integer() else value


def shown(value: Any) -> Any:
    """Shows a value in an error, with quotes around text."""
    return repr(value) if isinstance(value, str) else value


def not_text(value: Any) -> str:
    """The end of an error where a number was given as text."""
    return ", not text" if isinstance(value, str) else ""


def single(value: Any) -> float:
    """Rounds a number to float32; one that is too small becomes 0."""
    try:
        (x,) = struct.unpack("f", struct.pack("f", value))
    except (OverflowError, struct.error):
        return INF if value > 0 else -INF
    return x if abs(x) >= SMALLEST else 0.0


def is_array(value: Any) -> bool:
    """Whether a value is an array, of numpy or jax, traced or not."""
    return hasattr(value, "dtype") and hasattr(value, "shape")


def extremes(name: str, value: Any) -> tuple[float, ...]:
    """The least and the greatest number of an array, NaN for both if it has one; empty for a traced array.

    Raises:
      ConfigError: it is empty, or holds no real numbers.
    """
    import numpy as np

    try:
        numbers = np.asarray(value)
    except TypeError:  # inside a program, where the numbers are not known yet
        return ()
    fits = numbers.size > 0 and numbers.dtype.kind not in "bcSUOmM"
    require(fits, name, f"{numbers.dtype}{list(numbers.shape)}", "must be a number, or an array of numbers")
    return float(numbers.min()), float(numbers.max())


def _items(value: Any) -> list[Any]:
    value = value.tolist() if hasattr(value, "tolist") else value
    return list(value) if isinstance(value, list | tuple) else [value]


def _is_numbers(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_numbers, value))
    value = plain(value)
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
