"""What a search over objectives, or over any leaves of hypers, is: asked for, checked, recorded."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np

from rljax.api import Prepared
from rljax.errors import ConfigError, require, unknown
from rljax.meta import fitness, leaves
from rljax.meta.evosax import Evosax, evosax
from rljax.meta.strategies import SHAPINGS, OpenES, Strategy, raw
from rljax.meta.tasks import GIVEN_BY_LIFE, Domain
from rljax.sweeps import rows, space
from rljax.types import Env

OPEN_ES = "open-es"


@dataclass(frozen=True)
class Evolution:
    """What is to be evolved, on what, and how.

    Attributes:
      domains: where agents live.
      learn: the parts of hypers that are learned, by name: theta.
      strategy: what proposes members, N = `strategy.popsize` of them a generation.
      generations: how many.
      lives: D, of each member in each generation.
      shared: every member lives the same D lives; otherwise each antithetic pair has D of its own.
      kind: what a life's fitness is, see `fitness`.
      normalise: how fitnesses of different lives are made comparable, a name in `fitness.NORMALISERS`.
      seed: of the search.
      judges: held-out lives on each domain that the mean of the search is judged by.
      judge_every: generations between judgements; also before the first and after the last.
    """

    domains: tuple[Domain, ...]
    learn: tuple[str, ...]
    strategy: Strategy
    generations: int
    lives: int = 1
    shared: bool = True
    kind: fitness.Kind = "final"
    normalise: str = "ranks"
    seed: int = 0
    judges: int = 16
    judge_every: int = 10

    def __post_init__(self) -> None:
        for name in ("generations", "lives", "judges", "judge_every"):
            value = getattr(self, name)
            require(isinstance(value, int) and value >= 1, name, value, "must be a whole number, at least 1")
        require(isinstance(self.seed, int) and 0 <= self.seed < 2**32, "seed", self.seed, "must lie in [0, 2^32)")
        kinds, names = get_args(fitness.Kind), sorted(fitness.NORMALISERS)
        require(self.kind in kinds, "fitness", self.kind, f"must be one of {', '.join(kinds)}")
        require(self.normalise in names, "normalise", self.normalise, f"must be one of {', '.join(names)}")
        pairs = self.normalise in fitness.WITHIN_PAIRS
        require(self.shared or pairs, "normalise", self.normalise, "compares members that met other lives; share them")
        require(bool(self.domains), "env", None, "say where agents are to live")
        require(GIVEN_BY_LIFE not in self.learn, "learn", GIVEN_BY_LIFE, "is given by each life")

    @property
    def drawn(self) -> int:
        """Lives that are drawn for a generation."""
        return self.lives * (1 if self.shared else self.strategy.popsize // 2)

    def prepare(self) -> list[Prepared]:
        """Every domain, built. Raises ConfigError for what does not fit together."""
        prepared = [domain.row.prepare() for domain in self.domains]
        first = leaves.shapes(leaves.read(prepared[0].algorithm.hypers, self.learn))
        for domain, there in zip(self.domains, prepared):
            domain.check(there)
            if leaves.shapes(leaves.read(there.algorithm.hypers, self.learn)) != first:
                raise ConfigError(f"learn={','.join(self.learn)}: has another shape on {there.env.name}")
        return prepared

    def names(self, prepared: Sequence[Prepared]) -> list[str]:
        """The domains by the names of their environments, numbered where one stands twice."""
        found: list[str] = []
        for there in prepared:
            count = sum(name.split("#")[0] == there.env.name for name in found)
            found.append(f"{there.env.name}#{count + 1}" if count else there.env.name)
        return found

    def record(self, prepared: Sequence[Prepared]) -> dict[str, Any]:
        """What is kept of it: plain values."""
        kept = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)} | {
            "learn": list(self.learn),
            "strategy": _strategy_record(self.strategy),
            "names": self.names(prepared),
        }
        del kept["domains"]
        return kept | {
            "rows": [domain.row.record(there) for domain, there in zip(self.domains, prepared)],
            "draws": [
                {
                    "shortest": domain.shortest,
                    "vary": {name: dataclasses.asdict(d) for name, d in domain.vary.items()},
                    "reference": list(domain.reference),
                }
                for domain in self.domains
            ],
        }


def from_record(record: Mapping[str, Any], own: Mapping[str, Env] | None = None) -> Evolution:
    """The inverse of `Evolution.record`; `own` holds environments that are not registered, by name."""
    plain = {f.name: record[f.name] for f in dataclasses.fields(Evolution) if f.name in record}
    domains = tuple(
        Domain(
            row,
            drawn["shortest"],
            {name: space.Distribution(**d) for name, d in drawn["vary"].items()},
            tuple(drawn["reference"]),
        )
        for row, drawn in zip(rows.from_record(record, own), record["draws"])
    )
    plain |= {"learn": tuple(record["learn"]), "strategy": strategy(**record["strategy"])}
    return Evolution(domains, **plain)


def domain(
    algo: str,
    env: str | Env,
    steps: int | tuple[int, int] | None = None,
    *,
    vary: Mapping[str, str | space.Distribution] | None = None,
    reference: tuple[float, float] = (0.0, 1.0),
    env_args: Mapping[str, Any] | None = None,
    use_preset: bool = True,
    **settings: Any,
) -> Domain:
    """Where agents live: an environment, and what is drawn for each life.

    Args:
      steps: environment steps of a life, or those of the shortest and the longest, log-uniform between; by default the
        preset's.
      vary: task parameter -> distribution, e.g. `{"length": "uniform:0.5:1.5"}`.
      reference: the returns that count as 0 and 1 in a fitness that is not normalised by ranks.
      **settings: of the algorithm here; the program is that of these, whatever other domains have.

    Raises:
      ConfigError: a name, field or value that cannot be.
    """
    shortest, longest = steps if isinstance(steps, tuple) else (None, steps)
    [row] = rows.build(algo, env, longest, [{}], settings, env_args or {}, use_preset)
    drawn = {n: d if isinstance(d, space.Distribution) else space.distribution(n, d) for n, d in (vary or {}).items()}
    return Domain(row, shortest, drawn, reference)


def strategy(name: str = OPEN_ES, popsize: int = 32, **settings: Any) -> Strategy:
    """A strategy by name: `open-es`, or one of evosax's (`CMA_ES`, `SNES`, ...), with its numbers.

    Fitness comes to it normalised, so OpenES does not shape it again unless it is told to.
    """
    if name != OPEN_ES:
        return evosax(name, popsize, **settings)
    known = {f.name for f in dataclasses.fields(OpenES)}
    for setting in set(settings) - known:
        raise unknown(f"setting of {OPEN_ES}", setting, known)
    shaping = settings.pop("shaping", raw)
    if isinstance(shaping, str):
        require(shaping in SHAPINGS, "shaping", shaping, f"must be one of {', '.join(SHAPINGS)}")
        shaping = SHAPINGS[shaping]
    return OpenES(popsize=popsize, shaping=shaping, **settings)


def _strategy_record(given: Strategy) -> dict[str, Any]:
    """The arguments of `strategy` that make this one."""
    if isinstance(given, Evosax):
        numbers = {name: np.asarray(x).tolist() for name, x in given.numbers.items()}
        return {"name": given.name, "popsize": given.popsize, **dict(given.options), **numbers}
    if not isinstance(given, OpenES):
        raise ConfigError(f"strategy {type(given).__name__}: cannot be recorded; give OpenES, or one of evosax's")
    shaping = next((name for name, function in SHAPINGS.items() if function is given.shaping), None)
    require(shaping is not None, "shaping", given.shaping, f"must be one of {', '.join(SHAPINGS)} to be recorded")
    numbers = {f.name: getattr(given, f.name) for f in dataclasses.fields(given)}
    return {
        "name": OPEN_ES,
        **{n: np.asarray(x).tolist() for n, x in numbers.items() if n != "shaping"},
        "shaping": shaping,
    }
