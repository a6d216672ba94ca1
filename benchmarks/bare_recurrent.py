"""Recurrent PPO as PureJaxRL lays it out, written by hand: the yardstick of agents with a memory.

A GRU of flax in a scan that resets where an episode began, whole environments as minibatches, the state in which the
rollout began kept for learning. As there, a limit counts as an end: no value of a true successor is computed. The
network is that of rljax with a memory: layers, GRU, two linear heads.
"""

from functools import partial
from typing import NamedTuple

import flax.linen as nn
import gymnax
import jax
import jax.numpy as jnp
import optax
from bare_ppo import log_prob_of


class ScannedGRU(nn.Module):
    """A GRU over time, `[T, B, F]`."""

    width: int

    @partial(nn.scan, variable_broadcast="params", in_axes=0, out_axes=0, split_rngs={"params": False})
    @nn.compact
    def __call__(self, carry, inputs):
        x, reset = inputs
        carry = jnp.where(reset[:, None], jnp.zeros_like(carry), carry)
        return nn.GRUCell(self.width)(carry, x)


class RecurrentActorCritic(nn.Module):
    """Layers of tanh units and a GRU below logits of the actions and a value, `[T, B, ...]`."""

    actions: int
    hidden: tuple
    width: int

    @nn.compact
    def __call__(self, carry, x, reset):
        dense = lambda size, scale: nn.Dense(size, kernel_init=nn.initializers.orthogonal(scale))  # noqa: E731
        for size in self.hidden:
            x = nn.tanh(dense(size, 2**0.5)(x))
        carry, x = ScannedGRU(self.width)(carry, (x, reset))
        return carry, dense(self.actions, 0.01)(x), dense(1, 1.0)(x)[..., 0]


class Step(NamedTuple):
    """A step of the rollout, `[T, E, ...]`."""

    obs: jax.Array
    reset: jax.Array  # `obs` opens an episode
    action: jax.Array
    log_prob: jax.Array
    value: jax.Array
    reward: jax.Array
    ended: jax.Array
    finished_return: jax.Array


def collect(env, env_params, network, s, params, loop):
    """Collects a rollout -> (loop, steps)."""

    def one(loop, _):
        carry, env_state, obs, reset, running, key = loop
        key, k_act, k_env = jax.random.split(key, 3)
        carry, logits, value = network.apply(params, carry, obs[None], reset[None])
        logits, value = logits[0], value[0]
        action = jax.random.categorical(k_act, logits)
        next_obs, env_state, reward, terminated, truncated, _ = jax.vmap(env.step, (0, 0, 0, None))(
            jax.random.split(k_env, s["num_envs"]), env_state, action, env_params
        )
        ended, running = terminated | truncated, running + reward
        noted = action, log_prob_of(logits, action), value
        step = Step(obs, reset, *noted, reward, ended, jnp.where(ended, running, 0.0))
        return (carry, env_state, next_obs, ended, jnp.where(ended, 0.0, running), key), step

    return jax.lax.scan(one, loop, None, s["num_steps"])


def advantages(steps, last_value, s):
    """GAE, in which a limit is an end."""

    def one(carry, x):
        advantage, next_value = carry
        going = 1.0 - x.ended
        delta = x.reward + s["discount"] * next_value * going - x.value
        advantage = delta + s["discount"] * s["gae_lambda"] * going * advantage
        return (advantage, x.value), advantage

    return jax.lax.scan(one, (jnp.zeros_like(last_value), last_value), steps, reverse=True)[1]


def loss(params, network, batch, s):
    """PPO's loss on whole environments, `[T, B, ...]`."""
    carry, steps, advantage, target = batch
    _, logits, value = network.apply(params, carry, steps.obs, steps.reset)
    advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
    ratio = jnp.exp(log_prob_of(logits, steps.action) - steps.log_prob)
    policy_loss = -jnp.minimum(ratio * advantage, jnp.clip(ratio, 0.8, 1.2) * advantage).mean()
    clipped = steps.value + jnp.clip(value - steps.value, -s["value_clip"], s["value_clip"])
    value_loss = 0.5 * jnp.maximum((value - target) ** 2, (clipped - target) ** 2).mean()
    entropy = -(jax.nn.softmax(logits) * jax.nn.log_softmax(logits)).sum(-1).mean()
    return policy_loss + s["value_coef"] * value_loss - s["entropy_coef"] * entropy


def make_train(env_name, num_updates, s):
    """`key -> (params, episodes [U], mean return of the episodes that ended [U])`; `s` are the workload's settings."""
    env, env_params = gymnax.make(env_name)
    network = RecurrentActorCritic(env.num_actions, tuple(s["hidden"]), s["width"])
    optimiser = optax.chain(optax.clip_by_global_norm(s["max_grad_norm"]), optax.adam(s["lr"], eps=1e-5))
    num_envs, parts = s["num_envs"], s["num_minibatches"]

    def minibatch(carry, batch):
        params, opt = carry
        updates, opt = optimiser.update(jax.grad(loss)(params, network, batch, s), opt, params)
        return (optax.apply_updates(params, updates), opt), None

    def update(state, _):
        params, opt, loop = state
        first = loop[0]
        loop, steps = collect(env, env_params, network, s, params, loop)
        carry, _, obs, reset, _, key = loop
        _, _, last_value = network.apply(params, carry, obs[None], reset[None])
        advantage = advantages(steps, last_value[0], s)

        def epoch(carry, key):
            order = jax.random.permutation(key, num_envs)

            def cut(x, axis):
                x = jnp.take(x, order, axis)
                x = x.reshape(*x.shape[:axis], parts, -1, *x.shape[axis + 1 :])
                return jnp.moveaxis(x, axis, 0)

            data = jax.tree.map(lambda x: cut(x, 1), (steps, advantage, advantage + steps.value))
            return jax.lax.scan(minibatch, carry, (cut(first, 0), *data))

        key, k_epochs = jax.random.split(key)
        (params, opt), _ = jax.lax.scan(epoch, (params, opt), jax.random.split(k_epochs, s["num_epochs"]))
        episodes = steps.ended.sum()
        return (params, opt, (*loop[:-1], key)), (episodes, steps.finished_return.sum() / episodes)

    def train(key):
        key, k_env, k_net = jax.random.split(key, 3)
        obs, env_state = jax.vmap(env.reset, (0, None))(jax.random.split(k_env, num_envs), env_params)
        carry, reset = jnp.zeros((num_envs, s["width"])), jnp.ones(num_envs, bool)
        params = network.init(k_net, carry, obs[None], reset[None])
        loop = (carry, env_state, obs, reset, jnp.zeros(num_envs), key)
        state, (episodes, returns) = jax.lax.scan(update, (params, optimiser.init(params), loop), None, num_updates)
        return state[0], episodes, returns

    return train
