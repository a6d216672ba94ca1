r"""Deep Q-networks (Mnih et al. 2015, Nature 518:529) and what has been added to them; all of it.

The value of an action is learned from transitions drawn from a memory, by what the value after it is thought to be:

$$y = r + \gamma \sum_{a'} w(a' | s') (\bar Q(s', a') + b(a' | s'))$$

with a slow copy $\bar Q$ of the network. w is 1 for the best action by $\bar Q$ (`greedy`), for the best one by Q
itself (`double`: van Hasselt et al. 2016, arXiv:1509.06461), or the softmax of $\bar Q / \tau$ with the bonus
$b = -\tau \log w$, the reward then being raised by $\alpha \tau \log w(a | s)$, clipped (`munchausen`: Vieillard et al.
2020, arXiv:2007.14430, eq. 3).

`head` says what an output stands for, `loss` how a scalar one is learned; `dueling`, `noisy`, `n_step` and
`prioritised` can be had with any of them. All of them but munchausen, with the categorical head, make Rainbow (Hessel
et al. 2018, arXiv:1710.02298). With a `memory` it learns from sequences, see `off_policy.memory`; and with the rescaled
head as well that is R2D2 (Kapturowski et al. 2019, openreview.net/forum?id=r1lyTjAqYX).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, Literal

import jax
import jax.numpy as jnp

from rljax.errors import ConfigError
from rljax.fields import INF, choice, entry, flag, number, share, sizes
from rljax.nets.features import features
from rljax.nets.memory import memory
from rljax.nets.noisy import NOISE
from rljax.nets.q import QNetwork, chosen
from rljax.nets.torsos import check_torso
from rljax.off_policy import loop
from rljax.off_policy.memory import MemoryConfig, Seen
from rljax.off_policy.targets import following
from rljax.off_policy.values import EpsilonHypers, HeadConfig, HeadHypers, HeadValues
from rljax.ops import schedules
from rljax.ops.explore import epsilon_greedy, legal, mask, softmax
from rljax.ops.value_heads import HeadParams
from rljax.types import Discrete, Scalar


@dataclass(frozen=True)
class Config(HeadConfig, MemoryConfig, loop.Config):
    """Shapes and branches. Changing one compiles a new program."""

    num_envs: int = 8
    batch_size: int = 128
    torso: str = entry("mlp", "torso", "layers below the heads")
    hidden: tuple[int, ...] = sizes((64, 64), "widths of the hidden layers")
    activation: str = entry("relu", "activation", "of the hidden layers")
    layer_norm: bool = flag(False, "in the hidden layers")
    dueling: bool = flag(False, "a stream of its own for the state's value")
    exploration_schedule: str = entry("linear", "schedule", "how the share of random actions falls")
    noisy: bool = flag(False, "explore by perturbed weights, not by random actions")
    target: Literal["greedy", "double", "munchausen"] = choice("double", "what follows, for the target")
    loss: Literal["squared", "huber", "dqn-reg", "dqn-clipped"] = choice("huber", "of the scalar head")


class Hypers(HeadHypers, EpsilonHypers, loop.Hypers):
    """Numbers, all traced: sweep, anneal, perturb or differentiate them."""

    lr: Scalar = number(5e-4, "learning rate", low=0.0)
    target_rate: Scalar = share(1.0, "how far the target network moves towards the network when it does")
    target_period: Scalar = number(250.0, "gradient steps from one such move to the next", low=1.0)
    max_grad_norm: Scalar = number(10.0, "bound on the global gradient norm", low=0.0, high=INF)
    reg_weight: Scalar = number(0.1, "of values, in the loss dqn-reg", low=0.0)
    munchausen: Scalar = share(0.9, "alpha")
    munchausen_temperature: Scalar = number(0.03, "tau: the entropy regularisation of the target policy", above=0.0)
    munchausen_clip: Scalar = number(-1.0, "the least that tau log w(a|s) may be", high=0.0)


@dataclass(frozen=True)
class DQN(HeadValues):
    """DQN on an environment.

    Raises:
      ConfigError: actions that are not discrete, a count that cannot be, or a network that does not fit.
    """

    config: Config = Config()
    hypers: Hypers = field(default=Hypers(), compare=False)

    @cached_property
    def network(self) -> Any:
        config = self.config
        return QNetwork(
            actions=self.action_space.n,
            size=self.head.size,
            observation_space=self.env.observation_space,
            torso=config.torso,
            hidden=config.hidden,
            activation=config.activation,
            layer_norm=config.layer_norm,
            dueling=config.dueling,
            noisy=config.noisy,
            memory=config.memory,
        )

    def initial_params(self, key, hypers, obs):
        past = self.one_step(self.initial_carry((), 1), jnp.ones(1, bool))
        return {"values": self.network.init(key, features(self.env.observation_space, obs), past)}

    def initial_carry(self, state, batch_size):
        return memory(self.config.memory).initial_carry(batch_size)

    def optimisers(self, hypers, progress=0.0):
        return {"values": self.optimiser(hypers, hypers.lr, progress, hypers.max_grad_norm)}

    def unroll(self, params, obs, past=(), states=None, key=None):
        """Outputs `[..., A, K]` for observations `[..., *shape]`, and the carry and states of the memory.

        With a key, of a network perturbed by it; with `states`, one step ahead of each.
        """
        noise = {NOISE: key} if self.config.noisy and key is not None else None
        found = self.network.apply(params, features(self.env.observation_space, obs), past, states, rngs=noise)
        return found if self.remembers else (found, (), ())

    def seen(self, params, steps):
        """The network with these parameters, to be asked at transitions."""
        return Seen(partial(self.unroll, params), steps)

    def legal(self, obs):
        """The mask of legal actions `[..., A]`, or None."""
        return legal(self.env.observation_space, obs)

    def best(self, outputs, obs):
        """The best legal actions `[...]` by outputs `[..., A, K]`, which no number of a head changes."""
        return mask(self.head.value(outputs, HeadParams()), self.legal(obs)).argmax(-1).astype(jnp.int32)

    def choose(self, params, exploration, carry, obs, reset, key, greedy):
        k_noise, k_explore = jax.random.split(key)
        past = self.one_step(carry, reset)
        outputs, after, _ = self.unroll(params["values"], obs, past, key=k_noise)
        if self.config.noisy:
            sure = self.unroll(params["values"], obs, past)[:2]
            outputs, after = jax.tree.map(partial(jnp.where, greedy), sure, (outputs, after))
        epsilon, legal = jnp.where(greedy, 0.0, exploration), self.legal(obs)
        return after, epsilon_greedy(k_explore, self.best(outputs, obs), epsilon, self.action_space.n, legal), ()

    def exploration(self, hypers, progress):
        return 0.0 if self.config.noisy else hypers.epsilon_at(progress, self.config.exploration_schedule)

    def loss(self, params, learner, batch, context):
        """The loss of the head on a Batch `[run, B, ...]`."""
        k_now, k_next = jax.random.split(context.key)
        steps = self.transition(batch, context.hypers)
        mine, slow = self.seen(params, steps), self.seen(learner.target_params["values"], steps)
        outputs = chosen(mine.now(key=k_now), steps.action)
        after = self.bootstrap(mine, slow, steps, context.hypers, k_next)
        return self.target_loss(outputs[None], after, steps.weight, context.hypers)

    def bootstrap(self, mine, slow, steps, hypers, key):
        """The part of the target that follows transitions `[B, ...]`, by what two networks say: this and its copy."""
        k_target, k_other = jax.random.split(key)
        if self.config.target == "munchausen":
            tau, numbers = hypers.munchausen_temperature, self.head_params(hypers)
            here, outputs = slow.now(key=k_other), slow.later(key=k_target)  # [B, A, K]
            _, log_here = softmax(self.head.value(here, numbers) / tau, self.legal(steps.obs))
            weight, log_next = softmax(self.head.value(outputs, numbers) / tau, self.legal(steps.next_obs))
            log_taken = chosen(log_here[..., None], steps.action)[:, 0]
            raised = hypers.munchausen * jnp.clip(tau * log_taken, hypers.munchausen_clip, 0.0)
            return following(steps, outputs, weight, -tau * log_next, raised)
        outputs = slow.later(key=k_target)
        by = mine.later(key=k_other) if self.config.target == "double" else outputs
        weight = jax.nn.one_hot(self.best(by, steps.next_obs), self.action_space.n)
        return following(steps, outputs, weight, jnp.zeros_like(weight))

    def learn_values(self, learner, batch, context):
        after, td_error, metrics = super().learn_values(learner, batch, context)
        # Counted in whole numbers: float32 ends at 2^24 of them.
        period = jnp.clip(jnp.round(context.hypers.target_period), 1.0, 2.0**30).astype(jnp.int32)
        due = (learner.gradient_steps + 1) % period == 0
        return after.polyak_update(jnp.where(due, context.hypers.target_rate, 0.0)), td_error, metrics

    def head_params(self, hypers):
        return super().head_params(hypers)._replace(weight=hypers.reg_weight)

    @classmethod
    def unused(cls, config, env):
        needs = {
            "target=munchausen": (
                config.target == "munchausen",
                ("munchausen", "munchausen_temperature", "munchausen_clip"),
            ),
            "noisy=false": (not config.noisy, ("epsilon", "epsilon_final", "exploration_fraction")),
            "loss=dqn-reg": (config.head in ("scalar", "rescaled") and config.loss == "dqn-reg", ("reg_weight",)),
        }
        unmet = {name: need for need, (met, names) in needs.items() if not met for name in names}
        return unmet | super().unused(config, env)

    def check(self):
        space = self.env.action_space
        if not isinstance(space, Discrete):
            kind = type(space).__name__
            raise ConfigError(f"action_space={kind}: must be Discrete; use another algorithm, such as sac")
        super().check()
        schedules.check(self.config.exploration_schedule)
        check_torso(self.config, self.env.observation_space)
