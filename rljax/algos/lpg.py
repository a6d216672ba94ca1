r"""Learned policy gradient (Oh et al. 2020, arXiv:2007.08794): an agent that learns by a learned rule; all of it.

Besides its policy, an agent predicts a categorical y(s) of m entries, which means what the rule makes of it. The rule,
a network whose weights are `hypers.rule`, reads a rollout backwards (see `nets.update_rule`) and tells the agent, for
every step, how much likelier to make the action, $\hat\pi$, and what to predict, $\hat y$. One update descends

$$L = \frac{1}{T E} \sum_{t, e} \left( -\hat\pi \log \pi(a | s)
+ \alpha_y \mathrm{KL}(y(s) \| \hat y) \right)_{t, e}, \qquad \hat\pi, \hat y \text{ taken as given.}$$

The rule as it starts is random and teaches nothing of use: it is to be meta-learned, and everything here can be
differentiated in it. For that, an agent also keeps a value critic, learned from its rollouts by lambda-returns. The
rule never sees it; outer losses need one.

Temporally aware (TA-LPG), the rule also sees how far the run is and how long, see `nets.update_rule.time_inputs`.

Decided here: sizes are those of the GROOVE code (a GRU, m = 8, no discount among the inputs); the sign of $\hat\pi$ is
the paper's, opposite to that code; the three networks share no weights and their gradients are clipped one by one.
As in that code, no meta-gradient passes through what the rule is shown of the agent, $\pi(a|s)$ and y; with
`input_gradient` it does, and is the whole derivative, that of finite differences. An agent's own gradient never does.

Sources: Jackson et al. 2023 (GROOVE, arXiv:2310.02782, section 2.2, table 2) and its code, for settings; Jackson et al.
2024 (arXiv:2402.05828, eq. 9) for TA-LPG.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property, partial
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from rljax.errors import require
from rljax.fields import INF, count, entry, flag, number, part, share, sizes
from rljax.nets.heads import Categorical
from rljax.nets.lpg_agent import Agent
from rljax.nets.mlp import activation
from rljax.nets.update_rule import UpdateRule, check_rule, initial_rule, time_inputs
from rljax.on_policy import loop
from rljax.ops import optim
from rljax.ops.explore import check_env
from rljax.ops.losses import explained_variance, kl_divergence, squared_error
from rljax.ops.returns import lambda_returns
from rljax.spaces import num_actions
from rljax.types import Scalar


@dataclass(frozen=True)
class Config(loop.RolloutConfig):
    """Shapes and branches. Changing one compiles a new program."""

    num_envs: int = 64
    num_steps: int = 20
    hidden: tuple[int, ...] = sizes(
        (), "widths of the agent's hidden layers; none: linear, a table for discrete observations"
    )
    activation: str = entry("relu", "activation", "of the agent")
    optimiser: str = entry("sgd", "optimiser", "of policy and prediction; each needs learning rates of its own")
    temporal: bool = flag(False, "whether the rule sees how far the run is and how long it will be")
    rule_width: int = count(256, "units of the rule's recurrent layer")
    bootstrap: int = count(8, "entries of the agent's prediction y, m", least=2)
    embedding: int = count(16, "hidden units through which the rule sees a prediction")
    input_gradient: bool = flag(False, "whether meta-gradients also pass through what the rule is shown")


class Hypers(struct.PyTreeNode, eq=False):  # two are equal if they are the same: arrays have no truth value
    """Numbers, all traced: sweep, anneal, perturb or differentiate them."""

    rule: Any = part("the weights of the rule; `make` gives those of `nets.update_rule.initial_rule`")
    lr: Scalar = number(40.0, "learning rate of the policy; 40 suits tables and SGD, 5e-4 networks and Adam", low=0.0)
    bootstrap_lr: Scalar = number(4.0, "learning rate of the prediction y; 5e-4 suits networks and Adam", low=0.0)
    kl_weight: Scalar = number(0.5, "alpha_y, weight of the prediction's loss", low=0.0)
    critic_lr: Scalar = number(
        0.03, "learning rate of Adam for the value critic, which only an outer loss uses", low=0.0
    )
    discount: Scalar = share(0.99, "gamma of the value critic; the rule is not told")
    gae_lambda: Scalar = share(0.95, "lambda of the value critic's targets")
    max_grad_norm: Scalar = number(0.5, "bound on the gradient norm of each of the three networks", low=0.0, high=INF)
    horizon: Scalar = number(INF, "updates in this run, for a temporally-aware rule", low=1.0, high=INF)


@dataclass(frozen=True)
class LPG(loop.OnPolicy):
    """LPG on an environment; TA-LPG if `config.temporal`.

    Raises:
      ConfigError: actions that are not discrete, a count that is too small, an unknown activation or optimiser; from
        `step`, weights of a rule of other sizes.
    """

    config: Config = Config()
    hypers: Hypers = field(default=Hypers(rule=None), compare=False)
    # What the rule says is kept small, and predictions diverse (Jackson et al. 2023, table 2).
    outer_weights = MappingProxyType({"pi_hat_sq": 0.005, "y_hat_sq": 0.001, "bootstrap_entropy": -0.001})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hypers.rule is None:
            rule = initial_rule(self.rule, time_inputs=2 if self.config.temporal else 0)
            object.__setattr__(self, "hypers", self.hypers.replace(rule=rule))

    @cached_property
    def network(self) -> Any:
        config = self.config
        sizes = num_actions(self.env.action_space, "ppo"), config.bootstrap
        return Agent(config.hidden, config.activation, self.env.observation_space, *sizes)

    @cached_property
    def rule(self) -> Any:
        return UpdateRule(self.config.rule_width, self.config.bootstrap, self.config.embedding)

    def initial_params(self, key, obs):
        return self.network.init(key, obs)["params"]

    def optimisers(self, hypers):
        """The optimisers of actor, bootstrap and critic, by name."""
        clipped = partial(optim.make, max_grad_norm=hypers.max_grad_norm)
        return {
            "actor": clipped(self.config.optimiser, hypers.lr),
            "bootstrap": clipped(self.config.optimiser, hypers.bootstrap_lr),
            # Adam for tables too: SGD that is safe where a world has one state is slow where it has thousands.
            "critic": clipped("adam", hypers.critic_lr),
        }

    def initial_opt(self, hypers, params):
        return {name: each.init(params[name]) for name, each in self.optimisers(hypers).items()}

    def forward(self, params, obs):
        """(distribution over actions, log y `[..., m]`, value `[...]`) for observations `[..., *shape]`."""
        return self.network.apply({"params": params}, obs)

    def act(self, state, carry, obs, reset, key, greedy):
        policy, _, _ = self.forward(state.params, obs)
        return carry, jnp.where(greedy, policy.mode(), policy.sample(key))

    def policy(self, state, carry, obs, reset):  # pyright: ignore[reportIncompatibleVariableOverride]
        distribution, _, value = self.forward(state.params, obs)
        return carry, distribution, value

    def behave(self, state, carry, obs, reset, key):  # which actions are drawn is nothing to differentiate
        return carry, self.forward(jax.lax.stop_gradient(state.params), obs)[0].sample(key), ()

    def targets(self, state, hypers, steps):
        """Consults the rule on a rollout: (state, (steps, pi_hat `[T, E]`, log y_hat `[T, E, m]`), no metrics)."""
        check_rule(hypers.rule, self.hypers.rule)
        params = state.params if self.config.input_gradient else jax.lax.stop_gradient(state.params)
        policy, log_y, _ = self.forward(params, steps.obs)
        _, next_log_y, _ = self.forward(params, steps.next_obs)
        prob, y, next_y = jnp.exp(policy.log_prob(steps.action)), jnp.exp(log_y), jnp.exp(next_log_y)
        time = time_inputs(self.progress(state, hypers), hypers.horizon) if self.config.temporal else ()
        flags = steps.terminated, steps.truncated
        told = self.rule.apply({"params": hypers.rule}, steps.reward, *flags, prob, y, next_y, time)
        return state, (steps, *told), {}

    def loss(self, params, state, hypers, batch, key):
        """The loss of all three networks on a rollout; what the rule says is taken as given."""
        steps, pi_hat, log_y_hat = batch
        _, _, next_value = self.forward(state.params, steps.next_obs)
        flags = steps.terminated, steps.truncated
        target = lambda_returns(steps.reward, next_value, *flags, hypers.discount, hypers.gae_lambda)
        policy, log_y, value = self.forward(params, steps.obs)
        policy_loss = -(pi_hat * policy.log_prob(steps.action)).mean()
        kl = kl_divergence(log_y, log_y_hat).mean()
        value_loss = squared_error(value, target).mean()
        return policy_loss + hypers.kl_weight * kl + value_loss, {
            "policy_loss": policy_loss,
            "kl": kl,
            "value_loss": value_loss,
            "entropy": policy.entropy().mean(),
            "bootstrap_entropy": Categorical(log_y).entropy().mean(),
            "explained_variance": explained_variance(value, target),
        }

    def learn(self, state, hypers, batch, key):
        """One step of each network -> (state, metrics)."""
        grads, metrics = jax.grad(self.loss, has_aux=True)(state.params, state, hypers, batch, key)
        params, opt = {}, {}
        for name, each in self.optimisers(hypers).items():
            params[name], opt[name] = optim.apply(each, grads[name], state.opt[name], state.params[name])
        # To look at: a norm has no derivative at 0, and a metric must not be able to spoil a meta-gradient.
        metrics["grad_norm"] = jax.lax.stop_gradient(optim.global_norm([grads["actor"], grads["bootstrap"]]))
        _, pi_hat, log_y_hat = batch
        metrics["pi_hat_sq"] = jnp.square(pi_hat).mean()
        metrics["y_hat_sq"] = jnp.exp(2.0 * log_y_hat).sum(-1).mean()
        return state.replace(params=params, opt=opt), metrics

    def check(self):
        check_env(self.env)
        num_actions(self.env.action_space, "ppo")
        config = self.config
        least = {"num_envs": 1, "num_steps": 1, "rule_width": 1, "bootstrap": 2, "embedding": 1}
        for name, bound in least.items():
            require(getattr(config, name) >= bound, name, getattr(config, name), f"must be at least {bound}")
        require(min(config.hidden, default=1) >= 1, "hidden", config.hidden, "must be widths of at least 1")
        optim.check(config.optimiser)
        activation(config.activation)
