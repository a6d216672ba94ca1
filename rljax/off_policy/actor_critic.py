"""Actor-critic learning from stored steps: critics of actions, and a policy that goes by them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Literal

import jax
import jax.numpy as jnp

from rljax.data.transitions import Transition
from rljax.errors import ConfigError, require
from rljax.fields import INF, choice, count, entry, flag, number, share, sizes
from rljax.nets.critic import Critics
from rljax.nets.features import flat_features
from rljax.nets.memory import memory
from rljax.nets.torsos import check_torso
from rljax.off_policy import loop
from rljax.off_policy.learner import Batch, Context, Learner, Phase
from rljax.off_policy.memory import MemoryConfig, Seen
from rljax.off_policy.values import HeadConfig, HeadHypers, HeadValues
from rljax.ops.schedules import linear_schedule
from rljax.types import Array, Box, Metrics, Scalar, Space


@dataclass(frozen=True)
class Config(HeadConfig, MemoryConfig, loop.Config):
    """Shapes and branches. Changing one compiles a new program."""

    policy_delay: int = count(1, "gradient steps of the critics for one of the policy; must divide gradient_steps")
    torso: str = entry("mlp", "torso", "layers below the heads, of the policy and of each critic")
    hidden: tuple[int, ...] = sizes((256, 256), "widths of the hidden layers")
    activation: str = entry("relu", "activation", "of the hidden layers")
    layer_norm: bool = flag(False, "in the hidden layers of the critics")
    critics: int = count(2, "M; the least of them counts", most=1000)
    loss: Literal["squared", "huber"] = choice("squared", "of the scalar head")


class Hypers(HeadHypers, loop.Hypers):
    """Numbers, all traced: sweep, anneal, perturb or differentiate them."""

    lr: Scalar = number(3e-4, "learning rate of the policy", low=0.0)
    critic_lr: Scalar = number(3e-4, "of the critics", low=0.0)
    target_rate: Scalar = share(0.005, "how far slow copies move towards the networks, each time that they do")
    expectile: Scalar = number(0.5, "tau, as it starts; above 1/2 critics lean to the best action", low=0.5, below=1.0)
    expectile_final: Scalar = number(0.5, "and at the end", low=0.5, below=1.0)
    max_grad_norm: Scalar = number(INF, "bound on the gradient norm, of policy and critics each", low=0.0, high=INF)


@dataclass(frozen=True)
class ActorCritic(HeadValues):
    """The base of actor-critic algorithms: `critics` that descend on `loss`, and an `actor` on `policy_loss`.

    The actor learns once in `policy_delay` gradient steps of the critics.
    """

    value_network = "critics"

    @cached_property
    def actor(self) -> Any:
        """The network that acts."""
        raise NotImplementedError

    @cached_property
    def critics(self) -> Any:
        """The networks that say how good actions are."""
        return Critics(**self.torso_fields(), **self.critic_fields())

    def torso_fields(self) -> dict[str, Any]:
        """The fields of every network here that say what it is made of."""
        config, space = self.config, self.env.observation_space
        sizes = {"hidden": config.hidden, "activation": config.activation, "memory": config.memory}
        return {"observation_space": space, "torso": config.torso, **sizes}

    def critic_fields(self) -> dict[str, Any]:
        """The fields of `Critics`."""
        return {"members": self.config.critics, "size": self.head.size, "layer_norm": self.config.layer_norm}

    @property
    def phases(self) -> tuple[Phase, ...]:
        return Phase(self.learn_values), Phase(self.learn_policy, self.config.policy_delay)

    def initial_params(self, key: Array, hypers: Any, obs: Any) -> dict[str, Any]:
        k_actor, k_critics = jax.random.split(key)
        x, space = self.preprocess(obs), self.action_space
        action = jnp.zeros((1, *space.shape)) if isinstance(space, Box) else None
        start = jnp.ones(1, bool)
        actors, critics = (self.one_step(carry(1), start) for carry in (partial(self.initial_carry, ()), self.carries))
        return {
            "actor": self.actor.init(k_actor, x, actors),
            "critics": self.critics.init(k_critics, x, action, critics),
        }

    def initial_carry(self, state, batch_size):
        return memory(self.config.memory).initial_carry(batch_size)

    def carries(self, batch_size: int) -> Any:
        """The carries of the critics before sequences, which are empty: they do not run while the policy acts."""
        return (memory(self.config.memory).initial_carry(batch_size),) * self.config.critics

    def unroll_actor(self, params: Any, obs: Any, past: Any = (), states: Any = None) -> tuple[Any, Any, Any]:
        """Outputs of the actor for observations `[..., *shape]`, and the carry and states of its memory."""
        found = self.actor.apply(params, self.preprocess(obs), past, states)
        return found if self.remembers else (found, (), ())

    def unroll_critics(
        self, params: Any, obs: Any, past: Any, states: Any, action: Any = None, **keywords: Any
    ) -> tuple[Any, Any, Any]:
        """Outputs of the critics `[M, B, A, K]`, and the carries and states of their memories.

        Args:
          action: within the unit box, `[B, D]`; None where actions are discrete: of all of them.
          keywords: further ones of the networks.
        """
        found = self.critics.apply(params, self.preprocess(obs), action, past, states, **keywords)
        return found if self.remembers else (found, (), ())

    def actor_seen(self, params: Any, steps: Transition) -> Seen:
        """The actor with these parameters, to be asked at transitions."""
        return Seen(partial(self.unroll_actor, params), steps)

    def critics_seen(self, params: Any, steps: Transition) -> Seen:
        """The critics with these parameters, to be asked at transitions, and of actions within the unit box."""
        carry = self.carries(steps.sequences.reset.shape[1]) if self.remembers else None
        return Seen(partial(self.unroll_critics, params), steps, carry)

    def optimisers(self, hypers: Any, progress: Scalar = 0.0) -> dict[str, Any]:
        return {
            "actor": self.optimiser(hypers, hypers.lr, progress, hypers.max_grad_norm),
            "critics": self.optimiser(hypers, hypers.critic_lr, progress, hypers.max_grad_norm),
        }

    def preprocess(self, obs: Any) -> Array:
        """Observations as vectors `[..., F]`."""
        return flat_features(self.env.observation_space, obs)

    def policy_loss(self, params: Any, learner: Learner, steps: Transition, context: Context) -> tuple[Array, Metrics]:
        """The loss `[]` of the actor's `params` where transitions `[B, ...]` begin -> (loss, metrics)."""
        raise NotImplementedError

    def learn_policy(self, learner: Learner, batch: Batch, context: Context) -> tuple[Learner, None, Metrics]:
        """Takes a gradient step of the actor on `policy_loss`."""
        steps = self.transition(batch, context.hypers)
        grads, metrics = jax.grad(self.policy_loss, has_aux=True)(learner.params["actor"], learner, steps, context)
        optimiser = self.optimisers(context.hypers, context.progress)["actor"]
        return learner.apply_gradients("actor", optimiser, grads), None, metrics

    def expectile(self, context: Context) -> Array:
        """The expectile of the critics' loss, `[]`, at this part of the run."""
        return linear_schedule(context.progress, context.hypers.expectile, context.hypers.expectile_final)

    def check(self) -> None:
        config = self.config
        fits = config.policy_delay >= 1 and config.gradient_steps % config.policy_delay == 0
        found = f"must be at least 1 and divide gradient_steps={config.gradient_steps}"
        require(fits, "policy_delay", config.policy_delay, found)
        super().check()
        require(config.critics >= 1, "critics", config.critics, "must be at least 1")
        check_torso(config, self.env.observation_space)


def check_vector(space: Space) -> None:
    """Refuses actions that are no vector which the unit box could be stretched to. Raises ConfigError."""
    if not isinstance(space, Box):
        raise ConfigError(f"action_space={type(space).__name__}: must be Box; use another algorithm, such as dqn")
    require(len(space.shape) == 1, "action_space.shape", space.shape, "must have one axis; flatten the actions")
    require(space.bounded, "action_space", "Box without bounds", "must be bounded; use ppo")
