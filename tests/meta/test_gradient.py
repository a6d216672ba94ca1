"""Meta-gradients: closed forms, finite differences, lifetimes that end, and optima that are known."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import ClassVar

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import struct
from toys import tiny

from rljax import envs
from rljax.algos import ppo
from rljax.errors import ConfigError
from rljax.meta.gradient import Setup, init, meta_gradient, meta_step
from rljax.meta.outer_loss import Agent
from rljax.objectives import LPO
from rljax.ops.tree import as_arrays
from rljax.run import run
from rljax.types import Algorithm

CURVATURE = 2.0


class Hypers(struct.PyTreeNode):
    lr: float = 0.1
    final: float = 1.0  # fraction of lr that is left at the end of a lifetime
    noise: float = 0.0
    horizon: float = float("inf")


class State(struct.PyTreeNode):
    x: jax.Array  # [2]
    key: jax.Array
    updates: jax.Array


def descend(state, hypers, task):
    """One step down c |x - task|^2 / 2, with noise in the gradient."""
    key, k_noise = jax.random.split(state.key)
    noise = hypers.noise * jax.random.normal(k_noise, (2,), state.x.dtype)
    progress = state.updates / hypers.horizon
    error = state.x - task
    lr = hypers.lr * (1.0 + progress * (hypers.final - 1.0))
    new = State(state.x - lr * (CURVATURE * error + noise), key, state.updates + 1)
    return new, {"progress": progress, "size": jnp.abs(error).sum()}


def born(key, hypers, task):
    key, k_x = jax.random.split(key)
    return State(task + jax.random.normal(k_x, (2,), task.dtype), key, jnp.int32(0))


class Toy(Algorithm):
    IN_32_BITS: ClassVar = {}  # its derivatives are checked in 64

    def init(self, key, hypers, task):
        return born(key, hypers, task)

    def step(self, state, hypers, task):
        return descend(state, hypers, task)


ENV = envs.make("probe/action-observation")
TOY = Toy(ENV, hypers=Hypers())


def put(hypers, theta):
    return hypers.replace(lr=jnp.exp(theta["log_lr"]), final=theta["final"])


def error(agent, key):
    del key
    loss = 0.5 * CURVATURE * jnp.square(agent.state.x - agent.task).sum()
    return loss, {"distance": jnp.abs(agent.state.x - agent.task).sum()}


def lifetime(key):
    return jax.random.randint(key, (), 0, 8)  # 0 counts as 1


def target(key):
    return jax.random.normal(key, (2,), jnp.result_type(float))


SETUP = Setup(TOY, put, error, lifetime, target, optax.adam(0.05), num_updates=3)
THETA = {"log_lr": jnp.log(0.1), "final": jnp.array(0.5)}
HYPERS, NOISY = as_arrays(Hypers()), as_arrays(Hypers(noise=0.3))
N = 16

# Most of the time would go into compiling well what runs for milliseconds.
jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
# With a setup that is static, tests share programs.
started = jit(init, static_argnums=(0, 4))
stepped = jit(meta_step, static_argnums=0)
differentiated = jit(meta_gradient, static_argnums=0)
scanned = jit(
    lambda setup, state, hypers, steps: jax.lax.scan(lambda s, _: meta_step(setup, s, hypers), state, None, steps),
    static_argnums=(0, 3),
)


def agents_of(length, seed=0):
    """Agents in the middle of nowhere, all with the same lifetime."""
    agents = started(SETUP, jax.random.key(seed), THETA, NOISY, N).agents
    return agents.replace(lifetime=jnp.full(N, length, jnp.int32))


def test_a_quadratic_in_closed_form():
    """e' = (1 - lr c)^K e, so d/dlog(lr) of c e'^2 / 2 is -K lr c^2 (1 - lr c)^(2K - 1) e^2."""
    theta, agents = THETA | {"final": jnp.array(1.0)}, agents_of(100)
    grads, (after, losses), metrics = differentiated(SETUP, theta, agents, HYPERS)
    lr, square = 0.1, jnp.square(agents.state.x - agents.task).sum(1)
    left = 1.0 - lr * CURVATURE
    np.testing.assert_allclose(losses, CURVATURE / 2 * left**6 * square, rtol=1e-4)
    np.testing.assert_allclose(grads["log_lr"], (-3 * lr * CURVATURE**2 * left**5 * square).mean(), rtol=1e-4)
    np.testing.assert_array_equal(after.age, 3)
    np.testing.assert_allclose(metrics["distance"], jnp.abs(after.state.x - agents.task).sum(1).mean(), rtol=1e-5)


@pytest.mark.parametrize("k", [1, 2, 3, 4, 5])
def test_it_agrees_with_finite_differences(k):
    with jax.enable_x64(True):
        hypers = as_arrays(Hypers(noise=0.3))
        theta = {"log_lr": jnp.log(jnp.array(0.1)), "final": jnp.array(0.5)}
        one = dataclasses.replace(SETUP, num_updates=k)
        agents = started(SETUP, jax.random.key(1), theta, hypers, N).agents
        found, _, _ = differentiated(one, theta, agents, hypers)
        for name in theta:
            up, down = ({**theta, name: theta[name] + step} for step in (1e-5, -1e-5))
            losses = [differentiated(one, t, agents, hypers)[1][1].mean() for t in (up, down)]
            np.testing.assert_allclose(found[name], (losses[0] - losses[1]) / 2e-5, rtol=1e-7, atol=1e-10)
        assert k == 1 or found["final"] != 0.0


def test_it_equals_an_unrolled_loop_and_needs_no_rematerialisation():
    agents = started(SETUP, jax.random.key(2), THETA, NOISY, N).agents
    ages = [min(3, int(x)) for x in agents.lifetime]
    assert set(ages) == {1, 2, 3}

    def unrolled(theta):
        losses = []
        for n, age in enumerate(ages[:6]):
            state, task, lifetime = jax.tree.map(lambda x, n=n: x[n], (agents.state, agents.task, agents.lifetime))
            hypers = put(NOISY, theta).replace(horizon=lifetime.astype(float))
            for _ in range(age):
                state, _ = descend(state, hypers, task)
            losses.append(error(Agent(state, hypers, task, {}, jnp.ones(3, bool)), None)[0])
        return jnp.stack(losses).mean()

    expected = jit(jax.grad(unrolled))(THETA)
    six = jax.tree.map(lambda x: x[:6], agents)
    for remat in (True, False):
        found, _, _ = differentiated(dataclasses.replace(SETUP, remat=remat), THETA, six, NOISY)
        chex.assert_trees_all_close(found, expected, rtol=1e-5)


def test_agents_live_as_long_as_they_should_and_nothing_leaks():
    state = started(SETUP, jax.random.key(3), THETA, NOISY, N)
    renewed = 0
    for _ in range(6):
        before = state.agents
        _, (at_end, _), _ = differentiated(SETUP, state.theta, before, NOISY)
        state, metrics = stepped(SETUP, state, NOISY)
        after = state.agents
        assert np.all((after.lifetime >= 1) & (after.age < after.lifetime))
        np.testing.assert_array_equal(at_end.age, np.minimum(before.age + 3, before.lifetime))
        np.testing.assert_array_equal(at_end.state.updates, at_end.age)
        over = at_end.age == before.lifetime
        renewed += over.sum()
        assert metrics["agents_ended"] == over.sum() and metrics["agents_diverged"] == 0
        np.testing.assert_array_equal(after.age, np.where(over, 0, at_end.age))
        np.testing.assert_array_equal(after.state.updates, after.age)
        np.testing.assert_array_equal(after.lifetime[~over], before.lifetime[~over])
        np.testing.assert_allclose(after.state.x[~over], at_end.state.x[~over], rtol=1e-5)
        assert not np.isin(after.task[over], before.task).any()
        assert np.all(after.state.x[over] != at_end.state.x[over])
    assert renewed > 10
    assert len({float(x) for x in np.ravel(state.agents.task)}) == 2 * N  # everyone has a task of their own
    assert len(np.unique(jax.random.key_data(state.agents.key), axis=0)) == N


def test_progress_is_age_over_lifetime():
    state = started(SETUP, jax.random.key(0), THETA, NOISY, N).replace(agents=agents_of(4))
    state, first = stepped(SETUP, state, NOISY)
    _, second = stepped(SETUP, state, NOISY)
    np.testing.assert_allclose([first["progress"], second["progress"]], [0.25, 0.75])  # of 0, 1/4, 1/2; of 3/4 alone


def test_agents_are_what_lone_runs_are():
    agents = started(SETUP, jax.random.key(4), THETA, NOISY, N).agents
    _, (after, _), _ = differentiated(SETUP, THETA, agents, NOISY)
    alone = jit(run, static_argnums=(0, 4))
    for n, key in enumerate(jax.random.split(jax.random.key(4), N)):
        if agents.lifetime[n] > 3:
            k_lifetime, k_task, k_init, _ = jax.random.split(key, 4)
            hypers = put(NOISY, THETA).replace(horizon=jnp.float32(lifetime(k_lifetime)))
            state, _ = alone(TOY, k_init, hypers, target(k_task), 3)
            np.testing.assert_allclose(after.state.x[n], state.x, rtol=1e-5)


def test_it_finds_the_best_learning_rate_of_an_agent():
    """One step from e ~ N(0, 1) with noise s: E|e'|^2 is least at lr = c / (c^2 + s^2)."""
    lr = optax.exponential_decay(0.1, 50, 0.6)
    one = dataclasses.replace(SETUP, num_updates=1, new_lifetime=lambda key: jnp.int32(1), optimiser=optax.adam(lr))
    hypers = as_arrays(Hypers(noise=1.0))
    state, metrics = scanned(one, started(one, jax.random.key(5), THETA, hypers, 256), hypers, 300)
    np.testing.assert_allclose(jnp.exp(state.theta["log_lr"]), CURVATURE / (CURVATURE**2 + 1.0), rtol=0.05)
    assert metrics["meta_loss"][-20:].mean() < metrics["meta_loss"][:5].mean() / 2


def test_it_raises_a_learning_rate_over_persistent_agents():
    state, rates = started(SETUP, jax.random.key(6), THETA, HYPERS, N), []
    for _ in range(80):
        state, _ = stepped(SETUP, state, HYPERS)
        rates.append(float(jnp.exp(state.theta["log_lr"])))
    assert rates[0] < rates[9] < rates[19] and 0.3 < rates[-1] < 0.7  # 1 / c = 0.5 ends an error at once


def test_diverged_agents_are_replaced_and_poison_nothing():
    state, agents = started(SETUP, jax.random.key(7), THETA, HYPERS, N), agents_of(100)
    ill = agents.replace(state=agents.state.replace(x=agents.state.x.at[1].set(jnp.nan)))
    after, metrics = stepped(SETUP, state.replace(agents=ill), HYPERS)
    assert metrics["meta_skipped"] == 1 and metrics["agents_diverged"] == 1 and metrics["agents_ended"] == 0
    assert all(np.isfinite(x) for x in metrics.values())  # of the others
    chex.assert_trees_all_equal((after.theta, after.opt), (state.theta, state.opt))
    np.testing.assert_array_equal(after.agents.age, np.where(np.arange(N) == 1, 0, 3))
    assert np.isfinite(after.agents.state.x).all()
    after, metrics = stepped(SETUP, after, HYPERS)
    assert metrics["meta_skipped"] == 0 and after.theta["log_lr"] != state.theta["log_lr"]


def test_one_program_for_all_numbers():
    traces = []

    @jit
    def step(state, hypers, lr):
        traces.append(1)
        return meta_step(dataclasses.replace(SETUP, optimiser=optax.adam(lr)), state, hypers)[0]

    state = started(SETUP, jax.random.key(8), THETA, HYPERS, N)
    for factor in (1.0, 0.5, 2.0):
        agents = state.agents.replace(lifetime=state.agents.lifetime * int(2 * factor))
        state = step(state.replace(agents=agents), jax.tree.map(lambda x, f=factor: x * f, HYPERS), jnp.float32(factor))
    assert len(traces) == 1


def test_a_stored_state_goes_on_to_the_bit():
    whole, _ = stepped(SETUP, started(SETUP, jax.random.key(9), THETA, NOISY, N), NOISY)
    leaves, structure = jax.tree.flatten(whole)
    is_key = [jnp.issubdtype(x.dtype, jax.dtypes.prng_key) for x in leaves]
    host = [np.asarray(jax.random.key_data(x) if key else x) for x, key in zip(leaves, is_key)]
    back = structure.unflatten([jax.random.wrap_key_data(x) if k else jnp.asarray(x) for x, k in zip(host, is_key)])
    metrics, again = None, None
    for _ in range(3):
        (whole, metrics), (back, again) = stepped(SETUP, whole, NOISY), stepped(SETUP, back, NOISY)
    chex.assert_trees_all_equal((whole, metrics), (back, again))
    for before, later in zip(leaves, jax.tree.leaves(whole), strict=True):
        assert isinstance(later, jax.Array) and (before.shape, before.dtype) == (later.shape, later.dtype)


def test_keys_are_never_reused_and_ranks_never_promoted(strict):
    jax.block_until_ready(stepped(SETUP, started(SETUP, jax.random.key(0), THETA, HYPERS, 3), HYPERS))


def test_what_cannot_be_used_is_refused():
    with pytest.raises(ConfigError, match="num_updates=0"):
        dataclasses.replace(SETUP, num_updates=0)
    with pytest.raises(ConfigError, match="int32"):
        init(SETUP, jax.random.key(0), {"log_lr": 1}, HYPERS, 2)


def drift(seed):
    draws = jax.random.split(jax.random.key(seed))
    return {"hidden": jax.random.normal(draws[0], (8, 4)), "output": 0.3 * jax.random.normal(draws[1], (4,))}


@pytest.mark.parametrize("memory", ["none", "gru(width=4)"])
def test_ppo_with_a_learned_drift_agrees_with_finite_differences(memory):
    config = tiny("ppo", num_envs=2, num_steps=4, memory=memory)
    algo = ppo.PPO(ENV, config)

    def validate(agent, key):
        past = algo.one_step(jax.tree.map(lambda h: h[:2], agent.state.carry), jnp.array([True, False]))
        policy, value = algo.forward(agent.state.params, (), jnp.array([[-1.0], [1.0]], value_type), past)
        return (policy.log_prob(jnp.array([0, 1])) * jnp.array([1.0, 2.0])).sum() + jnp.square(value).sum(), {}

    def exact(tree):
        return jax.tree.map(lambda x: x.astype(value_type) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree)

    with jax.enable_x64(True):
        value_type = jnp.float64
        one = Setup(
            algo=algo,
            put=lambda hypers, theta: hypers.replace(objective=hypers.objective.replace(**theta)),
            loss=validate,
            new_lifetime=lambda key: jax.random.randint(key, (), 4, 20),
            new_task=lambda key: ENV.task,
            optimiser=optax.adam(1e-3),
            num_updates=3,
        )
        hypers = as_arrays(ppo.Hypers(lr=0.03, objective=LPO(**drift(0))))
        agents = started(one, jax.random.key(1), drift(0), hypers, 2).agents
        theta, direction, agents, hypers = exact((drift(0), drift(1), agents, hypers))
        gradient = jit(partial(meta_gradient, one))
        found, _, _ = gradient(theta, agents, hypers)
        losses = []
        for step in (1e-6, -1e-6):
            shifted = jax.tree.map(lambda x, d, s=step: x + s * d, theta, direction)
            losses.append(gradient(shifted, agents, hypers)[1][1].mean())
        along = sum((x * d).sum() for x, d in zip(jax.tree.leaves(found), jax.tree.leaves(direction)))
        assert abs(along) > 1e-4
        np.testing.assert_allclose(along, (losses[0] - losses[1]) / 2e-6, rtol=1e-5)
