"""TEMPLATE, an algorithm of my own: PPO with another loss.

rljax train TEMPLATE CartPole-v1 --plugin ./TEMPLATE.py
rljax sweep TEMPLATE CartPole-v1 --plugin ./TEMPLATE.py --grid softness=0.5,1,2 --seeds 8
"""

from dataclasses import dataclass, field

from rljax import algos
from rljax.algos import ppo
from rljax.fields import number
from rljax.types import Scalar


class Hypers(ppo.Hypers):
    """Numbers, beside those of PPO. All are traced: a sweep of them compiles once."""

    softness: Scalar = number(1.0, "how soon a change of the policy stops to pay", above=0.0)  # an option of its own
    lr: Scalar = 1e-3  # another default


@dataclass(frozen=True)
class TEMPLATE_CLASS(ppo.PPO):
    """PPO, but for what is written here: rollouts, advantages, minibatches and the policy that acts are its own."""

    # Shapes and branches: changing one compiles another program. A class of your own adds some, as Hypers does.
    config: ppo.Config = field(default=ppo.Config(num_envs=16, num_steps=64))
    hypers: Hypers = field(default=Hypers(), compare=False)

    def loss(self, params, state, hypers, batch, key):
        """The loss of `params` on a minibatch `[B, ...]` -> (loss, metrics to log)."""
        policy, value = self.forward(params, state.obs_stats, batch.obs)
        log_ratio = policy.log_prob(batch.action) - batch.log_prob  # 0 before the first step on this batch
        advantage = (batch.advantage - batch.advantage.mean()) / (batch.advantage.std() + 1e-8)
        policy_loss = (0.5 * hypers.softness * log_ratio**2 - log_ratio * advantage).mean()
        value_loss = 0.5 * ((value - batch.target) ** 2).mean()
        entropy = policy.entropy(key).mean()
        total = policy_loss + hypers.value_coef * value_loss - hypers.entropy_coef * entropy
        return total, {"policy_loss": policy_loss, "value_loss": value_loss, "entropy": entropy}


algos.register("TEMPLATE", TEMPLATE_CLASS)
