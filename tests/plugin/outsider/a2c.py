"""Advantage actor-critic (Mnih et al. 2016, arXiv:1602.01783), all environments in step: PPO without its ratio."""

from dataclasses import dataclass, field

from rljax.algos import ppo
from rljax.fields import number
from rljax.types import Scalar


class Hypers(ppo.Hypers):
    """Numbers, beside those of PPO."""

    lr: Scalar = 7e-4
    gae_lambda: Scalar = 1.0
    patience: Scalar = number(1.0, "how much an advantage below 0 counts", low=0.0)


@dataclass(frozen=True)
class A2C(ppo.PPO):
    """A2C on an environment."""

    config: ppo.Config = field(
        default=ppo.Config(num_envs=16, num_steps=5, num_epochs=1, num_minibatches=1, normalize_advantage="none")
    )
    hypers: Hypers = field(default=Hypers(), compare=False)

    def loss(self, params, state, hypers, batch, key):
        policy, value = self.forward(params, state.obs_stats, batch.obs)
        weight = batch.advantage.clip(0.0) + hypers.patience * batch.advantage.clip(max=0.0)
        policy_loss = -(policy.log_prob(batch.action) * weight).mean()
        value_loss = ((value - batch.target) ** 2).mean()
        entropy = policy.entropy(key).mean()
        total = policy_loss + hypers.value_coef * value_loss - hypers.entropy_coef * entropy
        return total, {"policy_loss": policy_loss, "value_loss": value_loss, "entropy": entropy}
