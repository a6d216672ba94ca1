r"""Parallelised Q-learning (Gallici et al. 2024, arXiv:2407.04811), without memory or target network; all of it.

Many environments instead of a memory, layer normalisation instead of a target network. Targets are

$$G_t = r_t + \gamma (1 - d_t) \left( \lambda G_{t+1} + (1 - \lambda) \max_a Q(s_{t+1}, a) \right)$$

over a rollout (eq. 7 there), the trace cut where an episode ends; the network descends on the squared error to them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from rljax.errors import ConfigError, require
from rljax.fields import INF, choice, count, flag, number, share, sizes, text
from rljax.nets.features import feature_shape, features
from rljax.nets.mlp import activation
from rljax.nets.q import QNetwork, chosen
from rljax.ops import optim, schedules
from rljax.ops.explore import epsilon_greedy
from rljax.ops.losses import explained_variance, squared_error
from rljax.ops.minibatch import flatten_time, minibatch_epochs
from rljax.ops.returns import lambda_returns
from rljax.ops.rollout import Episodes, begin, rollout
from rljax.ops.schedules import linear_schedule
from rljax.types import Algorithm, Array, Discrete, Env, Scalar


@dataclass(frozen=True)
class Config:
    """Shapes and branches. Changing one compiles a new program."""

    num_envs: int = count(32, "parallel environments, E")
    num_steps: int = count(64, "steps per environment and update, T")
    num_epochs: int = count(4, "passes over each batch")
    num_minibatches: int = count(16, "parts a batch is cut into; must divide num_envs * num_steps")
    torso: Literal["mlp", "cnn"] = choice("mlp", "cnn: one convolution below the hidden layers, for image observations")
    hidden: tuple[int, ...] = sizes((128, 128), "widths of the hidden layers")
    activation: str = text("relu", "tanh, relu, swish, gelu, elu")
    layer_norm: bool = flag(True, "in the hidden layers; what keeps it from diverging")
    dueling: bool = flag(False, "a stream of its own for the state's value")


class Hypers(struct.PyTreeNode):
    """Numbers, all traced: sweep, anneal, perturb or differentiate them."""

    lr: Scalar = number(1e-3, "learning rate of Adam", low=0.0)
    lr_final: Scalar = number(0.0, "fraction of lr that is left at the end of the run; 1 keeps it constant", low=0.0)
    discount: Scalar = share(0.99, "gamma")
    trace_lambda: Scalar = share(0.65, "lambda of the returns that are the targets")
    epsilon: Scalar = share(1.0, "share of random actions at the start")
    epsilon_final: Scalar = share(0.05, "and at the end")
    exploration: Scalar = number(0.2, "share of the run in which it falls, linearly", above=0.0)
    max_grad_norm: Scalar = number(10.0, "bound on the global gradient norm", low=0.0, high=INF)
    horizon: Scalar = number(INF, "updates in this run, to anneal by; inf: no annealing", low=1.0, high=INF)


class State(struct.PyTreeNode):
    """All that evolves; arrays only."""

    params: Any
    opt: Any
    episodes: Episodes  # [E, ...]
    epsilon: Array  # [] share of random actions
    key: Array
    updates: Array  # [] updates done


class Batch(NamedTuple):
    """What is learned from, `[B, ...]`."""

    obs: Array
    action: Array
    target: Array


@cache
def make(env: Env, config: Config = Config()) -> Algorithm:
    """PQN on `env`.

    Raises:
      ConfigError: actions that are not discrete, a count below 1, minibatches that do not divide the batch.
    """
    batch_size = check(env, config)
    space = env.action_space
    assert isinstance(space, Discrete)
    network: Any = QNetwork(
        actions=space.n,
        axes=len(feature_shape(env.observation_space)),
        torso=config.torso,
        hidden=config.hidden,
        activation=config.activation,
        layer_norm=config.layer_norm,
        dueling=config.dueling,
    )

    def look(params, obs):
        return network.apply(params, features(env.observation_space, obs))[..., 0]

    def init(key, hypers, task):
        key, k_env, k_net = jax.random.split(key, 3)
        episodes = begin(env, task, k_env, config.num_envs)
        params = network.init(k_net, features(env.observation_space, episodes.obs[:1]))
        opt = optim.adam(hypers.lr, hypers.max_grad_norm).init(params)
        return State(params, opt, episodes, jnp.float32(0.0), key, jnp.int32(0))

    def act(state, carry, obs, reset, key, greedy):
        best = look(state.params, obs).argmax(-1).astype(jnp.int32)
        return carry, epsilon_greedy(key, best, jnp.where(greedy, 0.0, state.epsilon), space.n)

    def collect(state, hypers, task, key):
        """One rollout -> (state with its episodes, Batch [T, E, ...], metrics)."""

        def behave(carry, obs, reset, key):
            carry, action = act(state, carry, obs, reset, key, False)
            return carry, action, ()

        episodes, _, steps, _, metrics = rollout(env, task, behave, (), state.episodes, key, config.num_steps)
        next_value = look(state.params, steps.next_obs).max(-1)
        flags = steps.terminated, steps.truncated
        target = lambda_returns(steps.reward, next_value, *flags, hypers.discount, hypers.trace_lambda)
        return state.replace(episodes=episodes), Batch(steps.obs, steps.action, target), metrics

    def learn(state, hypers, batch, key):
        """Epochs of minibatch updates on a Batch [T, E, ...] -> (state, metrics)."""
        progress = schedules.progress(state.updates, hypers.horizon)
        optimiser = optim.adam(schedules.annealed(hypers.lr, hypers.lr_final, progress), hypers.max_grad_norm)

        def loss(params, batch):
            value = chosen(look(params, batch.obs)[..., None], batch.action)[..., 0]
            total = squared_error(value, batch.target).mean()
            fit = explained_variance(value, batch.target)
            return total, {"value_loss": total, "value": value.mean(), "explained_variance": fit}

        def update(carry, batch, key):
            params, opt = carry
            grads, metrics = jax.grad(loss, has_aux=True)(params, batch)
            return optim.apply(optimiser, grads, opt, params), metrics | {"grad_norm": optim.global_norm(grads)}

        (params, opt), metrics = minibatch_epochs(
            update, (state.params, state.opt), flatten_time(batch), key, config.num_epochs, config.num_minibatches
        )
        return state.replace(params=params, opt=opt), jax.tree.map(jnp.mean, metrics)

    def step(state, hypers, task):
        key, k_collect, k_learn = jax.random.split(state.key, 3)
        progress = schedules.progress(state.updates, hypers.horizon)
        epsilon = linear_schedule(progress, hypers.epsilon, hypers.epsilon_final, hypers.exploration)
        # 1. roll out, and targets by lambda-returns
        state, batch, seen = collect(state.replace(epsilon=epsilon), hypers, task, k_collect)
        # 2. epochs of minibatch updates
        state, learned = learn(state, hypers, batch, k_learn)
        return state.replace(key=key, updates=state.updates + 1), seen | learned | {"epsilon": epsilon}

    return Algorithm(init, step, act, lambda batch_size: (), Hypers(), batch_size).in_32_bits()


def check(env: Env, config: Config) -> int:
    """The batch size E * T, after refusing what cannot run."""
    space = env.action_space
    if not isinstance(space, Discrete):
        raise ConfigError(f"action_space={type(space).__name__}: must be Discrete; use another algorithm, such as ppo")
    for name in ("num_envs", "num_steps", "num_epochs", "num_minibatches"):
        require(getattr(config, name) >= 1, name, getattr(config, name), "must be at least 1")
    batch_size = config.num_envs * config.num_steps
    fits = batch_size % config.num_minibatches == 0
    require(fits, "num_minibatches", config.num_minibatches, f"must divide num_envs * num_steps = {batch_size}")
    shape = env.observation_space.shape
    require(config.torso == "mlp" or len(shape) == 3, "torso", config.torso, f"needs [H, W, C] images, not {shape}")
    activation(config.activation)
    return batch_size
