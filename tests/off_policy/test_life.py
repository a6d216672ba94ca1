"""The training loop that all off-policy methods share."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from toys import tiny

from rljax import envs
from rljax.data.prioritised import assign
from rljax.off_policy.life import Learner, Method, algorithm


class Hypers(struct.PyTreeNode):
    discount: float = 0.9
    priority_exponent: float = 1.0
    priority_beta: float = 0.5
    horizon: float = 4.0


def test_the_bias_of_prioritised_draws_is_undone_more_and_more():
    """Steps of priority 1 and 4 in turn: beside those of 1 the others weigh (1 / 4)^beta, beta rising to 1."""

    def learn_values(learner, batch, weight, hypers, progress, key):
        return learner, jnp.zeros_like(weight), {"least": weight.min(), "progress": progress}

    def begin(key, hypers, obs):
        return Learner({}, {}, {}, jnp.int32(0))

    def act(params, exploration, obs, key, greedy):
        return jnp.zeros(obs.shape[0], jnp.int32)

    env = envs.make("probe/action")
    config = tiny("dqn", prioritised=True, gradient_steps=1, num_steps=1, batch_size=64, warmup=32, capacity=32)
    one = algorithm(env, config, Method(begin, act, learn_values), Hypers())
    state, step = one.init(jax.random.key(0), Hypers(), env.task), jax.jit(one.step)
    place = jnp.arange(32)
    held = state.held.replace(priorities=assign(state.held.priorities, place, 1.0 + 3.0 * (place % 2)))
    for updates, beta in ((0, 0.5), (2, 0.75), (4, 1.0), (400, 1.0)):
        _, metrics = step(state.replace(held=held, updates=jnp.int32(updates)), Hypers(), env.task)
        np.testing.assert_allclose(metrics["progress"], min(updates / 4, 1.0))
        np.testing.assert_allclose(metrics["least"], 0.25**beta, rtol=1e-5)
