"""The space of a sweep: grids and samples of any field, as rows of settings. Needs no jax.

A field is a setting of the algorithm (`lr`, `num_envs`, `objective`, `objective.clip`), a parameter of the environment
(`task.length`), the environment (`env`) or the algorithm (`algo`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rljax.arguments import SEED, SOME
from rljax.errors import require
from rljax.kinds import Maybe, Table, plain
from rljax.settings import literal, split_commas

if TYPE_CHECKING:
    import numpy as np  # when it is needed: it would delay the help of the command

GRIDS = "A,B,C or log:LOW:HIGH:COUNT or linear:LOW:HIGH:COUNT"
DISTRIBUTIONS = "uniform:LOW:HIGH, log-uniform:LOW:HIGH, int:LOW:HIGH or choice:A,B,C"

MOST = 10**6  # rows

Values = Sequence[Any] | str


@dataclass(frozen=True)
class Distribution:
    """The distribution of a sampled field: `uniform`, `log-uniform`, `int` (both ends included) or `choice`."""

    kind: str
    low: float = 0.0
    high: float = 0.0
    options: tuple[Any, ...] = ()

    def __str__(self) -> str:
        rest = ",".join(map(str, self.options)) if self.kind == "choice" else f"{self.low:g}:{self.high:g}"
        return f"{self.kind}:{rest}"

    def check(self, name: str) -> Distribution:
        """Returns itself. Raises ConfigError, for that field, for an unknown kind, or ends that do not fit."""
        known = ("uniform", "log-uniform", "int", "choice")
        require(self.kind in known, name, self, f"a distribution is {DISTRIBUTIONS}")
        if self.kind == "choice":
            require(len(self.options) > 0, name, self, "nothing to choose from")
            return self
        whole = self.low % 1 == 0 and self.high % 1 == 0
        require(self.kind != "int" or whole, name, self, "both ends must be whole numbers")
        require(self.low < self.high, name, self, "the lower end must lie below the higher one")
        require(self.kind != "log-uniform" or self.low > 0, name, self, "both ends must be above 0")
        most = 2**53 if self.kind == "int" else math.inf
        require(-most < self.low and self.high - self.low < most, name, self, "the ends are too far apart")
        return self

    def draw(self, generator: np.random.Generator) -> Any:
        """Draws one value."""
        if self.kind == "choice":
            return self.options[generator.integers(len(self.options))]
        if self.kind == "int":
            return int(generator.integers(int(self.low), int(self.high) + 1))
        if self.kind == "log-uniform":
            return math.exp(generator.uniform(math.log(self.low), math.log(self.high)))
        return float(generator.uniform(self.low, self.high))


@dataclass(frozen=True)
class Space:
    """A grid, and distributions to draw `trials` points from; every point is tried in every cell of the grid."""

    grid: Mapping[str, list[Any]]
    sample: Mapping[str, Distribution]
    trials: int = 1
    seed: int = 0  # of the draws

    @property
    def fields(self) -> list[str]:
        return [*self.grid, *self.sample]

    def rows(self) -> list[dict[str, Any]]:
        """The settings of every row: cells of the grid, the last field fastest, and within each the sampled points."""
        import numpy as np

        generator = np.random.default_rng(self.seed)
        points = [{name: d.draw(generator) for name, d in self.sample.items()} for _ in range(self.trials)]
        cells = [dict(zip(self.grid, cell)) for cell in itertools.product(*self.grid.values())]
        return [{**cell, **point} for cell in cells for point in points]


def space(
    grid: Mapping[str, Values], sample: Mapping[str, str | Distribution], trials: int | None = None, seed: int = 0
) -> Space:
    """Makes a checked space.

    Args:
      grid: field -> values, or text as on the command line.
      sample: field -> distribution, as text or not.
      trials: points to draw from the distributions; needed if there are any.
      seed: of the draws.

    Raises:
      ConfigError: an empty grid, a value twice, a field in both, text that cannot be read.
    """
    grid, sample = Table().convert("grid", grid), Table().convert("sample", sample)
    for name in grid:
        require(name not in sample, name, "...", "is given in the grid and in the sample; choose one")
    if sample:
        require(trials is not None, "trials", None, "say how many points to draw from the sample")
    else:
        require(trials is None, "trials", trials, "nothing is sampled; say what, e.g. lr=log-uniform:1e-5:1e-2")
        require(seed == 0, "sample_seed", seed, "has no effect where nothing is sampled")
    trials, seed = Maybe(SOME).convert("trials", trials), SEED.convert("sample_seed", seed)
    distributions = {
        name: d.check(name) if isinstance(d, Distribution) else distribution(name, d) for name, d in sample.items()
    }
    found = Space({name: _values(name, v) for name, v in grid.items()}, distributions, trials or 1, seed)
    count = math.prod(map(len, found.grid.values())) * found.trials
    require(count <= MOST, "rows", count, f"a sweep has {MOST} at most; give fewer values")
    return found


def distribution(name: str, text: str) -> Distribution:
    """Reads a distribution from text. Raises ConfigError where it is none."""
    require(isinstance(text, str), name, text, f"a distribution is {DISTRIBUTIONS}")
    kind, _, rest = text.partition(":")
    if kind == "choice":
        found = Distribution(kind, options=tuple(_listed(name, rest)))
    else:
        low, high = _numbers(name, text, rest, 2, DISTRIBUTIONS)
        found = Distribution(kind, low, high)
    return found.check(name)


def _values(name: str, given: Values) -> list[Any]:
    require(isinstance(given, Iterable), name, given, "a grid needs a list of values")
    values = _listed(name, given) if isinstance(given, str) else [plain(x) for x in given]
    require(len(values) > 0, name, given, "an empty grid; give at least one value")
    hashes, others = set(), []
    for value in values:
        try:
            twice = value in hashes
            hashes.add(value)
        except TypeError:  # a list, or an objective that holds arrays
            twice = any(value is x or value == x for x in others)
            others.append(value)
        require(not twice, name, value, "is in the grid twice")
    return values


def _listed(name: str, text: str) -> list[Any]:
    kind, colon, rest = text.partition(":")
    if colon and kind in ("log", "linear"):
        low, high, count = _numbers(name, text, rest, 3, GRIDS)
        fits = 2 <= count <= MOST and count % 1 == 0
        require(fits, name, text, f"the count must be a whole number, from 2 to {MOST}")
        require(kind == "linear" or min(low, high) > 0, name, text, "both ends must be above 0")
        import numpy as np

        between = np.geomspace if kind == "log" else np.linspace
        return [float(f"{x:.6g}") for x in between(low, high, int(count))]
    return [literal(item) for item in split_commas(text) if item]


def _numbers(name: str, text: str, rest: str, count: int, form: str) -> list[float]:
    try:
        numbers = [float(x) for x in rest.split(":")]
    except ValueError:
        numbers = []
    fits = len(numbers) == count and all(map(math.isfinite, numbers))
    require(fits, name, text, f"write it as {form}")
    return numbers
