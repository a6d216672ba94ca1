"""PPO on a Gymnax environment as one hand-written scan, which shares no code with rljax: the yardstick of its step."""

from functools import partial
from typing import NamedTuple

import flax.linen as nn
import gymnax
import jax
import jax.numpy as jnp
import optax


class ActorCritic(nn.Module):
    """Two separate tanh networks: logits of the actions, and a value."""

    actions: int
    hidden: tuple

    @nn.compact
    def __call__(self, x):
        dense = lambda size, scale: nn.Dense(size, kernel_init=nn.initializers.orthogonal(scale))  # noqa: E731
        actor = critic = x
        for width in self.hidden:
            actor = nn.tanh(dense(width, 2**0.5)(actor))
            critic = nn.tanh(dense(width, 2**0.5)(critic))
        return dense(self.actions, 0.01)(actor), dense(1, 1.0)(critic)[..., 0]


class Transition(NamedTuple):
    """A step of the rollout, `[T, E, ...]`."""

    obs: jax.Array
    action: jax.Array
    log_prob: jax.Array
    value: jax.Array
    reward: jax.Array
    next_obs: jax.Array  # before any reset
    terminated: jax.Array
    truncated: jax.Array
    finished_return: jax.Array  # of the episode that ended here, else 0


def log_prob_of(logits, action):
    """The log-probability of actions `[...]` under logits `[..., A]`."""
    return jnp.take_along_axis(jax.nn.log_softmax(logits), action[..., None], axis=-1)[..., 0]


def shuffled_by_one_sort(key, size):
    """Random high bits above the index: one sort of single words, where `jax.random.permutation` sorts pairs twice."""
    bits = size.bit_length()
    words = (jax.random.bits(key, (size,)) >> bits << bits) | jnp.arange(size, dtype=jnp.uint32)
    return (jnp.sort(words) & (2**bits - 1)).astype(jnp.int32)


def collect(env, env_params, network, num_envs, num_steps, params, env_state, obs, running, key):
    """Collects a rollout: -> ((env_state, obs, running, key), transitions)."""

    def one(carry, _):
        env_state, obs, running, key = carry
        key, k_act, k_env = jax.random.split(key, 3)
        logits, value = network.apply(params, obs)
        action = jax.random.categorical(k_act, logits)
        next_obs, env_state, reward, terminated, truncated, info = jax.vmap(env.step, (0, 0, 0, None))(
            jax.random.split(k_env, num_envs), env_state, action, env_params
        )
        ended = terminated | truncated
        running = running + reward
        transition = Transition(
            obs,
            action,
            log_prob_of(logits, action),
            value,
            reward,
            info["final_observation"],
            terminated,
            truncated,
            jnp.where(ended, running, 0.0),
        )
        return (env_state, next_obs, jnp.where(ended, 0.0, running), key), transition

    return jax.lax.scan(one, (env_state, obs, running, key), None, num_steps)


def advantages(batch, next_value, discount, lam):
    """GAE: no bootstrap where the task ended, the successor's value where a limit cut it, no trace across either."""
    ended = batch.terminated | batch.truncated
    delta = batch.reward + discount * jnp.where(batch.terminated, 0.0, next_value) - batch.value

    def one(advantage, x):
        delta, ended = x
        advantage = delta + discount * lam * jnp.where(ended, 0.0, advantage)
        return advantage, advantage

    return jax.lax.scan(one, jnp.zeros_like(delta[0]), (delta, ended), reverse=True)[1]


def loss(params, network, batch, s):
    """PPO's loss on a minibatch, with the settings `s`."""
    obs, action, log_prob, old_value, advantage, target = batch
    advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
    logits, value = network.apply(params, obs)
    ratio = jnp.exp(log_prob_of(logits, action) - log_prob)
    policy_loss = -jnp.minimum(ratio * advantage, jnp.clip(ratio, 0.8, 1.2) * advantage).mean()
    clipped = old_value + jnp.clip(value - old_value, -s["value_clip"], s["value_clip"])
    value_loss = 0.5 * jnp.maximum((value - target) ** 2, (clipped - target) ** 2).mean()
    entropy = -(jax.nn.softmax(logits) * jax.nn.log_softmax(logits)).sum(-1).mean()
    return policy_loss + s["value_coef"] * value_loss - s["entropy_coef"] * entropy


def make_train(env_name, num_updates, s, one_sort=False):
    """`key -> (params, episodes [U], mean return of the episodes that ended [U])`; `s` are the workload's settings."""
    env, env_params = gymnax.make(env_name)
    network = ActorCritic(env.num_actions, tuple(s["hidden"]))
    optimiser = optax.chain(optax.clip_by_global_norm(s["max_grad_norm"]), optax.adam(s["lr"], eps=1e-5))
    size = s["num_envs"] * s["num_steps"]
    shuffled = shuffled_by_one_sort if one_sort else jax.random.permutation
    rollout = partial(collect, env, env_params, network, s["num_envs"], s["num_steps"])

    def minibatch(carry, batch):
        params, opt = carry
        updates, opt = optimiser.update(jax.grad(loss)(params, network, batch, s), opt, params)
        return (optax.apply_updates(params, updates), opt), None

    def update(carry, _):
        params, opt, env_state, obs, running, key = carry
        (env_state, obs, running, key), batch = rollout(params, env_state, obs, running, key)
        next_value = network.apply(params, batch.next_obs)[1]
        advantage = advantages(batch, next_value, s["discount"], s["gae_lambda"])
        data = (batch.obs, batch.action, batch.log_prob, batch.value, advantage, advantage + batch.value)
        data = jax.tree.map(lambda x: x.reshape(size, *x.shape[2:]), data)

        def epoch(carry, key):
            order = shuffled(key, size).reshape(s["num_minibatches"], -1)
            return jax.lax.scan(lambda c, rows: minibatch(c, jax.tree.map(lambda x: x[rows], data)), carry, order)

        key, k_epochs = jax.random.split(key)
        (params, opt), _ = jax.lax.scan(epoch, (params, opt), jax.random.split(k_epochs, s["num_epochs"]))
        episodes = (batch.terminated | batch.truncated).sum()
        return (params, opt, env_state, obs, running, key), (episodes, batch.finished_return.sum() / episodes)

    def train(key):
        key, k_env, k_net = jax.random.split(key, 3)
        obs, env_state = jax.vmap(env.reset, (0, None))(jax.random.split(k_env, s["num_envs"]), env_params)
        params = network.init(k_net, obs[:1])
        carry = (params, optimiser.init(params), env_state, obs, jnp.zeros(s["num_envs"]), key)
        carry, (episodes, returns) = jax.lax.scan(update, carry, None, num_updates)
        return carry[0], episodes, returns

    return train
