"""Shards: what is kept of them, and that a shard that was cut off in the middle ends as one that never was."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
import toys
from populations import dying
from test_runtime import python
from toys import asked, assert_same_chunks, assert_same_results, sweep

import rljax.run
from rljax.engine import work
from rljax.engine.plan import Group, Programs
from rljax.engine.program import Program
from rljax.errors import StorageError
from rljax.ops.tree import named_leaves
from rljax.sweeps import driver, execute, store
from rljax.sweeps.planning import make_plan
from rljax.types import Algorithm


@pytest.fixture
def advanced(monkeypatch):
    """The updates of every call of a program."""
    go, calls = Program.advance, []

    def counted(self, state, inputs, n):
        calls.append(n)
        return go(self, state, inputs, n)

    monkeypatch.setattr(Program, "advance", counted)
    return calls


def test_shards_have_names_and_the_stored_ones_are_not_pending(finished):
    planned = make_plan(asked(), width=1)
    shards = execute.shards_of(planned.groups, [0, 1])
    assert [shard.name for shard in shards] == ["00-00000", "00-00001", "00-00002", "00-00003"]
    assert [shard.members for shard in shards] == [((0, 0),), ((0, 1),), ((1, 0),), ((1, 1),)]
    assert execute.pending(finished.folder, shards) == [] and execute.pending(Path("nowhere"), shards) == shards


def test_of_a_state_what_the_policy_reads_is_kept(finished):
    with np.load(store.chunks(finished.folder)[0]) as chunk:
        kept = {name.removeprefix(store.STATE) for name in chunk.files if name.startswith(store.STATE)}
        assert chunk["row"].tolist() == [0] and chunk["seed"].tolist() == [0] and chunk["diverged"].tolist() == [False]
        assert chunk["metric/entropy"].shape == (1, 10) and chunk["update"].tolist() == list(range(2, 21, 2))
    assert kept and all(name.startswith("params/") for name in kept)


def test_normalisers_are_read_by_the_policy():
    [row] = asked(grid={}, normalize_obs=True).rows
    prepared = row.prepare()
    state = jax.eval_shape(
        lambda: jax.vmap(prepared.algorithm.init, (0, None, None))(
            jax.random.split(jax.random.key(0), 3), *Programs([prepared]).member(0)
        )
    )
    read = execute.read_by_act(prepared.algorithm, prepared.env, state)
    assert {name.split("/")[0] for name in read} == {"params", "obs_stats"} and set(read) < set(named_leaves(state))


def test_a_shard_goes_on_in_the_middle(advanced, finished, tmp_path):
    with dying(14):  # in the second shard: each has ten points
        sweep(out=tmp_path / "a")
    assert len(store.chunks(tmp_path / "a")) == 1
    assert [path.name for path in (tmp_path / "a" / "progress").iterdir()] == ["00-00001"]
    advanced.clear()
    assert_same_results(sweep(out=tmp_path / "a"), finished)
    assert_same_chunks(tmp_path / "a", finished.folder)
    assert sum(advanced) == 60 - 2 * 4 and not (tmp_path / "a" / "progress").exists()


def test_a_wide_shard_goes_on_in_the_middle_with_what_diverged(tmp_path):
    changes = {"grid": {"lr": [1e-2, 1e30]}, "width": 4}
    whole = sweep(**changes, out=tmp_path / "whole")
    with dying(5):
        sweep(**changes, out=tmp_path / "a")
    assert_same_results(sweep(**changes, out=tmp_path / "a"), whole)
    assert_same_chunks(tmp_path / "a", tmp_path / "whole")


def test_a_disk_that_is_full_for_a_checkpoint_is_said_like_any_other(monkeypatch, tmp_path):
    import orbax.checkpoint as ocp

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(ocp.Checkpointer, "save", full)
    monkeypatch.setattr(rljax.run, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(work, "CALL_SECONDS", 0.0)
    with pytest.raises(StorageError, match=r"the disk is full; what is finished is kept"):
        sweep(out=tmp_path / "a")


@pytest.mark.filterwarnings("ignore:checkpoint")
def test_a_damaged_checkpoint_costs_time_alone(finished, tmp_path):
    with dying(4):
        sweep(out=tmp_path / "a")
    for path in (tmp_path / "a" / "progress").rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    assert_same_results(sweep(out=tmp_path / "a"), finished)


def test_a_shard_in_which_all_diverged_is_not_gone_on_with(advanced):
    found = sweep(grid={"lr": [1e30]}, seeds=1, steps=64 * 32)
    assert found.diverged.all() and found.finished.all() and np.isnan(found.metrics["entropy"]).all()
    assert sum(advanced[-3:]) < 64


def test_a_curve_ends_where_its_run_diverged_whatever_comes_after():
    """Two members, points of two updates: one of them is infinite in the second and finite again in the third."""
    work = object.__new__(execute.SweepWork)
    work.group = Group([0], [], updates=6, log_every=2, last=6)
    work.prepared = SimpleNamespace(algorithm=Algorithm(None))
    work.points, work.done, work.diverged = work.group.points(), 0, np.zeros(2, bool)
    work.metrics = {"loss": np.full((2, 3), np.nan, np.float32)}
    work.record({"loss": np.array([[1.0, 3.0, 1.0, np.inf, 5.0, 5.0], [1.0] * 6])})
    np.testing.assert_array_equal(work.metrics["loss"], [[2.0, np.nan, np.nan], [1.0, 1.0, 1.0]])
    np.testing.assert_array_equal(work.diverged, [True, False])


def test_reports_add_up_to_all_steps(monkeypatch, tmp_path):
    heard = []

    class Heard(driver.Progress):
        def report(self, report):
            heard.append(report)

    monkeypatch.setattr(driver, "Progress", Heard)
    found = sweep(progress=True, grid={"lr": [1e-3, 1e-2, 1e30]}, width=4)
    assert sum(report.steps for report in heard) == 6 * 640
    finished = dict(pair for report in heard for pair in report.finished)
    assert finished.keys() == {(row, seed) for row in range(3) for seed in range(2)}
    for (row, seed), score in finished.items():
        np.testing.assert_equal(score, float(found.metrics["episode_return"][row, seed, -1]))


SMALL = """
import sys
import rljax.run
from rljax.engine import work
from toys import sweep
rljax.run.SAVE_SECONDS, rljax.run.SAVE_SHARE, work.CALL_SECONDS = 0.0, 1e9, 0.0
sweep(out=sys.argv[1], width=2, steps=1920)
"""


def start(folder):
    """The small sweep in a process of its own, with a checkpoint after every point."""
    environment = os.environ | {"PYTHONPATH": str(Path(toys.__file__).parent)}
    return subprocess.Popen([sys.executable, "-c", SMALL, str(folder)], env=environment, stderr=subprocess.PIPE)


def wait_for(process, reached, seconds=120):
    """Waits until `there()` is true, as long as the process runs; gives its value."""
    deadline = time.monotonic() + seconds
    while not (found := reached()):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.005)
    return found


def kill_and_finish(folder, kills, generator):
    """Kills it so often, first in the middle of a shard and then anywhere. Returns how often it died."""
    died = 0
    for i in range(kills):
        process = start(folder)
        if i == 0:
            wait_for(process, lambda: list(folder.glob("progress/*/*/record")))
        else:
            time.sleep(generator.uniform(0.5, 4.0))
        process.kill()
        died += process.wait() == -signal.SIGKILL
        process.stderr.close()
    return died


@pytest.mark.parametrize("kills", [2, pytest.param(10, marks=pytest.mark.slow)])
def test_killed_at_random_it_ends_with_the_same_arrays(kills, tmp_path):
    whole = sweep(out=tmp_path / "whole", width=2, steps=1920)
    assert kill_and_finish(tmp_path / "a", kills, random.Random(kills)) >= 1
    assert_same_results(sweep(out=tmp_path / "a", width=2, steps=1920), whole)
    assert_same_chunks(tmp_path / "a", tmp_path / "whole")
    assert (tmp_path / "a" / store.RESULT).read_bytes() == (tmp_path / "whole" / store.RESULT).read_bytes()


DEVICES = """
import jax
from toys import sweep

assert jax.device_count() == 2
found = sweep(out={folder!r}, **{changes!r})
assert found.record["devices"] == 2 and found.record["workers"] == 1
"""


def test_two_devices_give_the_same_bits_as_one(tmp_path):
    """Three shards on two devices: the last one runs on both and is stored once; then two go on from their states."""
    changes = {"grid": {"lr": [1e-3, 1e-2, 1e30]}, "width": 2, "halving": 2, "rungs": 2}
    program = DEVICES.format(folder=str(tmp_path / "a"), changes=changes)
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=2"  # compiled as `one` is
    python(program, XLA_FLAGS=flags, PYTHONPATH=str(Path(toys.__file__).parent))
    one = sweep(**changes, out=tmp_path / "one")
    assert one.record["devices"] == 1 and one.reached.max(1).tolist() == [20, 20, 10]
    assert len(store.chunks(tmp_path / "a")) == 5
    assert_same_chunks(tmp_path / "a", tmp_path / "one")
    assert (tmp_path / "a" / store.RESULT).read_bytes() == (tmp_path / "one" / store.RESULT).read_bytes()
