"""Sweeps whose runs are evaluated while they learn: scored by that, searched by it, and the best states kept."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from populations import dying
from toys import TINY, assert_same_results, counter, sweep

import rljax
from rljax.errors import ConfigError
from rljax.sweeps import driver, report

RETURN = "evaluation_return"
EVALUATION = {"episodes": 8, "greedy": False}
HOW = {"score": "evaluation", "evaluate_every": 6, "evaluation": EVALUATION, "keep": "best", "env": "CartPole-v1"}


@pytest.fixture(scope="module")
def plain():
    return sweep(env="CartPole-v1")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return sweep(**HOW, out=tmp_path_factory.mktemp("found") / "a")


def test_it_changes_no_number(plain, found):
    assert found.metrics.keys() - plain.metrics.keys() == {RETURN}
    for name, values in plain.metrics.items():
        np.testing.assert_array_equal(found.metrics[name], values)


def test_its_runs_are_evaluated_as_lone_ones(found):
    for row, lr in enumerate((1e-3, 1e-2)):
        how = {name: HOW[name] for name in ("evaluate_every", "evaluation", "keep")} | {"steps": 640, "log_every": 2}
        for column, seed in enumerate((0, 1)):
            alone = rljax.train("ppo", "CartPole-v1", seed=seed, lr=lr, use_preset=False, progress=False, **TINY, **how)
            np.testing.assert_array_equal(found.metrics[RETURN][row, column], alone.metrics[RETURN])
            kept = found.policy(row, seed)
            assert kept.updates == alone.best.policy.updates and kept.step == alone.best.policy.step
            for one, other in zip(jax.tree.leaves(kept.state.params), jax.tree.leaves(alone.best.policy.state.params)):
                np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-7)
            assert kept.evaluate(**EVALUATION, seed=seed).mean() == alone.best.score


def test_it_ranks_by_the_last_evaluation(found):
    assert np.isfinite(found.metrics[RETURN][0, 0]).sum() == 4 and found.metric == RETURN
    np.testing.assert_array_equal(found.scores(), found.metrics[RETURN][..., -1])
    best = found.best()
    assert best.value == pytest.approx(found.scores()[best.row].mean())
    assert str(found).splitlines()[2].split()[0] == str(best.row)
    assert found.best("episode_return").value != best.value
    page = report.write_report(found).read_text()
    assert "evaluation return" in page


@pytest.mark.parametrize("width", [2, 4])
def test_side_by_side_comes_to_the_same(found, width):
    wide = sweep(**HOW, width=width)
    np.testing.assert_allclose(wide.metrics[RETURN], found.metrics[RETURN], rtol=0.2)
    assert (np.isfinite(wide.metrics[RETURN]) == np.isfinite(found.metrics[RETURN])).all()


@pytest.mark.parametrize("saves", [2, 4, 7, 9])
def test_what_was_killed_ends_the_same(found, tmp_path, saves):
    """Before an evaluation, and after a best state that is not the newest."""
    with dying(saves):
        sweep(**HOW, out=tmp_path / "a")
    assert_same_results(driver.resume(tmp_path / "a", progress=False), found)
    for row in (0, 1):
        again, before = (x.policy(row, 0) for x in (rljax.open(tmp_path / "a"), found))
        np.testing.assert_array_equal(again.evaluate(8, seed=0), before.evaluate(8, seed=0))


def test_other_processes_evaluate_too(found):
    assert_same_results(sweep(**HOW, workers=2), found)


def test_the_folder_is_of_this_sweep_alone(found):
    for changes, message in (
        ({"evaluate_every": 4}, "evaluation"),
        ({"keep": "last"}, "keep is best there, last here"),
        ({"score": "episode_return"}, "score is evaluation_return there, episode_return here"),
    ):
        with pytest.raises(ConfigError, match=message):
            sweep(**HOW | changes, out=found.folder)


def test_the_task_of_a_row_is_that_of_its_evaluation():
    """But not where the evaluation changes it, or is elsewhere."""
    grid = {"task.length": [0.2, 0.8]}
    how = {"env": "CartPole-v1", "grid": grid, "seeds": 1, "evaluate_every": 20}
    found = sweep(**how, evaluation=EVALUATION)
    same = sweep(**how, evaluation={**EVALUATION, "task.length": 1.6})
    for row, length in enumerate((0.2, 0.8)):
        policy = found.policy(row, 0)
        assert policy.env.task.length == length
        assert found.metrics[RETURN][row, 0, -1] == policy.evaluate(**EVALUATION).mean()
        changed = policy.evaluate(**EVALUATION, task={"length": 1.6}).mean()
        assert same.metrics[RETURN][row, 0, -1] == changed != found.metrics[RETURN][row, 0, -1]


def test_an_environment_that_has_no_name_is_given_again(tmp_path):
    counts = counter()
    asked = {"env": counts, "episodes": 2, "task": {"terminate_at": 3}}
    found = sweep(env=counts, evaluate_every=20, evaluation=asked, seeds=1, out=tmp_path / "a")
    assert (found.metrics[RETURN][..., -1] == 6).all(), "1 + 2 + 3"
    again = driver.resume(tmp_path / "a", progress=False, envs={counts.name: counts}, seeds=2)
    assert (again.metrics[RETURN][..., -1] == 6).all() and again.finished.all()


def test_a_curriculum_is_evaluated_as_it_ends():
    what = {"env": "CartPole-v1", "task": {"length": "linear(0.1,1.0)"}, "seeds": 1, "evaluate_every": 20}
    found = sweep(**what, evaluation=EVALUATION)
    policy = found.policy(0, 0)
    assert policy.env.task.length == 1.0
    assert found.metrics[RETURN][0, 0, -1] == policy.evaluate(**EVALUATION).mean()


def test_halving_goes_by_it():
    grid = {"lr": [1e-4, 1e-2, 1e-3, 3e-2]}
    how = {name: value for name, value in HOW.items() if name != "keep"}
    whole, halved = sweep(**how, grid=grid), sweep(**how, grid=grid, halving=2, rungs=2)
    [end] = {int(x) for x in halved.reached.ravel()} - {20}
    assert np.isfinite(halved.metrics[RETURN][:, :, end // 2 - 1]).all(), "there is one at the end of a rung"
    scores = halved.metrics[RETURN][:, :, end // 2 - 1].mean(1)
    assert set(np.flatnonzero(halved.reached.max(1) == 20)) == set(np.argsort(-scores)[:2])
    going = halved.reached[:, 0] == 20
    np.testing.assert_array_equal(halved.metrics[RETURN][going, :, -1], whole.metrics[RETURN][going, :, -1])


def test_optuna_goes_by_it():
    pytest.importorskip("optuna")
    how = {"grid": {}, "sampler": "optuna", "trials": 2, "batch": 1, "sample": {"lr": "log-uniform:1e-4:1e-1"}}
    found = sweep(**HOW | how)
    assert found.record["asked"]["search"]["metric"] == RETURN and len(found) == 2


def test_an_environment_of_other_spaces_is_refused_before_anything_runs(tmp_path):
    for env, message in (("Acrobot-v1", "observation_space"), ("Akrobot-v1", "did you mean 'Acrobot-v1'")):
        with pytest.raises(ConfigError, match=message):
            sweep(evaluate_every=2, evaluation={"env": env}, env="CartPole-v1", out=tmp_path / "a")
    with pytest.raises(ConfigError, match="unknown metric 'evaluation_retrun'"):
        sweep(evaluate_every=2, score="evaluation_retrun")
