"""Wrong command lines and wrong calls, one after another: each is refused in one line and leaves nothing behind.

The options are asked of the commands, so one that is added is tried too.
"""

from __future__ import annotations

import os

import numpy as np
import pytest
from toys import PROBE

import rljax
from rljax import algos, cli
from rljax.cli import parser
from rljax.errors import ConfigError, RljaxError
from rljax.kinds import Count, Flag, Maybe, Number, Several

BAD_VALUES = ["-1", "0", "1e30", "1e400", "nan", "inf", "word", "1.5", "-5e-1", "٣٣x", "[1]", "1,2"]
LINES = {
    "train": [f"train {name} CartPole-v1" for name in algos.names()],
    "sweep": ["sweep ppo CartPole-v1", "sweep dqn CartPole-v1"],
    "meta-train": ["meta-train lpo", "meta-train ta-lpg"],
    "resume": ["train --resume", "sweep --resume", "meta-train --resume"],
    "others": ["meta-eval a", "eval a", "plot a", "render a", "report a", "list algos"],
}


def options(line):
    """The options of the command that a line is for."""
    found = []

    def read(command, prog, arguments, partly=False):
        found.append(command)
        if partly:  # where, before what
            return whole(command, prog, arguments, partly)
        raise KeyboardInterrupt

    whole, parser.read = parser.read, read
    try:
        cli.main([*line.split(), "x"] if line.endswith("--resume") else line.split())
    finally:
        parser.read = whole
    return [option for command in found for option in parser.options_of(command)]


def kind_of(option):
    kind = option.kind
    while isinstance(kind, Maybe | Several):
        kind = kind.kind
    return kind


def takes(option, word):
    """Whether the word is right after all."""
    try:
        parser._value(option, [word])
    except ConfigError:
        return False
    return True


def bad_lines(line, tried):
    """Lines to be refused, with each option that has not been tried yet."""
    begin = line.removesuffix(" --resume")
    for option in options(line):
        name = option.written
        if option.positional or option in tried:
            continue
        tried.add(option)
        yield f"{begin} {name}x 1"
        yield f"{begin} {name}="
        flag = isinstance(option.kind, Flag)
        if not flag:
            yield f"{begin} {name}"
            yield f"{begin} {name} --seed"
        value = "true" if flag else "1"
        yield f"{begin} {name} {value} {name} {value}"
        for word in BAD_VALUES:
            if isinstance(kind_of(option), Count | Number) and word in ("nan", "word", "٣٣x", "[1]", "1,2"):
                assert not takes(option, word), f"{name} {word}"
            if not takes(option, word):
                yield f"{begin} {name}={word}"


def refused(capsys, arguments):
    code = cli.main(arguments)
    out, err = capsys.readouterr()
    assert code == cli.USAGE and err.startswith("rljax: ") and err.count("\n") == 1 and not out, (arguments, err)


@pytest.mark.parametrize("command", LINES)
def test_every_option_given_wrongly(command, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tried = set()
    for line in LINES[command]:
        for bad in list(bad_lines(line, tried)):
            refused(capsys, bad.split())
    assert tried and not os.listdir(tmp_path)


MORE = """
nothing
train
train ppo
train poo CartPole-v1
train ppo CartPole-v2
train ppo CartPole-v1 word
train --resume a b
train ppo CartPole-v1 --resume a
train ppo CartPole-v1 --no-squash true
train ppo CartPole-v1 --squash maybe
train ppo CartPole-v1 -lr 1
train ppo CartPole-v1 --steps 1e30
train ppo CartPole-v1 --num-envs 10000000000
train ppo CartPole-v1 --hidden 1000000000000
train ppo CartPole-v1 --hidden 64 0
train ppo CartPole-v1 --num-minibatches 3
train ppo CartPole-v1 --objective dpoo
train ppo CartPole-v1 --objective dpo --objective.clip 1
train ppo CartPole-v1 --activation rellu
train ppo CartPole-v1 --torso cnn
train ppo CartPole-v1 --task gravity
train ppo CartPole-v1 --task gravity=
train ppo CartPole-v1 --task gravitty=1
train ppo CartPole-v1 --task gravity=nan
train ppo CartPole-v1 --task gravity=inf
train ppo CartPole-v1 --task gravity=1e39
train ppo CartPole-v1 --task gravity=true
train ppo CartPole-v1 --task gravity=heavy
train ppo CartPole-v1 --task gravity=1 gravity=2
train ppo CartPole-v1 --task max_steps_in_episode=0
train ppo CartPole-v1 --task max_steps_in_episode=-5
train ppo CartPole-v1 --task max_steps_in_episode=0.5
train ppo CartPole-v1 --task max_steps_in_episode=1e30
train ppo CartPole-v1 --task max_steps_in_episode=inf
train ppo PROBE --steps 100 --task length=-1
train ppo PROBE --steps 100 --task length=inf
train ppo PROBE --steps 100 --task limit=0
train dqn CartPole-v1 --head categorical --value-low 5 --value-high 1
train dqn CartPole-v1 --head categorical --value-low 100
train dqn CartPole-v1 --value-low 5
train dqn CartPole-v1 --batch-size 2000
train dqn CartPole-v1 --steps 1000
train sac Pendulum-v1 --target-critics 3
train sac Pendulum-v1 --policy-delay 2
sweep ppo
sweep ppo,poo CartPole-v1
sweep ppo CartPole-v1 --grid lr
sweep ppo CartPole-v1 --grid lr=
sweep ppo CartPole-v1 --grid lr=inf
sweep ppo CartPole-v1 --grid lr=nan
sweep ppo CartPole-v1 --grid lr=-1
sweep ppo CartPole-v1 --grid lr=fast
sweep ppo CartPole-v1 --grid lr=1,1
sweep ppo CartPole-v1 --grid lr=log:0:1:3
sweep ppo CartPole-v1 --grid lr=linear:0:1:1e9
sweep ppo CartPole-v1 --grid lr=1 --grid lr=2
sweep ppo CartPole-v1 --grid lr=1 --lr 2
sweep ppo CartPole-v1 --grid task.max_steps_in_episode=10,0
sweep ppo CartPole-v1 --grid num_envs=4,1e30
sweep ppo CartPole-v1 --sample lr=uniform:0:1
sweep ppo CartPole-v1 --sample lr=uniform:-1:1 --trials 2
sweep ppo CartPole-v1 --sample lr=uniform:1:0 --trials 2
sweep ppo CartPole-v1 --sample lr=uniform:0:inf --trials 2
sweep ppo CartPole-v1 --sample num_envs=int:1:1e30 --trials 2
sweep ppo CartPole-v1 --trials 2
sweep ppo CartPole-v1 --sample-seed 1
sweep ppo CartPole-v1 --seeds 99999999999
sweep ppo CartPole-v1 --rungs 0
sweep ppo CartPole-v1 --rungs 3
sweep ppo CartPole-v1 --batch 3
sweep ppo CartPole-v1 --metric foo
sweep ppo CartPole-v1 --halving 1
sweep ppo CartPole-v1 --halving 2 --rungs 1
sweep ppo CartPole-v1 --sampler optuna
sweep ppo CartPole-v1 --memory-limit much
sweep ppo CartPole-v1 --memory-limit 0
sweep ppo CartPole-v1 --num-processes 2
sweep ppo CartPole-v1 --process-id 1
sweep ppo CartPole-v1 --submit-with a=1
sweep ppo CartPole-v1 --submit local
sweep ppo CartPole-v1 --submit local --num-processes 2 --process-id 1
sweep ppo CartPole-v1 --submit local --num-processes 2 --submit-with a=1 a=2
sweep ppo CartPole-v1 --coordinator here
sweep ppo CartPole-v1 --coordinator here:99999 --num-processes 2 --process-id 0
sweep ppo CartPole-v1 --coordinator here:80 --num-processes 2
sweep ppo CartPole-v1 --coordinator here:80 --num-processes 2 --process-id 2
sweep ppo CartPole-v1 --coordinator env --num-processes 2
meta-train
meta-train lpo
meta-train lpo --env
meta-train lpo --env CartPole-v1 --env CartPole-v1
meta-train lpo --env CartPole-v1,lr=-1
meta-train lpo --env CartPole-v1,lr=1,lr=2
meta-train lpo --env CartPole-v1 --steps 10:5
meta-train lpo --env CartPole-v1 --steps 1:2:3
meta-train lpo --env CartPole-v1 --steps -5
meta-train lpo --env CartPole-v1 --vary gravity
meta-train lpo --env CartPole-v1 --vary gravity=uniform:2:1
meta-train lpo --env CartPole-v1 --vary gravity=uniform:1:2 --vary gravity=uniform:1:3
meta-train lpo --env CartPole-v1 --strategy-with sigma=nan
meta-train lpo --env CartPole-v1 --strategy-with sigma=0
meta-train lpo --env CartPole-v1 --strategy-with sigma=wide
meta-train lpo --env CartPole-v1 --strategy-with sigma=1 sigma=2
meta-train lpo --env CartPole-v1 --strategy-with lr=inf
meta-train lpo --env CartPole-v1 --popsize 3
meta-train lpg --env gridworld/small --meta-lr 1
meta-train lpg --env gridworld/small --method gradient --popsize 4
meta-eval
meta-eval nowhere
meta-eval nowhere --against poo
eval
eval nowhere
eval a b
plot
plot nowhere
render nowhere
render nowhere --fps 1000
report nowhere
list
list algo
list algos envs
""".strip().replace("PROBE", PROBE)


@pytest.mark.parametrize("line", MORE.split("\n"))
def test_what_does_not_go_together(line, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused(capsys, line.split())
    assert not os.listdir(tmp_path)


HUGE = 10**5000
QUIET = {"steps": 64, "num_envs": 4, "num_steps": 8, "num_minibatches": 1, "hidden": (4,), "progress": False}
BAD = [
    None,
    "",
    "1",
    "word",
    -1,
    1.5,
    float("nan"),
    float("inf"),
    HUGE,
    1j,
    [],
    {},
    object(),
    np.zeros(3),
    np.array("a"),
]
RIGHT = {  # what of these an argument takes
    "steps": [None],
    "log_every": [None],
    "save_every": [None],
    "task": [None, {}],
    "env_args": [None, {}],
    "wandb": [None],
    "lr": [1.5],
    "value_clip": [1.5, float("inf"), HUGE],
    "objective.clip": [1.5, float("inf"), HUGE],
    "hidden": [[]],
}
TRIED = [
    *("algo", "env", "steps", "seed", "use_preset", "task", "env_args", "tensorboard", "log_every", "save_every"),
    *("lr", "discount", "value_clip", "num_envs", "hidden", "torso", "normalize_obs", "activation", "objective"),
    *("objective.clip", "unknown"),
]


@pytest.mark.parametrize("name", TRIED)
def test_every_argument_given_wrongly(name, tmp_path):
    for bad in BAD:
        if any(bad is x or (type(bad) is type(x) and bad == x) for x in RIGHT.get(name, ())):
            continue
        call = {"algo": "ppo", "env": PROBE, "out": tmp_path / "a"} | QUIET | {name: bad}
        with pytest.raises(RljaxError) as error:
            rljax.train(**call)
        assert "\n" not in str(error.value), (name, bad)
        assert not os.listdir(tmp_path), (name, bad)


CALLS = {
    "dqn has no objective": lambda: rljax.make("dqn", "CartPole-v1", objective="dpo"),
    "an objective by another's field": lambda: rljax.make("ppo", "CartPole-v1", **{"objective.alpha": 1.0}),
    "negative in an array": lambda: rljax.make("ppo", "CartPole-v1", lr=np.array([0.1, -0.1])),
    "many numbers for one run": lambda: rljax.train("ppo", PROBE, lr=np.array([0.1, 0.2]), **QUIET),
    "NaN in a task": lambda: rljax.make("ppo", "CartPole-v1", task={"gravity": np.float32("nan")}),
    "a task of another shape": lambda: rljax.make("ppo", "CartPole-v1", task={"gravity": np.ones(2)}),
    "a flag in place of a number": lambda: rljax.make("ppo", "CartPole-v1", task={"gravity": np.True_}),
    "an episode of no steps": lambda: rljax.make("ppo", "CartPole-v1", task={"max_steps_in_episode": np.int64(0)}),
    "more updates than are counted": lambda: rljax.train("ppo", PROBE, **QUIET | {"steps": 2**50}),
    "text for a number of an environment": lambda: rljax.make("ppo", "CartPole-v1", env_args={"gravity": "a"}),
    "an environment of no steps": lambda: rljax.make("ppo", "CartPole-v1", env_args={"max_steps_in_episode": 0}),
    "a number for an environment": lambda: rljax.make("ppo", 3),
    "a number for a folder": lambda: rljax.load(3),
    "no folder": lambda: rljax.resume(None),
    "a folder of another kind": lambda: rljax.train("ppo", PROBE, out=3, **QUIET),
    "too many seeds": lambda: rljax.sweep("ppo", PROBE, steps=64, seeds=10**12),
    "a seed that is none": lambda: rljax.sweep("ppo", PROBE, steps=64, seeds=[0.5]),
    "a grid that is none": lambda: rljax.sweep("ppo", PROBE, steps=64, grid=["lr"]),
    "NaN in a grid": lambda: rljax.sweep("ppo", PROBE, steps=64, grid={"lr": [float("nan")]}),
    "text in a grid": lambda: rljax.sweep("ppo", PROBE, steps=64, grid={"lr": ["fast"]}),
    "no workers": lambda: rljax.sweep("ppo", PROBE, steps=64, seeds=1, workers=0),
    "no width": lambda: rljax.sweep("ppo", PROBE, steps=64, seeds=1, width=-1),
    "generations": lambda: rljax.evolve("ppo", PROBE, 64, objective="lpo", generations=0),
    "runs": lambda: rljax.evolve("ppo", PROBE, 64, objective="lpo", runs=float("nan")),
    "an unknown normaliser": lambda: rljax.evolve("ppo", PROBE, 64, objective="lpo", normalise="rank"),
    "steps in the wrong order": lambda: rljax.evolve("ppo", PROBE, (128, 64), objective="lpo"),
}


@pytest.mark.parametrize("name", CALLS)
def test_calls_that_cannot_be(name):
    with pytest.raises(ConfigError) as error:
        CALLS[name]()
    assert "\n" not in str(error.value)
