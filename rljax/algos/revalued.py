r"""Regularised ensemble value-decomposition (Ireland and Montana 2024, arXiv:2401.08850); all of it.

Each entry of a continuous action is one of `choices` values, and what an action is worth is the mean of what its
entries contribute (DecQN: Seyde et al. 2022, arXiv:2210.12566), so the best action is found entry by entry:

$$Q_m(s, a) = \frac{1}{D} \sum_i U_m^i(s, a_i), \qquad
y = r + \frac{\gamma}{D} \sum_i \max_{a'_i} \frac{1}{M} \sum_m \bar U_m^i(s', a'_i)$$

M critics keep the variance of targets low. A random entry makes the return of an action say little about its others;
these are held near what the slow copy says, the more the worse they fit the target:

$$\ell_m = H(y - Q_m) + \frac{\beta}{D} \sum_i (1 - e^{-|y - U_m^i|}) \, H(U_m^i - \bar U_m^i)$$

H being the Huber loss. `regulariser` 0 and one critic make it DecQN.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from rljax.errors import ConfigError, require
from rljax.fields import INF, count, flag, number, share, sizes, text
from rljax.nets.decoupled import Utilities
from rljax.nets.features import flat_features
from rljax.nets.mlp import activation
from rljax.nets.q import chosen
from rljax.off_policy import life
from rljax.off_policy.life import Method, algorithm, fresh
from rljax.ops import optim
from rljax.ops.explore import epsilon_greedy
from rljax.ops.losses import huber
from rljax.ops.schedules import linear_schedule
from rljax.types import Algorithm, Array, Box, Env, Scalar


@dataclass(frozen=True)
class Config:
    """Shapes and branches. Changing one compiles a new program."""

    num_envs: int = count(1, "parallel environments, E")
    num_steps: int = count(1, "steps per environment and update, T")
    gradient_steps: int = count(1, "per update")
    batch_size: int = count(256, "of each gradient step")
    capacity: int = count(100_000, "steps that are remembered")
    warmup: int = count(1_000, "random steps before learning begins")
    n_step: int = count(3, "steps whose rewards a target takes as they were", most=10_000)
    prioritised: bool = flag(False, "draw by how wrong the critics were")
    choices: int = count(3, "values of each entry of an action, from its least to its greatest", least=2)
    critics: int = count(10, "M", most=1000)
    hidden: tuple[int, ...] = sizes((128, 128), "widths of the hidden layers")
    activation: str = text("relu", "tanh, relu, swish, gelu, elu")
    layer_norm: bool = flag(False, "in the hidden layers")


class Hypers(struct.PyTreeNode):
    """Numbers, all traced: sweep, anneal, perturb or differentiate them."""

    lr: Scalar = number(1e-3, "learning rate of Adam", low=0.0)
    discount: Scalar = share(0.99, "gamma")
    target_rate: Scalar = share(0.005, "how far the slow copy moves in each gradient step")
    regulariser: Scalar = number(0.5, "beta", low=0.0)
    epsilon: Scalar = share(1.0, "share of random actions at the start")
    epsilon_final: Scalar = share(0.05, "and at the end")
    exploration: Scalar = number(0.3, "share of the run in which it falls, linearly", above=0.0)
    max_grad_norm: Scalar = number(40.0, "bound on the global gradient norm", low=0.0, high=INF)
    priority_exponent: Scalar = number(0.6, "of prioritised draws; 0: uniform", low=0.0)
    priority_beta: Scalar = share(0.4, "how much of their bias is undone at the start; all of it at the end")
    horizon: Scalar = number(INF, "updates in this run, to anneal by; inf: no annealing", low=1.0, high=INF)


@cache
def make(env: Env, config: Config = Config()) -> Algorithm:
    """REValueD on `env`.

    Raises:
      ConfigError: actions that are no vector within bounds, a count that cannot be.
    """
    check(env, config)
    space: Any = env.action_space
    network: Any = network_of(env, config)

    def look(params, obs):
        """U `[M, ..., D, choices]`."""
        utilities = network.apply(params["values"], flat_features(env.observation_space, obs))
        # What cannot move has one choice, whatever it is called.
        return utilities if space.movable.all() else jnp.where(space.movable[:, None], utilities, utilities[..., :1])

    def to_env(choice):
        return space.from_unit(2.0 * choice / (config.choices - 1) - 1.0)

    def of_env(action):
        return jnp.round(0.5 * (space.to_unit(action) + 1.0) * (config.choices - 1)).astype(jnp.int32)

    def optimiser(hypers):
        return optim.adam(hypers.lr, hypers.max_grad_norm)

    def begin(key, hypers, obs):
        params = {"values": network.init(key, flat_features(env.observation_space, obs))}
        return fresh(params, ("values",), {"values": optimiser(hypers)})

    def sample(key):
        return to_env(jax.random.randint(key, space.shape, 0, config.choices))

    def act(params, exploration, obs, key, greedy):
        best = look(params, obs).mean(0).argmax(-1).astype(jnp.int32)
        return to_env(epsilon_greedy(key, best, jnp.where(greedy, 0.0, exploration), config.choices))

    def learn_values(learner, batch, weight, hypers, progress, key):
        choice = of_env(batch.action)  # [B, D]
        following = look(learner.target_params, batch.next_obs).mean(0).max(-1).mean(-1)
        y = batch.reward + batch.discount * following
        slow = taken(look(learner.target_params, batch.obs), choice)

        def loss(params):
            utility = taken(look({"values": params}, batch.obs), choice)  # [M, B, D]
            value = utility.mean(-1)
            apart = 1.0 - jnp.exp(-jnp.abs(y[None, :, None] - jax.lax.stop_gradient(utility)))
            held = (apart * huber(utility, slow)).mean(-1)
            losses = huber(value, jnp.broadcast_to(y, value.shape)) + hypers.regulariser * held
            total = (weight * losses.sum(0)).mean()
            return total, (jnp.abs(value - y[None]).mean(0), {"value_loss": total, "value": value.mean()})

        grads, (wrong, metrics) = jax.grad(loss, has_aux=True)(learner.params["values"])
        learner = learner.descend("values", optimiser(hypers), grads).follow(hypers.target_rate)
        return learner, wrong, metrics | {"grad_norm": optim.global_norm(grads)}

    def exploration(hypers, progress):
        return linear_schedule(progress, hypers.epsilon, hypers.epsilon_final, hypers.exploration)

    method = Method(begin, act, learn_values, exploration=exploration, sample=sample)
    return algorithm(env, config, method, Hypers())


def taken(utilities: Array, choice: Array) -> Array:
    """Of all critics those of what was chosen: `[M, B, D, choices]`, `[B, D]` -> `[M, B, D]`."""
    return jax.vmap(lambda each: chosen(each[..., None], choice)[..., 0])(utilities)


def network_of(env: Env, config: Config) -> Utilities:
    """The network that acts and learns."""
    sizes: dict[str, Any] = {"hidden": config.hidden, "activation": config.activation, "layer_norm": config.layer_norm}
    return Utilities(config.critics, env.action_space.shape[0], config.choices, **sizes)


def unused(config: Config, env: Env) -> dict[str, str]:
    """The numbers in `Hypers` that have no effect, each with what would use it."""
    return life.unused(config)


def check(env: Env, config: Config) -> None:
    """Refuses what cannot run."""
    space = env.action_space
    if not isinstance(space, Box):
        raise ConfigError(f"action_space={type(space).__name__}: must be Box; use another algorithm, such as dqn")
    life.check_actions(space)
    life.check(config)
    require(config.critics >= 1, "critics", config.critics, "must be at least 1")
    require(config.choices >= 2, "choices", config.choices, "must be at least 2")
    activation(config.activation)
