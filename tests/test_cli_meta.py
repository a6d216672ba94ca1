"""`rljax meta-train` and `meta-eval` as used from a shell."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from test_cli import call
from toys import PROBE, instead

from rljax import cli, objectives
from rljax.meta import result

SMALL = ["--num-envs=4", "--num-steps=8", "--num-epochs=1", "--num-minibatches=1", "--hidden=8"]
COMMAND = [
    *("meta-train", "lpo", "--env", f"{PROBE},lr=1e-2", "--env", "probe/action", "--steps=64:160", "--units=4"),
    *("--generations=2", "--popsize=4", "--runs=2", "--validation_runs=2", "--validate-every=1", "--width=1", *SMALL),
]


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli") / "a"
    assert cli.main([*COMMAND, "--workers=1", "--out", str(folder)]) == 0
    return folder


def test_a_search_leaves_what_it_learned_and_says_what_that_is_worth(learned, capsys):
    code, out, err = call(capsys, "meta-train", "--resume", learned)  # finished: it is read
    assert code == 0 and "Traceback" not in err
    assert f"{PROBE}: " in out and "probe/action: " in out and out.splitlines()[-1] == f"search folder: {learned}"
    assert {"meta.json", "metrics.jsonl", "learned.npz", "learned.png", "course.png"} <= set(os.listdir(learned))
    rows = [json.loads(line) for line in (learned / "metrics.jsonl").read_text().splitlines()]
    means = [rows[0][f"fitness/{name}"] for name in (PROBE, "probe/action")]
    np.testing.assert_allclose(np.mean(means), rows[0]["fitness_mean"])  # as many runs on each
    found = objectives.load(learned / "learned.npz")
    assert isinstance(found, objectives.LPO) and found.hidden.shape == (8, 4)
    history = objectives.files.read(learned / "learned.npz").provenance
    assert history["tasks"][0]["hypers"]["lr"] == 1e-2 and history["tasks"][1]["hypers"]["lr"] != 1e-2
    assert history["tasks"][0]["shortest"] == 64


def test_it_can_be_used_and_compared(learned, capsys, tmp_path):
    where = ["--env", f"{PROBE},lr=1e-2,num_envs=4,num_steps=8,num_minibatches=1,hidden=8", "--steps=160"]
    code, out, _ = call(
        capsys, "meta-eval", learned, *where, "--seeds=3", "--against=ppo,ppo,objective.clip=0.3", "--workers=1"
    )
    assert code == 0
    assert [line.split()[2] for line in out.splitlines()[1:4]] == ["learned", "ppo", "ppo,objective.clip=0.3"]
    kept = json.loads((learned / "comparison.json").read_text())
    assert np.array(kept["scores"]).shape == (3, 1, 3)
    code, out, _ = call(capsys, "plot", learned, "--out", tmp_path)
    assert code == 0 and {path.name for path in tmp_path.iterdir()} == {"course.png", "learned.png"}


def test_what_ships_learned_is_compared_by_its_name(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    where = ["--env", f"{PROBE},num_envs=4,num_steps=8,num_minibatches=1,hidden=8", "--steps=64"]
    code, out, _ = call(capsys, "meta-eval", "lpo", *where, "--seeds=1", "--workers=1")
    assert code == 0 and out.splitlines()[-1] == "comparison.json" and os.listdir(tmp_path) == ["comparison.json"]


REFUSED = [
    (["meta-train"], "meta-train needs what to learn: lpo, ta-lpo"),
    (["meta-train", "lpoo"], "did you mean 'lpo'"),
    (["meta-train", "lpo"], "say on which environment"),
    (["meta-train", "lpo", "--env", "CartPol-v1"], "did you mean 'CartPole-v1'"),
    (["meta-train", "lpo", "--env", PROBE], "there is no preset for probe/action-observation; say how many"),
    (
        ["meta-train", "lpo", "--env", "CartPole-v1", "--steps", "many"],
        "steps=many: must be a number, or SHORTEST:LONGEST",
    ),
    (["meta-train", "lpo", "--env", "CartPole-v1,lr"], "write it as NAME=VALUE"),
    (["meta-train", "lpo", "--env", "CartPole-v1", "--strategy-with", "sigm=1"], "did you mean 'sigma'"),
    (["meta-train", "--resume", "nowhere"], "no meta.json there"),
    (["meta-eval", "nowhere"], "no meta.json there"),
    (["meta-eval", "nowhere", "--against", "ppoo"], "did you mean 'ppo'"),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED)
def test_refusals_take_one_line(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = call(capsys, *arguments)
    assert code == cli.USAGE and out == "" and message in err and err.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_ctrl_c_stops_and_resume_ends_the_same(learned, tmp_path):
    command = [sys.executable, "-m", "rljax", *instead(COMMAND, "--generations=30"), "--out", str(tmp_path / "a")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    metrics = tmp_path / "a" / "metrics.jsonl"
    while not (metrics.exists() and metrics.read_text().count("\n") >= 2):
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == cli.SIGNALLED + signal.SIGINT and "to go on: rljax meta-train --resume" in out
    assert cli.main(["meta-train", "--resume", str(tmp_path / "a"), "--workers=1"]) == 0
    assert cli.main([*instead(COMMAND, "--generations=30"), "--workers=1", "--out", str(tmp_path / "b")]) == 0
    a, b = result.load(tmp_path / "a"), result.load(tmp_path / "b")
    for name in set(a.history) - {"seconds"}:
        np.testing.assert_array_equal(a.history[name], b.history[name])
    for name, x in a.theta.items():
        np.testing.assert_array_equal(x, b.theta[name])


@pytest.mark.slow
def test_a_rule_is_learned_by_descent_used_from_its_file_and_compared(tmp_path, capsys):
    sizes = ["--num-envs=4", "--num-steps=8", "--rule-width=4", "--bootstrap=4", "--embedding=4"]
    search = [
        "--generations=1",
        "--agents=2",
        "--num-updates=1",
        "--meta-steps=1",
        "--validation_runs=1",
        "--width=1",
        "--workers=1",
    ]
    where = ["--env=gridworld/small", "--steps=64:128", "--method=gradient", "--fitness=evaluation"]
    assert cli.main(["meta-train", "ta-lpg", *where, *search, *sizes, "--out", str(tmp_path / "a")]) == 0
    rule = tmp_path / "a" / "learned.npz"
    command = ["train", "ta-lpg", "gridworld/small", "--steps=64", "--rule", str(rule), "--episodes=2", *sizes]
    assert cli.main([*command, "--no-tensorboard", "--out", str(tmp_path / "run")]) == 0
    assert json.loads((tmp_path / "run" / "config.json").read_text())["hypers"]["rule"] == str(rule)
    assert cli.main(["train", "--resume", str(tmp_path / "run")]) == 0
    capsys.readouterr()
    for learned in (tmp_path / "a", rule):
        code, out, _ = call(
            capsys,
            "meta-eval",
            learned,
            "--steps=64",
            "--seeds=2",
            "--against=lpg",
            "--fitness=evaluation",
            "--workers=1",
        )
        assert code == 0 and len([line for line in out.splitlines() if line.strip().startswith("gridworld/small")]) == 2
