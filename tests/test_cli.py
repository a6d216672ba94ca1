"""The command line, used as from a shell: exit codes, one-line refusals, interruption, resumption."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from rljax import cli
from rljax.log import read_jsonl

TINY = ["--num-envs=4", "--num-steps=8", "--num-epochs=2", "--num-minibatches=2", "--hidden=8", "--no-tensorboard"]


def rljax(*arguments, folder, **options):
    """A process of its own, as a user starts it."""
    return subprocess.Popen(
        [sys.executable, "-m", "rljax", *map(str, arguments)],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def call(capsys, *arguments):
    """In this process: -> (exit code, stdout, stderr)."""
    try:
        code = cli.main([str(a) for a in arguments])
    except SystemExit as stop:  # how the option parser leaves
        code = stop.code
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli") / "a"
    assert cli.main(["train", "ppo", "CartPole-v1", "--steps", "1000", "--out", str(folder), *TINY]) == 0
    return folder


def test_training_leaves_a_score_a_picture_and_a_run(trained, capsys):
    assert {"config.json", "metrics.jsonl", "checkpoints", "evaluation.json", "curve.png"} <= set(os.listdir(trained))
    assert json.loads((trained / "evaluation.json").read_text())["episodes"] == 128


def test_a_run_from_another(trained, tmp_path, capsys):
    words = ["train", "--from", trained, "--steps=100", "--seed=3", "--task", "gravity=12", "--episodes=0"]
    assert call(capsys, *words, "--out", tmp_path / "b")[0] == 0
    record = json.loads((tmp_path / "b" / "config.json").read_text())
    assert record["start"]["run"] == str(trained) and record["task"] == {"gravity": 12}
    assert (record["config"]["hidden"], record["seed"], record["env"]) == ([8], 3, "CartPole-v1")
    assert call(capsys, "train", "--resume", tmp_path / "b", "--steps=200", "--episodes=0")[0] == 0
    assert json.loads((tmp_path / "b" / "config.json").read_text())["steps"] == 200
    assert "finished" in call(capsys, "train", "--resume", tmp_path / "b", "--episodes=0")[1]
    code, _, err = call(capsys, "train", "--from")
    assert code == 2 and err == "rljax: --from needs a value: a run folder\n"
    assert "--from is for train; rljax sweep takes none" in call(capsys, "sweep", "--from", trained)[2]


def test_eval_elsewhere(trained, capsys):
    before = (trained / "evaluation.json").read_text()
    words = ["eval", trained, "--episodes", 4, "--seeds", 2, "--task", "max_steps_in_episode=3"]
    code, out, _ = call(capsys, *words)
    assert code == 0 and out.startswith(
        "return 3 [3, 3] (mean and 95 % interval, 8 greedy episodes on CartPole-v1 with max_"
    )
    code, out, _ = call(capsys, *words[:4], "--env", "CartPole-v1|time_limit(2)", "--json")
    assert code == 0 and json.loads(out)["returns"] == [2.0] * 4
    assert (trained / "evaluation.json").read_text() == before
    code, _, err = call(capsys, "eval", trained, "--env", "Acrobot-v1")
    assert code == 2 and err.startswith("rljax: env=Acrobot-v1: observation_space")


def test_eval(trained, capsys):
    code, out, _ = call(capsys, "eval", trained, "--episodes", 16)
    assert code == 0 and re.fullmatch(r"return .* \[.*, .*\] \(mean and 95 % interval, 16 greedy episodes.*\)\n", out)
    code, out, _ = call(capsys, "eval", trained, "--episodes", 16, "--no-greedy", "--json")
    found = json.loads(out)
    assert code == 0 and len(found["returns"]) == 16 and found["low"] <= found["mean"] <= found["high"]


def test_plot_and_render(trained, capsys, tmp_path):
    code, out, _ = call(capsys, "plot", trained, trained, "--out", tmp_path / "both.svg")
    assert code == 0 and out.strip().endswith("both.svg") and (tmp_path / "both.svg").exists()
    code, out, _ = call(capsys, "render", trained, "--steps", 5)
    assert code == 0 and (trained / "episode.gif").read_bytes()[:3] == b"GIF"


def test_a_picture_of_several_runs_replaces_nobodys(trained, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = (trained / "curve.png").read_bytes()
    other = shutil.copytree(trained, tmp_path / "other")
    for name in ("comparison.png", "comparison-2.png"):
        code, out, _ = call(capsys, "plot", trained, other)
        assert (code, out) == (0, f"{name}\n") and (tmp_path / name).read_bytes()[:4] == b"\x89PNG"
    assert (trained / "curve.png").read_bytes() == before


@pytest.mark.parametrize(("name", "begins"), [("a.GIF", b"GIF"), ("a.png", b"\x89PNG"), ("a.webp", b"RIFF")])
def test_a_film_is_what_its_name_says(trained, capsys, tmp_path, name, begins):
    code, *_ = call(capsys, "render", trained, "--steps", 3, "--out", tmp_path / name)
    assert code == 0 and (tmp_path / name).read_bytes().startswith(begins) and os.listdir(tmp_path) == [name]


def test_what_cannot_be_kept_is_shown_first(trained, capsys, tmp_path):
    for name in ("evaluation.json", "curve.png", "episode.gif"):
        (tmp_path / name / "in the way").mkdir(parents=True)
    for name in ("config.json", "metrics.jsonl", "checkpoints"):
        (tmp_path / name).symlink_to(trained / name)
    code, out, err = call(capsys, "eval", tmp_path, "--episodes", 4)
    assert code == 0 and out.startswith("return ")
    assert err.startswith(f"rljax: this evaluation is not kept: {tmp_path}/evaluation.json cannot be written: ")
    code, out, err = call(capsys, "train", "--resume", tmp_path, "--episodes", 4)
    assert code == 0 and "this run is finished" in out and "return " in out and err.count("is not kept") == 2
    for command in (["plot", tmp_path], ["render", tmp_path, "--steps", 3]):
        code, out, err = call(capsys, *command)
        assert code == 1 and not out and err.count("\n") == 1 and "give another place with --out" in err
    assert len(os.listdir(tmp_path)) == 6  # no half of anything


@pytest.mark.parametrize("out", ["", "gs://bucket/a", "thesis.tex", "thesis.tex/a"])
@pytest.mark.parametrize(
    "command", ["train ppo CartPole-v1", "sweep ppo CartPole-v1", "meta-train lpo --env CartPole-v1"]
)
def test_what_can_be_no_folder_is_refused_and_leaves_nothing(command, out, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "thesis.tex").touch()
    tiny = [option for option in TINY if command.startswith("train") or option != "--no-tensorboard"]
    code, said, err = call(capsys, *command.split(), "--steps=64", *tiny, "--out", out)
    assert code == 2 and not said and re.match("rljax: (out=|--out needs)", err) and err.count("\n") == 1
    assert os.listdir(tmp_path) == ["thesis.tex"]


def test_lists(capsys):
    for what, some in (("algos", "ppo"), ("envs", "CartPole-v1"), ("objectives", "ppo-clip"), ("presets", "PureJaxRL")):
        code, out, _ = call(capsys, "list", what)
        assert code == 0 and some in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("train ppo CartPole-v2", "did you mean 'CartPole-v1'"),
        ("train poo CartPole-v1", "did you mean 'ppo'"),
        ("trian ppo CartPole-v1", "did you mean 'train'"),
        ("train ppo", "needs an algorithm and an environment"),
        ("train ppo CartPole-v1 --num-envs 0", "num_envs=0: must be at least 1"),
        ("train ppo CartPole-v1 --num-minibatches 3", "num_minibatches=3: must divide"),
        ("train ppo CartPole-v1 --steps -5", "steps=-5"),
        ("train ppo CartPole-v1 --lr nan", "lr=nan"),
        ("train ppo CartPole-v1 --lr -1", "lr=-1: must be at least 0"),
        ("train ppo CartPole-v1 --task gravity", "NAME=NUMBER"),
        ("train ppo CartPole-v1 --task gravitty=1", "did you mean 'gravity'"),
        ("train ppo CartPole-v1 --squash", "squash=True: needs continuous actions"),
        ("train ppo Acrobot-v1", "steps=None"),
        ("train --resume nowhere", "no config.json there"),
        ("eval nowhere", "no config.json there"),
        ("plot nowhere", "nowhere"),
        ("render nowhere", "no config.json there"),
        ("render nowhere --out a.mp4", "a.mp4: must end with .gif, .webp, .png, .apng"),
        ("plot nowhere --out a.docx", "nowhere"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = call(capsys, *arguments.split())
    assert code == 2 and message in err and err.count("\n") == 1 and not out
    assert not list(tmp_path.iterdir())


def test_an_existing_folder_is_refused_and_a_default_one_numbered(trained, capsys, tmp_path, monkeypatch):
    code, _, err = call(capsys, "train", "ppo", "CartPole-v1", "--steps", 100, "--out", trained, *TINY)
    assert code == 2 and f"finished: rljax eval {trained}" in err
    monkeypatch.chdir(tmp_path)
    for name in ("ppo-CartPole-v1-s0", "ppo-CartPole-v1-s0-2"):
        code, *_ = call(capsys, "train", "ppo", "CartPole-v1", "--steps", 100, "--episodes", 0, *TINY)
        assert code == 0 and (tmp_path / "runs" / name / "curve.png").exists()


def test_divergence_says_so(capsys, tmp_path):
    arguments = ["--steps", 20000, "--lr", "1e30", "--lr-final", 1, "--out", tmp_path / "a", *TINY]
    code, _, err = call(capsys, "train", "ppo", "CartPole-v1", *arguments)
    assert code == 1 and "training diverged" in err and "Traceback" not in err


def test_help_is_quick_because_it_imports_no_jax(tmp_path):
    program = (
        "import sys, contextlib, io, rljax.cli\n"
        "for a in (['--help'], ['train', '--help'], ['train', 'ppo', 'CartPole-v1', '--help'], ['eval', '--help']):\n"
        "    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()): rljax.cli.main(a)\n"
        "assert not {'jax', 'numpy', 'gymnax', 'brax'} & set(sys.modules), 'too much imported'\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)


def wait_for_checkpoint(process, folder):
    deadline = time.monotonic() + 120
    while not list(folder.glob("checkpoints/*/record")):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.02)


LONG = ["train", "ppo", "CartPole-v1", "--steps=96000", "--episodes=0", "--log-every=10", "--save-every=100", *TINY]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    assert cli.main([*LONG, "--out", str(folder / "a")]) == 0
    return folder / "a"


def final_numbers(run):
    columns = read_jsonl(run / "metrics.jsonl")
    newest = max((run / "checkpoints").iterdir(), key=lambda p: int(p.name))
    from rljax import api

    leaves = [np.asarray(x) for x in jax.tree.leaves(api.load(run).state.params)]
    return int(newest.name), columns["step"], columns["policy_loss"], leaves


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_run_that_was_ended_resumes_to_the_same_bits(number, undisturbed, tmp_path):
    process = rljax(*LONG, "--out", tmp_path / "a", folder=tmp_path)
    wait_for_checkpoint(process, tmp_path / "a")
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert "Traceback" not in err
    if number == signal.SIGKILL:
        assert process.returncode == -signal.SIGKILL
    else:
        assert process.returncode == 128 + number
        assert f"stopped by {number.name}" in out and f"rljax train --resume {tmp_path / 'a'}" in out
    resumed = rljax("train", "--resume", tmp_path / "a", folder=tmp_path)
    out, err = resumed.communicate(timeout=120)
    assert resumed.returncode == 0, err
    for whole, again in zip(final_numbers(undisturbed), final_numbers(tmp_path / "a")):
        np.testing.assert_equal(whole, again)
