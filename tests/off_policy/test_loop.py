"""The training loop that all off-policy algorithms share."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toys import counter, tiny

from rljax import envs
from rljax.algos.dqn import DQN
from rljax.data.prioritised import assign
from rljax.data.replay import Sample
from rljax.errors import ConfigError
from rljax.off_policy import loop
from rljax.off_policy.learner import Aux, Phase
from rljax.ops.tree import as_arrays
from rljax.run import run, start
from rljax.types import Discrete, TimeStep

SMALL = loop.Config(num_envs=2, num_steps=4, batch_size=32, warmup=32, capacity=64)
HYPERS = loop.Hypers(horizon=4.0)


@dataclass(frozen=True)
class Toy(loop.OffPolicy):
    """Learns nothing and does nothing, but says what it was given."""

    config: loop.Config = SMALL
    hypers: loop.Hypers = field(default=HYPERS, compare=False)

    def initial_params(self, key, hypers, obs):
        return {"values": jnp.zeros(())}

    def optimisers(self, hypers, progress=0.0):
        return {}

    def choose(self, params, exploration, carry, obs, reset, key, greedy):
        return carry, jnp.zeros(reset.shape, jnp.int32), ()

    def learn_values(self, learner, batch, context):
        error = jnp.zeros_like(batch.weight)
        return learner, error, {"least": batch.weight.min(), "progress": context.progress}


def test_the_bias_of_prioritised_draws_is_undone_more_and_more():
    """Steps of priority 1 and 4 in turn: beside those of 1 the others weigh (1 / 4)^beta, beta rising to 1."""
    env = envs.make("probe/action")
    one = Toy(env, replace(SMALL, num_envs=4, num_steps=1, capacity=32, prioritised=True))
    hypers = loop.Hypers(discount=0.9, priority_exponent=1.0, priority_beta=0.5, horizon=4.0)
    state, step = one.init(jax.random.key(0), hypers, env.task), jax.jit(one.step)
    index = jnp.arange(32)
    buffer = state.buffer.replace(priorities=assign(state.buffer.priorities, index, 1.0 + 3.0 * (index % 2)))
    for updates, beta in ((0, 0.5), (2, 0.75), (4, 1.0), (400, 1.0)):
        _, metrics = step(state.replace(buffer=buffer, updates=jnp.int32(updates)), hypers, env.task)
        np.testing.assert_allclose(metrics["progress"], min(updates / 4, 1.0))
        np.testing.assert_allclose(metrics["least"], 0.25**beta, rtol=1e-5)


class Counting(Toy):
    """Acts by the steps of the episode that it has counted, notes them, and learns the means of what it is given."""

    @property
    def extras_like(self):
        return {"count": jax.ShapeDtypeStruct((), jnp.int32)}

    def initial_carry(self, state, batch_size):
        return jnp.zeros(batch_size, jnp.int32)

    def choose(self, params, exploration, carry, obs, reset, key, greedy):
        carry = jnp.where(reset, 1, carry + 1)
        return carry, carry % 2, {"count": carry}


def stepped(algo, updates, hypers=None):
    """-> (state, metrics [U]) of a run on its own environment."""
    hypers = as_arrays(algo.hypers if hypers is None else hypers)
    return jax.jit(partial(run, algo, num_updates=updates))(jax.random.key(0), hypers, as_arrays(algo.env.task))


def test_a_policy_with_a_memory_acts_by_its_carry_and_finds_its_notes_in_the_replay():
    """Episodes of 3 steps from 0: what is counted is what is seen and the step itself, in random steps as well."""
    env = counter()
    algo = Counting(env, replace(SMALL, n_step=2, batch_size=16))
    hypers, task = as_arrays(algo.hypers), as_arrays(env.task.replace(terminate_at=3))
    first = start(algo, jax.random.key(0), hypers, task)
    last, _ = jax.jit(partial(run, algo, num_updates=8))(jax.random.key(0), hypers, task)  # as long as the replay
    found = []
    for state in (first, last):
        steps = algo.source.draw(state.buffer, task, jax.random.key(1), 500).steps
        np.testing.assert_array_equal(steps.extras["count"], steps.obs[..., 0] + 1)
        np.testing.assert_array_equal(steps.reset, steps.obs[..., 0] == 0)
        found.append((steps.action == steps.extras["count"] % 2).mean())
    assert found[0] < 0.8 and found[1] == 1.0  # at random, then by the carry
    alone = jnp.array([4, 4]), jnp.zeros((2, 2)), jnp.array([False, True])
    carry, action = algo.act(last, *alone, jax.random.key(2), True)
    np.testing.assert_array_equal(carry, [5, 1])
    np.testing.assert_array_equal(action, [1, 1])


class Phases(Toy):
    """Three phases, each of which counts its turns in a parameter, by what the task and the progress say."""

    phases = property(lambda self: tuple(Phase(partial(self.count, name), n) for name, n in zip("abc", (1, 2, 6))))

    def initial_params(self, key, hypers, obs):
        return dict.fromkeys(("values", *"abc"), jnp.zeros(()))

    def count(self, name, learner, batch, context):
        params = learner.params | {name: learner.params[name] + context.task.terminate_at}
        seen = {f"{name} at": context.progress, f"{name} reward": batch.steps.reward.mean()}
        return learner.replace(params=params), None, seen


def test_a_phase_takes_its_turn_as_often_as_it_says_and_knows_the_task_and_the_progress():
    algo = Phases(counter(), replace(SMALL, gradient_steps=12))
    state, metrics = stepped(algo, 3)
    found = {name: float(state.params[name]) / 1000 for name in "abc"}  # the task says 1000
    assert found == {"a": 36, "b": 18, "c": 6} and state.learner.gradient_steps == 36
    for name in "abc":
        np.testing.assert_allclose(metrics[f"{name} at"], [0, 0.25, 0.5])
    assert "error" not in metrics


def test_phases_that_do_not_fit_each_other_are_refused():
    with pytest.raises(ConfigError, match="every=2: must be a multiple of the 1 before it and divide gradient_steps=9"):
        Phases(counter(), replace(SMALL, gradient_steps=9))


class Relabelled(Toy):
    def relabel(self, learner, hypers, task, steps):
        return steps._replace(reward=0.0 * steps.reward + 7.0)

    def learn_values(self, learner, batch, context):
        return learner, None, {"reward": batch.steps.reward.mean()}


def test_a_reward_model_relabels_what_is_drawn():
    _, metrics = stepped(Relabelled(counter(), SMALL), 2)
    np.testing.assert_array_equal(metrics["reward"], 7.0)


@dataclass(frozen=True)
class Recorded:
    """A source whose steps are all in the task: it needs no collecting."""

    collects: bool = False

    def env_task(self, task):
        return ()

    def init(self):
        return ()

    def add(self, buffer, steps):
        return buffer

    def draw(self, buffer, task, key, batch_size, beta=1.0):
        index = jax.random.randint(key, (batch_size,), 0, len(task.reward))
        return Sample(jax.tree.map(lambda x: x[None, index], task), index, jnp.ones(batch_size))

    def prioritise(self, buffer, index, priority):
        return buffer


class OfflineDQN(DQN):
    source: Any = property(lambda self: Recorded())


def test_a_source_that_needs_no_collecting_takes_no_steps_and_is_learned_from():
    """Two actions worth 1 and 3, neither of which was ever taken by this agent."""
    env = envs.make("probe/action")
    algo = OfflineDQN(env, tiny("dqn", batch_size=16, hidden=(), gradient_steps=20))
    action = jnp.arange(10) % 2
    obs, no = jnp.ones((10, *env.observation_space.shape)), jnp.zeros(10, bool)
    data = TimeStep(obs, action, 1.0 + 2.0 * action, obs, ~no, no, ~no)
    assert (algo.steps_per_update, algo.warmup_steps, algo.updates(30)) == (0, 0, 30)
    hypers = as_arrays(algo.hypers.replace(lr=0.05))
    state, metrics = jax.jit(partial(run, algo, num_updates=30))(jax.random.key(0), hypers, data)
    assert state.episodes == () and "episodes" not in metrics and state.updates == 30
    np.testing.assert_allclose(algo.unroll(state.params["values"], obs[:1])[0][0, :, 0], [1.0, 3.0], atol=0.05)


class Doubled(DQN):
    def loss(self, params, learner, batch, context):
        total, aux = super().loss(params, learner, batch, context)
        return 2.0 * total, Aux(aux.td_error, {"value_loss": 2.0 * total})


def test_a_subclass_that_overrides_the_loss_alone_is_another_program():
    env = envs.make("probe/action")
    one, other = (kind(env, tiny("dqn")) for kind in (DQN, Doubled))
    assert one != other and other == Doubled(env, tiny("dqn")) and isinstance(env.action_space, Discrete)
    (_, plain), (_, doubled) = (stepped(algo, 1) for algo in (one, other))
    assert plain.keys() > doubled.keys()
    hypers, task = as_arrays(one.hypers), as_arrays(env.task)
    state = start(one, jax.random.key(0), hypers, task)
    _, first = jax.jit(partial(jax.grad(one.loss, has_aux=True)))(*looked_at(one, state))
    _, second = jax.jit(partial(jax.grad(other.loss, has_aux=True)))(*looked_at(other, state))
    np.testing.assert_allclose(second.metrics["value_loss"], 2.0 * first.metrics["value_loss"], rtol=1e-6)


def looked_at(algo, state):
    """The arguments of `loss` on a batch that is drawn from a state's buffer."""
    sample = algo.source.draw(state.buffer, (), jax.random.key(0), 8)
    context = loop.Context(as_arrays(algo.hypers), (), jnp.float32(0), jax.random.key(1))
    return state.params["values"], state.learner, loop.Batch(sample.steps, sample.weight), context
