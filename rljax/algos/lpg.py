r"""Learned policy gradient (Oh et al. 2020, arXiv:2007.08794): an agent that learns by a learned rule; all of it.

Besides its policy, an agent predicts a categorical y(s) of m entries, which means what the rule makes of it. The rule,
a network whose weights are `hypers.rule`, reads a rollout backwards (see `nets.update_rule`) and tells the agent, for
every step, how much likelier to make the action, $\hat\pi$, and what to predict, $\hat y$. One update descends

$$L = \frac{1}{T E} \sum_{t, e} \left( -\hat\pi \log \pi(a | s)
+ \alpha_y \mathrm{KL}(y(s) \| \hat y) \right)_{t, e}, \qquad \hat\pi, \hat y \text{ taken as given.}$$

The rule as it starts is random and teaches nothing of use: it is to be meta-learned, and everything here can be
differentiated in it. For that, an agent also keeps a value critic, learned from its rollouts by lambda-returns. The
rule never sees it; outer losses need one.

Temporally aware (TA-LPG), the rule also sees n / N and $\log_{10}(\min(N, 10^6)) / 3$, n updates being done of N, the
`horizon`. Both are of order one: 0.33, 0.8 and 1.67 for N = 10, 250 and 100000. An endless run, N = inf, looks like the
very beginning of one of 10^6 updates. Proportion and logarithm are the paper's; its code feeds both numbers raw.

Decided here: sizes are those of the GROOVE code (a GRU, m = 8, no discount among the inputs); the sign of $\hat\pi$ is
the paper's, opposite to that code; the three networks share no weights and their gradients are clipped one by one.
As in that code, no meta-gradient passes through what the rule is shown of the agent, $\pi(a|s)$ and y; with
`input_gradient` it does, and then it is the whole derivative, that of finite differences. An agent's own gradient never
passes through it.

Sources: Jackson et al. 2023 (GROOVE, arXiv:2310.02782, section 2.2, table 2) and its code, for settings; Jackson et al.
2024 (arXiv:2402.05828, eq. 9) for TA-LPG.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax import struct

from rljax.errors import ConfigError, require
from rljax.fields import INF, choice, count, flag, number, part, share, sizes, text
from rljax.nets.features import feature_shape, features
from rljax.nets.heads import Categorical
from rljax.nets.initializers import orthogonal
from rljax.nets.mlp import MLP, activation
from rljax.nets.update_rule import UpdateRule, check_rule, initial_rule
from rljax.ops import optim
from rljax.ops.losses import explained_variance, squared_error
from rljax.ops.returns import lambda_returns
from rljax.ops.rollout import Episodes, begin, rollout
from rljax.ops.schedules import progress
from rljax.types import Algorithm, Array, Discrete, Env, Metrics, Scalar, Space, TimeStep


@dataclass(frozen=True)
class Config:
    """Shapes and branches. Changing one compiles a new program."""

    num_envs: int = count(64, "parallel environments, E")
    num_steps: int = count(20, "steps per environment and update, T")
    hidden: tuple[int, ...] = sizes(
        (), "widths of the agent's hidden layers; none: linear, a table for discrete observations"
    )
    activation: str = text("relu", "of the agent: tanh, relu, swish, gelu, elu")
    optimiser: Literal["sgd", "adam"] = choice("sgd", "of policy and prediction; each needs learning rates of its own")
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


class State(struct.PyTreeNode):
    """All that evolves; arrays only."""

    params: Any  # of `actor`, `bootstrap` and `critic`
    opt: Any  # of each of them
    episodes: Episodes  # [E, ...]
    key: Array
    updates: Array  # [] updates done


class Network(nn.Module):
    """Observations `[..., *shape]` -> `[..., size]`; without hidden layers it is linear, without bias."""

    config: Config
    space: Space
    size: int
    gain: float = 1.0

    @nn.compact
    def __call__(self, obs: Array) -> Array:
        hidden, start = self.config.hidden, orthogonal(self.gain)
        if isinstance(self.space, Discrete) and not hidden:
            # The numbers of a linear layer above one-hot features, which would be wide: 3200 for gridworld/all.
            return self.param("table", start, (self.space.n, self.size))[obs]
        x = features(self.space, obs)
        x = x.reshape(*x.shape[: x.ndim - len(feature_shape(self.space))], -1)
        x = MLP(hidden, self.config.activation)(x)
        return nn.Dense(self.size, use_bias=bool(hidden), kernel_init=start, name="linear")(x)


class Agent(nn.Module):
    """Three separate networks: obs [..., *shape] -> (distribution over actions, log y [..., m], value [...])."""

    config: Config
    observation_space: Space
    actions: int

    @nn.compact
    def __call__(self, obs: Array) -> tuple[Categorical, Array, Array]:
        config, space = self.config, self.observation_space
        logits = Network(config, space, self.actions, gain=0.01, name="actor")(obs)
        y = Network(config, space, config.bootstrap, name="bootstrap")(obs)
        value = Network(config, space, 1, name="critic")(obs)
        return Categorical(logits), jax.nn.log_softmax(y), value[..., 0]


@cache
def make(env: Env, config: Config = Config()) -> Algorithm:
    """LPG on `env`; TA-LPG if `config.temporal`.

    Raises:
      ConfigError: actions that are not discrete, a count that is too small, an unknown activation or optimiser; from
        `step`, weights of a rule of other sizes.
    """
    network: Any = agent(env, config)
    rule: Any = UpdateRule(config.rule_width, config.bootstrap, config.embedding)
    default = initial_rule(rule, life=2 if config.temporal else 0)

    def look(params, obs):
        return network.apply({"params": params}, obs)

    def optimisers(hypers):
        follow = partial(optimiser, max_grad_norm=hypers.max_grad_norm)
        return {
            "actor": follow(config.optimiser, hypers.lr),
            "bootstrap": follow(config.optimiser, hypers.bootstrap_lr),
            # Adam for tables too: SGD that is safe where a world has one state is slow where it has thousands.
            "critic": follow("adam", hypers.critic_lr),
        }

    def init(key, hypers, task):
        key, k_env, k_net = jax.random.split(key, 3)
        episodes = begin(env, task, k_env, config.num_envs)
        params = network.init(k_net, episodes.obs[:1])["params"]
        opt = {name: each.init(params[name]) for name, each in optimisers(hypers).items()}
        return State(params=params, opt=opt, episodes=episodes, key=key, updates=jnp.int32(0))

    def act(state, carry, obs, reset, key, greedy):
        policy, _, _ = look(state.params, obs)
        return carry, jnp.where(greedy, policy.mode(), policy.sample(key))

    def consult(state, hypers, steps: TimeStep) -> tuple[Array, Array]:
        """The rule's word on a rollout -> (pi_hat [T, E], log y_hat [T, E, m])."""
        check_rule(hypers.rule, default)
        params = state.params if config.input_gradient else jax.lax.stop_gradient(state.params)
        policy, log_y, _ = look(params, steps.obs)
        _, next_log_y, _ = look(params, steps.next_obs)
        prob, y, next_y = jnp.exp(policy.log_prob(steps.action)), jnp.exp(log_y), jnp.exp(next_log_y)
        life = when(state.updates, hypers.horizon) if config.temporal else ()
        flags = steps.terminated, steps.truncated
        return rule.apply({"params": hypers.rule}, steps.reward, *flags, prob, y, next_y, life)

    def learn(state, hypers, steps: TimeStep, pi_hat, log_y_hat) -> tuple[State, Metrics]:
        """One step of each network; what the rule says is taken as given."""
        flags = steps.terminated, steps.truncated
        _, _, next_value = look(state.params, steps.next_obs)
        target = lambda_returns(steps.reward, next_value, *flags, hypers.discount, hypers.gae_lambda)

        def loss(params):
            policy, log_y, value = look(params, steps.obs)
            policy_loss = -(pi_hat * policy.log_prob(steps.action)).mean()
            kl = divergence(log_y, log_y_hat).mean()
            value_loss = squared_error(value, target).mean()
            return policy_loss + hypers.kl_weight * kl + value_loss, {
                "policy_loss": policy_loss,
                "kl": kl,
                "value_loss": value_loss,
                "entropy": policy.entropy().mean(),
                "bootstrap_entropy": Categorical(log_y).entropy().mean(),
                "explained_variance": explained_variance(value, target),
            }

        grads, metrics = jax.grad(loss, has_aux=True)(state.params)
        params, opt = {}, {}
        for name, each in optimisers(hypers).items():
            params[name], opt[name] = optim.apply(each, grads[name], state.opt[name], state.params[name])
        # To look at: a norm has no derivative at 0, and a metric must not be able to spoil a meta-gradient.
        metrics["grad_norm"] = jax.lax.stop_gradient(optim.global_norm([grads["actor"], grads["bootstrap"]]))
        metrics["pi_hat_sq"] = jnp.square(pi_hat).mean()
        metrics["y_hat_sq"] = jnp.exp(2.0 * log_y_hat).sum(-1).mean()
        return state.replace(params=params, opt=opt, updates=state.updates + 1), metrics

    def step(state, hypers, task):
        # 1. roll out; which actions are drawn is nothing to differentiate
        key, k_rollout = jax.random.split(state.key)
        params = jax.lax.stop_gradient(state.params)

        def behave(carry, obs, reset, key):
            return carry, look(params, obs)[0].sample(key), ()

        episodes, _, steps, _, seen = rollout(env, task, behave, (), state.episodes, k_rollout, config.num_steps)
        # 2. what the rule says of it
        pi_hat, log_y_hat = consult(state, hypers, steps)
        # 3. do as it says
        state, learned = learn(state.replace(episodes=episodes, key=key), hypers, steps, pi_hat, log_y_hat)
        return state, seen | learned

    per_update = config.num_envs * config.num_steps
    return Algorithm(init, step, act, lambda batch_size: (), Hypers(rule=default), per_update).in_32_bits()


def policy(env: Env, config: Config = Config()) -> Callable[[State, Array], tuple[Categorical, Array]]:
    """What an outer loss for these agents needs: `(state, obs [..., *shape]) -> (distribution over actions, V [...])`.

    Raises:
      ConfigError: as `make`.
    """
    network: Any = agent(env, config)

    def look(state, obs):
        distribution, _, value = network.apply({"params": state.params}, obs)
        return distribution, value

    return look


def regularised(
    loss: Callable[..., tuple[Array, Metrics]],
    pi_hat_coef: Scalar = 0.005,
    y_hat_coef: Scalar = 0.001,
    bootstrap_entropy_coef: Scalar = 0.001,
) -> Callable[..., tuple[Array, Metrics]]:
    r"""An outer loss that keeps the rule's words small and the agents' predictions diverse.

    $$L + c_\pi \overline{\hat\pi^2} + c_y \overline{\| \hat y \|^2} - c_h \overline{H(y)}$$

    Args:
      loss: L, `(agent, key) -> (loss [], metrics)`; `agent.mean(name)` gives the mean of a metric over its updates.
      pi_hat_coef, y_hat_coef, bootstrap_entropy_coef: the coefficients c.

    Returns:
      A loss like the one given, with its metrics.

    Source: Jackson et al. 2023, arXiv:2310.02782, table 2.
    """

    def total(agent, key):
        value, metrics = loss(agent, key)
        value += pi_hat_coef * agent.mean("pi_hat_sq") + y_hat_coef * agent.mean("y_hat_sq")
        return value - bootstrap_entropy_coef * agent.mean("bootstrap_entropy"), metrics

    return total


def divergence(log_p: Array, log_q: Array) -> Array:
    r"""$\mathrm{KL}(p \| q) = \sum_i p_i (\log p_i - \log q_i)$ over the last axis, `[..., m]` -> `[...]`."""
    return (jnp.exp(log_p) * (log_p - log_q)).sum(-1)


def when(updates: Array, horizon: Scalar) -> tuple[Array, Array]:
    """What a temporally-aware rule knows of an agent's life, `[]` each: n / N, and the order of magnitude of N."""
    return progress(updates, horizon), jnp.log10(jnp.minimum(horizon, 1e6)) / 3.0


def optimiser(kind: str, lr: Scalar, max_grad_norm: Scalar) -> optax.GradientTransformation:
    """SGD or Adam behind clipping by the norm."""
    return optax.chain(optim.clip(max_grad_norm), optax.sgd(lr)) if kind == "sgd" else optim.adam(lr, max_grad_norm)


def agent(env: Env, config: Config) -> Agent:
    """The networks of an agent on `env`, after refusing what cannot run."""
    space = env.action_space
    if not isinstance(space, Discrete):
        raise ConfigError(f"action_space={type(space).__name__}: must be Discrete; use another algorithm, such as ppo")
    least = {"num_envs": 1, "num_steps": 1, "rule_width": 1, "bootstrap": 2, "embedding": 1}
    for name, bound in least.items():
        require(getattr(config, name) >= bound, name, getattr(config, name), f"must be at least {bound}")
    require(min(config.hidden, default=1) >= 1, "hidden", config.hidden, "must be widths of at least 1")
    require(config.optimiser in ("sgd", "adam"), "optimiser", config.optimiser, "must be sgd or adam")
    activation(config.activation)
    return Agent(config, env.observation_space, space.n)
