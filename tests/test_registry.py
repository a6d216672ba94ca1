"""The one kind of registry, and the doors through which a user's own things come in."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from toys import PROBE, TINY

import rljax
from rljax import algos, catalogue, envs, objectives, plugins, registry, settings
from rljax.algos.presets import Preset, preset
from rljax.envs.wrappers import frame_stack, mask_observation
from rljax.errors import ConfigError
from rljax.nets.mlp import MLP
from rljax.registry import Registry


@pytest.fixture(autouse=True)
def empty(monkeypatch):
    monkeypatch.setattr(registry, "_added", {})
    monkeypatch.setattr(registry, "_sources", {})
    monkeypatch.setattr(plugins, "_enabled", False)
    monkeypatch.setattr(registry, "_registries", dict(registry._registries))


def test_a_name_stands_for_an_object_or_for_an_import_path():
    things: Registry = Registry("thing", {"inf": "math:inf", "module": "math", "deep": "os:path.sep", "three": 3})
    assert (
        things["inf"] == float("inf")
        and things.load("module").pi > 3
        and things["deep"] == "/"
        and things["three"] == 3
    )
    things.register("mine", "math:tau")
    things.register("mine", "math:e")  # as a cell that is run again
    assert things.names() == ["inf", "module", "deep", "three", "mine"] and len(things) == 5
    assert 2.7 < things["mine"] < 2.8 and things.entry("mine") == "math:e"
    assert things.registered() == {"mine": "math:e"} and registry.of("thing") is things
    things.remove("mine")
    assert "mine" not in things and 3 not in things


def test_refusals_are_one_line():
    things: Registry = Registry("thing", {"alpha": 1, "away": "nowhere:x", "lost": "math:nothing"}, "rljax list things")
    with pytest.raises(ConfigError, match=r"unknown thing 'alpah'; did you mean 'alpha'\? rljax list things shows all"):
        things.check("alpah")
    with pytest.raises(KeyError):
        things["alpah"]
    with pytest.raises(ConfigError, match="thing 'away': nowhere:x cannot be imported"):
        things.load("away")
    with pytest.raises(ConfigError, match="thing 'lost': math:nothing cannot be imported"):
        things.load("lost")
    with pytest.raises(ConfigError, match="is a thing of rljax; choose another name"):
        things.register("alpha", 2)
    with pytest.raises(ConfigError, match="must be a name"):
        things.register("", 2)


def test_what_is_registered_can_be_sent_to_another_process():
    things: Registry = Registry("thing", {"ours": 1})
    things.register("mine", 2)
    things.register("other", 3)
    sent = registry.registered(["mine", "ours"])
    assert sent == {"thing": {"mine": 2}} and registry.registered() == {"thing": {"mine": 2, "other": 3}}
    registry._added.clear()
    registry.restore(sent)
    registry.restore({"thing": {"mine": 5}})  # what is there stays
    assert things["mine"] == 2 and "other" not in things


@pytest.mark.parametrize("what", list(registry._registries))
def test_every_name_of_the_package_leads_somewhere(what):
    for name in registry.of(what):
        assert registry.of(what).load(name) is not None


def test_a_variant_of_an_algorithm_with_a_preset_of_its_own():
    calm = Preset(1000, {"lr": 0.5}, "of a test")
    algos.register("calm-c51", variant_of="c51", defaults={"lr": 1e-5, "num_envs": 4}, presets={"probe/*": calm})
    assert algos.base("calm-c51") == "dqn" and "calm-c51" in algos.names() and preset("calm-c51", PROBE) is calm
    known = algos.settings("calm-c51")
    assert (known["head"].default, known["lr"].default, known["num_envs"].default) == ("categorical", 1e-5, 4)
    with pytest.raises(ConfigError, match="unknown setting of ppo 'lrr'"):
        algos.register("mine", variant_of="ppo", defaults={"lrr": 1.0})
    with pytest.raises(ConfigError, match="is taken by"):
        algos.register("c51", variant_of="dqn")
    with pytest.raises(ConfigError, match="variant_of=None: give an algorithm"):
        algos.register("mine")
    algos.register("calm-c51", "some.module")  # now an algorithm, no variant
    assert algos.base("calm-c51") == "calm-c51" and algos.entry("calm-c51") == "some.module"


class Leash(struct.PyTreeNode):
    weight: float = 3.0  # what it costs to leave the old policy

    def __call__(self, log_ratio, advantage, progress, reference=None):
        return self.weight * jnp.square(log_ratio) - jnp.exp(log_ratio) * advantage


def test_an_objective_by_a_name_of_its_own(tmp_path):
    objectives.register(Leash, name="leash")
    assert objectives.named("leash") is Leash and settings.name_of(Leash) == "leash"
    assert settings.of_objective("leash")["objective.weight"].doc == "what it costs to leave the old policy"
    given = {"objective": "leash", "objective.weight": 2.0, "steps": 64, "use_preset": False, "progress": False, **TINY}
    run = rljax.train("ppo", PROBE, out=tmp_path / "a", tensorboard=False, **given)
    assert "module" not in str(run.record["hypers"]) and rljax.load(run.folder).algo.hypers.objective.weight == 2.0
    with pytest.raises(ConfigError, match=r"unknown field of objective leash 'objective.wait'"):
        rljax.make("ppo", PROBE, objective="leash", **{"objective.wait": 1.0})
    with pytest.raises(ConfigError, match="is an objective of rljax"):
        objectives.register(Leash, name="dpo")


class Wide(MLP):
    """A torso of one's own."""


def test_a_torso_of_ones_own_is_chosen_by_its_name():
    catalogue.TORSOS.register("wide", Wide)
    algorithm, _ = rljax.make("ppo", PROBE, torso="wide", **TINY)
    assert algorithm.config.torso == "wide" and rljax.train(
        "ppo", PROBE, steps=64, torso="wide", progress=False, **TINY
    )
    with pytest.raises(ConfigError, match=r"torso=wid: must be one of mlp, .*, wide; did you mean 'wide'"):
        rljax.make("ppo", PROBE, torso="wid")


def test_wrappers_are_part_of_a_name():
    stacked = frame_stack(envs.make("CartPole-v1"), 4)
    again = envs.make(stacked.name)
    assert stacked.name == "CartPole-v1|frame_stack(4)" == again.name and envs.make(stacked.name) is again
    assert again.observation_space.shape == (16,)
    masked = mask_observation(envs.make("CartPole-v1"), [1, 3])
    assert envs.make(masked.name).name == masked.name == "CartPole-v1|mask_observation([1,3])"
    both = envs.make("CartPole-v1|sticky_actions(prob=0.25)|time_limit(7)", gravity=3.0)
    assert both.longest_episode() == 7 and float(both.task.gravity) == 3.0
    assert both.name == "CartPole-v1|sticky_actions(0.25)|time_limit(7)" and envs.ours(both.name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("CartPole-v1|frame_stak(4)", "unknown wrapper 'frame_stak'; did you mean 'frame_stack'"),
        ("CartPole-v2|frame_stack(4)", "unknown environment 'CartPole-v2'"),
        ("CartPole-v1|frame_stack(", r"'frame_stack\(': write it as a name with plain arguments"),
        ("CartPole-v1|frame_stack(x)", "write it as a name with plain arguments"),
        ("CartPole-v1|frame_stack()", "frame_stack: .*missing 1 required positional argument"),
    ],
)
def test_wrappers_that_cannot_be(name, message):
    with pytest.raises(ConfigError, match=message):
        envs.make(name)


def double_reward(env, by=2.0):
    import dataclasses

    def step(key, state, action, task):
        state, result = env.step(key, state, action, task)
        return state, result._replace(reward=by * result.reward)

    return dataclasses.replace(env, name=f"{env.name}|double_reward({by})", step=step)


def test_a_wrapper_of_the_users_own(tmp_path):
    envs.register_wrapper("double_reward", double_reward)
    name = f"{PROBE}|double_reward(3.0)"
    assert not envs.ours(name)
    run = rljax.train("ppo", name, steps=64, progress=False, tensorboard=False, out=tmp_path / "a", **TINY)
    assert rljax.load(run.folder).env is envs.make(name)
    np.testing.assert_allclose(run.evaluate(4), 3 * rljax.load(run.folder, env=envs.make(PROBE)).evaluate(4))
    with pytest.raises(ConfigError, match="must be an identifier"):
        envs.register_wrapper("a-b", double_reward)
    with pytest.raises(ConfigError, match=r"what follows \| are wrappers"):
        envs.register("my|env", lambda: envs.make(PROBE))
