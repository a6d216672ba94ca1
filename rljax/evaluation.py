"""The evaluation of a policy while it learns: how often, by how many episodes, and where they are played.

It reads a policy and changes nothing of the training, which gives the same bits with it and without.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, Self

import numpy as np

from rljax import envs
from rljax import run as drivers
from rljax.algos.curriculum import Moving
from rljax.arguments import EVERY, SOME
from rljax.build import Prepared
from rljax.errors import ConfigError, require, unknown
from rljax.kinds import Flag, Table
from rljax.ops import streams
from rljax.parts import TASK
from rljax.policy import Policy, elsewhere
from rljax.results import stats
from rljax.task import with_task
from rljax.types import Array, Env, WithData

RETURN, LOW, HIGH = "evaluation_return", "evaluation_low", "evaluation_high"  # columns of a row


class Evaluated(NamedTuple):
    """A policy by what it was evaluated to."""

    score: float  # the mean return of its episodes
    policy: Policy


@dataclass(frozen=True)
class Evaluation:
    """An evaluation now and then: whole episodes, none longer than the environment's limit.

    Attributes:
      every: updates between two, rounded to whole rows; there is one at the end of the run as well.
      episodes: how many, side by side.
      greedy: the most likely actions, or sampled ones.
      env: another environment of the same spaces; None: that of the training, its task as it is in the end.
      task: numbers of the environment to change.
    """

    every: int
    episodes: int = 32
    greedy: bool = True
    env: str | Env | None = None
    task: dict[str, Any] = field(default_factory=dict, hash=False)

    @classmethod
    def of(cls, every: Any, given: Any) -> Self | None:
        """An evaluation as a user asks for it, by the fields named. Raises ConfigError for a field that cannot be."""
        every, given = EVERY.convert("evaluate_every", every), Table().convert("evaluation", given)
        if every is None:
            require(not given, "evaluation", given, "has no effect without evaluate_every")
            return None
        kinds = {"episodes": SOME, "greedy": Flag(), "task": Table(), "env": None}
        given |= {"env": envs.given(given["env"])} if "env" in given else {}
        dotted = {name.removeprefix(TASK): given.pop(name) for name in tuple(given) if name.startswith(TASK)}
        given |= {"task": {**given.get("task", {}), **dotted}} if dotted else {}
        for name in given:
            if name not in kinds:
                raise ConfigError(f"{unknown('field of evaluation', name, kinds)}; there are {', '.join(kinds)}")
        return cls(
            every, **{n: kind.convert(f"evaluation.{n}", given[n]) if (kind := kinds[n]) else given[n] for n in given}
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values; an environment by its name."""
        name = self.env.name if isinstance(self.env, Env) else self.env
        return {**{f.name: getattr(self, f.name) for f in dataclasses.fields(self)}, "env": name}

    @classmethod
    def from_json(cls, record: Mapping[str, Any] | None) -> Self | None:
        """The inverse of `to_json`."""
        return None if record is None else cls(**record)

    def names(self) -> list[tuple[str, str]]:
        """Lists the names that stand for code: (what it is, name)."""
        return envs.named(self.env) if isinstance(self.env, str) else []

    def is_due(self, updates: int, size: int, total: int) -> bool:
        """Whether one is due after that many updates, a row being `size` of them, of a run of `total`."""
        return updates == total or updates % max(size, self.every // size * size) == 0

    def where(self, env: Env) -> Env:
        """The environment that the episodes of a policy are played on that learns on this one.

        Raises:
          ConfigError: it is of other spaces, or has no such numbers.
        """
        same = self.env in (None, env.name)  # perhaps one of the user's own, given again
        return with_task(env if same else elsewhere(env, self.env), self.task)  # pyright: ignore[reportArgumentType]

    def returns(self, policy: Policy, where: Env, seed: int) -> np.ndarray:
        """The returns `[episodes]` of a policy there, by the run's seed: as `policy.evaluate` with that one gives."""
        key = streams.of_seed(seed, streams.EVALUATION)
        return np.asarray(drivers.evaluate(policy.algo, policy.state, where, key, self.episodes, self.greedy))

    def __call__(self, prepared: Prepared) -> Callable[..., Array]:
        """Makes `(state, hypers, task, seed) -> []` for one member of a population: the mean of `Policy.evaluate`.

        The member's own task counts where the environment is its own.
        """
        env, changed = self.where(prepared.env), dict.fromkeys(self.task)

        def mean_return(state: Any, hypers: Any, task: Any, seed: Any) -> Array:
            key = streams.of_seed(seed, streams.EVALUATION)
            numbers = {name: getattr(env.task, name) for name in changed}
            here = env.task if self.env is not None else _replaced(task_of(task), numbers)
            play = partial(drivers.evaluate, episodes=self.episodes, greedy=self.greedy, task=here)
            return play(prepared.acting, state, env, key).mean()

        return mean_return


def columns(returns: np.ndarray) -> dict[str, float]:
    """The columns that the returns of an evaluation add to a row: their mean, and its 95 % interval."""
    return dict(zip((RETURN, LOW, HIGH), map(float, stats.mean_ci(returns))))


def task_of(learned_on: Any) -> Any:
    """The numbers of the environment in what a run learns on: without its data, and as they are in the end."""
    if isinstance(learned_on, WithData):
        return learned_on.env
    if isinstance(learned_on, Moving):
        return _replaced(learned_on.task, learned_on.ends)
    return learned_on


def _replaced(task: Any, numbers: Mapping[str, Any]) -> Any:
    return dataclasses.replace(task, **numbers) if numbers else task
