"""LPG: closed forms of one update, what its critic learns, and derivatives in the weights of its rule."""

from __future__ import annotations

import dataclasses
from functools import cache, partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rljax import envs, shipped
from rljax.algos import lpg
from rljax.errors import ConfigError
from rljax.meta import spec
from rljax.meta.compare import compare
from rljax.meta.gradient import Setup, init, meta_step
from rljax.meta.outer_loss import Agent, actor_critic_loss, regularised
from rljax.nets.update_rule import UpdateRule, initial_rule, time_inputs
from rljax.objectives import files
from rljax.ops.losses import kl_divergence
from rljax.ops.tree import as_arrays
from rljax.parts import of_record
from rljax.run import run
from rljax.types import Box, Discrete, Env, MultiDiscrete, StepResult

SMALL = lpg.Config(num_envs=4, num_steps=5, rule_width=8, bootstrap=4, embedding=4)
NET = dataclasses.replace(SMALL, hidden=(8,), optimiser="adam")
RATES = {"lr": 0.02, "bootstrap_lr": 0.02, "critic_lr": 0.02}  # for NET

# Most of the time would go into compiling well what runs for milliseconds.
jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def corridor(length: int, one_hot: bool = False) -> Env:
    """Leads from place 0 to the last one, where an episode ends or is cut; each step gives 1 + bonus * action."""

    def show(position):
        return jax.nn.one_hot(position, length) if one_hot else position

    def reset(key, task):
        return jnp.int32(0), show(jnp.int32(0))

    def step(key, position, action, task):
        end, position = position + 1 >= length, (position + 1) % length
        reward = 1.0 + task["bonus"] * action
        return position, StepResult(show(position), reward, end & ~task["cut"], end & task["cut"])

    space = Box(np.zeros(length, np.float32), np.ones(length, np.float32)) if one_hot else Discrete(length)
    return Env("toy/corridor", reset, step, {"bonus": 1.0, "cut": False}, space, Discrete(2))


BANDIT, CORRIDOR, GRIDWORLD = corridor(1), corridor(3), envs.make("gridworld/small")
PLACES = jnp.arange(3)


def born(env, config, **numbers):
    """-> (algorithm, state, hypers, task)."""
    algo = lpg.LPG(env, config)
    hypers, task = as_arrays(algo.hypers.replace(**numbers)), as_arrays(env.task)
    return algo, jit(algo.init)(jax.random.key(0), hypers, task), hypers, task


def test_the_rules_of_the_published_sizes():
    for temporal, count in ((False, 203_946), (True, 205_482)):
        algo = lpg.LPG(BANDIT, lpg.Config(temporal=temporal))
        assert sum(x.size for x in jax.tree.leaves(algo.hypers.rule)) == count
    assert lpg.LPG(BANDIT, lpg.Config()) == lpg.LPG(BANDIT, lpg.Config())


@pytest.mark.parametrize("bound", [np.inf, 0.02])
def test_one_update_of_one_state_in_closed_form(bound):
    """A step down -pi_hat log pi(a), alpha_y KL(y || y_hat) and (V - r)^2 / 2, each clipped by its norm.

    The first step of Adam, that of the critic, is of the size of its learning rate.
    """
    config = dataclasses.replace(SMALL, num_envs=1, num_steps=1)
    numbers = {"lr": 0.7, "bootstrap_lr": 0.3, "kl_weight": 0.4, "critic_lr": 0.2, "max_grad_norm": bound}
    algo, state, hypers, task = born(BANDIT, config, **numbers)
    old = {name: np.asarray(x["table"][0]) for name, x in state.params.items()}
    after, metrics = jit(algo.step)(state, hypers, task)
    reward = float(metrics["episode_return"])
    action, p, y = int(reward) - 1, jax.nn.softmax(old["actor"]), jax.nn.softmax(old["bootstrap"])
    flags = jnp.ones((1, 1), bool), jnp.zeros((1, 1), bool)
    rule = UpdateRule(config.rule_width, config.bootstrap, config.embedding)
    shown = jnp.full((1, 1), reward), *flags, p[action][None, None], y[None, None], y[None, None]
    pi_hat, log_y_hat = (x[0, 0] for x in jit(rule.apply)({"params": hypers.rule}, *shown))
    kl = (y * (jnp.log(y) - log_y_hat)).sum()
    gradient = {
        "actor": -pi_hat * (jax.nn.one_hot(action, 2) - p),
        "bootstrap": 0.4 * y * (jnp.log(y) - log_y_hat - kl),
        "critic": old["critic"] - reward,
    }
    for name, rate in (("actor", 0.7), ("bootstrap", 0.3), ("critic", 0.2)):
        norm = np.linalg.norm(gradient[name])
        assert norm > 0.02
        step = min(1.0, bound / norm) * gradient[name]
        step = step / (abs(step) + 1e-5) if name == "critic" else step
        expected = old[name] - rate * step
        np.testing.assert_allclose(after.params[name]["table"][0], expected, rtol=1e-5, atol=1e-7, err_msg=name)
    np.testing.assert_allclose(metrics["kl"], kl, rtol=1e-4)
    np.testing.assert_allclose(metrics["policy_loss"], -pi_hat * jnp.log(p[action]), rtol=1e-5)
    np.testing.assert_allclose(metrics["pi_hat_sq"], pi_hat**2, rtol=1e-5)
    np.testing.assert_allclose(metrics["y_hat_sq"], jnp.exp(2 * log_y_hat).sum(), rtol=1e-5)
    np.testing.assert_allclose(metrics["entropy"], -(p * jnp.log(p)).sum(), rtol=1e-5)
    np.testing.assert_allclose(metrics["bootstrap_entropy"], -(y * jnp.log(y)).sum(), rtol=1e-5)
    norm = np.linalg.norm([np.linalg.norm(gradient["actor"]), np.linalg.norm(gradient["bootstrap"])])
    np.testing.assert_allclose(metrics["grad_norm"], norm, rtol=1e-5)


def test_the_divergence_is_zero_for_equals_and_positive_otherwise():
    p, q = jax.nn.log_softmax(jax.random.normal(jax.random.key(0), (2, 50, 6)))
    np.testing.assert_array_equal(kl_divergence(p, p), 0.0)
    assert (kl_divergence(p, q) > 0).all()
    sure, other = (jax.nn.log_softmax(1e4 * jnp.eye(2)[i]) for i in range(2))  # probabilities that are exactly 0
    assert kl_divergence(sure, sure) == 0 and np.isfinite(kl_divergence(sure, other))


def test_a_table_has_the_numbers_of_a_linear_layer_on_one_hot_observations():
    wide = corridor(3, one_hot=True)
    algo, state, hypers, task = born(CORRIDOR, SMALL)
    other, flat, _, _ = born(wide, SMALL)
    assert flat.params.keys() == {"actor", "bootstrap", "critic"}
    flat = flat.replace(params={name: {"linear": {"kernel": x["table"]}} for name, x in state.params.items()})
    for _ in range(3):
        (state, metrics), (flat, same) = jit(algo.step)(state, hypers, task), jit(other.step)(flat, hypers, task)
        chex.assert_trees_all_close(metrics, same, rtol=1e-4, atol=1e-6)


@partial(jit, static_argnums=0)
def trained(algo, hypers, task):
    """A run of 400 updates -> (state, metrics [400])."""
    return run(algo, jax.random.key(1), hypers, task, 400)


@pytest.mark.parametrize("config", [SMALL, NET], ids=["table", "network"])
def test_the_critic_learns_the_values_of_the_policy(config):
    """Whichever action: reward 1. Ended after three steps, or cut and going on for ever."""
    rates = RATES if config is NET else {}
    algo = lpg.LPG(CORRIDOR, config)
    for cut, expected in ((False, [1.75, 1.5, 1.0]), (True, [2.0, 2.0, 2.0])):
        task = as_arrays({"bonus": 0.0, "cut": cut})
        state, metrics = trained(algo, as_arrays(algo.hypers.replace(discount=0.5, **rates)), task)
        _, _, value = algo.policy(state, (), PLACES, ())
        np.testing.assert_allclose(value, expected, atol=0.02)
        assert cut or metrics["explained_variance"][-1] > 0.95
        assert metrics["value_loss"][-1] < metrics["value_loss"][0] / 100


def by_hand(config):
    """A rule that says pi_hat = 8 tanh(r - 3/2) where that is positive: no memory, and reward is all that counts."""
    rule = jax.tree.map(np.zeros_like, initial_rule(UpdateRule(config.rule_width, config.bootstrap, config.embedding)))
    width = config.rule_width
    rule["gru"]["bias_x"][width : 2 * width] = -20.0  # keep nothing of what comes later
    rule["gru"]["kernel_x"][0, 2 * width] = 1.0
    rule["gru"]["bias_x"][2 * width] = -1.5
    rule["pi_hat"]["kernel"][0] = 8.0
    return rule


def test_a_rule_that_praises_reward_teaches_the_better_action():
    """Reward is 1 + action; what is predicted follows y_hat, which is uniform here."""
    algo = lpg.LPG(CORRIDOR, SMALL)
    hypers = as_arrays(algo.hypers.replace(rule=by_hand(SMALL), lr=1.0))
    state, metrics = trained(algo, hypers, as_arrays(CORRIDOR.task))
    _, policy, _ = algo.policy(state, (), PLACES, ())
    assert (jax.nn.softmax(policy.logits)[:, 1] > 0.9).all()
    assert metrics["entropy"][-1] < metrics["entropy"][0] / 2 and metrics["kl"][-1] < 1e-4
    np.testing.assert_allclose(metrics["y_hat_sq"], 1 / 4, rtol=1e-5)
    _, action = algo.act(state, (), PLACES, jnp.zeros(3, bool), jax.random.key(2), True)
    np.testing.assert_array_equal(action, 1)
    assert action.dtype == jnp.int32


def test_only_a_temporal_rule_knows_of_the_run():
    """And one program serves all ages and horizons."""
    for temporal in (False, True):
        algo, state, hypers, task = born(CORRIDOR, dataclasses.replace(SMALL, temporal=temporal))
        traces, said = [], []

        def traced(*arguments, step=algo.step, traces=traces):
            traces.append(1)
            return step(*arguments)

        step = jit(traced)
        for n, horizon in ((0, 10), (5, 10), (0, 20), (0, np.inf), (5, np.inf)):
            _, metrics = step(state.replace(updates=jnp.int32(n)), hypers.replace(horizon=jnp.float32(horizon)), task)
            said.append(float(metrics["pi_hat_sq"]))
        assert np.isfinite(said).all() and len(traces) == 1
        assert len(set(said)) == (4 if temporal else 1)  # no progress in an endless run
    for horizon, order in ((1, 0.0), (10, 1 / 3), (1000, 1.0), (1e6, 2.0), (np.inf, 2.0)):
        progress, found = time_inputs(jnp.float32(1 / horizon), horizon)
        np.testing.assert_allclose((progress, found), (1 / horizon, order), rtol=1e-6)


@cache
def outer(config):
    """(rule, weights [2], state, hypers, task) -> derivatives of an outer loss, weighed after each of two updates.

    It is a smooth function of all that an agent's parameters say, and of what was said to it.
    """
    algo = lpg.LPG(CORRIDOR, config)

    def loss(rule, weights, state, hypers, task):
        def update(state, _):
            state, metrics = algo.step(state, hypers.replace(rule=rule), task)
            policy, log_y, value = algo.forward(state.params, PLACES)
            total = (policy.log_prob(jnp.array([0, 1, 0])) * jnp.array([1.0, 2.0, -0.5])).sum()
            total += jnp.square(value).sum() + (jnp.exp(log_y) * jnp.arange(log_y.shape[-1])).sum()
            said = (metrics[name] for name in ("pi_hat_sq", "y_hat_sq", "entropy", "bootstrap_entropy", "kl"))
            return state, total + sum(said)

        return weights @ jax.lax.scan(update, state, None, 2)[1]

    return jit(jax.value_and_grad(loss))


def exact(tree):
    """In float64; by way of numpy, which compiles nothing."""
    return jax.tree.map(lambda x: np.asarray(x, float) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree)


def slopes(config, updates, **numbers):
    """Derivatives of the outer loss after so many updates, along one direction: by themselves, and by differences."""
    with jax.enable_x64(True):
        state, hypers, task = exact(born(CORRIDOR, config, **numbers)[1:])
        weights = np.eye(2)[updates - 1]
        direction = jax.tree.map(lambda x: np.cos(7.0 * np.arange(x.size)).reshape(x.shape), hypers.rule)
        _, gradient = outer(config)(hypers.rule, weights, state, hypers, task)
        along = sum((np.asarray(x) * d).sum() for x, d in zip(jax.tree.leaves(gradient), jax.tree.leaves(direction)))
        losses = []
        for step in (1e-7, -1e-7):
            shifted = jax.tree.map(lambda x, d, s=step: x + s * d, hypers.rule, direction)
            losses.append(float(outer(config)(shifted, weights, state, hypers, task)[0]))
        return along, (losses[0] - losses[1]) / 2e-7


SHOWN = dataclasses.replace(SMALL, input_gradient=True)
ADAM = dataclasses.replace(SHOWN, optimiser="adam")


@pytest.mark.parametrize(
    ("config", "numbers"),
    [(dataclasses.replace(SHOWN, temporal=True), {"max_grad_norm": 0.02, "horizon": 5.0}), (ADAM, RATES)],
    ids=["sgd", "adam"],
)
def test_derivatives_through_two_updates_agree_with_finite_differences(config, numbers):
    along, expected = slopes(config, 2, **numbers)
    assert abs(along) > 1e-3
    np.testing.assert_allclose(along, expected, rtol=1e-5)


def test_what_the_rule_is_shown_is_no_way_for_derivatives_unless_asked_for():
    """The first update is shown what no earlier one made, so its derivative is whole; that of later ones is not."""
    numbers = {"lr": 2.0, "max_grad_norm": np.inf}
    np.testing.assert_allclose(*slopes(SMALL, 1, **numbers), rtol=1e-5)
    along, other = slopes(SMALL, 2, **numbers)
    assert np.isfinite(along) and abs(along - other) > 1e-4 * abs(other)


def test_an_agent_that_has_settled_leaves_derivatives_finite():
    """Its policy and prediction are certain to the bit, so gradients are exactly 0 and norms have no derivative."""
    with jax.enable_x64(True):
        algo, state, hypers, task = born(CORRIDOR, ADAM, **RATES, max_grad_norm=np.inf)
        state, hypers, task = exact((state, hypers, task))
        certain = {
            name: {"table": 1e3 * np.eye(1, x["table"].shape[1]).repeat(3, 0)} for name, x in state.params.items()
        }
        state = state.replace(params={**certain, "critic": state.params["critic"]})
        assert jit(algo.step)(state, hypers, task)[1]["entropy"] == 0.0
        value, found = outer(ADAM)(hypers.rule, jnp.ones(2), state, hypers, task)
        assert np.isfinite(value) and all(np.isfinite(x).all() for x in jax.tree.leaves(found))


def test_the_regularisers_of_the_outer_loss():
    metrics = {"pi_hat_sq": jnp.array([1.0, 3.0]), "y_hat_sq": jnp.array([0.5, 9.0]), "bootstrap_entropy": jnp.ones(2)}
    agent = Agent(None, None, None, metrics, jnp.array([True, False]))
    weights = {"pi_hat_sq": 0.1, "y_hat_sq": 0.2, "bootstrap_entropy": -0.3}
    loss = regularised(lambda agent, key: (jnp.array(2.0), {"kept": jnp.ones(())}), weights)
    total, kept = loss(agent, None)
    np.testing.assert_allclose(total, 2.0 + 0.1 * 1.0 + 0.2 * 0.5 - 0.3 * 1.0, rtol=1e-6)
    assert kept == {"kept": 1.0}


def test_meta_training_on_gridworlds_is_finite_and_moves_the_rule():
    algo = lpg.LPG(GRIDWORLD, dataclasses.replace(SMALL, temporal=True))
    one = Setup(
        algo=algo,
        put=lambda hypers, theta: hypers.replace(rule=theta),
        loss=regularised(actor_critic_loss(algo, num_steps=5), algo.outer_weights),
        new_lifetime=lambda key: jax.random.randint(key, (), 1, 4),
        new_task=lambda key: GRIDWORLD.task,
        optimiser=optax.adam(1e-3),
        num_updates=2,
        remat=False,
    )
    hypers = as_arrays(one.algo.hypers)
    state = jit(init, static_argnums=(0, 4))(one, jax.random.key(0), hypers.rule, hypers, 3)
    after, metrics = jit(lambda s: jax.lax.scan(lambda s, _: meta_step(one, s, hypers), s, None, 4))(state)
    assert not metrics["meta_skipped"].any() and not metrics["agents_diverged"].any()
    assert all(np.isfinite(x).all() for name, x in metrics.items() if not name.startswith("episode_"))
    assert metrics["agents_ended"].sum() >= 3 and (metrics["meta_grad_norm"] > 0).all()
    for path, moved in jax.tree.leaves_with_path(jax.tree.map(lambda x, y: (x != y).any(), state.theta, after.theta)):
        assert moved, jax.tree_util.keystr(path)


def test_many_rules_side_by_side_are_as_each_alone():
    algo, state, hypers, task = born(CORRIDOR, SMALL)
    rows = [hypers.replace(rule=jax.tree.map(lambda x, f=f: f * x, hypers.rule)) for f in (0.5, 1.0, 2.0)]
    one = [jit(algo.step)(state, row, task) for row in rows]
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *rows)
    many, says = jit(jax.vmap(algo.step, (None, 0, None)))(state, stacked, task)
    for i, (lone, metrics) in enumerate(one):
        row = jax.tree.map(lambda x, i=i: x[i], many.params)
        chex.assert_trees_all_close(row, lone.params, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(says["pi_hat_sq"][i], metrics["pi_hat_sq"], rtol=1e-4)
    assert len({float(metrics["pi_hat_sq"]) for _, metrics in one}) == 3


def test_a_state_is_arrays_and_keeps_its_shape_and_every_leaf_learns(strict):
    algo, state, hypers, task = born(GRIDWORLD, dataclasses.replace(SMALL, temporal=True), horizon=9.0)
    after, metrics = jit(algo.step)(state, hypers, task)
    chex.assert_trees_all_equal_shapes_and_dtypes(state, after)
    assert all(isinstance(x, jax.Array) for x in jax.tree.leaves((state, after)))
    assert all(x.shape == () for x in metrics.values()) and after.updates == 1
    for path, moved in jax.tree.leaves_with_path(jax.tree.map(lambda x, y: (x != y).any(), state.params, after.params)):
        assert moved, jax.tree_util.keystr(path)


@pytest.mark.parametrize(
    ("env", "settings", "message"),
    [
        (BANDIT, {"num_envs": 0}, "num_envs=0: must be at least 1"),
        (BANDIT, {"num_steps": 0}, "num_steps=0"),
        (BANDIT, {"bootstrap": 1}, "bootstrap=1: must be at least 2"),
        (BANDIT, {"rule_width": 0}, "rule_width=0"),
        (BANDIT, {"embedding": 0}, "embedding=0"),
        (BANDIT, {"hidden": (4, 0)}, r"hidden=\(4, 0\)"),
        (BANDIT, {"optimiser": "rmspropp"}, "unknown optimiser 'rmspropp'; did you mean 'rmsprop'"),
        (BANDIT, {"activation": "tahn"}, "did you mean 'tanh'"),
        (envs.make("probe/continuous"), {}, "action_space=Box: must be Discrete"),
        (dataclasses.replace(BANDIT, action_space=MultiDiscrete((2, 3))), {}, "action_space=MultiDiscrete"),
    ],
)
def test_what_cannot_run_is_refused_by_field(env, settings, message):
    with pytest.raises(ConfigError, match=message):
        lpg.LPG(env, dataclasses.replace(SMALL, **settings))


@pytest.mark.parametrize("algo", ["lpg", "ta-lpg"])
def test_the_rule_that_comes_with_rljax_teaches(algo):
    learned_on = of_record(files.read(shipped.file_of(algo)).provenance["tasks"][0]) | {"horizon": 25.0}
    runs = {
        name: [spec.domain(algo, "gridworld/small", 25 * 1280, use_preset=False, **learned_on, **rule)]
        for name, rule in {"learned": {"rule": algo}, "as it starts": {}}.items()
    }
    found = compare(runs, 32, "evaluation", progress=False, workers=1)
    assert found.table()["gain_low"][1] > 0.1, found.table()


def test_a_rule_of_other_sizes_is_refused():
    algo, state, hypers, task = born(BANDIT, SMALL)
    wide = lpg.LPG(BANDIT, dataclasses.replace(SMALL, rule_width=9)).hypers.rule
    with pytest.raises(ConfigError, match=r"rule\['gru'\]\['bias_h'\] is \(9,\), not \(8,\)"):
        algo.step(state, hypers.replace(rule=wide), task)
