"""A method of an algorithm is overridden alone, and the rest goes on as before."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import jax
import numpy as np
from toys import PROBE, TINY, learn

import rljax
from rljax import envs
from rljax.algos.ppo import PPO
from rljax.ops.tree import as_arrays


class Contrary(PPO):
    """Its reward model says the opposite of the environment."""

    def relabel(self, state, hypers, task, steps):
        return steps._replace(reward=-steps.reward)


class Louder(PPO):
    def loss(self, params, state, hypers, batch, key):
        total, metrics = super().loss(params, state, hypers, batch, key)
        return 2.0 * total, metrics


def test_a_reward_model_relabels_within_ppo():
    """The policy follows the relabelled reward; the episodes' returns are those of the environment."""
    env = envs.make(PROBE)
    found = {}
    for kind in (PPO, Contrary):
        algo = kind(env, PPO.Config(num_envs=8, num_steps=16, hidden=(8,)))
        hypers = as_arrays(algo.hypers.replace(lr=1e-2, lr_final=1.0, entropy_coef=0.0))
        _, metrics = learn(algo, hypers, as_arrays(env.task), 2, 60)
        found[kind] = np.asarray(metrics["episode_return"])[:, -10:].mean()
    assert found[PPO] > 0.8 and found[Contrary] < -0.8


def test_a_subclass_that_overrides_the_loss_alone_is_another_algorithm(tmp_path):
    """Another program, and another record."""
    env = envs.make(PROBE)
    config = PPO.Config(**TINY)
    assert Louder(env, config) != PPO(env, config) and Louder(env, config) == Louder(env, config)
    assert len({PPO(env, config), Louder(env, config)}) == 2
    traces = []
    jitted = jax.jit(lambda algo, state: traces.append(algo) or algo.env.task, static_argnums=0)
    for algo in (PPO(env, config), Louder(env, config), Louder(env, config)):
        jitted(algo, 0)
    assert len(traces) == 2
    rljax.algos.register("louder", Louder)
    marks = {}
    for name in ("ppo", "louder"):
        out = tmp_path / name
        run = rljax.train(name, PROBE, steps=64, out=out, use_preset=False, progress=False, **TINY)
        record = json.loads((out / "config.json").read_text())
        assert record["algo"] == name and np.isfinite(run.metrics["policy_loss"]).all()
        marks[name] = record["fingerprints"].get("algo")
    assert marks["ppo"] is None and marks["louder"]


@dataclass(frozen=True)
class Short(PPO):
    config: PPO.Config = field(default=PPO.Config(num_envs=2, num_steps=8, num_minibatches=1))
    hypers: PPO.Hypers = field(default=PPO.Hypers(lr=0.01), compare=False)


def test_a_subclass_gives_other_defaults():
    """They are what runs, what help shows, and what a record says."""
    rljax.algos.register("short", Short)
    known = rljax.algos.settings("short")
    assert known["num_steps"].default == 8 and known["lr"].default == 0.01 and known["num_epochs"].default == 4
    algorithm, _ = rljax.make("short", PROBE, num_envs=3)
    assert algorithm.config == PPO.Config(num_envs=3, num_steps=8, num_minibatches=1) and algorithm.hypers.lr == 0.01
    assert Short.make(envs.make(PROBE)).config == Short.default("config")
    record = rljax.train("short", PROBE, steps=16, progress=False).record
    assert (record["config"]["num_steps"], record["hypers"]["lr"]) == (8, 0.01)
