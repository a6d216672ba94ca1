"""DQN and its options: what they learn on environments with known answers, and the traps of their kind."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toys import learned, tiny

import rljax
from rljax import envs
from rljax.algos import dqn
from rljax.envs.catalogue import GYMNAX, PROBES
from rljax.errors import ConfigError
from rljax.ops.value_heads import HeadParams
from rljax.run import as_arrays, run, start
from rljax.types import Discrete

SMALL = {"num_envs": 8, "batch_size": 32, "capacity": 1024, "warmup": 64, "hidden": (16,), "gradient_steps": 2}
OPTIONS = {
    "plain": {},
    "greedy": {"target": "greedy", "loss": "squared"},
    "several-steps": {"n_step": 3},
    "prioritised": {"prioritised": True, "n_step": 2},
    "dueling": {"dueling": True, "layer_norm": True},
    "noisy": {"noisy": True},
    "categorical": {"head": "categorical", "atoms": 31},
    "hl-gauss": {"head": "hl-gauss", "atoms": 31},
    "quantile": {"head": "quantile", "atoms": 11},
    "rainbow": {
        "head": "categorical", "atoms": 31, "dueling": True, "noisy": True, "prioritised": True, "n_step": 3
    },
}  # fmt: skip


def trained(name, updates=800, settings=None, **numbers):
    """-> (Q of observations `[..., 1]` -> `[S, ..., A]`, metrics)."""
    settings = SMALL | (settings or {})
    given = {"lr": 5e-3, "target_period": 20.0, "value_low": -2.0, "value_high": 12.0, "epsilon_final": 0.5}
    given |= {"max_grad_norm": jnp.inf} | numbers
    algo, state, metrics = learned("dqn", name, settings, 2, updates, **given)

    def values(obs):
        outputs = jax.vmap(lambda params: algo.network.apply(params, obs))(state.params["values"])
        return algo.head.value(outputs, HeadParams(given["value_low"], given["value_high"]))

    return values, metrics


@pytest.mark.parametrize("option", OPTIONS)
def test_the_value_of_an_env_that_is_only_ever_truncated(option):
    """1 / (1 - g), not less: time limits are no deaths, over one step or several."""
    values, _ = trained("probe/truncation", 1000, OPTIONS[option], discount=0.9, lr=2e-2)
    found = values(jnp.zeros((1, 1)))
    # Perturbed weights do not explore on: what is not taken any more is not learned any more.
    noisy = OPTIONS[option].get("noisy")
    np.testing.assert_allclose(found.max(-1) if noisy else found, 10.0, rtol=0.08 if noisy else 0.04)


@pytest.mark.parametrize("option", ["several-steps", "quantile"])
@pytest.mark.parametrize(
    ("name", "obs", "expected"),
    [
        ("probe/discounted", [0.0, 1.0], [0.9, 1.0]),
        ("probe/observation", [-1.0, 1.0], [-1.0, 1.0]),
        ("probe/both-flags", [0.0, 1.0, 2.0, 3.0], [3.439, 2.71, 1.9, 1.0]),
    ],
)
def test_values_on_probes(name, obs, expected, option):
    values, _ = trained(name, 1500, OPTIONS[option], discount=0.9, value_high=5.0)
    np.testing.assert_allclose(values(jnp.array(obs)[:, None]).mean(-1), [expected] * 2, atol=0.2)


@pytest.mark.parametrize("option", OPTIONS)
def test_actions_are_told_apart(option):
    """Q(obs, a) is 1 where the action is right and -1 where it is not."""
    values, _ = trained("probe/action-observation", settings=OPTIONS[option], value_high=2.0)
    found = values(jnp.array([[-1.0], [1.0]]))
    assert (found.max(-1) > 0.85).all() and (found.min(-1) < -0.3).all()


def test_munchausen_adds_to_the_reward_what_its_policy_is_sure_of():
    """One state, one step, rewards 0 and 1: m_a = r_a + alpha max(tau log w(a), clip), w softmax of m / tau."""
    tau, alpha = 0.5, 0.5
    numbers = {"munchausen_temperature": tau, "munchausen": alpha, "munchausen_clip": -10.0}
    values, _ = trained("probe/action", settings={"target": "munchausen", "loss": "squared"}, **numbers)
    q = np.array([0.0, 1.0])
    for _ in range(500):
        shifted = q / tau - np.log(np.exp(q / tau).sum())
        q = 0.9 * q + 0.1 * (np.array([0.0, 1.0]) + alpha * tau * shifted)  # slowly, as the target network
    np.testing.assert_allclose(values(jnp.zeros((1, 1)))[:, 0], [q, q], atol=0.1)


def test_the_evolved_loss_lowers_values_by_its_weight():
    """The minimum of w Q + (Q - y)^2 is at y - w / 2."""
    values, _ = trained("probe/constant", settings={"loss": "dqn-reg"}, reg_weight=0.4)
    np.testing.assert_allclose(values(jnp.zeros((1, 1))), 0.8, atol=0.05)


def test_exploration_falls_and_stays():
    _, metrics = trained("probe/action", 100, exploration_fraction=0.5, epsilon=0.8, epsilon_final=0.1)
    np.testing.assert_allclose(metrics["exploration"][0, [0, 25, 50, 99]], [0.8, 0.45, 0.1, 0.1], rtol=1e-5)


def test_the_target_network_moves_when_it_is_told_to():
    env = envs.make("CartPole-v1")
    algo = dqn.DQN(env, tiny("dqn"))  # two gradient steps an update
    task = as_arrays(env.task)
    state = start(algo, jax.random.key(0), as_arrays(algo.hypers), task)
    hypers = as_arrays(algo.hypers.replace(target_period=4.0, target_rate=1.0))
    first, _ = jax.jit(algo.step)(state, hypers, task)
    second, _ = jax.jit(algo.step)(first, hypers, task)
    jax.tree.map(np.testing.assert_array_equal, first.learner.target_params, state.params)
    jax.tree.map(np.testing.assert_array_equal, second.learner.target_params, second.params)
    late = state.replace(learner=state.learner.replace(gradient_steps=jnp.int32(2**24 + 1)))  # float32 has no 2^24 + 3
    after, _ = jax.jit(algo.step)(late, hypers, task)
    jax.tree.map(np.testing.assert_array_equal, after.learner.target_params, state.params)
    slow, _ = jax.jit(algo.step)(state, as_arrays(algo.hypers.replace(target_period=1.0, target_rate=0.1)), task)
    moved = jax.tree.map(lambda a, b: (a != b).any(), slow.learner.target_params, slow.params)
    assert all(jax.tree.leaves(moved))


def test_warmup_steps_count():
    algo, env = rljax.make("dqn", "CartPole-v1", num_envs=8, num_steps=2, warmup=1000)
    assert algo.warmup_steps == 1008 and algo.steps(10) == 1168 and algo.updates(1169) == 11
    state = jax.eval_shape(algo.init, jax.random.key(0), algo.hypers, env.task)
    assert state.buffer.ring.rows.shape == (12_500, 8, 11)
    found = start(algo, jax.random.key(0), as_arrays(algo.hypers), as_arrays(env.task))
    assert found.buffer.ring.stored * 8 == 1008


@pytest.mark.parametrize(
    ("env", "settings", "message"),
    [
        ("Pendulum-v1", {}, "action_space=Box: must be Discrete"),
        ("CartPole-v1", {"batch_size": 2000}, "batch_size=2000: must be at most .* 1000"),
        ("CartPole-v1", {"capacity": 4}, "capacity=4: must hold the 8 steps"),
        (
            "Breakout-MinAtar",
            {"capacity": 2 * 10**9},
            "capacity=2000000000: takes .* TB and .* are free; give a smaller one",
        ),
        ("CartPole-v1", {"capacity": 10**12}, "capacity=1000000000000: must be at most 2147483647"),
        ("CartPole-v1", {"torso": "cnn"}, "torso=cnn"),
        (
            "CartPole-v1",
            {"munchausen_temperature": 0.1},
            "munchausen_temperature=0.1: has no effect without target=munchausen",
        ),
        ("CartPole-v1", {"n_step": 0}, "n_step=0"),
    ],
)
def test_what_cannot_be_is_refused_by_field(env, settings, message):
    with pytest.raises(ConfigError, match=message):
        rljax.make("dqn", env, **settings)


@pytest.mark.parametrize("name", [*GYMNAX, *PROBES])
def test_every_environment_of_discrete_actions_can_be_learned_on(name):
    """Traced, not run: shapes, types and spaces fit together."""
    env = envs.make(name)
    if not isinstance(env.action_space, Discrete):
        return
    algo = dqn.DQN(env, tiny("dqn"))
    state, metrics = jax.eval_shape(partial(run, algo, num_updates=2), jax.random.key(0), algo.hypers, env.task)
    assert state.params and metrics["value_loss"].shape == (2,)
