"""An algorithm that takes no environment steps: its clock is updates, it learns from data, and plays afterwards."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from toys import PROBE

import rljax
from rljax import cli, resources
from rljax.engine import pool
from rljax.errors import ConfigError
from rljax.sweeps import report
from rljax.types import Algorithm

OBS = np.random.default_rng(0).choice([-1.0, 1.0], (64, 1)).astype(np.float32)
DATA = {"obs": OBS, "action": (OBS[:, 0] > 0).astype(np.int32)}  # the better action on this probe
HOW = {"steps": 40, "log_every": 5, "progress": False}


class Hypers(struct.PyTreeNode):
    lr: float = 0.5
    horizon: float = float("inf")


@dataclass(frozen=True)
class Config:
    batch_size: int = 16


class State(struct.PyTreeNode):
    weight: jax.Array  # [] the logit of action 1 is weight * obs
    key: jax.Array
    updates: jax.Array


@dataclass(frozen=True)
class Cloning(Algorithm):
    """Behavioural cloning by a linear policy."""

    config: Config = Config()
    hypers: Hypers = field(default=Hypers(), compare=False)
    steps_per_update = 0

    def init(self, key, hypers, task):
        return State(0.01 * jax.random.normal(key), key, jnp.int32(0))

    def step(self, state, hypers, task):
        key, k_draw = jax.random.split(state.key)
        index = jax.random.randint(k_draw, (self.config.batch_size,), 0, len(task.data["obs"]))
        obs, action = task.data["obs"][index, 0], task.data["action"][index]

        def loss(weight):
            logit = weight * obs
            return (jnp.logaddexp(0.0, logit) - action * logit).mean()

        value, slope = jax.value_and_grad(loss)(state.weight)
        return State(state.weight - hypers.lr * slope, key, state.updates + 1), {"loss": value}

    def act(self, state, carry, obs, reset, key, greedy):
        return carry, (state.weight * obs[:, 0] > 0).astype(jnp.int32)


@pytest.fixture(autouse=True)
def _registered():
    rljax.algos.register("cloning", Cloning)


def train(**more):
    return rljax.train("cloning", PROBE, data=DATA, **HOW | more)


def test_updates_are_its_clock():
    run = train()
    np.testing.assert_array_equal(run.metrics["updates"], np.arange(5, 41, 5))
    np.testing.assert_array_equal(run.metrics["step"], 0)
    assert (run.updates, run.step) == (40, 0) and run.metrics["loss"][-1] < run.metrics["loss"][0]


def test_what_it_learned_is_evaluated_on_the_environment():
    np.testing.assert_array_equal(train().evaluate(episodes=16), 1.0)


def test_it_is_stored_and_goes_on_to_the_same_bits(tmp_path, monkeypatch):
    whole, stopped = train(), tmp_path / "a"

    class Enough(Exception):
        pass

    saved = rljax.trainer.Checkpointer.save

    def save(self, step, state):
        saved(self, step, state)
        if step == 20:
            raise Enough

    monkeypatch.setattr(rljax.trainer.Checkpointer, "save", save)
    with pytest.raises(Enough):
        train(out=stopped, save_every=10)
    monkeypatch.undo()
    assert sorted(int(path.name) for path in (stopped / "checkpoints").iterdir() if path.name.isdigit()) == [10, 20]
    run = rljax.resume(stopped, data=DATA, progress=False)
    np.testing.assert_array_equal(run.policy.state.weight, whole.policy.state.weight)
    np.testing.assert_array_equal(run.metrics["loss"], whole.metrics["loss"])
    policy = rljax.load(stopped, data=DATA)
    np.testing.assert_array_equal(policy.state.weight, whole.policy.state.weight)
    assert policy.evaluate(4).mean() == 1.0


def test_data_is_given_again_and_must_be_the_same(tmp_path):
    train(out=tmp_path / "a")
    with pytest.raises(
        ConfigError, match=r"data=\w+: was learned from, and no record holds it.*rljax.load.*data=\.\.\."
    ):
        rljax.load(tmp_path / "a")
    with pytest.raises(ConfigError, match="is not what was learned from"):
        rljax.load(tmp_path / "a", data=DATA | {"action": 1 - DATA["action"]})


def test_without_data_it_is_refused():
    match = "data=None: cloning takes no environment steps, so it learns from data"
    for use in (rljax.train, partial(rljax.sweep, seeds=1, workers=1), partial(rljax.evolve, learn=("lr",))):
        with pytest.raises(ConfigError, match=match):
            use("cloning", PROBE, steps=40, progress=False)
    with pytest.raises(ConfigError, match=r"data=\.\.\.: is for rljax.train and rljax.sweep; a search takes none"):
        rljax.evolve("cloning", PROBE, steps=40, learn=("lr",), data=DATA, progress=False)


def test_rows_of_a_sweep_share_the_data_and_are_lone_runs(tmp_path):
    rates = {"lr": [0.5, 0.1]}
    how = HOW | {"seeds": 2, "grid": rates, "workers": 1, "width": 2, "data": DATA}
    found = rljax.sweep("cloning", PROBE, out=tmp_path / "a", **how)
    assert found.metrics["loss"].shape == (2, 2, 8)
    for i, lr in enumerate(rates["lr"]):
        lone = train(lr=lr, seed=1)
        np.testing.assert_allclose(found.metrics["loss"][i, 1], lone.metrics["loss"], rtol=1e-5)
    policy = found.policy(row=0, seed=1, data=DATA)
    assert policy.evaluate(4).mean() == 1.0
    again = rljax.sweep("cloning", PROBE, out=tmp_path / "a", **how)
    np.testing.assert_array_equal(again.metrics["loss"], found.metrics["loss"])


def test_processes_get_the_data_once_for_all_rounds(monkeypatch):
    sent, tell = [], pool.Worker.tell

    def noted(self, message):
        sent.append((self.number, type(message)))
        tell(self, message)

    monkeypatch.setattr(pool.Worker, "tell", noted)
    monkeypatch.setattr(resources, "free", lambda: 2**36)  # tests beside this one may take what there is
    how = HOW | {"seeds": 2, "grid": {"lr": [0.5, 0.1, 0.02]}, "width": 1, "data": DATA}
    how |= {"halving": 2, "rungs": 2, "score": "loss"}
    alone, together = (rljax.sweep("cloning", PROBE, workers=workers, **how) for workers in (1, 2))
    np.testing.assert_array_equal(alone.metrics["loss"], together.metrics["loss"])
    for number in (0, 1):
        assert sent.count((number, pool.NewData)) == 1 and sent.count((number, pool.NewJob)) == 2


def test_without_returns_its_results_are_shown_by_what_it_logs_and_by_updates(tmp_path, capsys):
    """They are in the order of the rows, as nobody has said whether more of it is better."""
    how = HOW | {"seeds": 2, "grid": {"lr": [0.1, 0.5]}, "workers": 1, "data": DATA}
    found = rljax.sweep("cloning", PROBE, out=tmp_path / "a", **how)
    assert str(found).startswith("loss, in the order of the rows:") and found.unit == "updates"
    assert found.table()["updates"].tolist() == [40, 40] and found.table()["iqm"].notna().all()
    np.testing.assert_array_equal(next(found.curve()).step, np.arange(5, 41, 5))
    page = report.write_report(found).read_text()
    assert "Not ranked: nobody has said that more loss is better" in page and "40 updates a run" in page
    with pytest.raises(ConfigError, match="unknown metric 'episode_return'; there are loss"):
        found.best()
    train(out=tmp_path / "run")
    assert cli.main(["plot", str(tmp_path / "run")]) == 0 and (tmp_path / "run" / "curve.png").exists()
    assert cli.main(["plot", str(tmp_path / "run"), "--metric", "reward"]) == 2
    assert "has no 'reward' yet" in capsys.readouterr().err
