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

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp

from rljax.data.transitions import transition
from rljax.errors import require
from rljax.fields import INF, count, entry, flag, number, share, sizes
from rljax.nets.decoupled import Utilities
from rljax.nets.features import flat_features
from rljax.nets.mlp import activation
from rljax.nets.q import chosen
from rljax.off_policy import loop
from rljax.off_policy.actor_critic import check_vector
from rljax.off_policy.learner import Aux
from rljax.off_policy.values import EpsilonHypers
from rljax.ops import schedules
from rljax.ops.explore import epsilon_greedy
from rljax.ops.losses import huber
from rljax.types import Array, Scalar


@dataclass(frozen=True)
class Config(loop.Config):
    """Shapes and branches. Changing one compiles a new program."""

    n_step: int = 3
    choices: int = count(3, "values of each entry of an action, from its least to its greatest", least=2)
    critics: int = count(10, "M", most=1000)
    hidden: tuple[int, ...] = sizes((128, 128), "widths of the hidden layers")
    activation: str = entry("relu", "activation", "of the hidden layers")
    layer_norm: bool = flag(False, "in the hidden layers")
    exploration_schedule: str = entry("linear", "schedule", "how the share of random actions falls")


class Hypers(EpsilonHypers, loop.Hypers):
    """Numbers, all traced: sweep, anneal, perturb or differentiate them."""

    lr: Scalar = number(1e-3, "learning rate", low=0.0)
    target_rate: Scalar = share(0.005, "how far the slow copy moves in each gradient step")
    regulariser: Scalar = number(0.5, "beta", low=0.0)
    max_grad_norm: Scalar = number(40.0, "bound on the global gradient norm", low=0.0, high=INF)


@dataclass(frozen=True)
class REValueD(loop.OffPolicy):
    """REValueD on an environment.

    Raises:
      ConfigError: actions that are no vector within bounds, a count that cannot be.
    """

    config: Config = Config()
    hypers: Hypers = field(default=Hypers(), compare=False)

    @cached_property
    def network(self) -> Any:
        config, entries = self.config, self.action_space.shape[0]
        kinds: dict[str, Any] = {"activation": config.activation, "layer_norm": config.layer_norm}
        return Utilities(config.critics, entries, config.choices, config.hidden, **kinds)

    def preprocess(self, obs):
        """Observations as vectors `[..., F]`."""
        return flat_features(self.env.observation_space, obs)

    def initial_params(self, key, hypers, obs):
        return {"values": self.network.init(key, self.preprocess(obs))}

    def optimisers(self, hypers, progress=0.0):
        return {"values": self.optimiser(hypers, hypers.lr, progress, hypers.max_grad_norm)}

    def utilities(self, params, obs):
        """U `[M, ..., D, choices]`."""
        space = self.action_space
        utilities = self.network.apply(params, self.preprocess(obs))
        # What cannot move has one choice, whatever it is called.
        return utilities if space.movable.all() else jnp.where(space.movable[:, None], utilities, utilities[..., :1])

    def to_env(self, choice):
        """Choices `[..., D]` as actions of the environment."""
        return self.action_space.from_unit(2.0 * choice / (self.config.choices - 1) - 1.0)

    def from_env(self, action):
        """The inverse of `to_env`."""
        return jnp.round(0.5 * (self.action_space.to_unit(action) + 1.0) * (self.config.choices - 1)).astype(jnp.int32)

    def random_action(self, obs, key):
        return self.to_env(jax.random.randint(key, self.action_space.shape, 0, self.config.choices))

    def choose(self, params, exploration, carry, obs, reset, key, greedy):
        best = self.utilities(params["values"], obs).mean(0).argmax(-1).astype(jnp.int32)
        epsilon = jnp.where(greedy, 0.0, exploration)
        return carry, self.to_env(epsilon_greedy(key, best, epsilon, self.config.choices)), ()

    def exploration(self, hypers, progress):
        return hypers.epsilon_at(progress, self.config.exploration_schedule)

    def loss(self, params, learner, batch, context):
        """The losses of all critics on a Batch `[n, B, ...]`, summed."""
        steps, slow = transition(batch.steps, context.hypers.discount), learner.target_params["values"]
        choice = self.from_env(steps.action)  # [B, D]
        following = self.utilities(slow, steps.next_obs).mean(0).max(-1).mean(-1)
        y = steps.reward + steps.discount * following
        utility = taken(self.utilities(params, steps.obs), choice)  # [M, B, D]
        value = utility.mean(-1)
        apart = 1.0 - jnp.exp(-jnp.abs(y[None, :, None] - jax.lax.stop_gradient(utility)))
        near = (apart * huber(utility, taken(self.utilities(slow, steps.obs), choice))).mean(-1)
        losses = huber(value, jnp.broadcast_to(y, value.shape)) + context.hypers.regulariser * near
        total = (batch.weight * losses.sum(0)).mean()
        return total, Aux(jnp.abs(value - y[None]).mean(0), {"value_loss": total, "value": value.mean()})

    def learn_values(self, learner, batch, context):
        learner, td_error, metrics = super().learn_values(learner, batch, context)
        return learner.polyak_update(context.hypers.target_rate), td_error, metrics

    def check(self):
        check_vector(self.action_space)
        super().check()
        config = self.config
        require(config.critics >= 1, "critics", config.critics, "must be at least 1")
        require(config.choices >= 2, "choices", config.choices, "must be at least 2")
        activation(config.activation)
        schedules.check(config.exploration_schedule)


def taken(utilities: Array, choice: Array) -> Array:
    """Picks the utilities of what was chosen, of all critics: `[M, B, D, choices]`, `[B, D]` -> `[M, B, D]`."""
    return jax.vmap(lambda each: chosen(each[..., None], choice)[..., 0])(utilities)
