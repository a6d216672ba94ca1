"""Options from a file."""

from __future__ import annotations

import json

import numpy as np
import pytest
import yaml

from rljax import cli
from rljax.cli.config_file import expand
from rljax.errors import ConfigError


@pytest.mark.parametrize(
    ("content", "words", "expected"),
    [
        ("lr: 1e-3", ["ppo", "X"], ["ppo", "X", "--lr=0.001"]),
        ("lr: 1e-3\nseed: 4", ["ppo", "X", "--seed", "5"], ["ppo", "X", "--seed", "5", "--lr=0.001"]),
        ("algo: ppo\nenv: X", ["--lr=1"], ["ppo", "X", "--lr=1"]),
        ("algo: ppo\nenv: X", ["dqn", "Y"], ["dqn", "Y"]),
        ("algo: ppo\nenv: X", ["--seed", "1"], ["ppo", "X", "--seed", "1"]),
        ("algo: ppo\nenv: X", ["dqn", "--seed", "1"], ["dqn", "X", "--seed", "1"]),
        ("hidden: [64, 32]", ["ppo", "X"], ["ppo", "X", "--hidden", "64", "32"]),
        ("hidden: []\nvalue_clip: .inf", ["ppo", "X"], ["ppo", "X", "--hidden", "none", "--value-clip=inf"]),
        ("normalize-obs: true\nwandb: null", ["ppo", "X"], ["ppo", "X", "--normalize-obs=true"]),
        ("normalize_obs: true", ["ppo", "X", "--no-normalize-obs"], ["ppo", "X", "--no-normalize-obs"]),
        ("task: {length: 0.5, m: 2}", ["ppo", "X"], ["ppo", "X", "--task", "length=0.5", "m=2"]),
        (
            "grid: {lr: [1e-4, 1e-3], gamma: 1}",
            ["ppo", "X"],
            ["ppo", "X", "--grid", "lr=0.0001,0.001", "--grid", "gamma=1"],
        ),
        ("objective.clip: 1e-1\ntask: {}", ["ppo", "X"], ["ppo", "X", "--objective.clip=0.1"]),
        (json.dumps({"plugin": "./mine.py", "lr": 1}), ["ppo", "X"], ["ppo", "X", "--plugin=./mine.py", "--lr=1"]),
    ],
)
def test_options_of_a_file_stand_behind_those_of_the_command_line(content, words, expected, tmp_path):
    (tmp_path / "c.yaml").write_text(content)
    for given in (["--config", str(tmp_path / "c.yaml")], [f"--config={tmp_path / 'c.yaml'}"]):
        assert expand([*words, *given]) == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("- 1", "must hold names and values"),
        ("a: [", "cannot be read"),
        ("3: 4", "must hold names and values"),
        (None, "there is no such file"),
    ],
)
def test_a_file_that_cannot_be(content, message, tmp_path):
    if content is not None:
        (tmp_path / "c.yaml").write_text(content)
    with pytest.raises(ConfigError, match=message):
        expand(["ppo", "X", "--config", str(tmp_path / "c.yaml")])


def test_what_a_run_wrote_runs_again(tmp_path, capsys):
    tiny = ["--num-envs=4", "--num-steps=8", "--hidden=8", "--no-tensorboard", "--episodes=0", "--steps=64"]
    numbers = ["--task", "gravity=9", "--objective=kl-penalty", "--objective.final=0.5", "--lr=0.002"]
    a, b, c = (str(tmp_path / name) for name in "abc")
    assert cli.main(["train", "ppo", "CartPole-v1|time_limit(20)", "--out", a, *tiny, *numbers]) == 0
    again = ["train", "--config", f"{a}/config.json", "--episodes=0"]
    assert cli.main([*again, "--out", b]) == 0 and cli.main([*again, "--out", c, "--seed=1", "--lr=0.1"]) == 0
    one, two, other = (json.loads((tmp_path / name / "config.json").read_text()) for name in "abc")
    same = {"algo", "env", "config", "hypers", "objective", "task", "seed", "updates"}
    assert {name: one[name] for name in same} == {name: two[name] for name in same}
    assert (other["seed"], other["hypers"]["lr"]) == (1, 0.1) and other["objective"] == one["objective"]
    rows = [(tmp_path / name / "metrics.jsonl").read_text().splitlines() for name in "ab"]
    returns = [[json.loads(row)["policy_loss"] for row in each] for each in rows]
    np.testing.assert_array_equal(*returns)


def test_refusals(tmp_path, capsys):
    (tmp_path / "c.yaml").write_text(yaml.safe_dump({"lrr": 1}))
    path = str(tmp_path / "c.yaml")
    assert cli.main(["train", "ppo", "CartPole-v1", "--config", path]) == 2
    assert "unknown option '--lrr'; did you mean '--lr'?" in capsys.readouterr().err
    assert cli.main(["eval", "x", "--config", path]) == 2
    assert "--config is for meta-train, sweep, train; rljax eval takes none" in capsys.readouterr().err
    assert cli.main(["train", "ppo", "CartPole-v1", "--config", path, "--config", path]) == 2
    assert "is given twice" in capsys.readouterr().err
    assert cli.main(["train", "ppo", "CartPole-v1", "--config"]) == 2
    assert "needs a value" in capsys.readouterr().err
