"""The result of a sweep: arrays, rows, tables, curves and policies."""

from __future__ import annotations

import dataclasses
import json
import pickle
import shutil

import jax
import numpy as np
import pytest
from test_api import Twice
from test_contract import leaves_equal
from test_runtime import python
from toys import PROBE, TINY, assert_same_results, counter, sweep

import rljax
from rljax.errors import ConfigError
from rljax.results import stats
from rljax.sweeps import result, store


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """Three fields at once, one of them static, over seeds that are not 0, 1, 2."""
    grid = {"lr": [1e-3, 1e-2], "hidden": [(8,), (4, 4)], "value_clip": [0.2, float("inf")]}
    return sweep(grid=grid, seeds=[3, 5, 8], out=tmp_path_factory.mktemp("wide") / "a")


@pytest.fixture
def unfinished(finished, tmp_path):
    """The second row's second seed is not stored."""
    shutil.copytree(finished.folder, tmp_path / "a")
    store.chunks(tmp_path / "a")[-1].unlink()
    return result.load(tmp_path / "a")


def test_a_sweep_and_its_policies_say_what_they_are_and_travel(finished):
    what = f"ppo on {PROBE}: 2 rows of lr, 2 seeds each; 4 of 4 runs finished, 0 diverged; in {finished.folder}"
    assert repr(finished) == f"SweepResult({what})"
    policy = finished.policy()
    back = pickle.loads(pickle.dumps(policy))
    assert repr(back) == repr(policy) == f"Policy(ppo on {PROBE}, after 640 steps)"
    np.testing.assert_array_equal(back.evaluate(4), policy.evaluate(4))


def test_axes(finished):
    assert result.AXES == ("row", "seed", "update") and len(finished) == 2 and finished.seeds == [0, 1]
    assert finished.metrics["episode_return"].shape == (2, 2, 10) and finished.varied == ["lr"]
    np.testing.assert_array_equal(finished.update, [np.arange(2, 21, 2)] * 2)
    np.testing.assert_array_equal(finished.step, 32 * finished.update)
    assert finished.finished.all() and not finished.diverged.any() and (finished.reached == 20).all()


def test_loading_gives_the_same(finished):
    for found in (result.load(finished.folder), rljax.load_sweep(str(finished.folder))):
        assert_same_results(found, finished)
        assert found.record == finished.record and found.stopped_by is None


def test_there_is_no_sweep(tmp_path):
    with pytest.raises(ConfigError, match=r"no sweep.json there"):
        result.load(tmp_path)


def test_settings_of_a_row(wide):
    assert wide.settings(0)["discount"] == 0.99 and wide.settings(-1)["hidden"] == [4, 4]
    with pytest.raises(ConfigError, match="row=8: there are 8 rows, from 0"):
        wide.settings(8)


@pytest.mark.parametrize(
    ("fields", "rows"),
    [
        ({"lr": 1e-3}, [0, 1, 2, 3]),
        ({"lr": np.float32(1e-2), "hidden": (8,)}, [4, 5]),
        ({"hidden": [4, 4]}, [2, 3, 6, 7]),
        ({"discount": 0.99}, list(range(8))),
        ({"num_envs": 4, "lr": 0.001}, [0, 1, 2, 3]),
        ({"value_clip": "inf"}, [1, 3, 5, 7]),
        ({"value_clip": float("inf")}, [1, 3, 5, 7]),
    ],
)
def test_select(wide, fields, rows):
    found = wide.select(**fields)
    assert found.index.tolist() == rows and found.rows == [wide.rows[i] for i in rows]
    assert_same_results(found, wide.take(rows))
    np.testing.assert_array_equal(found.metrics["policy_loss"], wide.metrics["policy_loss"][rows])


def test_selected_rows_keep_their_settings_and_policies(wide):
    found = wide.select(lr=1e-2).select(hidden=(4, 4))
    assert [found.settings(i)["hidden"] for i in range(2)] == [[4, 4]] * 2 and found.index.tolist() == [6, 7]
    assert leaves_equal(found.policy(1, 5).state.params, wide.policy(7, 5).state.params)
    assert found.best().settings in found.rows
    for rows in (slice(6, None), np.array([False] * 6 + [True] * 2)):
        assert_same_results(wide.take(rows), found)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"lrr": 1}, "unknown field 'lrr'; did you mean 'lr'"),
        ({"lr": 0.5}, "lr=0.5: no row has it; there are 0.001, 0.01"),
        ({"hidden": (5,)}, r"hidden=\(5,\): no row has it"),
    ],
)
def test_what_no_row_has(wide, fields, message):
    with pytest.raises(ConfigError, match=message):
        wide.select(**fields)


def test_fields_that_hold_each_but_not_together(wide):
    assert len(wide.select(lr=1e-3).select(hidden=(8,)).select(value_clip=0.2)) == 1


def test_scores_are_means_over_the_end_weighted_by_episodes(finished):
    returns, episodes = finished.metrics["episode_return"], finished.metrics["episodes"]
    np.testing.assert_allclose(finished.scores(), returns[:, :, -1])
    wanted = (returns[:, :, -5:] * episodes[:, :, -5:]).sum(-1) / episodes[:, :, -5:].sum(-1)
    np.testing.assert_allclose(finished.scores(last=0.5), wanted)
    np.testing.assert_allclose(finished.scores("entropy", 0.5), finished.metrics["entropy"][:, :, -5:].mean(-1))
    with pytest.raises(ConfigError, match="unknown metric 'episode_retrun'; did you mean 'episode_return'"):
        finished.scores("episode_retrun")


def test_the_best_row_is_the_one_with_the_highest_score(finished):
    ranking = finished.ranked()
    assert [score.row for score in ranking] == [1, 0] and finished.best() == ranking[0]
    assert ranking[0].settings == {"lr": 1e-2} and ranking[0].value > 0.9 > ranking[1].value
    for score in ranking:
        assert score.value == pytest.approx(stats.iqm(finished.scores()[score.row])) and score.low <= score.value
    assert [score.row for score in finished.ranked("entropy")] == [0, 1]
    np.testing.assert_array_equal(finished.iqm()[:, 0], [ranking[1].value, ranking[0].value])


def test_a_table_has_a_line_a_row(wide):
    table = wide.table()
    assert list(table.columns[:3]) == ["lr", "hidden", "value_clip"] and table.index.tolist() == list(range(8))
    assert {"iqm", "low", "high", "mean", "steps", "finished", "diverged"} <= set(table.columns)
    np.testing.assert_allclose(table["mean"], wide.scores().mean(1))
    np.testing.assert_array_equal(table[["iqm", "low", "high"]], wide.iqm())
    assert table["hidden"].tolist() == [row["hidden"] for row in wide.rows]
    assert set(table["steps"]) == {640} and set(table["finished"]) == {3} and set(table["diverged"]) == {0}
    assert wide.take([6, 7]).table().index.tolist() == [6, 7]


def test_curves_go_through_the_statistic_over_seeds(finished):
    curves = list(finished.curve(statistic=np.mean))
    assert len(curves) == 2
    for row, (steps, center, low, high) in enumerate(curves):
        np.testing.assert_array_equal(steps, 32 * np.arange(2, 21, 2))
        np.testing.assert_allclose(center, finished.metrics["episode_return"][row].mean(0))
        assert center.shape == low.shape == high.shape and (low <= center).all() and (center <= high).all()


def test_a_policy_is_that_of_the_lone_run(finished):
    lone = rljax.train(
        "ppo",
        "probe/action-observation",
        steps=640,
        seed=1,
        lr=1e-2,
        log_every=2,
        use_preset=False,
        progress=False,
        **TINY,
    )
    policy = finished.policy(1, 1)
    assert leaves_equal(policy.state.params, lone.policy.state.params) and policy.step == lone.step == 640
    obs = np.array([[-1.0], [1.0]], np.float32)
    np.testing.assert_array_equal(policy(obs), [0, 1])
    np.testing.assert_array_equal(policy.evaluate(16), lone.evaluate(16))
    key = jax.random.key(3)
    np.testing.assert_array_equal(policy(np.repeat(obs, 50, 0), key), lone.policy(np.repeat(obs, 50, 0), key))


def test_the_policy_by_default_is_the_best_rows_best_seed(finished):
    row, seed = finished.best().row, int(np.argmax(finished.scores()[finished.best().row]))
    assert leaves_equal(finished.policy().state.params, finished.policy(row, seed).state.params)
    assert leaves_equal(finished.policy(-1).state.params, finished.policy(1, seed).state.params)


def test_policies_that_are_not_there(finished, unfinished):
    with pytest.raises(ConfigError, match="seed=7: not in this sweep; there are 0, 1"):
        finished.policy(0, 7)
    with pytest.raises(ConfigError, match="row=2: there are 2 rows"):
        finished.policy(2, 0)
    with pytest.raises(ConfigError, match="row=1 seed=1: this run is not finished"):
        unfinished.policy(1, 1)


def test_an_unfinished_sweep_has_what_it_has(finished, unfinished):
    np.testing.assert_array_equal(unfinished.finished, [[True, True], [True, False]])
    for name, values in unfinished.metrics.items():
        np.testing.assert_array_equal(values[0], finished.metrics[name][0])
        np.testing.assert_array_equal(values[1, 0], finished.metrics[name][1, 0])
        assert np.isnan(values[1, 1]).all()
    assert np.isnan(unfinished.scores()[1, 1]) and unfinished.table()["finished"].tolist() == [2, 1]
    assert unfinished.best().row == 1 and leaves_equal(
        unfinished.policy().state.params, finished.policy(1, 0).state.params
    )
    assert [len(steps) for steps, *_ in unfinished.curve()] == [10, 10]


def test_a_row_with_nothing_stored_is_not_ranked(unfinished):
    store.chunks(unfinished.folder)[-1].unlink()
    found = result.load(unfinished.folder)
    assert [score.row for score in found.ranked()] == [0] and np.isnan(found.iqm()[1]).all()
    assert found.table()["iqm"].isna().tolist() == [False, True] and found.table()["steps"].tolist() == [640, 0]
    assert [len(steps) for steps, *_ in found.curve()] == [10, 0]


def test_nothing_stored_yet(unfinished):
    for path in store.chunks(unfinished.folder):
        path.unlink()
    found = result.load(unfinished.folder)
    assert not found.finished.any() and found.update.shape == (2, 10)
    for use in (found.best, found.table, found.ranked, found.policy):
        with pytest.raises(ConfigError, match="nothing is stored yet") as caught:
            use()
        assert "\n" not in str(caught.value)


def test_a_diverged_run_is_the_worst_one(finished):
    diverged = finished.diverged.copy()
    diverged[1, 0] = True
    found = dataclasses.replace(finished, diverged=diverged)
    assert np.isnan(found.scores()[1, 0])
    np.testing.assert_array_equal(found.comparable()[1, 0], np.nanmin(found.scores()))
    assert found.table()["diverged"].tolist() == [0, 1]
    assert found.ranked()[0].value < finished.ranked()[0].value


def test_a_stranger_reads_what_is_saved(wide, tmp_path):
    path = wide.select(lr=1e-2).save(tmp_path / "some.npz")
    program = f"""
import sys, json, numpy
with numpy.load({str(path)!r}, allow_pickle=False) as found:
    returns = found["episode_return"]
    assert found["axes"].tolist() == ["row", "seed", "update"] and returns.shape == (4, 3, 10)
    assert [json.loads(row)["lr"] for row in found["rows"]] == [1e-2] * 4
    assert found["seeds"].tolist() == [3, 5, 8] and found["step"].shape == (4, 10)
    assert set(found["reached"].flat) == {{20}} and not found["diverged"].any()
    print(json.dumps(returns.tolist()))
assert "rljax" not in sys.modules and "jax" not in sys.modules
"""
    np.testing.assert_array_equal(json.loads(python(program)), wide.metrics["episode_return"][4:])


def test_the_folder_holds_the_whole_result_too(finished):
    with np.load(finished.folder / store.RESULT, allow_pickle=False) as found:
        assert set(finished.metrics) <= set(found.files)
        for name, values in finished.metrics.items():
            np.testing.assert_array_equal(found[name], values)


def test_an_environment_and_an_objective_of_ones_own(tmp_path):
    env = counter()
    found = sweep(env=env, grid={"objective.clip": [0.1]}, seeds=1, objective=Twice(), steps=64, out=tmp_path / "a")
    with pytest.raises(ConfigError, match="unknown environment 'toy/counter'"):
        found.policy(0, 0)
    policy = found.policy(0, 0, envs={"toy/counter": env})
    assert policy(np.zeros((2, 2))).shape == (2,) and type(policy.algo.hypers.objective) is Twice
