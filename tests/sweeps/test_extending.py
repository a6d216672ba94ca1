"""More seeds, rows or steps for a sweep that is there: only they are run, and it is as if they had been there."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from populations import dying
from toys import assert_same_results, sweep

from rljax.errors import ConfigError
from rljax.sweeps import driver, result, store

GRID = {"lr": [1e-3, 1e-2]}
WIDER = {"lr": [3e-3, 1e-3, 1e-2, 1e-4]}


@pytest.fixture
def begun(finished, tmp_path):
    """Two rows and two seeds, to be extended."""
    return shutil.copytree(finished.folder, tmp_path / "begun")


@pytest.fixture
def ran(monkeypatch):
    """The members (row, seed) that are run."""
    from rljax.sweeps.execute import SweepWork

    seen, finish = [], SweepWork.finish

    def noted(self):
        seen.extend(member for k in self.counted for member in self.shards[k].members)
        return finish(self)

    monkeypatch.setattr(SweepWork, "finish", noted)
    return seen


def same_rows(found, whole):
    """The same arrays, whatever the order of rows and seeds."""
    for i, row in enumerate(found.rows):
        j = whole.rows.index(row)
        for a, seed in enumerate(found.seeds):
            b = whole.seeds.index(seed)
            for name, values in whole.metrics.items():
                np.testing.assert_array_equal(found.metrics[name][i, a], values[j, b], err_msg=name)


@pytest.mark.parametrize("width", [1, 2])
def test_more_seeds(begun, ran, width):
    found = sweep(seeds=4, out=begun, extend=True, width=width)
    assert sorted(ran) == [(0, 2), (0, 3), (1, 2), (1, 3)] and found.finished.all()
    assert_same_results(found, sweep(seeds=4))
    assert_same_results(result.load(begun), found)


def test_more_rows_keep_the_numbers_of_those_that_were_there(begun, ran):
    found = sweep(grid=WIDER, out=begun, extend=True)
    assert sorted(ran) == [(2, 0), (2, 1), (3, 0), (3, 1)]
    assert [row["lr"] for row in found.rows] == [1e-3, 1e-2, 3e-3, 1e-4]
    same_rows(found, sweep(grid=WIDER))


def test_more_of_both_and_again(begun, ran):
    sweep(grid=WIDER, seeds=[1, 5, 0], out=begun, extend=True)
    assert len(ran) == 8
    found = sweep(grid=WIDER, seeds=[1, 5, 0], out=begun, extend=True)
    assert len(ran) == 8, "nothing was left"
    assert found.seeds == [0, 1, 5] and found.finished.all()
    same_rows(found, sweep(grid=WIDER, seeds=[0, 1, 5]))
    again = driver.resume(begun, progress=False, seeds=[0, 1, 5, 9])
    assert sorted(ran[-4:]) == [(row, 9) for row in range(4)] and len(ran) == 8 + 12 + 4  # the whole one has 12
    assert again.seeds == [0, 1, 5, 9] and again.finished.all()


def test_an_extension_that_was_killed_goes_on(begun, ran):
    with dying(6):
        sweep(grid=WIDER, seeds=3, out=begun, extend=True)
    assert_same_results(driver.resume(begun, progress=False), sweep(grid=WIDER, seeds=3, out=begun, extend=True))
    same_rows(result.load(begun), sweep(grid=WIDER, seeds=3))


def test_an_unfinished_sweep_is_extended_too(tmp_path):
    with dying(14):
        sweep(out=tmp_path / "a")
    found = sweep(seeds=3, out=tmp_path / "a", extend=True)
    assert found.finished.all()
    assert_same_results(found, sweep(seeds=3))


def test_more_steps_where_nothing_anneals(tmp_path):
    """The arrays are those of a sweep of that length; the horizon is given, so that the length sets none."""
    how = {"horizon": 40.0, "keep": "state"}
    sweep(**how, out=tmp_path / "a")
    found = sweep(**how, steps=1280, out=tmp_path / "a", extend=True)
    whole = sweep(**how, steps=1280, log_every=2)
    assert_same_results(found, whole)
    assert found.policy(0, 1).step == 1280 == whole.policy(0, 1).step
    again = sweep(**how, steps=1280, out=tmp_path / "a", extend=True)
    assert_same_results(again, whole)
    with pytest.raises(ConfigError, match="seeds=3: rows that were given another length have the seeds"):
        sweep(**how, steps=1280, seeds=3, out=tmp_path / "a", extend=True)


def test_new_rows_have_the_length_that_the_others_were_given(tmp_path):
    how = {"horizon": 40.0, "keep": "state", "steps": 1280}
    sweep(**how | {"steps": 640}, out=tmp_path / "a")
    sweep(**how, out=tmp_path / "a", extend=True)
    found = sweep(**how, grid=WIDER, out=tmp_path / "a", extend=True)
    assert (found.reached == 40).all() and found.finished.all()
    same_rows(found, sweep(**how, grid=WIDER, log_every=2))


def test_seeds_and_steps_at_once_are_refused(tmp_path):
    sweep(keep="state", out=tmp_path / "a")
    with pytest.raises(ConfigError, match="give seeds first, and then steps"):
        sweep(keep="state", steps=1280, seeds=3, out=tmp_path / "a", extend=True)


def test_more_steps_go_on_by_the_new_length(tmp_path):
    sweep(keep="state", out=tmp_path / "a")
    found = driver.resume(tmp_path / "a", progress=False, steps=1280)
    assert (found.reached == 40).all() and found.record["rows"][0]["hypers"]["horizon"] == 40
    assert_same_results(found.take([0, 1]), driver.resume(tmp_path / "a", progress=False))
    before = sweep()
    np.testing.assert_array_equal(found.metrics["entropy"][..., :10], before.metrics["entropy"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"grid": {"lr": [1e-3]}}, "holds a sweep of row 1, lr=0.01, which this one has not"),
        ({"seeds": 1}, "holds a sweep of seed 1, which"),
        ({"steps": 320}, "steps=320: fewer than row 0 has done"),
        ({"steps": 1280}, "kept no whole states; sweep with keep=state"),
        ({"num_envs": 8}, "holds a sweep of row 0"),
        ({"evaluate_every": 4}, "evaluation"),
        ({"halving": 2}, "a search decides its rows"),
    ],
)
def test_what_cannot_be_extended_is_refused(finished, changes, message):
    before = (finished.folder / store.RECORD).read_bytes()
    with pytest.raises(ConfigError, match=message):
        sweep(out=finished.folder, extend=True, **changes)
    assert (finished.folder / store.RECORD).read_bytes() == before


def test_there_must_be_something_to_extend(tmp_path):
    with pytest.raises(ConfigError, match="no sweep"):
        sweep(out=tmp_path / "a", extend=True)
    with pytest.raises(ConfigError, match="extend=True: needs the folder"):
        sweep(extend=True)
