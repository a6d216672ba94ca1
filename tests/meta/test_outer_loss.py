"""The outer loss for on-policy agents: closed forms, and what is learned from it."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct

from rljax import envs
from rljax.meta.gradient import Setup, init, meta_step
from rljax.meta.outer_loss import Agent, actor_critic_loss
from rljax.nets.heads import Categorical
from rljax.ops.rollout import Episodes, begin, rollout
from rljax.ops.tree import as_arrays
from rljax.types import Algorithm

ENV = envs.make("probe/action-observation")

# Most of the time would go into compiling well what runs for milliseconds.
jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


class Hypers(struct.PyTreeNode):
    lr: float = 0.1


class Policy(struct.PyTreeNode):
    weight: jax.Array  # [] the logit of action 1 is weight * obs
    episodes: Episodes
    key: jax.Array
    carry: tuple = ()


def linear(state, obs):
    logit = state.weight * obs[..., 0]
    return Categorical(jnp.stack([jnp.zeros_like(logit), logit], -1)), jnp.zeros_like(logit)


class Reinforce(Algorithm):
    """REINFORCE with a linear policy on a probe whose every step is an episode of reward 1 or -1."""

    steps_per_update = 16

    def init(self, key, hypers, task):
        key, k_env = jax.random.split(key)
        return Policy(jnp.zeros(()), begin(self.env, task, k_env, 8), key)

    def step(self, state, hypers, task):
        key, k_rollout = jax.random.split(state.key)

        def behave(carry, obs, reset, key):
            action = linear(state, obs)[0].sample(key)
            return carry, action, ()

        done = rollout(self.env, task, behave, (), state.episodes, k_rollout, 2)
        steps = done.steps

        def gain(weight):
            return (linear(state.replace(weight=weight), steps.obs)[0].log_prob(steps.action) * steps.reward).mean()

        weight = state.weight + hypers.lr * jax.grad(gain)(state.weight)
        return Policy(weight, done.episodes, key), done.metrics

    def policy(self, state, carry, obs, reset):
        return carry, *linear(state, obs)


ALGO = Reinforce(ENV)


def scored(loss, algo, weight):
    """The loss, its metrics, and its derivative in the weight of a linear policy."""
    state = algo.init(jax.random.key(0), Hypers(), ENV.task)

    def outer(weight):
        return loss(Agent(state.replace(weight=weight), None, ENV.task, {}, jnp.ones(1, bool)), jax.random.key(1))

    (value, metrics), slope = jit(jax.value_and_grad(outer, has_aux=True))(weight)
    return value, metrics, slope


def test_the_actor_critic_loss_is_the_policy_gradient_of_standardised_advantages():
    """A weight for every sample, all zero: dL/dw = -A (a - 1/2) obs / (T E), A the reward standardised, for V = 0.

    On this probe reward = obs (2 a - 1), so it is -A reward / (2 T E).
    """

    class OfSamples(Reinforce):
        def policy(self, state, carry, obs, reset):
            weight = state.weight if len(obs) > 1 else jnp.zeros(obs.shape[:-1])  # one for all while it acts
            return super().policy(state.replace(weight=weight), carry, obs, reset)

    algo = OfSamples(ENV)
    _, metrics, slope = scored(actor_critic_loss(algo, 16), algo, jnp.zeros((16, 8)))
    mean, found = metrics["outer_reward"], -2.0 * 128 * slope
    up, down = (1.0 - mean) / jnp.sqrt(1.0 - mean**2), (1.0 + mean) / jnp.sqrt(1.0 - mean**2)
    won = jnp.abs(found - up) < jnp.abs(found - down)
    np.testing.assert_allclose(found, jnp.where(won, up, down), rtol=1e-5)
    np.testing.assert_allclose(2.0 * won.mean() - 1.0, mean, atol=1e-6)


def test_the_entropy_bonus_of_the_actor_critic_loss():
    def entropy(weight):  # of either observation, 1 or -1
        p = jax.nn.sigmoid(weight)
        return -(p * jnp.log(p) + (1.0 - p) * jnp.log(1.0 - p))

    weight = jnp.array(0.7)
    plain, bonus = (scored(actor_critic_loss(ALGO, 4, entropy_coef=c), ALGO, weight) for c in (0.0, 0.3))
    np.testing.assert_allclose(bonus[1]["outer_entropy"], entropy(weight), rtol=1e-5)
    np.testing.assert_allclose(bonus[0] - plain[0], -0.3 * entropy(weight), rtol=1e-4)
    np.testing.assert_allclose(bonus[2] - plain[2], -0.3 * jax.grad(entropy)(weight), rtol=1e-4)


def test_it_learns_from_rollouts():
    """REINFORCE that is too slow to learn within a run: its learning rate rises, and agents end their runs better."""
    one = Setup(
        algo=ALGO,
        put=lambda hypers, theta: hypers.replace(lr=jnp.exp(theta)),
        loss=actor_critic_loss(ALGO, 4, entropy_coef=0.0),
        new_lifetime=lambda key: jnp.int32(6),
        new_task=lambda key: ENV.task,
        optimiser=optax.adam(0.1),
        num_updates=3,
    )
    hypers = as_arrays(Hypers())

    def learn(key):
        state = init(one, key, jnp.log(0.05), hypers, 32)
        return jax.lax.scan(lambda state, _: meta_step(one, state, hypers), state, None, 60)

    state, metrics = jit(learn)(jax.random.key(2))
    assert np.exp(state.theta) > 0.5
    assert metrics["outer_reward"][-10:].mean() > metrics["outer_reward"][:10].mean() + 0.1
    assert not metrics["meta_skipped"].any()
    np.testing.assert_array_equal(metrics["episodes"], 32 * 3 * 16)  # agents x updates x steps
    assert metrics["episode_return"][-1] > metrics["episode_return"][0]
