r"""Soft actor-critic (Haarnoja et al. 2018, arXiv:1812.05905), for continuous and discrete actions; all of it.

Critics learn the return plus the entropy $\alpha H$ of what the policy does later, from transitions drawn from a
memory; the policy descends on $E[\alpha \log \pi(a | s) - Q(s, a)]$; the temperature $\alpha$ is moved to where the
entropy is as asked for. Continuous actions are reparametrised samples within the unit box, stretched to the
environment's, so entropies do not depend on the units of actions. With discrete actions all expectations are sums
(Christodoulou 2019, arXiv:1910.07207).

More critics, of which targets take `target_critics` and the policy the mean, make it REDQ (Chen et al. 2021,
arXiv:2101.05982); two with `dropout` and `layer_norm` DroQ (Hiraoka et al. 2022, arXiv:2110.02034); an `expectile`
above 1/2 that falls to it over the run makes it AQ-SAC (Omura et al. 2025, arXiv:2506.05968). Critics with
`batch_norm` need no slow copies: what was done and what will be done are evaluated as one batch, and what the policy
proposes by running averages, as in CrossQ (Bhatt et al. 2024, arXiv:1902.05605; its policy is normalised as well).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from rljax.errors import ConfigError, require
from rljax.fields import choice, count, flag, number, share
from rljax.nets.critic import StochasticActor
from rljax.nets.mlp import AVERAGES, DROPOUT
from rljax.nets.q import chosen
from rljax.off_policy import actor_critic
from rljax.off_policy.actor_critic import check_vector
from rljax.off_policy.targets import following, least, subset
from rljax.ops import optim
from rljax.ops.explore import legal, softmax
from rljax.types import Box, Discrete, Scalar


@dataclass(frozen=True)
class Config(actor_critic.Config):
    """Shapes and branches. Changing one compiles a new program."""

    target_critics: int = count(2, "of them, drawn anew for each target, which takes the least", most=1000)
    policy_critics: Literal["least", "mean"] = choice("least", "what the policy goes by")
    dropout: float = number(0.0, "share of the critics' hidden units that is dropped", low=0.0, below=1.0)
    batch_norm: bool = flag(False, "in the critics, which then have no slow copies")


class Hypers(actor_critic.Hypers):
    """Numbers, all traced: sweep, anneal, perturb or differentiate them."""

    critic_lr: Scalar = 1e-3
    temperature_lr: Scalar = number(1e-3, "learning rate of the logarithm of alpha", low=0.0)
    adam_b1: Scalar = number(0.9, "how much of the average gradient Adam keeps in a step", low=0.0, below=1.0)
    temperature: Scalar = number(1.0, "alpha, the weight of the entropy, as learning starts", above=0.0)
    entropy_continuous: Scalar = number(-1.0, "asked for, of each entry of an action within the unit box, in nats")
    entropy_discrete: Scalar = share(0.5, "asked for, as a share of that of a uniform policy")


@dataclass(frozen=True)
class SAC(actor_critic.ActorCritic):
    """SAC on an environment.

    Raises:
      ConfigError: actions that are neither discrete nor a vector within bounds, a count that cannot be.
    """

    config: Config = Config()
    hypers: Hypers = field(default=Hypers(), compare=False)

    @cached_property
    def actor(self) -> Any:
        return StochasticActor(self.action_space, **self.torso_fields())

    @property
    def discrete(self) -> bool:
        return isinstance(self.action_space, Discrete)

    @property
    def target_networks(self) -> tuple[str, ...]:
        return () if self.config.batch_norm else ("critics",)

    def critic_fields(self):
        kinds = {"dropout": self.config.dropout, "batch_norm": self.config.batch_norm}
        return super().critic_fields() | kinds | ({"actions": self.action_space.n} if self.discrete else {})

    def initial_params(self, key, hypers, obs):
        return super().initial_params(key, hypers, obs) | {"log_alpha": jnp.log(jnp.float32(hypers.temperature))}

    def optimisers(self, hypers, progress=0.0):
        return {
            "actor": self.optimiser(hypers, hypers.lr, progress, hypers.max_grad_norm, b1=hypers.adam_b1),
            "critics": self.optimiser(hypers, hypers.critic_lr, progress, hypers.max_grad_norm, b1=hypers.adam_b1),
            "log_alpha": self.optimiser(hypers, hypers.temperature_lr, progress, jnp.inf, b1=hypers.adam_b1),
        }

    def unroll_critics(self, params, obs, past, states, action=None, **keywords):
        key = keywords.pop("key")
        rngs = {DROPOUT: key} if self.config.dropout else None
        return super().unroll_critics(params, obs, past, states, action, rngs=rngs, **keywords)

    def sample_policy(self, distribution, obs, key):
        """-> (what critics are asked of: () or continuous actions; weights, log-probabilities `[B, A]`)."""
        if self.discrete:
            return (), *softmax(distribution.logits, legal(self.env.observation_space, obs))
        action, log_prob = distribution.sample_and_log_prob(key)
        return (action,), jnp.ones((len(action), 1)), log_prob[:, None]

    def choose(self, params, exploration, carry, obs, reset, key, greedy):
        distribution, carry, _ = self.unroll_actor(params["actor"], obs, self.one_step(carry, reset))
        distribution = distribution.restrict(legal(self.env.observation_space, obs))
        action = jnp.where(greedy, distribution.mode(), distribution.sample(key))
        return carry, action if self.discrete else self.action_space.from_unit(action), ()

    def loss(self, params, learner, batch, context):
        """The loss of all critics on a Batch `[run, B, ...]`, by the policy's actions after it."""
        k_action, k_subset, k_now, k_next = jax.random.split(context.key, 4)
        config, hypers = self.config, context.hypers
        steps = self.transition(batch, hypers)
        done = () if self.discrete else (self.action_space.to_unit(steps.action),)
        policy = self.actor_seen(learner.params["actor"], steps).later()
        asked, weight, log_prob = self.sample_policy(policy, steps.next_obs, k_action)
        averages = ()
        if config.batch_norm:
            outputs, later, averages = self.joint_outputs(params, steps, done, asked, k_now)
        else:
            outputs = self.critics_seen(params, steps).now(*done, key=k_now)
            later = self.critics_seen(learner.target_params["critics"], steps).later(*asked, key=k_next)
        outputs = jax.vmap(chosen, (0, None))(outputs, steps.action) if self.discrete else outputs[:, :, 0]
        later = least(self.head, subset(k_subset, later, config.target_critics), self.head_params(hypers))
        after = following(steps, later, weight, -jnp.exp(learner.params["log_alpha"]) * log_prob)
        total, aux = self.target_loss(outputs, after, steps.weight, hypers, self.expectile(context))
        return total, aux._replace(averages=averages)

    def joint_outputs(self, params, steps, done, asked, key):
        """Outputs for what was done and for what will be, evaluated as one batch, and the new averages."""
        pair = (steps.obs, *done), (steps.next_obs, *asked)
        obs, *action = jax.tree.map(lambda *both: jnp.concatenate(both), *pair)
        (both, averages), _, _ = self.unroll_critics(params, obs, (), None, *action, key=key, mutable=[AVERAGES])
        return *jnp.split(both, 2, axis=1), averages

    def learn_values(self, learner, batch, context):
        learner, td_error, metrics = super().learn_values(learner, batch, context)
        return learner.polyak_update(context.hypers.target_rate), td_error, metrics

    def policy_loss(self, params, learner, steps, context):
        """The values of the policy's actions, less their entropy's worth."""
        k_action, k_critics = jax.random.split(context.key)
        alpha = jnp.exp(learner.params["log_alpha"])
        asked, weight, log_prob = self.sample_policy(self.actor_seen(params, steps).now(), steps.obs, k_action)
        outputs = self.critics_seen(learner.params["critics"], steps).now(*asked, key=k_critics)
        values = self.head.value(outputs, self.head_params(context.hypers))
        value = values.mean(0) if self.config.policy_critics == "mean" else values.min(0)
        entropy = -(weight * log_prob).sum(-1).mean()
        total = (weight * (alpha * log_prob - value)).sum(-1).mean()
        return total, {"policy_loss": total, "entropy": entropy, "temperature": alpha}

    def learn_policy(self, learner, batch, context):
        learner, _, metrics = super().learn_policy(learner, batch, context)
        missing = metrics["entropy"] - self.wanted_entropy(context.hypers, self.transition(batch, context.hypers).obs)
        optimiser = self.optimisers(context.hypers, context.progress)["log_alpha"]
        return learner.apply_gradients("log_alpha", optimiser, missing), None, metrics  # of log(alpha) (H - wanted)

    def wanted_entropy(self, hypers, obs):
        """The entropy that is asked for, `[]`, on observations `[B, ...]`."""
        if not self.discrete:
            return hypers.entropy_continuous * self.action_space.movable.sum()
        choices = legal(self.env.observation_space, obs)
        largest = np.log(self.action_space.n) if choices is None else jnp.log(jnp.maximum(choices.sum(-1), 1)).mean()
        return hypers.entropy_discrete * largest

    @classmethod
    def unused(cls, config, env):
        other = "continuous" if isinstance(env.action_space, Discrete) else "discrete"
        slow = {"target_rate": "batch_norm=false"} if config.batch_norm else {}
        slow |= {} if optim.takes(config.optimiser, "b1") else {"adam_b1": "an optimiser that has b1, such as adam"}
        return {f"entropy_{other}": f"{other} actions"} | slow | super().unused(config, env)

    def check(self):
        space, config = self.action_space, self.config
        if not isinstance(space, Discrete | Box):
            raise ConfigError(f"action_space={type(space).__name__}: must be Box or Discrete; use ppo")
        if isinstance(space, Box):
            check_vector(space)
        super().check()
        require(config.target_critics >= 1, "target_critics", config.target_critics, "must be at least 1")
        fits = config.target_critics <= config.critics
        require(fits, "target_critics", config.target_critics, "must be critics at most")
        require(not (config.batch_norm and self.remembers), "batch_norm", True, "needs memory=none")
        require(0.0 <= config.dropout < 1.0, "dropout", config.dropout, "must be at least 0 and below 1")
