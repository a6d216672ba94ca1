"""Several sweeps as one: rows that are the same have the seeds of both, and nothing is lost or made up."""

from __future__ import annotations

import numpy as np
import pytest
from populations import dying
from test_contract import leaves_equal
from toys import assert_same_results, sweep

import rljax
from rljax.errors import ConfigError
from rljax.sweeps import driver, store


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """Two sweeps of two rates and two seeds each, of which one of either is in both."""
    folder = tmp_path_factory.mktemp("parts")
    return [
        sweep(out=folder / "a"),
        sweep(grid={"lr": [1e-2, 1e-1]}, seeds=[1, 7], out=folder / "b"),
    ]


@pytest.fixture(scope="module")
def merged(parts, tmp_path_factory):
    return rljax.merge([part.folder for part in parts], tmp_path_factory.mktemp("merged") / "a")


def test_rows_and_seeds_are_those_of_both(merged):
    assert [row["lr"] for row in merged.rows] == [1e-3, 1e-2, 1e-1] and merged.seeds == [0, 1, 7]
    np.testing.assert_array_equal(merged.finished, [[True, True, False], [True, True, True], [False, True, True]])


def test_every_number_and_policy_is_that_of_a_part(merged, parts):
    for part in parts:
        for i, row in enumerate(part.rows):
            j = merged.rows.index(row)
            for a, seed in enumerate(part.seeds):
                b = merged.seeds.index(seed)
                for name, values in part.metrics.items():
                    np.testing.assert_array_equal(merged.metrics[name][j, b], values[i, a])
                assert leaves_equal(merged.policy(j, seed).state.params, part.policy(i, seed).state.params)
    assert merged.table()["notes"].tolist() == ["from 2 of 3 seeds", "", "from 2 of 3 seeds"]


def test_the_parts_stay_as_they_are(parts, merged):
    for part in parts:
        assert_same_results(rljax.load_sweep(part.folder), part)


def test_the_rest_is_run_where_it_is_wanted(merged):
    assert_same_results(driver.resume(merged.folder, progress=False), merged)
    found = sweep(grid={"lr": [1e-3, 1e-2, 1e-1]}, seeds=[0, 1, 7, 8], out=merged.folder, extend=True)
    assert found.finished.all() and found.seeds == [0, 1, 7, 8]


def test_what_a_part_has_not_finished_is_gone_on_with(tmp_path):
    with dying(14):
        sweep(out=tmp_path / "a")
    sweep(seeds=[3], out=tmp_path / "b")
    found = rljax.merge([tmp_path / "a", tmp_path / "b"], tmp_path / "c")
    assert found.finished.sum() == 3
    assert_same_results(driver.resume(tmp_path / "c", progress=False), sweep(seeds=[0, 1, 3]))


def test_what_differs_without_being_swept_is_said(tmp_path):
    sweep(grid={}, out=tmp_path / "a")
    sweep(grid={}, discount=0.9, steps=320, out=tmp_path / "b")
    sweep(grid={}, algo="pqn", num_epochs=1, out=tmp_path / "c")
    found = rljax.merge([tmp_path / name for name in "abc"], tmp_path / "d")
    assert {"discount", "steps", "algo"} <= set(found.varied) and "horizon" not in found.varied
    assert [row["algo"] for row in found.rows] == ["ppo", "ppo", "pqn"]
    assert [row["steps"] for row in found.rows] == [640, 320, 640] and found.rows[1]["discount"] == 0.9
    assert len(found.select(algo="ppo")) == 2 and np.isfinite(found.update[1]).sum() == 5


@pytest.mark.parametrize("how", [{"folders": 1}, {"out": "a"}, {"score": True}])
def test_what_cannot_be_merged_is_refused(parts, tmp_path, how):
    folders, out = [part.folder for part in parts], tmp_path / "new"
    if "folders" in how:
        folders, message = folders[:1] * 2, "give at least two"
    elif "out" in how:
        out, message = parts[0].folder, "exists"
    else:
        other = sweep(evaluate_every=20, evaluation={"episodes": 1}, out=tmp_path / "other")
        folders, message = [folders[0], other.folder], "evaluation is .* they do not compare"
    with pytest.raises(ConfigError, match=message):
        rljax.merge(folders, out)
    assert not (tmp_path / "new").exists()
    assert len(store.chunks(parts[0].folder)) == 4
