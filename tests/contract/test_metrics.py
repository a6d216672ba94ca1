"""A metric that is declared a diagnostic ends no run, any other that is not finite does."""

from __future__ import annotations

from typing import ClassVar

import jax.numpy as jnp
import numpy as np
import pytest
from toys import PROBE, TINY

import rljax
from rljax.algos.ppo import PPO
from rljax.errors import DivergedError
from rljax.meta.strategies import OpenES

HOW = {"steps": 128, "use_preset": False, "progress": False, **TINY}


class Undeclared(PPO):
    """PPO with a metric that is always infinite."""

    def targets(self, state, hypers, steps):
        state, batch, metrics = super().targets(state, hypers, steps)
        return state, batch, metrics | {"odds": jnp.float32(jnp.inf)}


class Declared(Undeclared):
    diagnostics: ClassVar = frozenset({"odds"})


@pytest.fixture(autouse=True)
def _registered():
    rljax.algos.register("undeclared", Undeclared)
    rljax.algos.register("declared", Declared)


def evolved(algo):
    how = {k: v for k, v in HOW.items() if k != "use_preset"}
    search = {"generations": 1, "validation_runs": 1, "workers": 1, "width": 1, "learn": ("lr",)}
    return rljax.evolve(algo, PROBE, strategy=OpenES(popsize=2), **search, **how)


def test_a_diagnostic_ends_no_run_no_row_of_a_sweep_and_no_member_of_a_search(tmp_path):
    run = rljax.train("declared", PROBE, out=tmp_path / "a", **HOW)
    assert run.updates == 4 and not np.isfinite(run.metrics["odds"]).any()
    found = rljax.sweep("declared", PROBE, seeds=2, workers=1, width=2, **HOW)
    assert not found.diverged.any() and np.isinf(found.metrics["odds"]).all() and (found.reached == 4).all()
    assert np.isfinite(evolved("declared").history["fitness_mean"]).any()


def test_any_other_metric_that_is_not_finite_is_divergence():
    with pytest.raises(DivergedError, match="odds is inf by update"):
        rljax.train("undeclared", PROBE, **HOW)
    assert rljax.sweep("undeclared", PROBE, seeds=2, workers=1, width=2, **HOW).diverged.all()
    assert not np.isfinite(evolved("undeclared").history["fitness_mean"]).any()
