"""Agents take legal actions alone, on an environment where an illegal one pays most, and learn the values of these."""

from __future__ import annotations

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toys import learned, tiny

from rljax import algos, envs
from rljax.errors import ConfigError
from rljax.nets.critic import Critics
from rljax.nets.q import QNetwork
from rljax.ops.tree import as_arrays
from rljax.run import run
from rljax.types import LEGAL, Box, Dict, Discrete, Env, StepResult

PROBE = "probe/action-mask"
ALLOWED = jnp.array([[True, True, False], [True, True, True]])
OBS = {LEGAL: ALLOWED, "obs": jnp.array([[0.0], [1.0]])}
CASES = {
    "ppo": ("ppo", {}),
    "pqn": ("pqn", {}),
    "lpg": ("lpg", {}),
    "udrl": ("udrl", {}),
    "sac": ("sac", {}),
    "dqn": ("dqn", {"target": "double"}),
    "greedy": ("dqn", {"target": "greedy"}),
    "munchausen": ("dqn", {"target": "munchausen"}),
    "categorical": ("dqn", {"head": "categorical"}),
    "noisy": ("dqn", {"noisy": True}),
}


@pytest.mark.parametrize("case", CASES)
def test_no_illegal_action_is_ever_taken(case):
    name, settings = CASES[case]
    env = envs.make(PROBE)
    algo = algos.load(name).make(env, tiny(name, **settings))
    state, metrics = jax.jit(partial(run, algo, num_updates=20))(
        jax.random.key(0), as_arrays(algo.hypers), as_arrays(env.task)
    )
    assert metrics["episodes"].min() >= 1 and metrics["episode_return"].max() <= 2  # one illegal action is worth 1000
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((metrics, state.params)))
    batch = jax.tree.map(lambda x: jnp.repeat(x, 100, axis=0), OBS)
    carry = algo.initial_carry(state, 200)
    for greedy in (True, False):
        _, action = jax.jit(algo.act)(state, carry, batch, jnp.ones(200, bool), jax.random.key(1), greedy)
        assert batch[LEGAL][jnp.arange(200), action].all()


def test_ppo_learns_the_values_and_the_policy_of_legal_actions():
    settings = {"num_envs": 8, "num_steps": 32, "num_epochs": 4, "num_minibatches": 4, "hidden": (16,)}
    algo, state, _ = learned("ppo", PROBE, settings, 2, 150, lr=5e-3, value_clip=jnp.inf)
    policy, value = jax.vmap(lambda s: algo.forward(s.params, s.obs_stats, OBS))(state)
    np.testing.assert_allclose(value, [[1, 2]] * 2, atol=0.1)
    np.testing.assert_array_equal(policy.mode(), [[1, 2]] * 2)


@pytest.mark.parametrize(("name", "settings"), [CASES["pqn"], CASES["dqn"], CASES["munchausen"], CASES["sac"]])
def test_agents_of_action_values_find_the_best_legal_action(name, settings):
    if name == "pqn":
        sizes = {"num_envs": 8, "num_steps": 16, "num_minibatches": 2, "hidden": (16,)}
    else:
        sizes = {"num_envs": 8, "batch_size": 32, "capacity": 1024, "warmup": 64, "hidden": (16,), "gradient_steps": 2}
    algo, state, metrics = learned(name, PROBE, sizes | settings, 2, 300, lr=5e-3)
    act = jax.vmap(lambda s: algo.act(s, (), OBS, jnp.ones(2, bool), jax.random.key(0), True)[1])
    np.testing.assert_array_equal(act(state), [[1, 2]] * 2)
    assert metrics["episode_return"].max() <= 2


@pytest.mark.parametrize("name", ["td3", "revalued", "sac", "ppo"])
def test_continuous_actions_have_no_mask(name):
    one = np.ones(1, np.float32)
    env = dataclasses.replace(envs.make(PROBE), action_space=Box(-one, one))
    with pytest.raises(ConfigError, match="says which discrete actions are legal, but action_space is a Box") as caught:
        algos.load(name).make(env, tiny(name))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["ppo", "pqn", "lpg", "dqn", "sac", "td3", "revalued", "udrl"])
def test_algorithms_for_one_agent_refuse_several_and_actions_of_several_parts(name):
    env = envs.make("probe/continuous" if name in ("td3", "revalued") else "probe/action")
    with pytest.raises(ConfigError, match=r"env.agents=2: must be None: this algorithm learns for one agent"):
        algos.load(name).make(dataclasses.replace(env, agents=2), tiny(name))
    parts = dataclasses.replace(env, action_space=Dict({"a": env.action_space}))
    with pytest.raises(ConfigError, match=r"action_space=Dict"):
        algos.load(name).make(parts, tiny(name))


@pytest.mark.parametrize("name", ["ppo", "dqn", "sac"])
def test_images_and_vectors_are_seen_together(name):
    """Traced, not run: the torso of images takes what comes with one."""
    env = envs.make("Breakout-MinAtar")
    space = Dict({"image": env.observation_space, "speed": Box(np.zeros(2), np.ones(2))})

    def shown(obs):
        return {"image": obs, "speed": jnp.ones(2)}

    def reset(key, task):
        state, obs = env.reset(key, task)
        return state, shown(obs)

    def step(key, state, action, task):
        state, result = env.step(key, state, action, task)
        return state, result._replace(obs=shown(result.obs))

    both = dataclasses.replace(env, observation_space=space, reset=reset, step=step)
    settings = {} if name == "sac" else {"torso": "cnn"}
    algo = algos.load(name).make(both, tiny(name, **settings))
    state, _ = jax.eval_shape(partial(run, algo, num_updates=2), jax.random.key(0), algo.hypers, env.task)
    widths = {x.shape[0] for x in jax.tree.leaves(state.params) if x.ndim == 2}
    assert (8 * 8 * 16 if settings else 10 * 10 * env.observation_space.shape[-1]) + 2 in widths


def dead_end() -> Env:
    """Two steps: the first may be anything and gives 0; in the second only action 0 is legal, and gives -5.

    V = -5 g and -5, whatever is believed of the actions that are illegal then.
    """

    def show(t):
        return {LEGAL: jnp.array([True, t == 0, t == 0]), "t": jax.nn.one_hot(t, 2)}

    def reset(key, task):
        return jnp.int32(0), show(0)

    def step(key, t, action, task):
        return t + 1, StepResult(show(t + 1), jnp.where(t == 1, -5.0, 0.0), t == 1, jnp.array(False))

    no = np.zeros(3, bool)
    space = Dict({LEGAL: Box(no, ~no, np.dtype(bool)), "t": Box(np.zeros(2), np.ones(2))})
    return Env("toy/dead-end", reset, step, {}, space, Discrete(3))


@pytest.mark.parametrize("case", ["pqn", "dqn", "greedy", "munchausen"])
def test_what_follows_is_the_best_of_the_legal_actions(case):
    name, settings = CASES[case]
    sizes = {"num_envs": 8, "batch_size": 64, "capacity": 1024, "warmup": 128, "hidden": (), "gradient_steps": 2}
    if name == "pqn":
        sizes = {"num_envs": 8, "num_steps": 16, "hidden": ()}
    numbers = {"epsilon_final": 1.0, "lr": 3e-2, "discount": 0.8}
    numbers |= {"trace_lambda": 0.0} if name == "pqn" else {"target_period": 10.0, "max_grad_norm": jnp.inf}
    numbers |= {"munchausen": 0.0, "munchausen_temperature": 1e-3} if case == "munchausen" else {}
    _, state, _ = learned(name, dead_end(), sizes | settings, 2, 400, **numbers)
    params = state.params if name == "pqn" else state.params["values"]
    network = QNetwork(3, hidden=(), layer_norm=name == "pqn")
    found = jax.vmap(lambda params: network.apply(params, jnp.eye(2))[..., 0])(params)  # [S, t, A]
    np.testing.assert_allclose(found[:, 0], -4.0, atol=0.1)
    np.testing.assert_allclose(found[:, 1, 0], -5.0, atol=0.1)


def test_a_critic_of_discrete_actions_weighs_legal_ones_alone():
    sizes = {"num_envs": 8, "batch_size": 64, "capacity": 1024, "warmup": 128, "hidden": (16,), "gradient_steps": 2}
    numbers = {"lr": 1e-3, "critic_lr": 1e-2, "discount": 0.8, "temperature_lr": 0.0, "target_rate": 0.05}
    _, state, metrics = learned("sac", dead_end(), sizes | {"loss": "squared"}, 2, 400, **numbers)
    # One legal action has no entropy, so alpha does not count; three have log 3 of it at most.
    critics = Critics(members=2, actions=3, hidden=(16,))
    found = jax.vmap(lambda params: critics.apply(params, jnp.eye(2))[..., 0])(state.params["critics"])  # [S, M, t, A]
    np.testing.assert_allclose(found[:, :, 0], -4.0, atol=0.1)
    np.testing.assert_allclose(found[:, :, 1, 0], -5.0, atol=0.1)
    assert 0.4 < metrics["entropy"][:, -50:].mean() < 0.7  # half of the observations have log 3, half have none
