"""Proximal policy optimisation (Schulman et al. 2017, arXiv:1707.06347): the whole algorithm."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct

from rljax.errors import require
from rljax.fields import INF, choice, count, flag, number, policy_objective, share, sizes, text
from rljax.nets.cnn import CNN
from rljax.nets.features import feature_shape, features
from rljax.nets.heads import PolicyHead, ValueHead
from rljax.nets.mlp import MLP, activation
from rljax.objectives import Objective, PPOClip
from rljax.objectives.base import bounded
from rljax.ops import normalise, optim, schedules
from rljax.ops.losses import clipped_value_loss, explained_variance
from rljax.ops.minibatch import flatten_time, minibatch_epochs
from rljax.ops.normalise import standardise
from rljax.ops.returns import gae
from rljax.ops.rollout import Episodes, begin, rollout
from rljax.types import Algorithm, Array, Box, Env, Scalar, Space


@dataclass(frozen=True)
class Config:
    """Shapes and branches. Changing one compiles a new program."""

    num_envs: int = count(4, "parallel environments, E")
    num_steps: int = count(128, "steps per environment and update, T")
    num_epochs: int = count(4, "passes over each batch")
    num_minibatches: int = count(4, "parts a batch is cut into; must divide num_envs * num_steps")
    torso: Literal["mlp", "cnn"] = choice("mlp", "cnn: one convolution below the hidden layers, for image observations")
    hidden: tuple[int, ...] = sizes((64, 64), "widths of the hidden layers")
    activation: str = text("tanh", "tanh, relu, swish, gelu, elu")
    squash: bool = flag(False, "continuous actions: a Gaussian squashed by tanh instead of one clipped to the bounds")
    normalize_obs: bool = flag(False, "by running mean and standard deviation")
    normalize_reward: bool = flag(False, "by the running standard deviation of the discounted return")
    normalize_advantage: Literal["minibatch", "batch", "none"] = choice("minibatch", "over what")


class Hypers(struct.PyTreeNode):
    """Numbers, all traced: sweep, anneal, perturb or differentiate them."""

    lr: Scalar = number(2.5e-4, "learning rate of Adam", low=0.0)
    lr_final: Scalar = number(0.0, "fraction of lr that is left at the end of the run; 1 keeps it constant", low=0.0)
    discount: Scalar = share(0.99, "gamma")
    gae_lambda: Scalar = share(0.95, "lambda of generalised advantage estimation")
    objective: Objective = policy_objective(PPOClip, "the policy objective")
    entropy_coef: Scalar = number(0.01, "weight of the entropy bonus", low=0.0)
    value_coef: Scalar = number(0.5, "weight of the value loss", low=0.0)
    value_clip: Scalar = number(
        0.2, "how far a value may move in one update; inf: as far as it likes", low=0.0, high=INF
    )
    max_grad_norm: Scalar = number(0.5, "bound on the global gradient norm", low=0.0, high=INF)
    horizon: Scalar = number(INF, "updates in this run, to anneal by; inf: no annealing", low=1.0, high=INF)


class State(struct.PyTreeNode):
    """All that evolves; arrays only."""

    params: Any
    opt: Any
    episodes: Episodes  # [E, ...]
    obs_stats: Any  # RunningStats; () if observations are not normalised
    reward_scale: Any  # ReturnScale; () if rewards are not normalised
    key: Array
    updates: Array  # [] updates done


class Batch(NamedTuple):
    """What is learned from, `[B, ...]`."""

    obs: Array
    action: Array  # as sampled, before any clipping
    log_prob: Array  # of the action, when it was taken
    value: Array  # of the observation, then
    advantage: Array
    target: Array  # for the value


class ActorCritic(nn.Module):
    """Two separate networks: features [..., *feature_shape] -> (distribution over actions, value [...])."""

    config: Config
    feature_shape: tuple[int, ...]
    action_space: Space

    @nn.compact
    def __call__(self, x: Array) -> tuple[Any, Array]:
        config = self.config
        torso = CNN if config.torso == "cnn" else MLP
        if config.torso == "mlp":
            x = x.reshape(*x.shape[: x.ndim - len(self.feature_shape)], -1)
        actor, critic = (torso(hidden=config.hidden, activation=config.activation)(x) for _ in range(2))
        return PolicyHead(self.action_space, squash=config.squash)(actor), ValueHead()(critic)


@cache
def make(env: Env, config: Config = Config()) -> Algorithm:
    """PPO on `env`.

    Raises:
      ConfigError: a count below 1, minibatches that do not divide the batch, or a network that does not fit.
    """
    batch_size = check(env, config)
    network: Any = ActorCritic(config, feature_shape(env.observation_space), env.action_space)

    def init(key, hypers, task):
        key, k_env, k_net = jax.random.split(key, 3)
        episodes = begin(env, task, k_env, config.num_envs)
        first = features(env.observation_space, episodes.obs)
        params = network.init(k_net, first[:1])
        return State(
            params=params,
            opt=optim.adam(hypers.lr, hypers.max_grad_norm).init(params),
            episodes=episodes,
            obs_stats=normalise.init(first) if config.normalize_obs else (),
            reward_scale=normalise.init_return_scale(config.num_envs) if config.normalize_reward else (),
            key=key,
            updates=jnp.int32(0),
        )

    def forward(params, obs_stats, obs):
        x = features(env.observation_space, obs)
        return network.apply(params, normalise.normalise(obs_stats, x) if config.normalize_obs else x)

    def to_env(action):  # a Gaussian is unbounded: the environment sees its sample clipped, the loss does not
        return env.action_space.clip(action) if isinstance(env.action_space, Box) else action

    def act(state, carry, obs, reset, key, greedy):
        policy, _ = forward(state.params, state.obs_stats, obs)
        return carry, to_env(jnp.where(greedy, policy.mode(), policy.sample(key)))

    def collect(state, hypers, task, key):
        """One rollout -> (state with its episodes and statistics, Batch [T, E, ...], metrics)."""

        def behave(carry, obs, reset, key):
            policy, value = forward(state.params, state.obs_stats, obs)
            action = policy.sample(key)
            return carry, to_env(action), (action, policy.log_prob(action), value)

        episodes, _, steps, (action, log_prob, value), metrics = rollout(
            env, task, behave, (), state.episodes, key, config.num_steps
        )
        reward, reward_scale = steps.reward, state.reward_scale
        if config.normalize_reward:
            ended = steps.terminated | steps.truncated
            reward_scale, reward = normalise.scale_rewards(reward_scale, reward, ended, hypers.discount)
        _, next_value = forward(state.params, state.obs_stats, steps.next_obs)
        flags = steps.terminated, steps.truncated
        advantage = gae(reward, value, next_value, *flags, hypers.discount, hypers.gae_lambda)
        target = advantage + value
        if config.normalize_advantage == "batch":
            advantage = standardise(advantage)
        metrics["explained_variance"] = explained_variance(value, target)
        state = state.replace(episodes=episodes, reward_scale=reward_scale)
        return state, Batch(steps.obs, action, log_prob, value, advantage, target), metrics

    def learn(state, hypers, batch, key):
        """Epochs of minibatch updates on a Batch [T, E, ...] -> (state, metrics)."""
        progress = schedules.progress(state.updates, hypers.horizon)
        optimiser = optim.adam(schedules.annealed(hypers.lr, hypers.lr_final, progress), hypers.max_grad_norm)

        def loss(params, batch, key):
            advantage = standardise(batch.advantage) if config.normalize_advantage == "minibatch" else batch.advantage
            policy, value = forward(params, state.obs_stats, batch.obs)
            log_ratio = policy.log_prob(batch.action) - batch.log_prob
            policy_loss = hypers.objective(log_ratio, advantage, progress).mean()
            value_loss = clipped_value_loss(value, batch.value, batch.target, hypers.value_clip).mean()
            entropy = policy.entropy(key).mean()
            total = policy_loss + hypers.value_coef * value_loss - hypers.entropy_coef * entropy
            bound = bounded(log_ratio)
            kl = (jnp.expm1(bound) - bound).mean()
            return total, {"policy_loss": policy_loss, "value_loss": value_loss, "entropy": entropy, "approx_kl": kl}

        def update(carry, batch, key):
            params, opt = carry
            grads, metrics = jax.grad(loss, has_aux=True)(params, batch, key)
            return optim.apply(optimiser, grads, opt, params), metrics | {"grad_norm": optim.global_norm(grads)}

        (params, opt), metrics = minibatch_epochs(
            update, (state.params, state.opt), flatten_time(batch), key, config.num_epochs, config.num_minibatches
        )
        return state.replace(params=params, opt=opt), jax.tree.map(jnp.mean, metrics)

    def step(state, hypers, task):
        key, k_collect, k_learn = jax.random.split(state.key, 3)
        # 1. roll out, and advantages bootstrapped from the true successors
        state, batch, collected = collect(state, hypers, task, k_collect)
        # 2. epochs of minibatch updates
        state, learned = learn(state, hypers, batch, k_learn)
        # 3. what was seen counts from the next update on: acting and learning use the same statistics
        if config.normalize_obs:
            seen = features(env.observation_space, batch.obs)
            state = state.replace(obs_stats=normalise.update(state.obs_stats, seen))
        return state.replace(key=key, updates=state.updates + 1), collected | learned

    return Algorithm(init, step, act, lambda batch_size: (), Hypers(), batch_size).in_32_bits()


def check(env: Env, config: Config) -> int:
    """The batch size E * T, after refusing what cannot run."""
    for name in ("num_envs", "num_steps", "num_epochs", "num_minibatches"):
        require(getattr(config, name) >= 1, name, getattr(config, name), "must be at least 1")
    batch_size = config.num_envs * config.num_steps
    require(
        batch_size % config.num_minibatches == 0,
        "num_minibatches",
        config.num_minibatches,
        f"must divide num_envs * num_steps = {batch_size}",
    )
    parts = {"minibatch": config.num_minibatches, "batch": 1}.get(config.normalize_advantage, 0)
    alone = f"num_envs * num_steps = {batch_size} in {parts} parts are single steps, each of which it would make 0"
    remedy = f"{alone}; give more steps, fewer minibatches, or normalize_advantage=none"
    require(batch_size != parts, "normalize_advantage", config.normalize_advantage, remedy)
    shape = env.observation_space.shape
    require(config.torso == "mlp" or len(shape) == 3, "torso", config.torso, f"needs [H, W, C] images, not {shape}")
    require(not config.squash or isinstance(env.action_space, Box), "squash", True, "needs continuous actions")
    activation(config.activation)
    return batch_size
