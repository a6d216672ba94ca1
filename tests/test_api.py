"""The convenience level: names in, runs and policies out."""

from __future__ import annotations

import dataclasses
import json
import shutil
import signal

import jax
import numpy as np
import pytest
from test_contract import leaves_equal
from toys import PROBE, TINY, counter

import rljax
from rljax import api, envs, records, trainer
from rljax.errors import CheckpointError, ConfigError, Stopped, StorageError
from rljax.objectives import PPOClip
from rljax.spaces import like
from rljax.types import Algorithm, Box, Dict, Discrete, MultiDiscrete


class Twice(PPOClip):
    """An objective of a user's own."""

    def __call__(self, log_ratio, advantage, progress):
        return 2.0 * super().__call__(log_ratio, advantage, progress)


def quiet(*args, **settings):
    return rljax.train(*args, progress=False, tensorboard=False, **TINY, **settings)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "a"
    return quiet("ppo", "CartPole-v1", steps=1000, seed=3, out=folder)


def test_settings_go_to_config_or_hypers_by_field():
    algo, env = rljax.make("ppo", "CartPole-v1", num_envs=8, lr=1e-3, **{"objective.clip": 0.1})
    assert algo.steps_per_update == 8 * 128
    assert algo.hypers.lr == 1e-3 and algo.hypers.objective.clip == 0.1
    assert env is envs.make("CartPole-v1")


def test_numbers_do_not_make_another_algorithm():
    one, two = (rljax.make("ppo", "CartPole-v1", lr=lr)[0] for lr in (1e-3, 1e-4))
    assert one == two and hash(one) == hash(two) and one.hypers.lr != two.hypers.lr


def test_task_parameters_can_be_changed():
    _, env = rljax.make("ppo", "CartPole-v1", task={"gravity": 5.0, "max_steps_in_episode": 50})
    assert env.task.gravity == 5.0 and env.longest_episode() == 50
    with pytest.raises(ConfigError, match="did you mean 'gravity'"):
        rljax.make("ppo", "CartPole-v1", task={"gravitty": 5.0})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lrr": 1}, "unknown setting of ppo 'lrr'; did you mean 'lr'"),
        ({"num_envs": 2.5}, "num_envs=2.5: must be a whole number"),
        ({"num_envs": True}, "num_envs=True"),
        ({"lr": "fast"}, "lr='fast'"),
        ({"lr": -1.0}, "lr=-1.0: must be at least 0"),
        ({"lr": float("nan")}, "lr=nan: must be a number"),
        ({"discount": 1.5}, "discount=1.5: must lie between 0 and 1"),
        ({"hidden": (0,)}, "hidden=0: must be at least 1"),
        ({"torso": "rnn"}, "torso=rnn: must be one of mlp, cnn"),
        ({"objective": "ppo-klip"}, "did you mean 'ppo-clip'"),
        ({"objective.clap": 1.0}, "did you mean 'objective.clip'"),
        ({"steps": 0}, "steps=0"),
        ({"steps": -5}, "steps=-5"),
        ({"seed": -1}, "seed=-1"),
        ({"log_every": 0}, "log_every=0"),
    ],
)
def test_nonsense_is_refused_in_one_line_before_anything_runs(settings, message, tmp_path):
    with pytest.raises(ConfigError, match=message) as caught:
        rljax.train("ppo", "CartPole-v1", out=tmp_path / "a", **({"steps": 100} | settings))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "a").exists()


def test_steps_are_exact_or_rounded_up(finished):
    assert finished.step == 1024 == finished.record["updates"] * finished.record["steps_per_update"]
    assert finished.metrics["step"][-1] == 1024


def test_a_record_says_what_was_run(finished):
    record = json.loads((finished.folder / "config.json").read_text())
    assert record["algo"] == "ppo" and record["env"] == "CartPole-v1" and record["seed"] == 3
    assert record["config"]["num_envs"] == TINY["num_envs"] and record["objective"] == {
        "name": "ppo-clip",
        "fields": {"clip": 0.2},
    }
    assert record["hypers"]["horizon"] == record["updates"]
    assert record["machine"]["versions"]["jax"] == jax.__version__


def test_a_loaded_policy_acts_as_the_trained_one(finished):
    policy = rljax.load(finished.folder)
    obs = np.random.default_rng(0).normal(size=(7, 4)).astype(np.float32)
    np.testing.assert_array_equal(policy(obs), finished.policy(obs))
    np.testing.assert_array_equal(policy.evaluate(8), finished.evaluate(8))
    assert leaves_equal(policy.state, finished.policy.state)
    sampled = {tuple(policy(obs, key=jax.random.key(i))) for i in range(20)}
    assert len(sampled) > 1
    with pytest.raises(ConfigError, match=r"obs.shape=\(7, 3\)"):
        policy(obs[:, :3])


def test_normalisers_travel_with_the_policy(tmp_path):
    run = quiet("ppo", "Pendulum-v1", steps=500, use_preset=False, normalize_obs=True, out=tmp_path / "a")
    assert run.policy.state.obs_stats.count > 500
    np.testing.assert_array_equal(rljax.load(tmp_path / "a").evaluate(4), run.evaluate(4))


def test_a_relative_folder_is_found_from_everywhere_whatever_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = quiet("ppo", "CartPole-v1", steps=64, out="runs/hidden=[8]")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert run.folder == tmp_path / "runs" / "hidden=[8]"
    assert leaves_equal(rljax.load(run.folder).state, run.policy.state)
    assert leaves_equal(rljax.resume("../runs/hidden=[8]").policy.state, run.policy.state)


@pytest.mark.parametrize("out", ["", "gs://bucket/a", "a\0b"])
def test_what_is_no_folder_is_refused_before_anything(out, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    uses = (
        lambda: rljax.train("ppo", "CartPole-v1", steps=64, out=out),
        lambda: rljax.sweep("ppo", "CartPole-v1", steps=64, out=out),
        lambda: rljax.evolve("ppo", "CartPole-v1", 64, objective="lpo", out=out),
        lambda: rljax.load(out),
        lambda: rljax.resume(out),
        lambda: rljax.load_sweep(out),
    )
    for use in uses:
        with pytest.raises(ConfigError) as caught:
            use()
        assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def at_the_first_row(monkeypatch, act):
    """Lets something happen while a run is under way."""
    write = trainer.KeptRows.write

    def then(self, row):
        write(self, row)
        if len(self.rows) == 1:
            act()

    monkeypatch.setattr(trainer.KeptRows, "write", then)


@pytest.mark.parametrize("kept", [True, False])
def test_an_interrupted_run_is_no_run_like_others(kept, tmp_path, monkeypatch):
    """A loop over seeds must not go on as if nothing had happened; what was reached is not lost."""
    at_the_first_row(monkeypatch, lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt) as caught:
        quiet("ppo", "CartPole-v1", steps=2000, out=tmp_path / "a" if kept else None)
    assert isinstance(caught.value, Stopped) and "\n" not in str(caught.value)
    run = caught.value.result
    assert run.stopped_by == signal.SIGINT and 0 < run.step < 2000 and run.evaluate(2).shape == (2,)
    if kept:
        monkeypatch.undo()
        assert rljax.load(tmp_path / "a").step == run.step
        with pytest.raises(ConfigError, match=r"exists; rljax train --resume .* goes on with it"):
            quiet("ppo", "CartPole-v1", steps=2000, out=tmp_path / "a")
        assert rljax.resume(tmp_path / "a", progress=False).step == 2016


def test_a_run_that_is_under_way_is_left_alone(tmp_path, monkeypatch):
    refused = []

    def others():
        for use in (lambda: rljax.resume(tmp_path / "a"), lambda: quiet("ppo", "CartPole-v1", out=tmp_path / "a")):
            with pytest.raises(ConfigError, match="another process is running this run") as caught:
                use()
            refused.append(caught.value)

    at_the_first_row(monkeypatch, others)
    run = quiet("ppo", "CartPole-v1", steps=64, out=tmp_path / "a")
    assert len(refused) == 2 and run.metrics["step"].tolist() == [32, 64]


def test_a_folder_that_is_deleted_meanwhile_ends_the_run(tmp_path, monkeypatch):
    at_the_first_row(monkeypatch, lambda: shutil.rmtree(tmp_path / "a"))
    with pytest.raises(StorageError, match=r"the run's folder was deleted or moved while it was in use$"):
        quiet("ppo", "CartPole-v1", steps=2000, save_every=1, out=tmp_path / "a")
    assert not list(tmp_path.iterdir())


def test_a_run_that_fails_before_its_first_row_does_not_take_the_folder(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise ZeroDivisionError("in the user's own environment")

    monkeypatch.setattr(trainer.drivers, "train", fail)
    with pytest.raises(ZeroDivisionError):
        quiet("ppo", "CartPole-v1", steps=64, out=tmp_path / "a")
    assert not list(tmp_path.iterdir())


def test_a_finished_run_is_only_read(finished, monkeypatch):
    def fail(*_):
        raise AssertionError("it was locked")

    monkeypatch.setattr(api, "locked", fail)
    again = rljax.resume(finished.folder)
    assert again.step == finished.step and leaves_equal(again.policy.state, finished.policy.state)
    assert api.finished(finished.folder)


def test_an_existing_run_is_never_overwritten(finished):
    with pytest.raises(ConfigError, match=r"exists; its run is finished: rljax eval .* scores it"):
        quiet("ppo", "CartPole-v1", steps=100, out=finished.folder)


def test_resuming_an_interrupted_run_gives_the_same_bits(tmp_path):
    whole = quiet("ppo", "CartPole-v1", steps=2000, save_every=10, out=tmp_path / "whole")
    quiet("ppo", "CartPole-v1", steps=2000, save_every=10, out=tmp_path / "cut")
    checkpoints = sorted((tmp_path / "cut" / "checkpoints").iterdir(), key=lambda p: int(p.name))
    for newest in checkpoints[1:]:  # as if it had been killed after the oldest that is kept
        for path in sorted(newest.rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
        newest.rmdir()
    again = rljax.resume(tmp_path / "cut", progress=False)
    assert leaves_equal(whole.policy.state, again.policy.state)
    for name in ("step", "episode_return", "policy_loss"):
        np.testing.assert_array_equal(whole.metrics[name], again.metrics[name])


def test_a_run_killed_before_its_first_checkpoint_starts_over(tmp_path):
    whole = quiet("ppo", "CartPole-v1", steps=500, out=tmp_path / "a")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "config.json").write_text((tmp_path / "a" / "config.json").read_text())
    with pytest.raises(ConfigError, match="no checkpoint yet"):
        rljax.load(tmp_path / "b")
    with pytest.raises(ConfigError, match=r"exists; rljax train --resume .*/b goes on with it, or choose another"):
        quiet("ppo", "CartPole-v1", steps=500, out=tmp_path / "b")
    assert leaves_equal(whole.policy.state, rljax.resume(tmp_path / "b", progress=False).policy.state)


def test_a_folder_without_a_run(tmp_path):
    for use in (rljax.load, rljax.resume):
        with pytest.raises(ConfigError, match=r"no config.json there"):
            use(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ConfigError, match=r"cannot be read"):
        rljax.load(tmp_path)


def test_a_checkpoint_of_other_shapes_is_refused(finished, tmp_path):
    record = json.loads((finished.folder / "config.json").read_text())
    record["config"]["hidden"] = [16]
    (tmp_path / "config.json").write_text(json.dumps(records.sealed(record)))
    (tmp_path / "checkpoints").symlink_to(finished.folder / "checkpoints")
    with pytest.raises(CheckpointError, match=r"shape.*hidden"):
        rljax.load(tmp_path)


def test_an_objective_and_an_environment_of_ones_own(tmp_path):
    env = counter()
    run = quiet("ppo", env, steps=200, objective=Twice(clip=0.1), out=tmp_path / "a")
    assert run.record["objective"]["name"].endswith("test_api:Twice")
    assert run.record["objective"]["fields"]["clip"] == 0.1
    with pytest.raises(ConfigError, match="unknown environment 'toy/counter'"):
        rljax.load(tmp_path / "a")
    policy = rljax.load(tmp_path / "a", env=env)
    assert policy(np.zeros((2, 2))).shape == (2,)


def test_infinite_settings_survive_the_record(tmp_path):
    quiet("ppo", "CartPole-v1", steps=100, value_clip=float("inf"), out=tmp_path / "a")
    json.loads((tmp_path / "a" / "config.json").read_text(), parse_constant=pytest.fail)
    assert rljax.load(tmp_path / "a").algo.hypers.value_clip == float("inf")


def test_a_policy_takes_one_observation_or_many(finished):
    policy, obs = finished.policy, np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    assert policy(obs[1]) == policy(obs)[1] and policy(obs[1].tolist()).shape == ()
    assert policy(obs, key=jax.random.PRNGKey(3)).tolist() == policy(obs, key=jax.random.key(3)).tolist()


@pytest.mark.parametrize(
    ("space", "good", "bad"),
    [
        (Discrete(6), [3, np.int64(3), [0, 5], np.array([3.0])], [6, -1, [0, 6], 2.5, [[1]], "a", [[0], [0, 1]]]),
        (MultiDiscrete((2, 3)), [[1, 2], [[1, 2], [0, 0]]], [[2, 0], [1], [[1, 2, 0]]]),
        (Box(np.zeros(2), np.full(2, 255), np.dtype(np.uint8)), [[1, 2], [[1.0, 2.0]]], [[0.5, 1], [1, 2, 3], None]),
        (
            Dict({"a": Discrete(2), "b": Dict({"c": Discrete(3)})}),
            [{"a": 1, "b": {"c": 2}}, {"b": {"c": [2, 0]}, "a": np.array([0, 1])}],
            [1, {"a": 1}, {"a": 1, "b": 2}, {"a": 1, "b": {"c": 3}}, {"a": 1, "b": {"c": [2]}}],
        ),
    ],
    ids=["discrete", "multi-discrete", "image", "dict"],
)
def test_a_policy_refuses_what_its_environment_cannot_show(space, good, bad):
    class Summing(Algorithm):
        def act(self, state, carry, obs, reset, key, greedy):
            assert jax.tree.map(lambda x: x.dtype, obs) == jax.tree.map(lambda x: x.dtype, like(space))
            return carry, sum(x.reshape(x.shape[0], -1).sum(-1) for x in jax.tree.leaves(obs))

    env = dataclasses.replace(counter(), observation_space=space)
    policy = rljax.Policy(Summing(env), env, (), 0)
    for obs in good:
        one, each = jax.tree.leaves(like(space))[0], obs["a"] if isinstance(obs, dict) else obs
        assert policy(obs).shape == np.shape(each)[: np.ndim(each) - len(one.shape)]
    for obs in bad:
        with pytest.raises(ConfigError, match=r"^obs"):
            policy(obs)
    for key in (0, np.zeros(3, np.uint32), jax.random.split(jax.random.key(0))):
        with pytest.raises(ConfigError, match="must be one key"):
            policy(good[0], key=key)


@pytest.mark.parametrize("seed", [-1, 2**32, 1.5, True])
def test_the_seed_of_an_evaluation_is_one_that_training_takes(finished, seed):
    for use in (finished.policy.evaluate, finished.policy.film):
        with pytest.raises(ConfigError, match=f"seed={seed}: must be"):
            use(2, seed=seed)
        with pytest.raises(ConfigError, match="=0: must be at least 1"):
            use(0)


def test_films_one_episode(finished):
    frames = finished.policy.film(max_steps=5)
    assert 2 <= len(frames) <= 6
    assert all(f.dtype == np.uint8 and f.shape == frames[0].shape for f in frames)


def test_functions_of_the_user_are_called_between_chunks(tmp_path):
    """With the policy as it is then; what they give is logged, and no number of the run changes."""
    seen, saved = [], []

    def on_rows(row, policy):
        seen.append((row["updates"], policy.updates, policy.evaluate(2).mean()))
        return {"evaluated": seen[-1][2]} if row["updates"] % 2 == 0 else None

    how = {"steps": 4 * 8 * 6, "log_every": 1, "progress": False, "tensorboard": False, **TINY}
    plain = rljax.train("ppo", PROBE, out=tmp_path / "a", **how)
    on_checkpoint = lambda policy: saved.append(policy.updates)  # noqa: E731
    hooks = {"on_rows": on_rows, "on_checkpoint": on_checkpoint, "save_every": 3}
    run = rljax.train("ppo", PROBE, out=tmp_path / "b", **hooks, **how)
    assert [x[:2] for x in seen] == [(n, n) for n in range(1, 7)] and saved == [3, 6]
    for name in plain.metrics.keys() - {"seconds"}:
        np.testing.assert_array_equal(plain.metrics[name], run.metrics[name])
    np.testing.assert_array_equal(np.isnan(run.metrics["evaluated"]), [True, False] * 3)
    assert run.metrics["evaluated"][-1] == seen[-1][2]
    alone = rljax.train("ppo", PROBE, **hooks, **how)
    np.testing.assert_array_equal(alone.metrics["evaluated"], run.metrics["evaluated"])
    for given in ({"step": 1.0}, {"text": "a"}, 3.0):
        with pytest.raises(ConfigError, match="on_rows"):
            rljax.train("ppo", PROBE, on_rows=lambda row, policy, given=given: given, **how)


def test_a_folder_is_opened_without_training(tmp_path):
    how = {"progress": False, **TINY}
    run = rljax.train("ppo", PROBE, steps=64, out=tmp_path / "run", tensorboard=False, **how)
    found = rljax.open(tmp_path / "run")
    assert found.updates == run.updates and leaves_equal(found.policy.state, run.policy.state)
    np.testing.assert_array_equal(found.metrics["episode_return"], run.metrics["episode_return"])
    swept = rljax.sweep("ppo", PROBE, 64, 2, out=tmp_path / "sweep", workers=1, width=1, **how)
    np.testing.assert_array_equal(rljax.open(tmp_path / "sweep").metrics["policy_loss"], swept.metrics["policy_loss"])
    with pytest.raises(ConfigError, match=r"no config\.json there"):
        rljax.open(tmp_path)
    with pytest.raises(ConfigError, match="a run takes env, objective and data"):
        rljax.open(tmp_path / "run", envs={})


def test_a_finished_run_gets_another_end(tmp_path):
    """It is the longer run, to the bit, where nothing anneals."""
    how = {"progress": False, "tensorboard": False, "log_every": 1, "lr_final": 1.0, **TINY}
    rljax.train("ppo", PROBE, steps=32 * 4, out=tmp_path / "a", **how)
    longer = rljax.resume(tmp_path / "a", steps=32 * 7, progress=False)
    whole = rljax.train("ppo", PROBE, steps=32 * 7, out=tmp_path / "b", **how)
    assert longer.updates == 7 and leaves_equal(longer.policy.state, whole.policy.state)
    for name in whole.metrics.keys() - {"seconds"}:
        np.testing.assert_array_equal(longer.metrics[name], whole.metrics[name])
    record = json.loads((tmp_path / "a" / "config.json").read_text())
    assert record["extended"] == [{"updates": 4, "steps": 128}] and (record["steps"], record["updates"]) == (224, 7)
    assert record["hypers"] == whole.record["hypers"] and rljax.open(tmp_path / "a").updates == 7
    assert rljax.resume(tmp_path / "a", progress=False).updates == 7
    with pytest.raises(ConfigError, match="steps=100: must be more than the 224 that are done"):
        rljax.resume(tmp_path / "a", steps=100)
    rljax.train("ppo", PROBE, steps=32 * 2, out=tmp_path / "c", **how | {"horizon": 50.0})
    assert rljax.resume(tmp_path / "c", steps=32 * 3, progress=False).record["hypers"]["horizon"] == 50.0


@pytest.mark.parametrize("algo", ["ppo", "dqn"])
def test_a_run_begins_with_what_another_has_learned(algo, tmp_path):
    """Its networks, elsewhere and with other numbers; the optimiser, episodes and clock are new."""
    sizes = {"num_envs": 4, "num_steps": 8, "hidden": (8,)} | ({} if algo == "ppo" else {"warmup": 32, "batch_size": 8})
    how = {"progress": False, "tensorboard": False, "use_preset": False, "log_every": 1, **sizes}
    first = rljax.train(algo, PROBE, steps=64, out=tmp_path / "a", **how)
    still = {"lr": 0.0} | ({} if algo == "ppo" else {"num_envs": 2})
    second = rljax.train(algo, PROBE, steps=64, seed=5, start=tmp_path / "a", out=tmp_path / "b", **how | still)
    assert leaves_equal(second.policy.state.params, first.policy.state.params)
    assert second.record["start"]["run"] == str(tmp_path / "a") and int(second.policy.state.updates) == second.updates
    alone = rljax.train(algo, PROBE, steps=64, seed=5, **how | still)
    assert not leaves_equal(alone.policy.state.params, first.policy.state.params)
    with pytest.raises(ConfigError, match=r"start=.*: does not fit: '.*bias' has shape .* give the algorithm and the"):
        rljax.train(algo, PROBE, steps=64, start=tmp_path / "a", out=tmp_path / "c", **how | {"hidden": (4,)})
    assert not (tmp_path / "c").exists()
    with pytest.raises(ConfigError, match="does not fit: "):
        rljax.train("dqn" if algo == "ppo" else "ppo", PROBE, steps=2000, start=tmp_path / "a", progress=False)
    with pytest.raises(ConfigError, match=r"no config\.json there"):
        rljax.train(algo, PROBE, steps=64, start=tmp_path, **how)


def test_a_run_from_another_resumes_and_refuses_what_it_did_not_begin_with(tmp_path):
    how = {"progress": False, "tensorboard": False, "log_every": 1, **TINY}
    rljax.train("ppo", PROBE, steps=64, out=tmp_path / "a", **how)

    given = {"steps": 96, "seed": 1, "start": tmp_path / "a", **how}
    whole = rljax.train("ppo", PROBE, out=tmp_path / "b", **given)
    assert leaves_equal(rljax.train("ppo", PROBE, **given).policy.state, whole.policy.state)
    shutil.rmtree(tmp_path / "b" / "checkpoints")  # as if it was killed before its first
    (tmp_path / "b" / "metrics.jsonl").unlink()
    assert leaves_equal(rljax.resume(tmp_path / "b", progress=False).policy.state, whole.policy.state)
    shutil.rmtree(tmp_path / "b" / "checkpoints")
    rljax.resume(tmp_path / "a", steps=128, progress=False)
    with pytest.raises(ConfigError, match="has learned something else since this run began with it"):
        rljax.resume(tmp_path / "b", progress=False)
