r"""Twin delayed deep deterministic policy gradients (Fujimoto et al. 2018, arXiv:1802.09477); all of it.

Critics learn the value of a slow copy of the policy, whose actions are smoothed by clipped noise (eq. 14 there), the
least of two critics counting (eq. 10); the policy ascends the first critic, once in `policy_delay` of their gradient
steps. Actions are those of the unit box, which is stretched to the environment's: so is noise.

One critic, no smoothing and no delay make it DDPG (Lillicrap et al. 2016, arXiv:1509.02971); an `expectile` above 1/2
that falls to it over the run makes it AQ-TD3 (Omura et al. 2025, arXiv:2506.05968).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp

from rljax.fields import INF, number
from rljax.nets.critic import DeterministicActor
from rljax.off_policy import actor_critic
from rljax.off_policy.actor_critic import check_vector
from rljax.off_policy.targets import following, least
from rljax.types import Scalar


@dataclass(frozen=True)
class Config(actor_critic.Config):
    """Shapes and branches. Changing one compiles a new program."""

    num_steps: int = 2
    gradient_steps: int = 2
    policy_delay: int = 2


class Hypers(actor_critic.Hypers):
    """Numbers, all traced: sweep, anneal, perturb or differentiate them."""

    exploration_noise: Scalar = number(
        0.1, "standard deviation of what is added to actions, within the unit box", low=0.0
    )
    target_noise: Scalar = number(0.2, "and to those of the slow policy", low=0.0)
    target_noise_clip: Scalar = number(0.5, "how much that may be at most", low=0.0, high=INF)


@dataclass(frozen=True)
class TD3(actor_critic.ActorCritic):
    """TD3 on an environment.

    Raises:
      ConfigError: actions that are no vector within bounds, a count that cannot be.
    """

    config: Config = Config()
    hypers: Hypers = field(default=Hypers(), compare=False)

    @property
    def target_networks(self) -> tuple[str, ...]:
        return "actor", "critics"

    @cached_property
    def actor(self) -> Any:
        return DeterministicActor(self.action_space.shape[0], **self.torso_fields())

    def unroll_critics(self, params, obs, past, states, action=None, **keywords):
        action = self.action_space.only_movable(action)
        return super().unroll_critics(params, obs, past, states, action, **keywords)

    def choose(self, params, exploration, carry, obs, reset, key, greedy):
        action, carry, _ = self.unroll_actor(params["actor"], obs, self.one_step(carry, reset))
        noise = jnp.where(greedy, 0.0, exploration) * jax.random.normal(key, action.shape)
        return carry, self.action_space.from_unit(jnp.clip(action + noise, -1.0, 1.0)), ()

    def exploration(self, hypers, progress):
        return hypers.exploration_noise

    def loss(self, params, learner, batch, context):
        """The loss of all critics on a Batch `[run, B, ...]`, by the slow policy's actions after it."""
        hypers, slow = context.hypers, learner.target_params
        steps = self.transition(batch, hypers)
        action = self.actor_seen(slow["actor"], steps).later()
        noise = hypers.target_noise * jax.random.normal(context.key, action.shape)
        action = jnp.clip(action + jnp.clip(noise, -hypers.target_noise_clip, hypers.target_noise_clip), -1.0, 1.0)
        outputs = self.critics_seen(slow["critics"], steps).later(action)
        sure = jnp.ones((len(action), 1))
        outputs = least(self.head, outputs, self.head_params(hypers))
        after = following(steps, outputs, sure, jnp.zeros_like(sure))
        outputs = self.critics_seen(params, steps).now(self.action_space.to_unit(steps.action))[:, :, 0]
        return self.target_loss(outputs, after, steps.weight, hypers, self.expectile(context))

    def policy_loss(self, params, learner, steps, context):
        """Minus what the first critic says of the policy's actions."""
        action = self.actor_seen(params, steps).now()
        outputs = self.critics_seen(learner.params["critics"], steps).now(action)
        loss = -self.head.value(outputs[0], self.head_params(context.hypers)).mean()
        return loss, {"policy_loss": loss}

    def learn_policy(self, learner, batch, context):
        learner, _, metrics = super().learn_policy(learner, batch, context)
        return learner.polyak_update(context.hypers.target_rate), None, metrics

    def check(self):
        check_vector(self.action_space)
        super().check()
