"""Runs are drawn from the distributions asked for, always the same ones, and names find their leaves."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from rljax.errors import ConfigError
from rljax.meta import runner, spec, tasks
from rljax.objectives import LPO
from rljax.ops.tree import as_arrays
from rljax.spec import prepare

TINY = {"num_envs": 4, "num_steps": 8, "num_minibatches": 1}


def domains(*given, **settings):
    made = [spec.domain("ppo", *one, **TINY, **settings) for one in given]
    return made, [domain.row.prepare() for domain in made]


def test_lengths_are_log_uniform_between_the_bounds():
    made, prepared = domains(("probe/constant", (320, 32000)))
    lengths = np.array([run.updates for run in tasks.draw(made, prepared, 4000, 0, 0)])
    assert lengths.min() >= 10 and lengths.max() <= 1000
    np.testing.assert_allclose(np.mean(lengths < 100), 0.5, atol=0.03)


def test_every_domain_has_its_share_over_generations():
    made, prepared = domains(("probe/constant", 320), ("probe/action", 320), ("probe/observation", 320))
    turns = [run.domain for generation in range(3) for run in tasks.draw(made, prepared, 2, 0, generation)]
    assert turns == [0, 1, 2, 0, 1, 2]


def test_draws_follow_from_seed_and_generation():
    made, prepared = domains(("probe/constant", (320, 3200)))
    draws = [tasks.draw(made, prepared, 3, seed, generation) for seed in (0, 1) for generation in (0, 1)]
    assert draws[0] == tasks.draw(made, prepared, 3, 0, 0)
    assert len({run.seed for runs in draws for run in runs}) == 12


def test_validation_runs_are_spread_over_lengths_and_never_learned_from():
    made, prepared = domains(("probe/constant", (320, 32000)))
    held_out = tasks.validation_runs(made, prepared, 3, 0)
    assert [run.updates for run in held_out] == [10, 100, 1000]
    drawn = {run.seed for generation in range(50) for run in tasks.draw(made, prepared, 10, 0, generation)}
    assert drawn.isdisjoint(run.seed for run in held_out)


def test_task_parameters_vary_and_nothing_else_does():
    made, prepared = domains(
        ("CartPole-v1", 320), vary={"length": "uniform:0.4:0.6", "max_steps_in_episode": "int:9:11"}
    )
    runs = tasks.draw(made, prepared, 20, 0, 0)
    drawn, default = tasks.tasks_of(prepared[0], runs), as_arrays(prepared[0].env.task)
    assert 0.4 <= drawn.length.min() < drawn.length.max() <= 0.6
    assert set(drawn.max_steps_in_episode) == {9, 10, 11}
    assert (drawn.gravity == default.gravity).all() and drawn.gravity.shape == (20,)
    assert jax.tree.structure(drawn) == jax.tree.structure(default)


def test_an_environment_that_is_a_family_draws_its_own_tasks():
    prepared = prepare("ppo", "gridworld/small", steps=320, **TINY)
    runs = [tasks.Run(0, seed, 10, {}) for seed in (3, 4, 3)]
    levels = tasks.tasks_of(prepared, runs)
    same = jax.tree.map(lambda x: bool((x[0] == x[2]).all()), levels)
    assert all(jax.tree.leaves(same)) and not (levels.reward[0] == levels.reward[1]).all()
    with pytest.raises(ConfigError, match="draws its tasks itself"):
        spec.domain("ppo", "gridworld/small", 320, vary={"reward": "uniform:0:1"}, **TINY).check(prepared)


def test_unknown_task_parameters_are_refused():
    made, prepared = domains(("CartPole-v1", 320), vary={"lenght": "uniform:0.4:0.6"})
    with pytest.raises(ConfigError, match="did you mean 'length'"):
        made[0].check(prepared[0])


def test_parts_of_hypers_are_read_written_and_found_by_name():
    prepared = prepare("ppo", "CartPole-v1", objective=LPO(), **TINY)
    hypers = as_arrays(prepared.algorithm.hypers)
    theta = runner.read(hypers, ("lr", "objective.hidden"))
    changed = runner.write(hypers, jax.tree.map(lambda x: x + 1, theta))
    assert changed.lr == hypers.lr + 1 and (changed.objective.hidden == hypers.objective.hidden + 1).all()
    assert changed.discount == hypers.discount and (changed.objective.output == hypers.objective.output).all()
    task = as_arrays(prepared.env.task)
    found = runner.positions(hypers, task, ["hypers.objective.hidden", "task.length"])
    flat = jax.tree.leaves((hypers, task))
    assert [flat[i].shape for i in found] == [(8, 128), ()] and flat[found[1]] == 0.5
    assert len(runner.positions(hypers, task, ["task"])) == len(jax.tree.leaves(task))
    with pytest.raises(ConfigError, match=r"did you mean 'objective.hidden'"):
        runner.read(hypers, ("objective.hiddn",))
