"""`rljax sweep` as used from a shell: plans, refusals in one line, interruption, resumption."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
from test_cli import call, rljax
from toys import COMMAND, PROBE, assert_same_chunks, assert_same_results, instead, sweep

from rljax import cli
from rljax.engine.plan import Programs
from rljax.results.folder import SWEEP, locked
from rljax.sweeps import result, store


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli") / "a"
    assert cli.main([*COMMAND, "--workers=1", "--out", str(folder)]) == 0
    return folder


def test_a_sweep_leaves_a_table_a_report_and_a_folder(swept, capsys):
    code, out, err = call(capsys, *COMMAND, "--out", swept)  # the same again: it is read
    lines = out.splitlines()
    assert code == 0 and "Traceback" not in err
    assert lines[0].split()[:3] == ["lr", "iqm", "low"] and lines[2].split()[:2] == ["1", "0.01"]
    assert "interquartile mean over seeds, 95 % interval" in out and lines[-1] == f"sweep folder: {swept}"
    assert f"report: {swept / 'report.html'}" in lines and (swept / "report.html").exists()
    assert {"sweep.json", "chunks", "result.npz"} <= set(os.listdir(swept))


def test_it_is_the_sweep_of_the_same_call(swept, tmp_path):
    whole = sweep(out=tmp_path / "a")
    assert_same_results(result.load(swept), whole)
    assert_same_chunks(swept, tmp_path / "a")


def test_it_can_be_gone_on_with(swept, tmp_path, capsys):
    shutil.copytree(swept, tmp_path / "a")
    for path in store.chunks(tmp_path / "a")[1:]:
        path.unlink()
    code, out, _ = call(capsys, "sweep", "--resume", tmp_path / "a", "--workers", 1)
    assert code == 0 and f"sweep folder: {tmp_path / 'a'}" in out
    assert_same_chunks(tmp_path / "a", swept)


def test_by_default_folders_are_numbered(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("ppo-probe-action-observation", "ppo-probe-action-observation-2"):
        code, *_ = call(capsys, *COMMAND, "--workers=1")
        assert code == 0 and (tmp_path / "sweeps" / name / "report.html").exists()


def test_a_dry_run_prints_the_plan_and_runs_nothing(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, _ = call(capsys, *COMMAND, "--dry-run", "--workers=2")
    assert code == 0 and out.startswith(
        "2 rows x 2 seeds = 4 runs, 2,560 steps in all\n1 training program, 2 processes"
    )
    assert f"group 0: ppo {PROBE}, 2 rows from 0 (lr=0.001), 20 updates" in out and "4 shards of 1, " in out
    assert not list(tmp_path.iterdir())


def test_environments_grids_and_samples_on_one_line(capsys, monkeypatch):
    monkeypatch.setattr(Programs, "of", lambda self, group: SimpleNamespace(bytes=1000, metrics=["episode_return"]))
    monkeypatch.setattr("rljax.engine.width._time", lambda programs, group: 1.0)
    command = [word.replace(PROBE, f"{PROBE},probe/action") for word in COMMAND]
    more = ["--grid", "task.length=1,2", "--sample", "discount=uniform:0.9:0.999", "--trials=3", "--sample-seed=1"]
    code, out, _ = call(capsys, *command, *more, "--objective=dpo", "--dry-run", "--workers=1")
    assert code == 0 and out.startswith("24 rows x 2 seeds = 48 runs") and "\n2 training programs, 1 process" in out
    code, again, _ = call(capsys, *command, *more, "--objective=dpo", "--dry-run", "--workers=1")
    assert [line for line in again.splitlines() if "from" in line] == [x for x in out.splitlines() if "from" in x]


def test_commas_inside_the_arguments_of_a_wrapper_part_no_environments(capsys, monkeypatch):
    monkeypatch.setattr(Programs, "of", lambda self, group: SimpleNamespace(bytes=1000, metrics=["episode_return"]))
    monkeypatch.setattr("rljax.engine.width._time", lambda programs, group: 1.0)
    command = [word.replace(PROBE, "Pendulum-v1|rescale_action(-2,2),Pendulum-v1") for word in COMMAND]
    code, out, _ = call(capsys, *command, "--dry-run", "--workers=1")
    assert code == 0 and "\n2 training programs" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("sweep ppo", "sweep needs an algorithm and an environment"),
        ("sweep ppo CartPole-v2", "did you mean 'CartPole-v1'"),
        ("sweep ppo CartPole-v1,Pendulum-v2", "did you mean 'Pendulum-v1'"),
        ("sweep poo CartPole-v1", "did you mean 'ppo'"),
        ("swep ppo CartPole-v1", "did you mean 'sweep'"),
        ("sweep ppo CartPole-v1 --grid lrr=1,2", "unknown field of ppo 'lrr'; did you mean 'lr'"),
        ("sweep ppo CartPole-v1 --grid task.gravitty=1", "did you mean 'gravity'"),
        ("sweep ppo CartPole-v1 --grid lr", "grid 'lr': write it as NAME=A,B,C or log:LOW:HIGH:COUNT"),
        ("sweep ppo CartPole-v1 --grid lr=", "write it as NAME="),
        ("sweep ppo CartPole-v1 --grid lr=,", "lr=,: an empty grid"),
        ("sweep ppo CartPole-v1 --grid lr=1,1", "is in the grid twice"),
        ("sweep ppo CartPole-v1 --grid lr=fast,1", "lr='fast': must be a number, not text"),
        ("sweep ppo CartPole-v1 --grid num-envs=4,a", "num_envs='a': must be a whole number"),
        ("sweep ppo CartPole-v1 --grid task.gravity=heavy", "task.gravity='heavy': must be a number, not text"),
        ("sweep ppo CartPole-v1 --grid lr=1,2 --lr 3", "lr: is swept and fixed at 3.0"),
        ("sweep ppo CartPole-v1 --grid lr=1,2 --sample lr=uniform:0:1 --trials 2", "in the grid and in the sample"),
        ("sweep ppo CartPole-v1 --grid num_minibatches=4,3", "num_minibatches=3: must divide"),
        ("sweep ppo CartPole-v1 --grid objective=dpo,klip", "unknown objective 'klip'"),
        ("sweep ppo CartPole-v1 --sample lr=uniform:0:1", "trials=None: say how many points"),
        ("sweep ppo CartPole-v1 --sample lr=normal:0:1 --trials 2", "a distribution is uniform:LOW:HIGH"),
        ("sweep ppo CartPole-v1 --trials 2", "trials=2: nothing is sampled"),
        ("sweep ppo CartPole-v1 --seeds 0", "seeds=0: must be at least 1"),
        ("sweep ppo CartPole-v1 --steps 0", "steps=0: must be at least 1"),
        ("sweep ppo Acrobot-v1", "steps=None: there is no preset"),
        ("sweep ppo CartPole-v1 --workers 0", "workers=0: must be at least 1"),
        ("sweep ppo CartPole-v1 --width 0", "width=0: must be at least 1"),
        ("sweep ppo CartPole-v1 --memory-limit much", "memory_limit=much: write it as 16GB"),
        ("sweep ppo CartPole-v1 --halving 1", "halving=1: must be at least 2"),
        ("sweep ppo CartPole-v1 --task gravity", "NAME=NUMBER"),
        ("sweep ppo CartPole-v1 --submit local", "num_processes=None: say how many to start"),
        ("sweep --resume nowhere", "sweep 'nowhere': no sweep.json there"),
        ("report nowhere", "sweep 'nowhere': no sweep.json there"),
        (
            "sweep ppo CartPole-v1 --grid lr=1 --grid lr=2",
            "lr=2: is given twice in the grid",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = call(capsys, *arguments.split())
    assert code == 2 and message in err and err.count("\n") == 1 and not out
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_refused_sweep_leaves_no_folder(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for arguments in (["--grid", "num-minibatches=1,3"], ["--memory-limit", "1kB"]):
        code, *_ = call(capsys, *COMMAND, *arguments)
        assert code == 2
    assert not list(tmp_path.rglob("ppo*"))


def test_a_row_too_big_is_refused_with_the_figure_and_the_field(capsys, tmp_path):
    command = instead(COMMAND, "--num-epochs=1", "--num-minibatches=1", "--num-steps=1", "--width=1")
    code, out, err = call(capsys, *command, "--memory-limit", "1kB", "--out", tmp_path / "a")
    assert code == 2 and err.startswith("rljax: num_envs=4: one run needs ") and "1 kB are free" in err
    assert err.count("\n") == 1 and not out


def test_folders_of_something_else_are_refused(swept, capsys, tmp_path):
    (tmp_path / "thesis.tex").touch()
    code, _, err = call(capsys, *COMMAND, "--out", tmp_path)
    assert code == 2 and "exists, and is not of a sweep" in err and err.count("\n") == 1
    code, _, err = call(capsys, *instead(COMMAND, "--seeds=3"), "--out", swept)
    assert code == 2 and "holds another sweep (seeds is [0, 1] there, [0, 1, 2] here)" in err and err.count("\n") == 1
    with locked(swept, SWEEP):
        code, _, err = call(capsys, *COMMAND, "--out", swept)
    assert code == 2 and "another process is running this sweep" in err and err.count("\n") == 1


def test_a_full_disk_is_said_in_one_line(swept, capsys, tmp_path, monkeypatch):
    whole = np.savez

    def full(file, **arrays):
        if len(store.chunks(tmp_path / "a")) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        whole(file, **arrays)

    monkeypatch.setattr(np, "savez", full)
    code, out, err = call(capsys, *COMMAND, "--workers=1", "--out", tmp_path / "a")
    assert code == 1 and not out and "Traceback" not in err
    assert "cannot be written: the disk is full; what is finished is kept" in err.splitlines()[-1]
    monkeypatch.undo()
    assert call(capsys, *COMMAND, "--out", tmp_path / "a")[0] == 0
    assert_same_chunks(tmp_path / "a", swept)


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_ctrl_c_stops_all_processes_and_says_how_to_go_on(workers, capsys, tmp_path):
    command = [word.replace("lr=1e-3,1e-2", "lr=log:1e-4:1e-2:12") for word in COMMAND]
    process = rljax(*command, f"--workers={workers}", "--out", tmp_path / "a", folder=tmp_path, start_new_session=True)
    deadline = time.monotonic() + 120
    while not store.chunks(tmp_path / "a"):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in err
    stored = int(result.load(tmp_path / "a").finished.sum())
    assert (
        out == f"stopped by SIGINT with {stored} of 24 runs stored; to go on: rljax sweep --resume {tmp_path / 'a'}\n"
    )
    assert 1 <= stored < 24
    assert call(capsys, "sweep", "--resume", tmp_path / "a", "--workers=1")[0] == 0
    assert_same_results(result.load(tmp_path / "a"), sweep(grid={"lr": "log:1e-4:1e-2:12"}))


def test_help_imports_neither_jax_nor_numpy():
    program = (
        (
            "import sys, contextlib, io, rljax.cli\n"
            "for a in ([], ['ppo', 'CartPole-v1']):\n"
            "    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()) as out:\n"
            "        rljax.cli.main(['sweep', *a, '--help'])\n"
            "    assert '--grid' in out.getvalue() and '--coordinator' in out.getvalue()\n"
            "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):\n"
            "    rljax.cli.main(['report', '--help'])\n"
            "assert not {'jax', 'numpy', 'gymnax', 'pandas'} & set(sys.modules), 'too much imported'\n"
        )
        .replace("[PROBE], ", "")
        .replace("PROBE", repr(PROBE))
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_bad_options_are_refused_without_jax(tmp_path):
    program = (
        "import sys, rljax.cli\n"
        "assert rljax.cli.main(['sweep', 'poo', 'CartPole-v1']) == 2\n"
        "assert rljax.cli.main(['sweep', 'ppo', 'CartPole-v2']) == 2\n"
        "assert 'jax' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, stderr=subprocess.DEVNULL)
