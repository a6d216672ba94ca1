"""Evaluation while a run learns: exact, without a trace in the training, kept where it was best."""

from __future__ import annotations

import dataclasses
import shutil

import numpy as np
import pytest
from test_contract import leaves_equal
from toys import PROBE, TINY, counter

import rljax
from rljax import envs, run, trainer
from rljax.errors import ConfigError

HOW = {"lr": 0.03, "steps": 4 * 8 * 12, "log_every": 2, "progress": False, "tensorboard": False, **TINY}
CARTPOLE = {"episodes": 8, "greedy": False}


def trained(env="CartPole-v1", **more):
    return rljax.train("ppo", env, **HOW | more)


@pytest.fixture(scope="module")
def plain():
    return trained()


def test_an_evaluation_changes_no_number_of_the_training(plain):
    watched = trained(evaluate_every=4, evaluation=CARTPOLE)
    assert leaves_equal(plain.policy.state, watched.policy.state)
    for name in plain.metrics.keys() - {"seconds"}:
        np.testing.assert_array_equal(plain.metrics[name], watched.metrics[name])


def test_its_columns_are_those_of_the_policy_as_it_is_then():
    """Every four updates and at the end, by the seed of the run."""
    seen = {}

    def on_rows(row, policy):
        seen[row["updates"]] = policy.evaluate(8, greedy=False, seed=7).mean()

    found = trained(evaluate_every=4, evaluation=CARTPOLE, seed=7, on_rows=on_rows, steps=4 * 8 * 10).metrics
    due = np.isin(found["updates"], (4, 8, 10))
    np.testing.assert_array_equal(np.isfinite(found["evaluation_return"]), due)
    assert found["evaluation_return"][due].tolist() == [seen[4], seen[8], seen[10]]
    assert (found["evaluation_low"][due] <= found["evaluation_return"][due]).all()
    assert (found["evaluation_high"][due] >= found["evaluation_return"][due]).all()


@pytest.mark.parametrize("where", [{"task": {"length": 0.3}}, {"task.length": 0.3}, {"env": "the class"}])
def test_it_may_be_elsewhere(where):
    other = envs.make("CartPole-v1|sticky_actions(0.5)")
    where = {"env": other} if "env" in where else where
    found = trained(evaluate_every=12, evaluation={**CARTPOLE, **where})
    spot = {"env": other} if "env" in where else {"task": {"length": 0.3}}
    assert found.metrics["evaluation_return"][-1] == found.policy.evaluate(8, greedy=False, **spot).mean()
    assert found.metrics["evaluation_return"][-1] != found.evaluate(8, greedy=False).mean()


def test_it_may_be_elsewhere_on_an_object_of_gymnax(tmp_path):
    import gymnax

    found = trained(evaluate_every=12, evaluation={**CARTPOLE, "env": gymnax.make("CartPole-v1")}, out=tmp_path / "a")
    assert found.record["evaluation"]["env"] == "gymnax/CartPole-v1"
    counts, out = counter(), tmp_path / "b"
    asked = {"env": counts, "episodes": 2, "task": {"terminate_at": 3}}
    mine = trained(counts, evaluate_every=6, evaluation=asked, out=out)
    again = rljax.resume(out, env=counts, steps=4 * 8 * 14, progress=False)
    assert mine.metrics["evaluation_return"][-1] == again.metrics["evaluation_return"][-1] == 6, "1 + 2 + 3"


def test_a_curriculum_is_evaluated_as_it_ends():
    found = trained(evaluate_every=6, evaluation=CARTPOLE, task={"length": "linear(0.1,1.0)"})
    ends = envs.make("CartPole-v1")
    assert found.policy.env.task.length == 1.0 and ends.task.length == 0.5
    assert found.metrics["evaluation_return"][-1] == found.evaluate(8, greedy=False).mean()


def test_no_episode_is_longer_than_the_limit():
    """An environment that never ends by itself gives 1 + 2 + ... + 5 in five steps."""
    endless = dataclasses.replace(counter(), time_limit=lambda task: 5)
    assert trained(endless, evaluate_every=12).metrics["evaluation_return"][-1] == 15


@pytest.mark.parametrize("folder", [None, "run"])
def test_the_best_is_kept_and_evaluates_to_its_score(tmp_path, folder):
    out = folder and tmp_path / folder
    found = trained(evaluate_every=2, evaluation=CARTPOLE, keep="best", out=out)
    scores = found.metrics["evaluation_return"]
    assert found.best.score == np.nanmax(scores) > scores[-1], "the last would do: another seed"
    assert found.best.policy.updates == found.metrics["updates"][np.nanargmax(scores)]
    assert found.best.policy.evaluate(8, greedy=False).mean() == found.best.score
    if folder:
        kept = rljax.load(out, best=True)
        assert leaves_equal(kept.state, found.best.policy.state) and kept.updates == found.best.policy.updates
        assert rljax.open(out).best.score == rljax.resume(out).best.score == found.best.score


def test_it_is_kept_through_a_kill(tmp_path, monkeypatch):
    """Killed after it stored a best that is newer than its newest checkpoint, a run comes to the same one."""
    whole = trained(evaluate_every=2, evaluation=CARTPOLE, keep="best")
    rows = iter(range(100))
    best_row = int(np.nanargmax(whole.metrics["evaluation_return"]))

    def on_rows(row, policy):
        if next(rows) == best_row:
            raise MemoryError

    how = {"evaluate_every": 2, "evaluation": CARTPOLE, "keep": "best", "out": tmp_path / "a", "save_every": 4}
    with pytest.raises(MemoryError):
        trained(on_rows=on_rows, **how)
    assert rljax.open(tmp_path / "a").best.score == whole.best.score
    again = rljax.resume(tmp_path / "a", progress=False)
    assert again.best.score == whole.best.score and leaves_equal(again.best.policy.state, whole.best.policy.state)
    assert leaves_equal(again.policy.state, whole.policy.state)


def test_a_best_of_a_later_update_than_the_run_has_come_to_gives_way(tmp_path):
    """A machine that rounds otherwise may go on with a run that was killed."""
    how = {"evaluate_every": 2, "evaluation": CARTPOLE, "keep": "best", "out": tmp_path / "a", "save_every": 4}
    whole = trained(**how)
    path = tmp_path / "a"
    for folder in (path / "best", *(path / "checkpoints").glob("12")):
        shutil.rmtree(folder)
    trainer.checkpointer(whole.record, path, "best").save(12, whole.policy.state, {"score": -1.0})
    again = rljax.resume(path, progress=False)
    assert again.best.score == np.nanmax(whole.metrics["evaluation_return"][4:])


def test_a_damaged_best_is_no_obstacle(tmp_path):
    trained(evaluate_every=6, evaluation=CARTPOLE, keep="best", out=tmp_path / "a")
    for path in (tmp_path / "a" / "best").rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    with pytest.warns(UserWarning, match="damaged"):
        assert rljax.open(tmp_path / "a").best is None


@pytest.mark.parametrize("evaluated", [False, True])
def test_a_run_ends_when_its_return_is_enough(tmp_path, evaluated):
    more = {"evaluate_every": 4, "evaluation": CARTPOLE} if evaluated else {}
    column = "evaluation_return" if evaluated else "episode_return"
    whole = trained(**more)
    values = whole.metrics[column]
    enough = float(values[np.isfinite(values)][0])
    out = tmp_path / "a"
    found = trained(until_return=enough, out=out, **more)
    assert found.updates == whole.metrics["updates"][np.flatnonzero(values == enough)[0]] < whole.updates
    np.testing.assert_array_equal(found.metrics["updates"], whole.metrics["updates"][: len(found.metrics["updates"])])
    before = sorted((path, path.stat().st_mtime_ns) for path in out.rglob("*"))
    assert rljax.resume(out).updates == found.updates and "of 384" in repr(found)
    assert sorted((path, path.stat().st_mtime_ns) for path in out.rglob("*")) == before, "it is only read"
    assert rljax.resume(out, steps=4 * 8 * 20, progress=False).updates == 20


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"keep": "best"}, "keep=best: goes by evaluations"),
        ({"keep": "all", "evaluate_every": 1}, "keep=all: must be one of last, best"),
        ({"evaluate_every": 0}, "evaluate_every=0"),
        ({"evaluation": {"episodes": 1}}, "has no effect without evaluate_every"),
        ({"evaluate_every": 1, "evaluation": {"episodes": 0}}, "evaluation.episodes=0: must be at least 1"),
        ({"evaluate_every": 1, "evaluation": {"episode": 1}}, "did you mean 'episodes'"),
        ({"evaluate_every": 1, "evaluation": {"greedy": 2}}, "evaluation.greedy=2"),
        ({"evaluate_every": 1, "evaluation": {"env": "Acrobot-v1"}}, "env=Acrobot-v1: observation_space is"),
        ({"evaluate_every": 1, "evaluation": {"env": "Akrobot-v1"}}, "did you mean 'Acrobot-v1'"),
        ({"evaluate_every": 1, "evaluation": {"task": {"size": 1}}}, "unknown task parameter of CartPole-v1 'size'"),
        ({"evaluate_every": 1, "evaluation": {"env": 3}}, "env"),
        ({"until_return": "much"}, "until_return='much'"),
        ({"until_return": float("nan")}, "until_return=nan"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_made(tmp_path, given, message):
    with pytest.raises(ConfigError, match=message):
        trained(out=tmp_path / "a", **given)
    assert not list(tmp_path.iterdir())


def test_the_host_loop_ends_at_a_row():
    algo, env = rljax.make("ppo", PROBE, **TINY)
    seen = []
    found = run.train(
        algo,
        trainer.jax.random.key(0),
        algo.hypers,
        env.task,
        10,
        log_every=2,
        until=lambda row: row["updates"] >= 4,
        save=lambda updates, state: seen.append(updates),
    )
    assert found.updates == 4 and found.stopped_by is None and seen == [4]
