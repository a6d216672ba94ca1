"""The specification of a search: what is learned, on which domains, and how the result is validated."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, get_args

from rljax import footprint, runtime
from rljax.arguments import SEED, STEPS
from rljax.build import Prepared
from rljax.engine.work import Say, Stopping
from rljax.envs.gymnax_api import is_gymnax
from rljax.errors import ConfigError, require
from rljax.kinds import Choice, Count, Maybe, Number, Several, Table, convert
from rljax.meta import fitness
from rljax.meta.runner import read, shapes
from rljax.meta.tasks import SET_BY_RUN, Domain
from rljax.registry import Registry
from rljax.sweeps import rows, space
from rljax.task import ways
from rljax.types import Env

METHODS: Registry[Any] = Registry(
    "method of meta-learning", {"evolution": "rljax.meta.evolve:Evolution", "descent": "rljax.meta.descend:Descent"}
)

MOST = 10**6  # generations, or validation runs


class Learner(Protocol):
    """Moves theta."""

    def generation(self, state: Any, number: int, say: Say, stopping: Stopping) -> tuple[Any, dict[str, float]] | None:
        """(state, row) after a generation; None if it was stopped, and then the state is as it was."""
        ...

    def steps(self, number: int) -> int:
        """Environment steps that a generation takes, known ahead."""
        ...


@dataclass(frozen=True, kw_only=True)
class Search:
    """A specified search: what is learned, on which domains, and how it is validated; a method adds the rest.

    Attributes:
      domains: of the training runs.
      learn: the parts of hypers that are learned, by name: theta.
      generations: how many.
      kind: what a run's fitness is, see `fitness`.
      seed: of the search.
      validation_runs: runs on each domain that evaluate theta; the search never learns from them.
      validate_every: generations between validations; also before the first and after the last.
    """

    domains: tuple[Domain, ...]
    learn: tuple[str, ...]
    generations: int
    kind: fitness.Kind = "final"
    seed: int = 0
    validation_runs: int = 16
    validate_every: int = 10
    method: ClassVar[str]

    def __post_init__(self) -> None:
        some = Count(1, MOST)
        convert(self, generations=some, validation_runs=some, validate_every=some, seed=SEED)
        Choice(get_args(fitness.Kind)).convert("fitness", self.kind)
        require(bool(self.domains), "env", None, "say on which environment")
        require(SET_BY_RUN not in self.learn, "learn", SET_BY_RUN, "is given by each run")

    @classmethod
    def split(cls, settings: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """(the settings that are fields of the search, those of the algorithm)."""
        known = {f.name for f in dataclasses.fields(cls)}
        return (
            {name: value for name, value in settings.items() if name in known},
            {name: value for name, value in settings.items() if name not in known},
        )

    @property
    def members(self) -> int:
        """The most runs at a time, validation apart."""
        return self.validation_runs * len(self.domains)

    def begin(self, prepared: Sequence[Prepared], theta: dict[str, Any]) -> Any:
        """The state of a search that begins at theta; arrays only."""
        raise NotImplementedError

    def theta(self, state: Any) -> dict[str, Any]:
        """Theta in that state."""
        raise NotImplementedError

    def learner(self, prepared: Sequence[Prepared], runner: Any) -> Learner:
        """Makes what moves theta; `runner` runs agents."""
        raise NotImplementedError

    def prepare(self) -> list[Prepared]:
        """Every domain, built. Raises ConfigError for what does not fit together."""
        prepared = [domain.row.prepare() for domain in self.domains]
        first = shapes(self.start(prepared))
        for domain, built in zip(self.domains, prepared):
            domain.check(built)
            if shapes(read(built.algorithm.hypers, self.learn)) != first:
                raise ConfigError(f"learn={','.join(self.learn)}: has another shape on {built.env.name}")
        return prepared

    def check_memory(self, prepared: Sequence[Prepared]) -> None:
        """Raises ConfigError where what is to be held at once is more than the memory that is free."""
        for domain, built in zip(self.domains, prepared):
            fitness.check(self.kind, footprint.check(domain.row.algo, built), domain.row.algo)

    def start(self, prepared: Sequence[Prepared]) -> dict[str, Any]:
        """Theta where the search begins."""
        return read(prepared[0].algorithm.hypers, self.learn)

    def names(self, prepared: Sequence[Prepared]) -> list[str]:
        """The domains by the names of their environments, numbered where one stands twice."""
        found: list[str] = []
        for built in prepared:
            count = sum(name.split("#")[0] == built.env.name for name in found)
            found.append(f"{built.env.name}#{count + 1}" if count else built.env.name)
        return found

    def record(self, prepared: Sequence[Prepared]) -> dict[str, Any]:
        """Describes the search in plain values."""
        kept = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "domains"}
        return kept | {
            "method": self.method,
            "learn": list(self.learn),
            "names": self.names(prepared),
            "rows": [domain.row.record(built) for domain, built in zip(self.domains, prepared)],
            "draws": [
                {
                    "shortest": domain.shortest,
                    "vary": {name: dataclasses.asdict(d) for name, d in domain.vary.items()},
                    "reference": list(domain.reference),
                }
                for domain in self.domains
            ],
        }

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> Search:
        """One with these fields, as `record` has them."""
        return cls(**plain)


def from_record(
    record: Mapping[str, Any], envs: Mapping[str, Env] | None = None, objective: Any = None, call: str = ""
) -> Search:
    """The inverse of `Search.record`; arguments and errors as for `rows.from_record`."""
    runtime.start()
    kind = METHODS.load(record["method"])
    domains = tuple(
        Domain(
            row,
            drawn["shortest"],
            {name: space.Distribution(**d) for name, d in drawn["vary"].items()},
            tuple(drawn["reference"]),
        )
        for row, drawn in zip(rows.from_record(record, envs, objective, call), record["draws"])
    )
    plain = {f.name: record[f.name] for f in dataclasses.fields(kind) if f.name in record}
    return kind.from_plain(plain | {"domains": domains, "learn": tuple(record["learn"])})


def domain(
    algo: str,
    env: str | Env,
    steps: int | tuple[int, int] | None = None,
    *,
    vary: Mapping[str, str | space.Distribution] | None = None,
    reference: tuple[float, float] = (0.0, 1.0),
    env_args: Mapping[str, Any] | None = None,
    use_preset: bool = True,
    recorded: bool = False,
    **settings: Any,
) -> Domain:
    """Makes a domain: an environment, with distributions of what differs between runs on it.

    Args:
      steps: environment steps of a run, or those of the shortest and the longest, log-uniform between; by default the
        preset's.
      vary: task parameter -> distribution, e.g. `{"length": "uniform:0.5:1.5"}`.
      reference: the returns that count as 0 and 1 in a fitness that is not normalised by ranks.
      recorded: settings are of a record, which holds defaults as well.
      **settings: of the algorithm here; the program is that of these, whatever other domains have.

    Raises:
      ConfigError: a name, field or value that cannot be.
    """
    require("data" not in settings, "data", "...", "is for rljax.train and rljax.sweep; a search takes none")
    shortest, longest = steps if isinstance(steps, tuple) and len(steps) == 2 else (None, steps)
    shortest, longest = (Maybe(STEPS).convert("steps", x) for x in (shortest, longest))
    [row] = rows.build(algo, env, longest, [{}], settings, Table().convert("env_args", env_args), use_preset)
    fixed = row.curriculum is None and not ways(row.task)
    require(fixed, "curriculum", row.curriculum or row.task, "is for rljax.train and rljax.sweep; give vary=")
    row = dataclasses.replace(row, recorded=recorded)
    drawn = {
        n: d.check(n) if isinstance(d, space.Distribution) else space.distribution(n, d)
        for n, d in Table().convert("vary", vary).items()
    }
    low, high = Several(Number()).convert("reference", reference)
    require(low < high, "reference", reference, "the return that counts as 0 must be the lower one")
    return Domain(row, shortest, drawn, (low, high))


def domains(
    algo: str, env: str | Env | Domain | Sequence[str | Env | Domain], steps: Any, settings: Mapping[str, Any]
) -> tuple[Domain, ...]:
    """One or several domains, of which those that are no domains yet get these steps and settings."""
    given: list[Any] = [env] if isinstance(env, str | Env | Domain) or is_gymnax(env) else list(env)  # pyright: ignore
    return tuple(e if isinstance(e, Domain) else domain(algo, e, steps, **settings) for e in given)
