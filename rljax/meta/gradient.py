r"""Meta-gradients: theta, by which agents learn, follows the derivative of the outer loss after K updates under it.

$$\theta \leftarrow \theta - \alpha\, \nabla_\theta \frac{1}{N} \sum_{n=1}^{N} L(s_n'), \qquad
s_n' = \mathrm{step}_\theta(\cdots \mathrm{step}_\theta(s_n))$$

The N agents persist: each continues from its state, K updates at a time, until the end of its lifetime, and is then
replaced by a new one with another lifetime and task. So theta is learned on agents of every age, while a gradient
passes through K updates only (and cannot see what an early update does to the end of a run; evolution strategies over
whole runs can).

It works for any `Algorithm` whose `step` can be differentiated. The derivative is that of the numbers computed, with
keys and discrete actions as drawn: how theta changes which actions are likely to be drawn within the K updates is not
in it, but for the last ones, by way of an outer loss like `actor_critic_loss`.

Everything is pure: jit `meta_step`, scan it, store its state.

Source: Xu et al. 2018, arXiv:1805.09801; lifetimes and replacement: Oh et al. 2020, arXiv:2007.08794.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from rljax.errors import require
from rljax.meta.outer_loss import Agent, OuterLoss, mean_over
from rljax.meta.strategies import as_parameters
from rljax.ops.metrics import NOT_FINITE, either
from rljax.ops.optim import apply, global_norm
from rljax.types import Algorithm, Array, Metrics


@dataclass(frozen=True)
class Setup:
    """The fixed parts of a meta-run.

    Attributes:
      algo: what the agents run; differentiable in its hypers.
      put: `(hypers, theta) -> hypers`, e.g. `lambda hypers, theta: hypers.replace(objective=theta)`. The horizon is
        already that of the agent.
      loss: `(agent: Agent, key) -> (loss [], metrics)`; the outer loss, to be minimised, and a flat dict of scalars.
      new_lifetime: `key -> [] int`, in updates; a number below 1 counts as 1.
      new_task: `key -> task`, of one structure and shape.
      optimiser: of theta.
      num_updates: K.
      remat: whether the insides of an update are computed again on the way back instead of being kept: memory of K
        states and one update instead of K updates, for the time of about one more forward pass.

    Raises:
      ConfigError: K is below 1.
    """

    algo: Algorithm
    put: Callable[[Any, Any], Any]
    loss: OuterLoss
    new_lifetime: Callable[[Array], Array]
    new_task: Callable[[Array], Any]
    optimiser: optax.GradientTransformation
    num_updates: int = 5
    remat: bool = True

    def __post_init__(self) -> None:
        require(self.num_updates >= 1, "num_updates", self.num_updates, "must be at least 1: updates to look through")


class Agents(struct.PyTreeNode):
    """The agents, `[N, ...]` each."""

    state: Any
    age: Array  # [N] int32: updates done; always below the lifetime between meta-steps
    lifetime: Array  # [N] int32: updates until it is replaced
    task: Any
    key: Array  # [N] for each agent's further keys; its state has another one


class MetaState(struct.PyTreeNode):
    """All that evolves in a meta-run; arrays only."""

    theta: Any
    opt: Any
    agents: Agents


def init(setup: Setup, key: Array, theta: Any, hypers: Any, num_agents: int) -> MetaState:
    """Makes the state of a meta-run of `num_agents` agents that begins at `theta`, a pytree of floating-point numbers.

    Raises:
      ConfigError: theta holds something else.
    """
    theta = as_parameters(theta)
    return MetaState(theta, setup.optimiser.init(theta), init_agents(setup, key, theta, hypers, num_agents))


def init_agents(setup: Setup, key: Array, theta: Any, hypers: Any, num_agents: int) -> Agents:
    """Makes new agents, N = `num_agents`; `hypers` are those of all, before theta is put in."""
    return jax.vmap(partial(_init_agent, setup, theta, hypers))(jax.random.split(key, num_agents))


def meta_step(setup: Setup, state: MetaState, hypers: Any) -> tuple[MetaState, Metrics]:
    """Takes K updates of every agent and one of theta; replaces agents at the end of their lifetime, and diverged ones.

    A gradient that is not finite is thrown away: theta and the meta-optimiser stay as they are in that step.

    Returns:
      (state, metrics): scalars. Those of the updates and of the outer loss, and `meta_loss`, are means over the agents
      that did not diverge; `meta_grad_norm`; `meta_skipped`, 1 where the gradient was thrown away; and the numbers
      `agents_ended` and `agents_diverged`.
    """
    grads, (agents, losses), metrics = meta_gradient(setup, state.theta, state.agents, hypers)
    norm = global_norm(grads)
    usable = jnp.isfinite(norm)
    theta, opt = apply(setup.optimiser, grads, state.opt, state.theta)
    theta, opt = _choose(usable, (theta, opt), (state.theta, state.opt))
    ended, diverged = agents.age >= agents.lifetime, ~jnp.isfinite(losses)
    agents = _renew(setup, theta, hypers, agents, ended | diverged)
    metrics |= {
        "meta_grad_norm": jnp.where(usable, norm, 0.0),
        "meta_skipped": 1.0 - usable,
        "agents_ended": ended.sum(),
        "agents_diverged": diverged.sum(),
    }
    return MetaState(theta, opt, agents), metrics


def meta_gradient(
    setup: Setup, theta: Any, agents: Agents, hypers: Any
) -> tuple[Any, tuple[Agents, Array], dict[str, Array]]:
    """The derivative in theta of the agents' mean outer loss after K updates; no agent is replaced.

    Updates beyond the end of a lifetime change nothing, and no gradient passes through them.

    Returns:
      (gradient like theta, (agents K updates later, outer losses [N]), metrics as those of `meta_step`).
    """
    keys = jax.vmap(jax.random.split)(agents.key)

    def outer(theta):
        update = partial(_update, setup, theta, hypers)
        losses, aux = jax.vmap(update)(agents.state, agents.age, agents.lifetime, agents.task, keys[:, 1])
        return losses.mean(), (losses, *aux)

    grads, (losses, updated, age, found) = jax.grad(outer, has_aux=True)(theta)
    agents = agents.replace(state=updated.state, age=age, key=keys[:, 0])
    sound = jnp.isfinite(losses)
    metrics = _summary(updated.metrics, updated.alive & sound[:, None])
    metrics |= {name: mean_over(x, sound) for name, x in found.items()} | {"meta_loss": mean_over(losses, sound)}
    return grads, (agents, losses), metrics


def _update(
    setup: Setup, theta: Any, hypers: Any, state: Any, age: Array, lifetime: Array, task: Any, key: Array
) -> tuple[Array, tuple[Agent, Array, Metrics]]:
    """Takes K updates of one agent -> (outer loss, (agent, age, metrics of the loss))."""
    hypers = _equip(setup, theta, hypers, lifetime)

    def update(loop, _):
        state, age = loop
        alive = age < lifetime
        new, metrics = setup.algo.step(state, hypers, task)
        return (_choose(alive, new, state), age + alive), (metrics, alive)

    if setup.remat:
        update = jax.checkpoint(update, prevent_cse=False)  # the scan prevents it by itself
    (state, age), (metrics, alive) = jax.lax.scan(update, (state, age), None, setup.num_updates)
    agent = Agent(state, hypers, task, metrics, alive)
    loss, found = setup.loss(agent, key)
    return loss, (agent._replace(hypers=None, task=None), age, found)


def _init_agent(setup: Setup, theta: Any, hypers: Any, key: Array) -> Agents:
    """Makes one new agent, without the axis N."""
    k_lifetime, k_task, k_init, key = jax.random.split(key, 4)
    lifetime = jnp.maximum(setup.new_lifetime(k_lifetime), 1).astype(jnp.int32)
    task = setup.new_task(k_task)
    state = setup.algo.init(k_init, _equip(setup, theta, hypers, lifetime), task)
    return Agents(state=state, age=jnp.int32(0), lifetime=lifetime, task=task, key=key)


def _renew(setup: Setup, theta: Any, hypers: Any, agents: Agents, over: Array) -> Agents:
    """Replaces agents by new ones where `over` [N]."""
    keys = jax.vmap(jax.random.split)(agents.key)
    fresh = jax.vmap(partial(_init_agent, setup, theta, hypers))(keys[:, 1])
    return jax.vmap(_choose)(over, fresh, agents.replace(key=keys[:, 0]))


def _equip(setup: Setup, theta: Any, hypers: Any, lifetime: Array) -> Any:
    """Makes an agent's hypers: the horizon is its lifetime, for algorithms that have one, and theta is put in."""
    if hasattr(hypers, "horizon"):
        hypers = dataclasses.replace(hypers, horizon=lifetime.astype(jnp.result_type(float)))
    return setup.put(hypers, theta)


def _choose(condition: Array, x: Any, y: Any) -> Any:
    """`x` where the `condition` `[]` holds, else `y`, leaf by leaf."""

    def pick(a, b):
        if not jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            return jnp.where(condition, a, b)
        # Keys by their data: to go on with one of two uses neither, but would count as a second use of both.
        data = jnp.where(condition, jax.random.key_data(a), jax.random.key_data(b))
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(a))

    return jax.tree.map(pick, x, y)


def _summary(metrics: Metrics, alive: Array) -> Metrics:
    """Scalars from metrics `[N, K]`: means over updates that took place, those of episodes over episodes; their sum."""
    found = {name: mean_over(x, alive) for name, x in metrics.items()}
    if "episodes" in metrics:
        episodes = jnp.where(alive, metrics["episodes"], 0)
        found |= {name: mean_over(x, episodes) for name, x in metrics.items() if name.startswith("episode_")}
        found["episodes"] = episodes.sum()
    if NOT_FINITE in metrics:
        found[NOT_FINITE] = either(jnp.where(alive, metrics[NOT_FINITE], 0))
    return found
