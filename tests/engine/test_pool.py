"""One process a core: the same bits, the user's own things, and nothing lost when one dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import jax.numpy as jnp
import pytest
import toys
from flax import struct
from test_runtime import python
from toys import asked, assert_same_chunks, assert_same_results, counter, sweep

from rljax import envs, resources
from rljax.engine import payload, pickling, pool
from rljax.engine.work import Shard
from rljax.errors import StorageError, WorkerError
from rljax.sweeps import execute, store
from rljax.sweeps.planning import make_plan, plan_in


class Leash(struct.PyTreeNode):
    """An objective of a user's own."""

    weight: float = 3.0

    def __call__(self, log_ratio, advantage, progress):
        return self.weight * jnp.square(log_ratio) - jnp.exp(log_ratio) * advantage


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A sweep in this process, to compare several processes with: the environment and the objective are the user's."""
    start = 3  # closed over
    if "mine/counter" not in envs.names():
        envs.register("mine/counter", lambda: counter(start))
    return sweep(**CUSTOM, out=tmp_path_factory.mktemp("whole") / "a")


CUSTOM = {
    "env": "mine/counter",
    "objective": Leash(weight=2.0),
    "task": {"truncate_at": 5},
    "grid": {"lr": "1e-3,1e-2,0.1"},
}


def test_several_processes_give_the_same_bits_as_one(whole, tmp_path, monkeypatch):
    monkeypatch.setattr(resources, "free", lambda: 2**36)  # tests beside this one may take what there is
    found = sweep(**CUSTOM, workers=2, out=tmp_path / "a")
    assert found.record["workers"] == 2 and found.finished.all()
    assert found.settings(0)["objective"].endswith("test_pool:Leash")
    assert_same_results(found, whole)
    assert_same_chunks(tmp_path / "a", whole.folder)


@pytest.fixture
def job(tmp_path):
    """(a small sweep, its shards; its folder)"""
    (tmp_path / "a").mkdir()
    planned = plan_in(tmp_path / "a", asked(), width=1)
    shards = execute.shards_of(planned.groups, planned.sweep.seeds)
    return execute.SweepJob(planned.programs, planned.groups, tmp_path / "a"), shards, tmp_path / "a"


def test_a_process_that_is_killed_ends_the_sweep_in_a_line_and_loses_nothing(job, finished, tmp_path):
    task, shards, folder = job
    with pool.Pool(1, tmp_path / "logs", "kept") as processes:

        def kill(report):
            [worker] = processes._workers.values()
            if [member for member, _ in report.finished] == [(0, 1)]:
                worker.process.kill()

        with pytest.raises(WorkerError, match=r"worker 0 was killed by SIGKILL .*kept") as caught:
            processes.run_in_workers(task, shards, kill, lambda: False)
    assert "\n" not in str(caught.value)
    stored = {path: path.stat().st_mtime_ns for path in store.chunks(folder)}
    assert 2 <= len(stored) < 4
    assert_same_results(sweep(out=folder), finished)
    assert stored == {path: path.stat().st_mtime_ns for path in stored}


def test_an_error_in_a_process_arrives_as_itself(job, tmp_path):
    task, shards, folder = job
    (folder / store.CHUNKS).write_text("in the way")
    with (
        pool.Pool(1, tmp_path / "logs", "kept") as processes,
        pytest.raises(StorageError, match=r"00-00000.npz cannot be written: File exists"),
    ):
        processes.run_in_workers(task, shards, lambda report: None, lambda: False)


SCRIPT = """
import jax.numpy as jnp
from flax import struct
from rljax import envs
from rljax.sweeps import store
from toys import counter, sweep

class Mine(struct.PyTreeNode):
    weight: float = 3.0

    def __call__(self, log_ratio, advantage, progress):
        return self.weight * jnp.square(log_ratio) - jnp.exp(log_ratio) * advantage

envs.register("toy/counter", counter)
what = dict(env="toy/counter", objective=Mine(), workers=2, out={folder!r})
found = sweep(**what)
assert found.finished.all() and len(store.chunks(found.folder)) == 4
print("first")
store.chunks(found.folder)[0].unlink()
assert sweep(**what).finished.all()
print("again")
"""


def run_script(folder):
    return python(SCRIPT.format(folder=str(folder)), PYTHONPATH=str(Path(toys.__file__).parent))


@pytest.mark.slow
def test_what_a_script_defines_reaches_the_processes(tmp_path):
    assert run_script(tmp_path / "a").split() == ["first", "again"]


class Gone:
    """A process that has died: what is sent to it goes nowhere, and nothing comes back."""

    def __init__(self, number, log):
        self.connection, theirs = pool.Pipe()
        theirs.close()
        log.write_bytes(b"Some traceback\nMemoryError: no room\n")
        self.number, self.log, self.job, self.shard = number, log, b"", None
        self.data = set()
        self.process = SimpleNamespace(wait=lambda: 1, kill=lambda: None)

    tell, take, hear, death = pool.Worker.tell, pool.Worker.take, pool.Worker.hear, pool.Worker.death


def test_a_process_that_died_between_two_shards_is_reported_too(job, tmp_path, monkeypatch):
    monkeypatch.setattr(pool, "Worker", Gone)
    with (
        pool.Pool(1, tmp_path, "kept") as processes,
        pytest.raises(WorkerError, match="worker 0 ended with code 1: MemoryError: no room; kept"),
    ):
        processes.run_in_workers(job[0], job[1], lambda report: None, lambda: False)


def test_a_shard_of_the_group_that_is_compiled_comes_first():
    shards = [Shard(group, (), name) for name, group in (("a", 0), ("b", 1), ("c", 1), ("d", 0), ("e", 1))]
    left = pool._by_group(shards)
    first = pool._next(left, None)
    assert first.name == "b"  # of the group with most left
    assert pool._next(left, shards[0]).name == "a" and pool._next(left, first).name == "c"
    assert [pool._next(left, shards[3]).name for _ in range(2)] == ["d", "e"] and pool._next(left, first) is None


def test_a_job_travels_without_its_compiled_programs(whole):
    planned = make_plan(asked(**CUSTOM), width=1)
    job = execute.SweepJob(planned.programs, planned.groups, Path("somewhere"), keep_states=True)
    arrived = pickling.loads(payload.pack(job))()
    assert (arrived.folder, arrived.groups, arrived.keep_states) == (job.folder, job.groups, True)
    assert arrived.programs.made == {} and list(arrived.programs.prepared) == [0]


def test_what_a_sweep_does_not_use_need_not_travel(monkeypatch):
    lock = threading.Lock()  # cannot be pickled
    monkeypatch.setitem(envs.ENVIRONMENTS.registered(), "mine/unrelated", lambda: lock)
    planned = make_plan(asked(), width=1)
    payload.pack(execute.SweepJob(planned.programs, planned.groups))


PARENT = """
import sys, time
from pathlib import Path
from types import SimpleNamespace
from rljax.engine import pickling
from rljax.engine.pool import Worker

class Endless:
    programs = SimpleNamespace(made={})

    def __init__(self, data):
        pass

    def run(self, shards, say, stopping):
        say("begun")
        time.sleep(600)

worker = Worker(0, Path(sys.argv[1]))
print(worker.process.pid, flush=True)
worker.take(pickling.dumps(Endless), "a shard")
while True:
    print(worker.hear(), flush=True)
"""


def alive(pid):
    try:
        return "rljax.engine.pool" in Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="looks for processes in /proc")
def test_a_worker_hears_no_signals_and_ends_with_the_process_that_started_it(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path / "log")], stdout=subprocess.PIPE, text=True)
    child = int(process.stdout.readline())
    for number in (signal.SIGTERM, signal.SIGINT):  # as they come to all of a group, here while it is starting
        os.kill(child, number)
    assert process.stdout.readline() == "begun\n" and alive(child)
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 60
    while alive(child):
        assert time.monotonic() < deadline
        time.sleep(0.02)
