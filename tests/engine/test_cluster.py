"""Several processes as one job: the same bits, however they are started, and a clear end when one of them dies."""

from __future__ import annotations

import itertools
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from test_cli import rljax
from toys import COMMAND, assert_same_chunks, assert_same_results, instead, sweep

from rljax.engine import cluster
from rljax.errors import ConfigError, WorkerError
from rljax.sweeps import driver, store


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def by_hand(number, port):
    launch = [f"--coordinator=127.0.0.1:{port}", "--num-processes=2", f"--process-id={number}"]
    return launch, {}


def by_slurm(number, port):
    job = 1 + port % 4095  # jax makes a port of it
    variables = {
        "SLURM_JOB_ID": job,
        "SLURM_STEP_NODELIST": "127.0.0.1",
        "SLURM_NTASKS": 2,
        "SLURM_PROCID": number,
        "SLURM_LOCALID": number,
        "SLURM_STEP_NUM_NODES": 1,
    }
    return ["--coordinator=env"], {name: str(value) for name, value in variables.items()}


def job(command, folder, launch=by_hand):
    """Both processes of a job."""
    port, processes = free_port(), []
    for number in range(2):
        arguments, variables = launch(number, port)
        processes.append(rljax(*command, *arguments, folder=folder, env=os.environ | variables))
    return processes


@pytest.mark.parametrize("launch", [by_hand, pytest.param(by_slurm, marks=pytest.mark.slow)])
def test_two_processes_give_the_same_bits_as_one(launch, finished, tmp_path):
    processes = job([*COMMAND, "--out", tmp_path / "a"], tmp_path, launch)
    (out, err), (other_out, other_err) = (process.communicate(timeout=200) for process in processes)
    assert [process.returncode for process in processes] == [0, 0], err + other_err
    assert "sweep folder: a\n" in out and "report:" in out and "sweep folder" not in other_out
    assert_same_chunks(tmp_path / "a", finished.folder)
    assert (tmp_path / "a" / store.RESULT).read_bytes() == (finished.folder / store.RESULT).read_bytes()
    record = store.read(tmp_path / "a")
    assert record["devices"] == 2 and record["workers"] == 1


def test_processes_with_different_arguments_end_in_the_same_line(tmp_path):
    port, processes = free_port(), []
    for number, steps in enumerate((640, 641)):
        command = ["--steps=" + str(steps) if x.startswith("--steps") else x for x in COMMAND]
        processes.append(rljax(*command, "--out", "a", *by_hand(number, port)[0], folder=tmp_path))
    for process in processes:
        _, err = process.communicate(timeout=100)
        said = "steps is 640 on process 0, 641 on process 1; start all processes with the same arguments"
        assert process.returncode == 2 and err == f"rljax: {said}\n"
    assert not list(tmp_path.iterdir())


class Store:
    """The key-value store that the processes of a job share, here between threads."""

    def __init__(self):
        self.entries = {}

    def key_value_set(self, name, text, allow_overwrite=False):
        assert allow_overwrite or name not in self.entries
        self.entries[name] = text

    def key_value_dir_get(self, folder):
        return [(name, text) for name, text in list(self.entries.items()) if name.startswith(folder)]


def together(monkeypatch, *processes):
    """Runs functions as the processes of a job; gives the result or the error of each."""
    store, me, places = Store(), threading.local(), defaultdict(itertools.count)
    monkeypatch.setattr(cluster, "_job", lambda: (store, me.number, len(processes)))
    monkeypatch.setattr(cluster, "POLL", 0.01)
    monkeypatch.setattr(cluster, "POLL_BUSY", 0.0)
    counts = type("Counts", (), {"__next__": lambda self: next(places[me.number])})()
    monkeypatch.setattr(cluster, "_stages", counts)

    def run(pair):
        me.number, act = pair
        try:
            with cluster.one_fate(last=True):
                return act()
        except BaseException as error:
            return error

    with ThreadPoolExecutor(len(processes)) as threads:
        return list(threads.map(run, enumerate(processes)))


def test_processes_gather_what_each_brings(monkeypatch):
    bring = [lambda i=i: (cluster.gather("a", str(i)), cluster.gather("b", "x" * i)) for i in range(3)]
    assert together(monkeypatch, *bring) == [(["0", "1", "2"], ["", "x", "xx"])] * 3


def test_processes_agree_or_all_say_what_differs(monkeypatch):
    same = lambda: cluster.agree(lambda: {"lr": [1e-3, 1e-2]})  # noqa: E731
    assert together(monkeypatch, same, same) == [None, None]
    other = lambda: cluster.agree(lambda: {"lr": 1e-3, "steps": 5})  # noqa: E731
    for error in together(monkeypatch, same, same, other):
        assert isinstance(error, ConfigError) and str(error).startswith(
            "lr is [0.001, 0.01] on process 0, 0.001 on pro"
        )


def failing(error):
    def act():
        raise error

    return act


@pytest.mark.parametrize(
    ("error", "heard"),
    [
        (ConfigError("lr=-1: must be above 0"), ConfigError("process 1: lr=-1: must be above 0")),
        (WorkerError("worker 0 died"), WorkerError("process 1: worker 0 died")),
        (ZeroDivisionError("by zero\nmore"), WorkerError("process 1: ZeroDivisionError by zero")),
        (KeyboardInterrupt(), WorkerError("process 1: was stopped")),
    ],
)
def test_who_waits_or_works_hears_of_a_failure(monkeypatch, error, heard):
    def work():
        stop = cluster.stopping([])
        while not stop():
            time.sleep(0.01)

    waits, raised, works = together(monkeypatch, lambda: cluster.wait("finished"), failing(error), work)
    assert raised is error
    for found in (waits, works):
        assert (type(found), str(found)) == (type(heard), str(heard))


def test_that_process_0_is_gone_is_said_in_a_line(monkeypatch):
    def gone(self, folder):
        raise RuntimeError("UNAVAILABLE: failed to connect\nmore words")

    monkeypatch.setattr(Store, "key_value_dir_get", gone)
    found = together(monkeypatch, lambda: cluster.wait("finished"), lambda: None)[0]
    assert isinstance(found, WorkerError) and str(found).startswith("process 0 does not answer any more")


def test_nobody_waits_for_one_that_has_ended(monkeypatch):
    found, _ = together(monkeypatch, lambda: cluster.wait("planned"), lambda: None)
    assert isinstance(found, ConfigError) and str(found).startswith("process 1 has come to its end")


def test_a_signal_to_one_process_stops_all(monkeypatch):
    def work(*received):
        received = list(received)
        stop = cluster.stopping(received)
        while not stop():
            time.sleep(0.01)
        return received

    def wait():
        received = []
        cluster.wait("finished", cluster.stopping(received))
        return received

    assert together(monkeypatch, work, lambda: work(signal.SIGTERM), wait) == [[signal.SIGTERM]] * 3


JOIN = """
import rljax, jax
from rljax.engine import cluster
cluster.join()
print(jax.process_index(), jax.device_count())
"""


def test_slurm_says_who_is_who(tmp_path):
    port, processes = free_port(), []
    for number in range(2):
        environment = os.environ | by_slurm(number, port)[1]
        processes.append(subprocess.Popen([sys.executable, "-c", JOIN], env=environment, stdout=-1, text=True))
    found = [process.communicate(timeout=100)[0].splitlines()[-1] for process in processes]
    assert found == ["0 2", "1 2"]


@pytest.mark.slow
def test_a_job_is_submitted(finished, tmp_path):
    pytest.importorskip("submitit")
    command = [
        *COMMAND,
        "--out",
        tmp_path / "a",
        "--submit=local",
        "--num-processes=2",
        "--submit-with",
        "timeout_min=5",
    ]
    process = rljax(*command, folder=tmp_path)
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    assert re.search(r"submitted job \d+; logs in jobs", out) and list((tmp_path / "jobs").iterdir())
    assert_same_chunks(tmp_path / "a", finished.folder)
    assert store.read(tmp_path / "a")["devices"] == 2


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_when_one_dies_the_other_says_so_and_the_sweep_goes_on_later(victim, tmp_path):
    long = [*instead(COMMAND, "--steps=320000", "--log-every=800", "--seeds=8"), "--out", tmp_path / "a"]
    processes = job(long, tmp_path)
    children = Path(f"/proc/{processes[victim].pid}/task/{processes[victim].pid}/children")
    deadline = time.monotonic() + 120
    while not store.chunks(tmp_path / "a"):
        assert time.monotonic() < deadline and processes[0].poll() is None
        time.sleep(0.02)
    [child] = children.read_text().split()
    os.kill(int(child), signal.SIGKILL)
    for process in processes:
        _, err = process.communicate(timeout=120)
        assert process.returncode == 1
        assert re.search(r"rljax: process ended by signal \d+: .*start all processes again with the same command", err)
        assert err.strip().splitlines()[-1].startswith("rljax: ")
    assert 1 <= len(store.chunks(tmp_path / "a")) < 16
    kept = {path: path.stat().st_mtime_ns for path in store.chunks(tmp_path / "a")}
    found = driver.resume(tmp_path / "a", progress=False)
    assert found.finished.all() and kept == {path: path.stat().st_mtime_ns for path in kept}
    assert_same_results(found, sweep(steps=320000, log_every=800, seeds=8))


def running(pid):
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())  # nothing, of one that has ended
    except OSError:
        return False


SUPERVISED = """
import os, signal, sys, time
from rljax.cli import job
if sys.argv[1:]:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    assert job.inside() and not job.inside()
    print(os.getpid(), flush=True)
    time.sleep(600)
code, received = job.run([sys.executable, "-c", os.environ["SUPERVISED"], "inside"])
print(code, *received)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_signal_to_the_supervising_process_reaches_the_other(number):
    command = [sys.executable, "-c", SUPERVISED]
    process = subprocess.Popen(command, stdout=-1, text=True, env=os.environ | {"SUPERVISED": SUPERVISED})
    child = int(process.stdout.readline())
    process.send_signal(number)
    assert process.communicate()[0] == ("143 15\n" if number == signal.SIGTERM else "")
    deadline = time.monotonic() + 60
    while running(child):
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("127.0.0.1:1234",), "num_processes=None: say how many there are"),
        (("127.0.0.1:1234", 0, 0), "num_processes=0: say how many there are"),
        (("127.0.0.1:1234", 2), "process_id=None: must be 0 to one less"),
        (("127.0.0.1:1234", 2, 2), "process_id=2: must be 0 to one less"),
        (("somewhere", 2, 0), "coordinator=somewhere: write it as HOST:PORT"),
    ],
)
def test_nonsense_is_refused_in_one_line(arguments, message):
    with pytest.raises(ConfigError, match=message) as caught:
        cluster.join(*arguments)
    assert "\n" not in str(caught.value)


def test_an_environment_that_says_nothing_is_refused(tmp_path):
    process = rljax(*COMMAND, "--out", tmp_path / "a", "--coordinator=env", folder=tmp_path)
    out, err = process.communicate(timeout=100)
    assert process.returncode == 2 and "cannot join the job" in err and err.count("\n") == 1 and not out
    assert not list(tmp_path.iterdir())
