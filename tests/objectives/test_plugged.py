"""Objectives of a user's own: what may be used by a name, what a record may name, and what it takes to go on."""

from __future__ import annotations

import sys

import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from toys import PROBE, TINY

import rljax
from rljax import cli, objectives, registry
from rljax.cli import meta_eval
from rljax.errors import ConfigError, NotPluggedIn
from rljax.meta import spec as meta_spec
from rljax.objectives import files, plugged
from rljax.results import store
from rljax.spec import RunSpec
from rljax.sweeps import rows

MODULE = """
import jax.numpy as jnp
import numpy as np
from flax import struct

class Leash(struct.PyTreeNode):
    weight: float = 3.0

    def __call__(self, log_ratio, advantage, progress):
        return self.weight * jnp.square(log_ratio) - jnp.exp(log_ratio) * advantage

strong = Leash(weight=7.0)
"""
TRAIN = {"steps": 64, "use_preset": False, "progress": False, "tensorboard": False, **TINY}


class Mine(struct.PyTreeNode):
    weight: float = 3.0
    needed: float = struct.field(default=1.0)

    def __call__(self, log_ratio, advantage, progress):
        return self.needed * self.weight * jnp.square(log_ratio) - jnp.exp(log_ratio) * advantage


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setattr(registry, "_added", {})
    return plugged.PLUGGED.registered()


@pytest.fixture
def module(tmp_path, monkeypatch):
    """`leashes.py`, where a command is run."""
    (tmp_path / "leashes.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    monkeypatch.delitem(sys.modules, "leashes", raising=False)
    return tmp_path


@pytest.mark.parametrize(
    "text", ["os:system", ":", "x:", "json:JSONDecoder", "os.path:join", "no_such:Thing", "json:x"]
)
def test_a_name_that_is_no_objective_is_refused_and_not_called(text):
    for use in (plugged.plug_in, plugged.register, lambda text: rljax.make("ppo", PROBE, objective=text)):
        with pytest.raises(ConfigError, match=r"objective"):
            use(text)


def test_a_name_alone_imports_nothing(module):
    with pytest.raises(NotPluggedIn, match=r"from leashes import Leash; rljax.objectives.register\(Leash\)"):
        objectives.build("leashes:Leash")
    assert "leashes" not in sys.modules
    assert rljax.make("ppo", PROBE, objective="leashes:strong")[0].hypers.objective.weight == 7.0
    assert objectives.build("leashes:Leash", weight=2.0).weight == 2.0


def test_fields_in_a_record_are_those_that_the_class_declares():
    objectives.register(Mine)
    name = plugged.path_of(Mine)
    with pytest.raises(ConfigError, match=r"objective.args=touch x: .*:Mine has weight, needed"):
        objectives.build(name, args="touch x")
    with pytest.raises(ConfigError, match=r"objective.weight"):
        objectives.build(name, weight="much")


def test_an_objective_is_refused_where_an_algorithm_has_none():
    with pytest.raises(ConfigError, match=r"unknown setting of dqn 'objective'"):
        rljax.train("dqn", "CartPole-v1", steps=1000, objective=objectives.PPOClip())
    for other in (3, object(), lambda *x: 0.0):
        with pytest.raises(ConfigError, match=r"objective="):
            rljax.make("ppo", PROBE, objective=other)


def test_what_was_trained_by_an_own_objective_takes_it_again(module, registered, capsys):
    run = rljax.train("ppo", PROBE, objective="leashes:Leash", **{"objective.weight": 2.0}, out="a b", **TRAIN)
    assert store.read(run.folder)["objective"]["name"] == "leashes:Leash"
    assert rljax.load("a b").algo.hypers.objective.weight == 2.0  # in this process it is plugged in
    registered.clear()
    with pytest.raises(NotPluggedIn, match=r"from leashes import Leash; rljax.load\('a b', objective=Leash\)"):
        rljax.load("a b")
    assert cli.main(["eval", "a b", "--episodes=2"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and said.endswith("rljax eval 'a b' --episodes=2 --objective leashes:Leash\n")
    assert cli.main(["eval", "a b", "--episodes=2", "--objective", "leashes:Leash"]) == 0
    registered.clear()
    assert rljax.resume("a b", objective=Mine2, progress=False).policy.algo.hypers.objective.weight == 2.0


class Mine2(Mine):
    """The same under another name: the record has one class only, so this one is meant."""


def test_no_kind_of_record_imports_what_it_names(module, registered):
    """A run's, a sweep's, a search's, and the file of a learned objective, whole and with right checksums."""
    row = rows.Row.of("ppo", PROBE, steps=64, **TINY).to_json() | {"varied": {}}
    row |= {"objective": {"name": "leashes:Leash", "fields": {"weight": 2.0}}}
    search = {"method": "evolution", "rows": [row], "draws": [{"shortest": None, "vary": {}, "reference": [0.0, 1.0]}]}
    search |= {"learn": ["lr"], "generations": 1, "strategy": {"name": "open-es", "popsize": 2}}
    whole = {"objective": "leashes:Leash", "objective.weight": 2.0}
    provenance = {"method": {}, "tasks": [row], "scores": {}}
    files.write(module / "learned.npz", files.Stored("LPO", objectives.network(8), provenance))
    for use in (
        lambda: rows.from_record({"rows": [row]}),
        lambda: rows.from_record({"rows": [{**row, "objective": None, "varied": whole}]}, call="rljax.load_sweep('a'"),
        lambda: meta_spec.from_record(search),
        lambda: RunSpec.from_json(row).build(),
        lambda: rows.Row.from_json(row).prepare(),
        lambda: meta_eval._source(module / "learned.npz", None),
    ):
        with pytest.raises(NotPluggedIn, match=r"a record imports nothing; plug it in again: .*objective"):
            use()
    assert "leashes" not in sys.modules
    found = rows.from_record({"rows": [row]}, objective="leashes:Leash")[0].prepare()
    assert found.algorithm.hypers.objective.weight == 2.0
    with pytest.raises(ConfigError, match=r"nothing there is a class of your own"):
        rows.from_record({"rows": [{**row, "objective": None}]}, objective=Mine)


@pytest.mark.parametrize(
    "tasks",
    [
        3,
        [{"algo": 3}],
        [{"algo": "ppo"}],
        [{"algo": "ppo", "settings": {}, "env": PROBE}],
        [{**RunSpec("ppo", PROBE, 64).to_json(), "env": []}],
        [{**RunSpec("ppo", PROBE, 64).to_json(), "hypers": 3}],
    ],
)
def test_a_learned_file_with_another_history_is_one_line(tmp_path, tasks):
    provenance = {"method": {}, "tasks": tasks, "scores": {}}
    weights = {**objectives.network(8), "clip": 0.2, "ppo": 1.0}
    arrays = {name: np.asarray(x, np.float32) for name, x in weights.items()}
    files.write(tmp_path / "learned.npz", files.Stored("LPO", arrays, provenance))
    with pytest.raises(ConfigError, match=r"learned.npz: (holds what|its history is of)|unknown algorithm"):
        meta_eval._source(tmp_path / "learned.npz", None)
    assert rljax.make("ppo", PROBE, objective=str(tmp_path / "learned.npz"))
