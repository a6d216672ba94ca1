r"""Meta-gradient descent: theta, by which agents learn, follows the derivative of the outer loss after K updates.

The agents persist through generations and are replaced in time, see `gradient`; a generation is a number of meta-steps,
compiled as one program. Validation trains whole runs, as in an evolution.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax

from rljax import algos, footprint, modes, runtime
from rljax.arguments import SOME
from rljax.build import Prepared
from rljax.divergence import warn_of_environment
from rljax.engine.work import Report, Say, Stopping
from rljax.errors import ConfigError, require
from rljax.kinds import INF, Number, convert
from rljax.meta import gradient, outer_loss, search, spec, tasks
from rljax.meta.result import Learned
from rljax.meta.runner import write
from rljax.ops import optim
from rljax.ops.metrics import NOT_FINITE
from rljax.ops.tree import as_arrays
from rljax.types import Env

OUTER_STEPS = 20  # of the new rollout that scores K updates


@dataclass(frozen=True, kw_only=True)
class Descent(spec.Search):
    """A search by meta-gradients, on one domain.

    The algorithm must have a `policy`, as on-policy ones do.

    Attributes:
      agents: N, that learn at a time.
      num_updates: K, that a gradient passes through.
      meta_steps: updates of theta in a generation.
      meta_lr: learning rate of Adam for theta.
      meta_max_grad_norm: bound on the norm of a meta-gradient. They explode now and then, to hundreds of times their
        usual norm, and Adam hardly moves for hundreds of steps after.
    """

    agents: int = 64
    num_updates: int = 5
    meta_steps: int = 10
    meta_lr: float = 1e-4
    meta_max_grad_norm: float = 0.5
    method: ClassVar[str] = "descent"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(len(self.domains) == 1, "env", len(self.domains), "meta-gradients take one environment, or one family")
        require(not self.domains[0].vary, "vary", "...", "meta-gradients take tasks that an environment draws itself")
        convert(self, agents=SOME, num_updates=SOME, meta_steps=SOME)
        convert(self, meta_lr=Number(low=0.0), meta_max_grad_norm=Number(above=0.0, high=INF))
        algo = algos.base(self.domains[0].row.algo)
        if getattr(algos.load(algo), "policy", None) is None:
            raise ConfigError(f"algo={algo}: has no policy for an outer loss to look at; lpg and ppo have")

    def check_memory(self, prepared: Sequence[Prepared]) -> None:
        super().check_memory(prepared)
        each, _ = footprint.least(prepared[0].algorithm, prepared[0].task, self.num_updates)
        footprint.check_together("agents", self.agents, each)

    def begin(self, prepared: Sequence[Prepared], theta: dict[str, Any]) -> gradient.MetaState:
        key, hypers = jax.random.key(self.seed), as_arrays(prepared[0].algorithm.hypers)
        return gradient.init(self.setup(prepared[0]), key, theta, hypers, self.agents)

    def theta(self, state: gradient.MetaState) -> dict[str, Any]:
        return state.theta

    def learner(self, prepared: Sequence[Prepared], runner: Any) -> spec.Learner:
        return _Descending(self, prepared[0])

    def setup(self, prepared: Prepared) -> gradient.Setup:
        """The fixed parts of the meta-run."""
        env, algorithm = prepared.env, prepared.algorithm
        loss = outer_loss.actor_critic_loss(algorithm, OUTER_STEPS)
        low, high = map(math.log, self.domains[0].bounds(prepared))
        default = as_arrays(env.task)
        return gradient.Setup(
            algo=algorithm,
            put=write,
            loss=outer_loss.regularised(loss, algorithm.outer_weights),
            new_lifetime=lambda key: jnp.round(jnp.exp(jax.random.uniform(key, (), minval=low, maxval=high))),
            new_task=env.new_task or (lambda key: default),
            optimiser=optax.chain(optim.clip(self.meta_max_grad_norm), optax.adam(self.meta_lr, eps_root=1e-16)),
            num_updates=self.num_updates,
        )


def descend(
    algo: str,
    env: str | Env | tasks.Domain,
    steps: int | tuple[int, int] | None = None,
    *,
    learn: Sequence[str] = ("rule",),
    generations: int = 100,
    out: str | Path | None = None,
    progress: bool = True,
    workers: int | None = None,
    memory_limit: str | int | None = None,
    **settings: Any,
) -> Learned:
    """Learns parts of an algorithm's hypers by meta-gradients. Killed, the same call goes on.

    Args:
      algo, env, steps, learn, generations, out, progress, workers, memory_limit: as for `evolve`; workers validate.
      **settings: `agents`, `num_updates`, `meta_steps`, `meta_lr`, `meta_max_grad_norm`, `kind`, `seed`,
        `validation_runs`, `validate_every` as in `Descent`; others are of the algorithm.

    Returns, and raises: as `evolve`.
    """
    runtime.start()
    how, rest = Descent.split(settings)
    where = spec.domains(algo, env, steps, rest)
    asked = Descent(domains=where, learn=tuple(learn), generations=generations, **how)
    return search.run(asked, out, progress, workers=workers, memory_limit=memory_limit)


class _Descending:
    """A descent under way."""

    def __init__(self, asked: Descent, prepared: Prepared):
        self.asked, self._prepared = asked, prepared
        self._hypers = as_arrays(prepared.algorithm.hypers)
        step = partial(gradient.meta_step, asked.setup(prepared))

        @jax.jit
        @modes.in_32_bits()
        def generation(state, hypers):
            return jax.lax.scan(lambda state, _: step(state, hypers), state, None, asked.meta_steps)

        self._go = generation

    def generation(self, state: Any, number: int, say: Say, stopping: Stopping) -> tuple[Any, dict[str, float]] | None:
        state, metrics = self._go(state, self._hypers)
        warn_of_environment(self._prepared.env.name, np.asarray(metrics.pop(NOT_FINITE, 0)))
        row = {name: _mean(name, np.asarray(x), metrics) for name, x in metrics.items()}
        say(Report(self.steps(number)))
        return state, row

    def steps(self, number: int) -> int:
        num_envs = self._prepared.config["num_envs"]
        each = self.asked.num_updates * self._prepared.algorithm.steps_per_update + OUTER_STEPS * num_envs
        return self.asked.meta_steps * self.asked.agents * each


def _mean(name: str, values: np.ndarray, metrics: dict[str, Any]) -> float:
    """Over meta-steps, those left out that had nothing to measure; NaN where none had."""
    known = ~np.isnan(values)
    if name.startswith("episode_"):
        known &= np.asarray(metrics["episodes"]) > 0
    return float(values[known].mean()) if known.any() else math.nan
