r"""Deep Q-networks (Mnih et al. 2015, Nature 518:529) and what has been added to them; all of it.

The value of an action is learned from transitions drawn from a memory, by what the value after it is thought to be:

$$y = r + \gamma \sum_{a'} w(a' | s') (\bar Q(s', a') + b(a' | s'))$$

with a slow copy $\bar Q$ of the network. w is 1 for the best action by $\bar Q$ (`greedy`), for the best one by Q
itself (`double`: van Hasselt et al. 2016, arXiv:1509.06461), or the softmax of $\bar Q / \tau$ with the bonus
$b = -\tau \log w$, the reward then being raised by $\alpha \tau \log w(a | s)$, clipped (`munchausen`: Vieillard et al.
2020, arXiv:2007.14430, eq. 3).

`head` says what an output stands for, `loss` how a scalar one is learned; `dueling`, `noisy`, `n_step` and
`prioritised` can be had with any of them. All of them but munchausen, with the categorical head, make Rainbow (Hessel
et al. 2018, arXiv:1710.02298).
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
from rljax.nets.features import features
from rljax.nets.noisy import NOISE
from rljax.nets.q import QNetwork, chosen
from rljax.nets.torsos import check_torso
from rljax.off_policy import life
from rljax.off_policy.life import Method, algorithm, fresh
from rljax.off_policy.targets import learn_target
from rljax.ops import optim, value_heads
from rljax.ops.explore import epsilon_greedy, legal, mask, softmax
from rljax.ops.schedules import linear_schedule
from rljax.ops.value_heads import Bootstrap, HeadParams, head_of
from rljax.types import Algorithm, Discrete, Env, Scalar


@dataclass(frozen=True)
class Config:
    """Shapes and branches. Changing one compiles a new program."""

    num_envs: int = count(8, "parallel environments, E")
    num_steps: int = count(1, "steps per environment and update, T")
    gradient_steps: int = count(1, "per update")
    batch_size: int = count(128, "of each gradient step")
    capacity: int = count(100_000, "steps that are remembered")
    warmup: int = count(1_000, "random steps before learning begins")
    n_step: int = count(1, "steps whose rewards a target takes as they were", most=10_000)
    prioritised: bool = flag(False, "draw by how wrong the network was")
    torso: Literal["mlp", "cnn"] = choice("mlp", "cnn: one convolution below the hidden layers, for image observations")
    hidden: tuple[int, ...] = sizes((64, 64), "widths of the hidden layers")
    activation: str = text("relu", "tanh, relu, swish, gelu, elu")
    layer_norm: bool = flag(False, "in the hidden layers")
    dueling: bool = flag(False, "a stream of its own for the state's value")
    noisy: bool = flag(False, "explore by perturbed weights, not by random actions")
    target: Literal["greedy", "double", "munchausen"] = choice("double", "what follows, for the target")
    head: Literal["scalar", "categorical", "hl-gauss", "quantile"] = choice("scalar", "what the outputs stand for")
    atoms: int = count(51, "outputs per action, of the other heads", least=2)
    loss: Literal["squared", "huber", "dqn-reg", "dqn-clipped"] = choice("huber", "of the scalar head")


class Hypers(struct.PyTreeNode):
    """Numbers, all traced: sweep, anneal, perturb or differentiate them."""

    lr: Scalar = number(5e-4, "learning rate of Adam", low=0.0)
    lr_final: Scalar = number(1.0, "fraction of lr that is left at the end of the run; 1 keeps it constant", low=0.0)
    discount: Scalar = share(0.99, "gamma")
    target_rate: Scalar = share(1.0, "how far the target network moves towards the network when it does")
    target_period: Scalar = number(250.0, "gradient steps from one such move to the next", low=1.0)
    epsilon: Scalar = share(1.0, "share of random actions at the start")
    epsilon_final: Scalar = share(0.05, "and at the end")
    exploration: Scalar = number(0.3, "share of the run in which it falls, linearly", above=0.0)
    max_grad_norm: Scalar = number(10.0, "bound on the global gradient norm", low=0.0, high=INF)
    value_low: Scalar = number(0.0, "returns that the categorical and hl-gauss heads can hold: the least")
    value_high: Scalar = number(100.0, "and the greatest", above="value_low")
    sigma: Scalar = number(0.75, "of the hl-gauss head: width of a target, in bins", above=0.0)
    reg_weight: Scalar = number(0.1, "of values, in the loss dqn-reg", low=0.0)
    priority_exponent: Scalar = number(0.6, "of prioritised draws; 0: uniform", low=0.0)
    priority_beta: Scalar = share(0.4, "how much of their bias is undone at the start; all of it at the end")
    munchausen: Scalar = share(0.9, "alpha")
    temperature: Scalar = number(0.03, "tau of munchausen: the entropy regularisation of the target policy", above=0.0)
    munchausen_clip: Scalar = number(-1.0, "the least that tau log w(a|s) may be", high=0.0)
    horizon: Scalar = number(INF, "updates in this run, to anneal by; inf: no annealing", low=1.0, high=INF)


@cache
def make(env: Env, config: Config = Config()) -> Algorithm:
    """DQN on `env`.

    Raises:
      ConfigError: actions that are not discrete, a count that cannot be, or a network that does not fit.
    """
    check(env, config)
    space: Any = env.action_space
    head = head_of(config.head, config.atoms, config.loss)
    network: Any = network_of(env, config)

    def look(params, obs, key=None):
        """Outputs `[..., A, K]`; with a key, of a network perturbed by it."""
        noise = {NOISE: key} if config.noisy and key is not None else None
        return network.apply(params, features(env.observation_space, obs), rngs=noise)

    def allowed(obs):
        return legal(env.observation_space, obs)

    def best(outputs, obs):
        # Of numbers of the head the largest value does not depend, so that acting needs no hypers.
        return mask(head.value(outputs, HeadParams()), allowed(obs)).argmax(-1).astype(jnp.int32)

    def optimiser(hypers, progress=0.0):
        return optim.adam(linear_schedule(progress, hypers.lr, hypers.lr * hypers.lr_final), hypers.max_grad_norm)

    def begin(key, hypers, obs):
        params = {"values": network.init(key, features(env.observation_space, obs))}
        return fresh(params, ("values",), {"values": optimiser(hypers)})

    def act(params, exploration, obs, key, greedy):
        k_noise, k_explore = jax.random.split(key)
        outputs = look(params["values"], obs, k_noise)
        if config.noisy:
            outputs = jnp.where(greedy, look(params["values"], obs), outputs)
        epsilon = jnp.where(greedy, 0.0, exploration)
        return epsilon_greedy(k_explore, best(outputs, obs), epsilon, space.n, allowed(obs))

    def exploration(hypers, progress):
        return (
            0.0 if config.noisy else linear_schedule(progress, hypers.epsilon, hypers.epsilon_final, hypers.exploration)
        )

    def follows(learner, batch, hypers, numbers, key):
        """What comes after a batch of transitions."""
        k_target, k_other = jax.random.split(key)
        outputs = look(learner.target_params["values"], batch.next_obs, k_target)  # [B, A, K]
        if config.target == "munchausen":
            tau = hypers.temperature
            here = look(learner.target_params["values"], batch.obs, k_other)
            _, log_here = softmax(head.value(here, numbers) / tau, allowed(batch.obs))
            weight, log_next = softmax(head.value(outputs, numbers) / tau, allowed(batch.next_obs))
            log_taken = chosen(log_here[..., None], batch.action)[:, 0]
            raised = hypers.munchausen * jnp.clip(tau * log_taken, hypers.munchausen_clip, 0.0)
            return Bootstrap(outputs, weight, -tau * log_next, batch.reward + raised, batch.discount)
        judge = look(learner.params["values"], batch.next_obs, k_other) if config.target == "double" else outputs
        weight = jax.nn.one_hot(best(judge, batch.next_obs), space.n)
        return Bootstrap(outputs, weight, jnp.zeros_like(weight), batch.reward, batch.discount)

    def learn_values(learner, batch, weight, hypers, progress, key):
        k_now, k_next = jax.random.split(key)
        numbers = HeadParams(hypers.value_low, hypers.value_high, hypers.sigma, hypers.reg_weight)

        def outputs_of(params):
            return chosen(look(params, batch.obs, k_now), batch.action)[None]

        after = follows(learner, batch, hypers, numbers, k_next)
        learner, wrong, metrics = learn_target(
            learner, "values", optimiser(hypers, progress), outputs_of, head, after, weight, numbers
        )
        # Counted in whole numbers: float32 ends at 2^24 of them.
        period = jnp.clip(jnp.round(hypers.target_period), 1.0, 2.0**30).astype(jnp.int32)
        due = (learner.gradient_steps + 1) % period == 0
        return learner.follow(jnp.where(due, hypers.target_rate, 0.0)), wrong, metrics

    return algorithm(env, config, Method(begin, act, learn_values, exploration=exploration), Hypers())


def network_of(env: Env, config: Config) -> QNetwork:
    """The network that acts and learns."""
    assert isinstance(env.action_space, Discrete)
    return QNetwork(
        actions=env.action_space.n,
        size=head_of(config.head, config.atoms).size,
        observation_space=env.observation_space,
        torso=config.torso,
        hidden=config.hidden,
        activation=config.activation,
        layer_norm=config.layer_norm,
        dueling=config.dueling,
        noisy=config.noisy,
    )


def unused(config: Config, env: Env) -> dict[str, str]:
    """The numbers in `Hypers` that have no effect, each with what would use it."""
    needs = {
        "target=munchausen": (config.target == "munchausen", ("munchausen", "temperature", "munchausen_clip")),
        "noisy=false": (not config.noisy, ("epsilon", "epsilon_final", "exploration")),
        "loss=dqn-reg": (config.head == "scalar" and config.loss == "dqn-reg", ("reg_weight",)),
    }
    own = {name: need for need, (met, names) in needs.items() if not met for name in names}
    return own | life.unused(config) | value_heads.unused(config.head)


def check(env: Env, config: Config) -> None:
    """Refuses what cannot run."""
    space = env.action_space
    if not isinstance(space, Discrete):
        raise ConfigError(f"action_space={type(space).__name__}: must be Discrete; use another algorithm, such as sac")
    life.check(config)
    require(config.atoms >= 2, "atoms", config.atoms, "must be at least 2")
    check_torso(config, env.observation_space)
