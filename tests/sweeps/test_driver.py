"""`rljax.sweep`: every run as a lone one, whatever is swept; gone on with, stopped, refused."""

from __future__ import annotations

import dataclasses
import errno
import gc
import os
import shutil
import signal

import numpy as np
import pytest
from test_contract import leaves_equal
from toys import TINY, assert_same_chunks, assert_same_results, broken, sweep

import rljax
from rljax.engine import work
from rljax.errors import ConfigError, Stopped, StorageError
from rljax.results import folder
from rljax.sweeps import driver, result, store


def lone(seed, **changes):
    what = {"algo": "ppo", "env": "probe/action-observation", "steps": 640, "log_every": 2, "use_preset": False}
    return rljax.train(**(what | TINY | changes), seed=seed, progress=False)


def assert_lone(found, row, seed, **changes):
    """A run of a sweep in turn is the lone run: its policy to the bit, its metrics in single precision."""
    alone = lone(seed, **changes)
    assert leaves_equal(found.policy(row, seed).state.params, alone.policy.state.params)
    points = len(alone.metrics["updates"])
    np.testing.assert_array_equal(found.update[row, :points], alone.metrics["updates"])
    for name, values in found.metrics.items():
        np.testing.assert_array_equal(values[row, seed, :points], alone.metrics[name].astype(np.float32), err_msg=name)
        assert np.isnan(values[row, seed, points:]).all()


def test_a_row_and_a_seed_are_the_lone_run(finished):
    assert_lone(finished, 0, 1, lr=1e-3)
    assert_lone(finished, 1, 0, lr=1e-2)


def test_side_by_side_is_in_turn_up_to_rounding(finished):
    found = sweep(width=4)
    assert found.record["plan"][0]["width"] == 4
    for name, values in finished.metrics.items():
        np.testing.assert_allclose(found.metrics[name], values, rtol=2e-3, atol=2e-3, err_msg=name)


def test_environment_parameters_are_swept(tmp_path):
    found = sweep(grid={"task.length": [1, 4]}, seeds=1)
    assert len(found.record["plan"]) == 1
    assert (found.metrics["episode_length"] == np.array([1.0, 4.0])[:, None, None]).all()
    assert_lone(found, 1, 0, task={"length": 4})


def test_shapes_are_swept_and_runs_differ_in_length(finished):
    found = sweep(grid={"num_envs": [4, 8], "lr": [1e-2]}, steps=650)
    assert [group["rows"] for group in found.record["plan"]] == [[0], [1]]
    assert found.metrics["entropy"].shape == (2, 2, 11)
    np.testing.assert_array_equal(found.update[0], [*range(2, 21, 2), 21])
    np.testing.assert_array_equal(found.update[1], [2, 4, 6, 8, 10, 11] + [np.nan] * 5)
    np.testing.assert_array_equal(found.step[1, :6], 64 * np.array([2, 4, 6, 8, 10, 11]))
    for values in found.metrics.values():
        assert np.isnan(values[1, :, 6:]).all() and np.isfinite(values[0]).all() and np.isfinite(values[1, :, :6]).all()
    assert found.reached.tolist() == [[21, 21], [11, 11]] and found.table()["steps"].tolist() == [672, 704]


def test_objectives_are_swept(finished):
    found = sweep(grid={"objective": ["ppo-clip", "dpo"], "lr": [1e-3]})
    assert found.rows == [{"objective": "ppo-clip", "lr": 1e-3}, {"objective": "dpo", "lr": 1e-3}]
    for name, values in finished.metrics.items():
        np.testing.assert_array_equal(found.metrics[name][0], values[0])
    assert not np.array_equal(found.metrics["policy_loss"][0], found.metrics["policy_loss"][1])
    assert found.policy(1, 0).algo.hypers.objective == rljax.objectives.DPO()


def test_environments_are_swept(finished):
    found = sweep(env=["probe/action-observation", "probe/action"])
    assert found.varied == ["env", "lr"] and found.record["env"] == ["probe/action-observation", "probe/action"]
    for name, values in finished.metrics.items():
        np.testing.assert_array_equal(found.metrics[name][:2], values)
    assert found.policy(3, 0).env.name == "probe/action"
    assert np.isfinite(found.select(env="probe/action").metrics["policy_loss"]).all()


def test_without_a_folder_the_results_live_as_long_as_they_are_held():
    found = sweep()
    folder = found.folder
    part = found.select(lr=1e-2).take([0])
    del found
    gc.collect()
    assert part.policy(0, 1).step == 640 and folder.exists()
    del part
    gc.collect()
    assert not folder.exists()


def test_the_same_call_again_computes_nothing(finished, compiled):
    before = {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in store.chunks(finished.folder)}
    again = sweep(out=finished.folder)
    assert before == {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in store.chunks(finished.folder)}
    assert_same_results(again, finished)
    assert_same_results(driver.resume(finished.folder, progress=False), finished)
    assert compiled() == 0


def test_what_is_missing_is_computed_again(finished, tmp_path):
    sweep(out=tmp_path / "a")
    for path in store.chunks(tmp_path / "a")[1:3]:
        path.unlink()
    kept = store.chunks(tmp_path / "a")[0].stat().st_mtime_ns
    assert_same_results(sweep(out=tmp_path / "a"), finished)
    assert_same_chunks(tmp_path / "a", finished.folder)
    assert store.chunks(tmp_path / "a")[0].stat().st_mtime_ns == kept


@pytest.mark.parametrize("width", [1, 4])
def test_a_diverged_row_is_marked_and_harms_no_other(width, tmp_path):
    well = sweep(width=width)
    found = sweep(grid={"lr": [1e-3, 1e30]}, width=width)
    np.testing.assert_array_equal(found.diverged, [[False, False], [True, True]])
    for name, values in found.metrics.items():
        np.testing.assert_array_equal(values[0], well.metrics[name][0], err_msg=name)
        assert np.isnan(values[1, :, -1]).all()
    assert [score.row for score in found.ranked()] == [0, 1] and found.best().row == 0
    assert found.table()["diverged"].tolist() == [0, 2] and found.finished.all()
    for seed in (0, 1):
        assert leaves_equal(found.policy(0, seed).state.params, well.policy(0, seed).state.params)


def test_a_row_that_the_environment_spoils_says_so():
    found = sweep(env=[broken(0.0, 0.0, 7), dataclasses.replace(broken(0.0, np.inf, 7), name="toy/other")], grid={})
    np.testing.assert_array_equal(found.diverged, [[False, False], [True, True]])
    assert found.table()["NaN from the environment"].tolist() == ["", "reward"]
    assert "not_finite" not in sweep(env=broken(0.0, 0.0, 7), grid={}).metrics


def test_a_full_disk_loses_nothing(finished, tmp_path, monkeypatch):
    written = []

    def savez(file, **arrays):
        written.append(file.name)
        file.write(b"half of it")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    whole = np.savez

    def until_full(file, **arrays):
        return whole(file, **arrays) if len(store.chunks(tmp_path / "a")) < 2 else savez(file, **arrays)

    monkeypatch.setattr(np, "savez", until_full)
    with pytest.raises(
        StorageError, match=r"00-00002.npz cannot be written: the disk is full; what is finished is kept"
    ):
        sweep(out=tmp_path / "a")
    assert len(written) == 1 and sorted(os.listdir(tmp_path / "a" / "chunks")) == ["00-00000.npz", "00-00001.npz"]
    before = result.load(tmp_path / "a")
    np.testing.assert_array_equal(before.metrics["entropy"][0], finished.metrics["entropy"][0])
    assert before.finished.tolist() == [[True, True], [False, False]]
    monkeypatch.setattr(np, "savez", whole)
    assert_same_results(sweep(out=tmp_path / "a"), finished)
    assert_same_chunks(tmp_path / "a", finished.folder)


def test_a_folder_that_another_process_works_in_is_refused(tmp_path):
    with (
        folder.locked(tmp_path / "a", folder.SWEEP),
        pytest.raises(ConfigError, match=r"out=.*: exists; another process is running this sweep .*; wait for it or"),
    ):
        sweep(out=tmp_path / "a")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_it_and_the_same_call_goes_on(number, finished, tmp_path, monkeypatch):
    write = store.write_arrays

    def then_stop(path, arrays, **how):
        write(path, arrays, **how)
        signal.raise_signal(number)

    monkeypatch.setattr(store, "write_arrays", then_stop)
    with pytest.raises({signal.SIGINT: KeyboardInterrupt, signal.SIGTERM: SystemExit}[number]) as caught:
        sweep(out=tmp_path / "a")
    assert isinstance(caught.value, Stopped)
    stopped = caught.value.result
    monkeypatch.undo()
    assert stopped.stopped_by == number and 1 <= stopped.finished.sum() < 4
    assert np.isnan(stopped.metrics["entropy"][1, 1]).all() and not (tmp_path / "a" / store.RESULT).exists()
    again = sweep(out=tmp_path / "a")
    assert again.stopped_by is None
    assert_same_results(again, finished)
    assert_same_chunks(tmp_path / "a", finished.folder)


def test_an_interrupted_sweep_without_a_folder_keeps_what_it_had(monkeypatch):
    write = store.write_arrays

    def then_stop(path, arrays, **how):
        write(path, arrays, **how)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(store, "write_arrays", then_stop)
    with pytest.raises(KeyboardInterrupt) as caught:
        sweep()
    assert isinstance(caught.value, Stopped)
    gc.collect()
    row, seed = np.argwhere(caught.value.result.finished)[0]
    assert caught.value.result.policy(int(row), int(seed)).step == 640


@pytest.mark.filterwarnings("ignore:.*is damaged")
def test_a_damaged_chunk_is_left_out_and_computed_again(finished, tmp_path):
    shutil.copytree(finished.folder, tmp_path / "a")
    path = tmp_path / "a" / "chunks" / "00-00001.npz"
    path.write_bytes(path.read_bytes()[:-300])
    assert result.load(tmp_path / "a").finished.sum() == 3
    assert_same_results(driver.resume(tmp_path / "a", progress=False), finished)
    assert_same_chunks(tmp_path / "a", finished.folder)


def test_a_folder_that_is_deleted_meanwhile_ends_the_sweep_and_leaves_nothing(tmp_path, monkeypatch):
    write = store.write_arrays

    def then_delete(path, arrays, **how):
        write(path, arrays, **how)
        (tmp_path / "a" / ".lock").unlink()
        (tmp_path / "a" / "sweep.json").unlink()

    monkeypatch.setattr(store, "write_arrays", then_delete)
    monkeypatch.setattr(work, "CALL_SECONDS", 0.0)
    with pytest.raises(StorageError, match=r"a: the sweep's folder was deleted or moved while it was in use$"):
        sweep(out=tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_seeds_may_be_any(finished):
    found = sweep(seeds=[1, 7])
    np.testing.assert_array_equal(found.metrics["entropy"][:, 0], finished.metrics["entropy"][:, 1])
    assert leaves_equal(found.policy(0, 1).state.params, finished.policy(0, 1).state.params)


def test_progress_says_what_is_done(capsys):
    sweep(progress=True)
    err = capsys.readouterr().err
    assert "2/2 rows" in err and "best" in err and "(row 1)" in err


def test_one_row_is_a_sweep_too():
    found = sweep(grid={}, lr=1e-2, seeds=1)
    assert found.rows == [{}] and found.varied == [] and found.best().row == 0 and len(found.table()) == 1
