r"""Twin delayed deep deterministic policy gradients (Fujimoto et al. 2018, arXiv:1802.09477); all of it.

Critics learn the value of a slow copy of the policy, whose actions are smoothed by clipped noise (eq. 14 there), the
least of two critics counting (eq. 10); the policy ascends the first critic, once in `policy_delay` of their gradient
steps. Actions are those of the unit box, which is stretched to the environment's: so is noise.

One critic, no smoothing and no delay make it DDPG (Lillicrap et al. 2016, arXiv:1509.02971); an `expectile` above 1/2
that falls to it over the run makes it AQ-TD3 (Omura et al. 2025, arXiv:2506.05968).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import struct

from rljax.errors import ConfigError, require
from rljax.fields import INF, choice, count, flag, number, share, sizes, text
from rljax.nets.critic import Critics, DeterministicActor
from rljax.nets.features import flat_features
from rljax.nets.mlp import activation
from rljax.off_policy import life
from rljax.off_policy.life import Method, algorithm, fresh
from rljax.off_policy.targets import learn_target, least
from rljax.ops import optim, value_heads
from rljax.ops.schedules import linear_schedule
from rljax.ops.value_heads import Bootstrap, HeadParams, head_of
from rljax.types import Algorithm, Box, Env, Scalar


@dataclass(frozen=True)
class Config:
    """Shapes and branches. Changing one compiles a new program."""

    num_envs: int = count(1, "parallel environments, E")
    num_steps: int = count(2, "steps per environment and update, T")
    gradient_steps: int = count(2, "of the critics, per update")
    policy_delay: int = count(2, "gradient steps of the critics for one of the policy; must divide gradient_steps")
    batch_size: int = count(256, "of each gradient step")
    capacity: int = count(100_000, "steps that are remembered")
    warmup: int = count(1_000, "random steps before learning begins")
    n_step: int = count(1, "steps whose rewards a target takes as they were", most=10_000)
    prioritised: bool = flag(False, "draw by how wrong the critics were")
    hidden: tuple[int, ...] = sizes((256, 256), "widths of the hidden layers")
    activation: str = text("relu", "tanh, relu, swish, gelu, elu")
    layer_norm: bool = flag(False, "in the hidden layers of the critics")
    critics: int = count(2, "M; a target takes the least of them", most=1000)
    head: Literal["scalar", "categorical", "hl-gauss", "quantile"] = choice(
        "scalar", "what a critic's outputs stand for"
    )
    atoms: int = count(51, "outputs of the other heads", least=2)
    loss: Literal["squared", "huber"] = choice("squared", "of the scalar head")


class Hypers(struct.PyTreeNode):
    """Numbers, all traced: sweep, anneal, perturb or differentiate them."""

    lr: Scalar = number(3e-4, "learning rate of Adam, of the policy", low=0.0)
    critic_lr: Scalar = number(3e-4, "of the critics", low=0.0)
    discount: Scalar = share(0.99, "gamma")
    target_rate: Scalar = share(0.005, "how far slow copies of both move, once for each gradient step of the policy")
    exploration_noise: Scalar = number(
        0.1, "standard deviation of what is added to actions, within the unit box", low=0.0
    )
    target_noise: Scalar = number(0.2, "and to those of the slow policy", low=0.0)
    target_noise_clip: Scalar = number(0.5, "how much that may be at most", low=0.0, high=INF)
    expectile: Scalar = number(0.5, "tau, as it starts; above 1/2 critics lean to the best action", low=0.5, below=1.0)
    expectile_final: Scalar = number(0.5, "and at the end", low=0.5, below=1.0)
    max_grad_norm: Scalar = number(INF, "bound on the gradient norm, of policy and critics each", low=0.0, high=INF)
    value_low: Scalar = number(0.0, "returns that the categorical and hl-gauss heads can hold: the least")
    value_high: Scalar = number(100.0, "and the greatest", above="value_low")
    sigma: Scalar = number(0.75, "of the hl-gauss head: width of a target, in bins", above=0.0)
    priority_exponent: Scalar = number(0.6, "of prioritised draws; 0: uniform", low=0.0)
    priority_beta: Scalar = share(0.4, "how much of their bias is undone at the start; all of it at the end")
    horizon: Scalar = number(INF, "updates in this run, to anneal by; inf: no annealing", low=1.0, high=INF)


@cache
def make(env: Env, config: Config = Config()) -> Algorithm:
    """TD3 on `env`.

    Raises:
      ConfigError: actions that are no vector within bounds, a count that cannot be.
    """
    check(env, config)
    space: Any = env.action_space
    head = head_of(config.head, config.atoms, config.loss)
    actor: Any = DeterministicActor(space.shape[0], config.hidden, config.activation)
    critics: Any = critics_of(config)

    def see(obs):
        return flat_features(env.observation_space, obs)

    def judge(params, obs, action):
        return critics.apply(params, see(obs), space.only_movable(action))

    def begin(key, hypers, obs):
        k_actor, k_critics = jax.random.split(key)
        action = jnp.zeros((1, *space.shape))
        params = {"actor": actor.init(k_actor, see(obs)), "critics": critics.init(k_critics, see(obs), action)}
        return fresh(params, ("actor", "critics"), optimisers(hypers))

    def act(params, exploration, obs, key, greedy):
        action = actor.apply(params["actor"], see(obs))
        noise = jnp.where(greedy, 0.0, exploration) * jax.random.normal(key, action.shape)
        return space.from_unit(jnp.clip(action + noise, -1.0, 1.0))

    def learn_values(learner, batch, weight, hypers, progress, key):
        numbers, slow = numbers_of(hypers), learner.target_params
        action = actor.apply(slow["actor"], see(batch.next_obs))
        noise = hypers.target_noise * jax.random.normal(key, action.shape)
        action = jnp.clip(action + jnp.clip(noise, -hypers.target_noise_clip, hypers.target_noise_clip), -1.0, 1.0)
        outputs = least(head, judge(slow["critics"], batch.next_obs, action), numbers)
        sure = jnp.ones((len(action), 1))
        after = Bootstrap(outputs, sure, jnp.zeros_like(sure), batch.reward, batch.discount)

        def outputs_of(params):
            return judge(params, batch.obs, space.to_unit(batch.action))[:, :, 0]

        expectile = linear_schedule(progress, hypers.expectile, hypers.expectile_final)
        optimiser = optimisers(hypers)["critics"]
        return learn_target(learner, "critics", optimiser, outputs_of, head, after, weight, numbers, expectile)

    def learn_policy(learner, obs, hypers, key):
        def loss(params):
            outputs = judge(learner.params["critics"], obs, actor.apply(params, see(obs)))
            return -head.value(outputs[0], numbers_of(hypers)).mean()

        policy_loss, grads = jax.value_and_grad(loss)(learner.params["actor"])
        learner = learner.descend("actor", optimisers(hypers)["actor"], grads)
        return learner.follow(hypers.target_rate), {"policy_loss": policy_loss}

    def exploration(hypers, progress):
        return hypers.exploration_noise

    method = Method(begin, act, learn_values, learn_policy, config.policy_delay, exploration)
    return algorithm(env, config, method, Hypers())


def critics_of(config: Config) -> Critics:
    """The networks that judge actions."""
    sizes: dict[str, Any] = {"hidden": config.hidden, "activation": config.activation, "layer_norm": config.layer_norm}
    return Critics(config.critics, head_of(config.head, config.atoms).size, **sizes)


def numbers_of(hypers: Hypers) -> HeadParams:
    """Those of the head."""
    return HeadParams(hypers.value_low, hypers.value_high, hypers.sigma)


def optimisers(hypers: Hypers) -> dict[str, Any]:
    """One for each of `Learner.params`."""
    return {
        "actor": optim.adam(hypers.lr, hypers.max_grad_norm),
        "critics": optim.adam(hypers.critic_lr, hypers.max_grad_norm),
    }


def unused(config: Config, env: Env) -> dict[str, str]:
    """The numbers in `Hypers` that have no effect, each with what would use it."""
    return life.unused(config) | value_heads.unused(config.head)


def check(env: Env, config: Config) -> None:
    """Refuses what cannot run."""
    space = env.action_space
    if not isinstance(space, Box):
        raise ConfigError(f"action_space={type(space).__name__}: must be Box; use another algorithm, such as dqn")
    life.check_actions(space)
    life.check(config, config.policy_delay)
    require(config.critics >= 1, "critics", config.critics, "must be at least 1")
    require(config.atoms >= 2, "atoms", config.atoms, "must be at least 2")
    activation(config.activation)
