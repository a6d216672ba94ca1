"""LPO and TALPO: drifts by construction, PPO as they start, time where it belongs, and their files."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from objectives.networks import random_network
from toys import tiny

import rljax
from rljax import envs, objectives, shipped
from rljax.algos import ppo
from rljax.errors import ConfigError
from rljax.objectives import DPO, LPO, TALPO, PPOClip, build, files
from rljax.objectives.learned import network
from rljax.ops.tree import as_arrays
from rljax.run import run

both = pytest.mark.parametrize("kind", [LPO, TALPO])
HISTORY = {"method": "OpenAI-ES, 2 generations", "tasks": ["probe/action"], "scores": {"probe/action": 1.0}}


@jax.jit
def loss_and_slope(objective, log_ratio, advantage, progress):
    """Per sample: the loss, and its slope in the log-ratio."""
    return jax.vmap(jax.value_and_grad(lambda x, a: objective(x, a, progress)))(log_ratio, advantage)


def drift(objective, ratio, advantage, progress=0.0):
    """D = loss + r A."""
    return objective(jnp.log(ratio), advantage, progress) + ratio * advantage


def test_the_inputs_are_those_of_the_paper_in_the_order_and_sign_of_its_code():
    """At r = 3/2 and A = 2, a quarter through the run."""
    alone = np.array([np.log(1.5), np.log(1.5) ** 2, -0.5, 0.25])
    expected = np.concatenate([alone, 2 * alone])
    given = jnp.log(jnp.array([1.5])), jnp.array([2.0]), 0.25
    np.testing.assert_allclose(LPO().inputs(*given), [expected], rtol=1e-5)
    np.testing.assert_allclose(TALPO().inputs(*given), [np.concatenate([expected, 0.25 * expected])], rtol=1e-5)


@pytest.mark.parametrize(("kind", "weights"), [(LPO, 1152), (TALPO, 2176)])
def test_the_size_of_the_networks(kind, weights):
    assert kind().hidden.size + kind().output.size == weights
    narrow = kind(**network(kind().hidden.shape[0], 16))
    assert drift(narrow, jnp.full((3, 2), 1.1), jnp.ones((3, 2))).shape == (3, 2)


@both
@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
def test_random_networks_are_drifts(kind, scale):
    log_ratio, advantage = (x.ravel() for x in jnp.meshgrid(jnp.linspace(-3, 3, 41), jnp.linspace(-3, 3, 21)))
    for seed in range(10):
        objective = random_network(kind, seed, scale)
        for progress in (0.0, 0.5, 1.0):
            loss, _ = loss_and_slope(objective, log_ratio, advantage, progress)
            assert (loss + jnp.exp(log_ratio) * advantage >= -1e-5).all()
            loss, slope = loss_and_slope(objective, 0 * log_ratio, advantage, progress)
            np.testing.assert_array_equal(loss, -advantage)
            np.testing.assert_array_equal(slope, -advantage)


@both
def test_any_leaf_may_be_perturbed(kind):
    for changes in ({"clip": -0.1}, {"ppo": -2.0}, {"clip": 0.0, "ppo": 3.0}):
        objective = random_network(kind, 0).replace(**changes)
        assert loss_and_slope(objective, np.zeros(1), np.full(1, -1.5), 0.5) == (1.5, 1.5)


@both
@pytest.mark.parametrize(
    ("ratio", "advantage", "value"), [(1.5, 1.0, 0.2999), (0.5, -1.0, 0.2999), (1.5, -1.0, 0.0), (0.5, 1.0, 0.0)]
)
def test_the_drift_it_starts_with(kind, ratio, advantage, value):
    np.testing.assert_allclose(drift(kind(), ratio, advantage, 0.5), value, atol=1e-6)
    np.testing.assert_allclose(drift(kind(ppo=0.0), ratio, advantage, 0.5), 0.0, atol=1e-6)


@both
def test_it_starts_as_ppo(kind):
    log_ratio, advantage = (x.ravel() for x in jnp.meshgrid(jnp.linspace(-2, 2, 200), jnp.linspace(-3, 3, 20)))
    losses, slopes = zip(*(loss_and_slope(o, log_ratio, advantage, 0.5) for o in (kind(), PPOClip())))
    assert (losses[0] - losses[1] <= 1e-6).all() and (losses[1] - losses[0] <= 1.1e-4).all()
    near_the_kink = drift(PPOClip(), jnp.exp(log_ratio), advantage) < 2e-4
    np.testing.assert_allclose(slopes[0], jnp.where(near_the_kink, slopes[0], slopes[1]), atol=1e-5)


def test_updates_with_it_are_those_of_ppo():
    env = envs.make("probe/action")
    algo = ppo.PPO(env, tiny("ppo", num_epochs=4))
    go = jax.jit(lambda hypers: run(algo, jax.random.key(0), hypers, as_arrays(env.task), 3)[0].params)
    kinds = LPO(), PPOClip(), PPOClip(clip=jnp.inf)
    found, clipped, free = (go(as_arrays(algo.hypers.replace(objective=o, lr=0.02))) for o in kinds)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-4), found, clipped)
    assert not all(np.allclose(x, y, atol=1e-2) for x, y in zip(jax.tree.leaves(free), jax.tree.leaves(clipped)))


@both
def test_a_meta_gradient_can_leave_the_start(kind):
    log_ratio, advantage = jax.random.normal(jax.random.key(0), (2, 64))
    slope = jax.jit(jax.grad(lambda o: o(log_ratio, advantage, 0.5).mean()))
    start = as_arrays(kind())
    assert np.any(slope(start).output)
    moved = start.replace(output=start.output - 0.1 * slope(start).output)
    assert all(np.any(leaf) for leaf in jax.tree.leaves(slope(moved)))


def test_only_the_temporally_aware_one_sees_progress():
    log_ratio, advantage = jax.random.normal(jax.random.key(0), (2, 100))
    both = random_network(LPO, 3), random_network(TALPO, 3)
    early, late = ([loss_and_slope(o, log_ratio, advantage, p)[0] for o in both] for p in (0.1, 0.9))
    np.testing.assert_array_equal(early[0], late[0])
    assert not np.allclose(early[1], late[1])


def test_at_the_start_of_a_run_the_temporally_aware_one_is_an_lpo():
    log_ratio, advantage = jax.random.normal(jax.random.key(0), (2, 100))
    aware = random_network(TALPO, 4)
    plain = LPO(hidden=aware.hidden[:8], output=aware.output)
    found, wanted = (loss_and_slope(o, log_ratio, advantage, 0.0) for o in (aware, plain))
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)
    by_weight = jax.jit(jax.grad(lambda o, p: o(log_ratio, advantage, p).sum()))
    late_inputs = [np.asarray(by_weight(aware, p).hidden)[8:] for p in (0.0, 0.5)]
    assert not late_inputs[0].any() and late_inputs[1].any()


@both
def test_a_file_keeps_every_bit(kind, tmp_path):
    path = tmp_path / "a.npz"
    objective = random_network(kind, 5).replace(clip=0.3)
    objective.save(path, HISTORY)
    for found in (kind.load(path), objectives.load(path)):
        assert type(found) is kind
        jax.tree.map(np.testing.assert_array_equal, as_arrays(found), as_arrays(objective))
    kept = files.read(path).provenance
    assert {name: kept[name] for name in HISTORY} == HISTORY and "rljax" in kept["machine"]["versions"]
    assert [p.name for p in tmp_path.iterdir()] == ["a.npz"]
    with np.load(path) as file:  # without rljax
        assert json.loads(str(file["record"]))["kind"] == kind.__name__ and file["output"].shape == (128,)


def test_a_file_of_another_objective_is_refused(tmp_path):
    path = tmp_path / "a.npz"
    LPO().save(path, HISTORY)
    with pytest.raises(ConfigError, match="holds LPO, not TALPO"):
        TALPO.load(path)
    files.write(path, files.Stored("LPO", {"hidden": np.zeros((7, 3)), "output": np.zeros(3)}, HISTORY))
    with pytest.raises(ConfigError, match="not those of LPO"):
        LPO.load(path)
    files.write(path, files.Stored("os:path", {}, HISTORY))
    with pytest.raises(ConfigError, match="none of LPO, TALPO"):
        objectives.load(path)
    LPO(output=np.full(128, np.nan, np.float32)).save(path, HISTORY)
    with pytest.raises(ConfigError, match="not those of LPO"):
        LPO.load(path)


def test_what_is_no_such_file_is_refused_in_one_line(tmp_path):
    whole, path = tmp_path / "whole.npz", tmp_path / "a.npz"
    LPO().save(whole, HISTORY)
    contents = {
        "empty": b"",
        "text": b"hello",
        "half": whole.read_bytes()[:2000],
        "flipped": bytes(b ^ 255 if i % 50 == 0 else b for i, b in enumerate(whole.read_bytes())),
    }
    for content in contents.values():
        path.write_bytes(content)
        with pytest.raises(ConfigError, match="holds no learned objective") as error:
            LPO.load(path)
        assert "\n" not in str(error.value)
    np.savez(path, hidden=np.zeros((8, 128)))
    with pytest.raises(ConfigError, match="holds no learned objective"):
        objectives.load(path)
    np.save(tmp_path / "b.npy", np.zeros(3))
    with pytest.raises(ConfigError, match="holds no learned objective"):
        LPO.load(tmp_path / "b.npy")
    with pytest.raises(ConfigError, match="No such file"):
        LPO.load(tmp_path / "nothing.npz")
    with pytest.raises(ConfigError, match="cannot be read"):
        LPO.load(tmp_path)


def test_a_history_is_not_optional(tmp_path):
    with pytest.raises(ConfigError, match=r"provenance\['scores'\]=None: say what it scored"):
        LPO().save(tmp_path / "a.npz", {"method": "", "tasks": []})
    with pytest.raises(ConfigError, match=r"provenance: .* give numbers"):
        LPO().save(tmp_path / "a.npz", HISTORY | {"scores": DPO()})
    with pytest.raises(ConfigError, match="cannot be written"):
        LPO().save(tmp_path / "no" / "a.npz", HISTORY)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "kind"), [("lpo", LPO), ("ta-lpo", TALPO)])
def test_the_name_stands_for_what_was_learned(name, kind):
    shipped = build(name)
    assert type(shipped) is kind and np.abs(shipped.output).max() > 0 and build(kind.__name__).output.shape == (16,)
    assert (shipped.clip, shipped.ppo) == (kind().clip, kind().ppo)  # what help texts say
    assert build(name, clip=0.3).clip == 0.3 and build("ppo-clip", clip=0.3) == PPOClip(0.3)


RULES = ("lpg", "ta-lpg")  # tested where agents learn by them


@pytest.mark.parametrize("name", [name for name in shipped.names() if name not in RULES])
def test_what_comes_with_rljax_is_a_drift_and_has_a_history(name):
    path = shipped.file_of(name)
    history = files.read(path).provenance
    assert {"method", "tasks", "scores", "machine"} <= set(history) and len(history["tasks"]) > 1
    loss = objectives.load(path)(jnp.zeros(3), jnp.array([-1.0, 0.0, 2.0]), 0.5)
    np.testing.assert_array_equal(loss, [1.0, 0.0, -2.0])  # none at r = 1
    algo, _ = rljax.make("ppo", "probe/action", objective=name)  # by its name alone, wherever one is
    np.testing.assert_array_equal(algo.hypers.objective.output, objectives.load(path).output)


def test_what_is_neither_a_name_nor_a_file_is_refused():
    with pytest.raises(ConfigError, match="unknown learned part 'ta-lqg'; did you mean 'ta-lpg'"):
        rljax.make("ta-lpg", "probe/action", rule="ta-lqg")
    with pytest.raises(ConfigError, match="holds hypers of lpg, which is none of LPO, TALPO"):
        rljax.make("ppo", "probe/action", objective="lpg")
