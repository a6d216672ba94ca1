r"""Evolution strategies: search over any pytree of floating-point numbers by the fitness of its perturbations.

One generation is `ask`, the evaluation of a population, and `tell`:

    population, state = strategy.ask(key, state)
    fitness = jax.vmap(evaluate)(population)
    state = strategy.tell(population, fitness, state)

All of it is pure, so a generation is one compiled program, a scan over generations another, and a host loop over the
three calls gives the same numbers. Fitness is **maximised**. A member whose fitness is NaN or infinite has diverged:
it counts as the worst, whatever the others did, and that is all it does to the mean.

`N` is the size of the population. Members of `OpenES` come in antithetic pairs, see `pairs`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Protocol

import chex
import jax
import jax.numpy as jnp
import optax
from flax import struct

from rljax.errors import ConfigError, require
from rljax.ops.tree import as_arrays
from rljax.types import Array, Scalar


class Strategy(Protocol):
    """The protocol of evolution strategies. States hold arrays alone, so they can be stored like any other."""

    @property
    def popsize(self) -> int:
        """N."""
        ...

    def init(self, theta: Any) -> Any:
        """The state of a search that begins at `theta`."""
        ...

    def ask(self, key: Array, state: Any) -> tuple[Any, Any]:
        """Proposes members: (population, a tree like theta with leaves `[N, ...]`; the state to give to `tell`)."""
        ...

    def tell(self, population: Any, fitness: Array, state: Any) -> Any:
        """The state after a generation; `fitness` `[N]`, the more the better."""
        ...

    def mean(self, state: Any) -> Any:
        """The mean of the search: a tree like theta."""
        ...


def pairs(popsize: int) -> Array:
    """The number of each member's antithetic pair, `[N]`: members i and i + N / 2 are the two of pair i.

    The two of a pair should meet the same circumstances, so that their difference is due to them:
    `keys = jax.random.split(key, popsize // 2)[pairs(popsize)]`, and tasks likewise.
    """
    return jnp.arange(popsize) % (popsize // 2)


def centred_ranks(fitness: Array) -> Array:
    r"""Ranks from -1/2, the worst, to 1/2: $w_i = r_i / (N - 1) - 1/2$.

    $r_i$ is the number of members that are worse, plus half the number of the others that are equal: ties share the
    average of their ranks. Members that diverged tie below all others.

    Args:
      fitness: `[N]`.

    Returns:
      weights `[N]`, of sum 0.

    Source: Salimans et al. 2017, arXiv:1703.03864.
    """
    fitness = _at_bottom(fitness)
    ordered = jnp.sort(fitness)
    worse, not_better = (jnp.searchsorted(ordered, fitness, side=side) for side in ("left", "right"))
    return 0.5 * (worse + not_better - 1) / max(fitness.shape[0] - 1, 1) - 0.5


def z_score(fitness: Array) -> Array:
    r"""Zero mean and unit variance: $w_i = (f_i - \bar f) / \sqrt{\overline{(f - \bar f)^2}}$.

    0 where all are equal. Members that diverged count like the worst of the others.

    Args:
      fitness: `[N]`.

    Returns:
      weights `[N]`.

    Source: the shaping of LPO, Lu et al. 2022, arXiv:2210.05639, by the code that goes with it.
    """
    fitness = at_worst(fitness)
    centred = fitness - fitness.mean()
    variance = jnp.square(centred).mean()
    varied = variance > 0.0
    return jnp.where(varied, centred * jax.lax.rsqrt(jnp.where(varied, variance, 1.0)), 0.0)


def pairwise(fitness: Array) -> Array:
    r"""Win or loss within the antithetic pair: 1 for the fitter of the two, 0 for the other, 1/2 each for a tie.

    $w_i = (1 + \mathrm{sign}(f_i - f_j)) / 2$ with j the other member of i's pair. It ignores by how much, so tasks of
    very different rewards may be mixed. A member that diverged loses; a pair of which both did is a tie.

    Args:
      fitness: `[N]`, N even.

    Returns:
      weights `[N]`.

    Source: antithetic task sampling, Jackson et al. 2024, arXiv:2402.05828, by the code that goes with it.
    """
    first, second = jnp.split(_at_bottom(fitness), 2)
    win = jnp.where(first == second, 0.5, jnp.where(first > second, 1.0, 0.0))
    return jnp.concatenate([win, 1.0 - win])


def raw(fitness: Array) -> Array:
    """The fitness itself, `[N]` -> `[N]`; members that diverged count like the worst of the others."""
    return at_worst(fitness)


SHAPINGS: dict[str, Callable[[Array], Array]] = {
    "centred-ranks": centred_ranks,
    "z-score": z_score,
    "pairwise": pairwise,
    "raw": raw,
}
"""The shapings by name."""


class State(struct.PyTreeNode):
    """The state of `OpenES`."""

    mean: Any  # like theta
    opt: Any  # of Adam
    generation: Array  # [] generations told


class OpenES(struct.PyTreeNode):
    r"""OpenAI-ES: gradient ascent on the fitness of a Gaussian around the mean, with antithetic samples.

    $$g = \frac{1}{N \sigma} \sum_{i=1}^{N} w_i \epsilon_i, \qquad \epsilon_{i + N/2} = -\epsilon_i,$$

    for members $\theta + \sigma \epsilon_i$ and shaped fitnesses w; the mean moves by Adam (with weight decay apart
    from the gradient: $\theta \leftarrow \theta - \alpha \lambda \theta$). In generation t = 0, 1, ...

    $$\sigma_t = \max(\sigma \delta_\sigma^t, \min(\sigma_{limit}, \sigma)),$$

    and likewise the learning rate. Where the two of every pair are equally fit, g is exactly 0: without weight decay
    and with Adam at rest the mean stays to the bit.

    `popsize` and `shaping` are static; the numbers are leaves, to be traced or swept like hyperparameters. Defaults are
    those with which LPO was trained, save that its authors shaped by `z_score`.

    Raises:
      ConfigError: an odd `popsize`, or theta with leaves that are no floating-point numbers.

    Source: Salimans et al. 2017, arXiv:1703.03864, algorithm 1; the schedules are those of evosax 0.0.4.
    """

    antithetic: ClassVar[bool] = True  # members i and i + N / 2 are a pair; a strategy that does not say so has none

    popsize: int = struct.field(pytree_node=False, default=32)  # N, even
    shaping: Callable[[Array], Array] = struct.field(pytree_node=False, default=centred_ranks)  # [N] -> [N]
    sigma: Scalar = 0.04  # standard deviation of the perturbations
    sigma_decay: Scalar = 0.999  # factor per generation
    sigma_limit: Scalar = 0.01  # where the decay stops
    lr: Scalar = 0.01  # learning rate of Adam
    lr_decay: Scalar = 0.999  # factor per generation
    lr_limit: Scalar = 0.001  # where the decay stops
    beta1: Scalar = 0.99  # decay of Adam's first moment
    beta2: Scalar = 0.999  # decay of Adam's second moment
    eps: Scalar = 1e-8  # added to the root of the second moment
    weight_decay: Scalar = 0.0  # lambda

    def __post_init__(self) -> None:
        require(self.popsize >= 2 and self.popsize % 2 == 0, "popsize", self.popsize, "must be even: members are pairs")

    def init(self, theta: Any) -> State:
        """The state of a search that begins at `theta`, a pytree of floating-point numbers."""
        theta = as_parameters(theta)
        return State(mean=theta, opt=self._adam(self.lr).init(theta), generation=jnp.int32(0))

    def ask(self, key: Array, state: State) -> tuple[Any, State]:
        """(population, state): leaves `[N, ...]`, the first half $\\theta + \\sigma \\epsilon$, the other minus."""
        leaves, structure = jax.tree.flatten(state.mean)
        sigma = self.sigma_at(state.generation)

        def around(key, x):
            step = (sigma * jax.random.normal(key, (self.popsize // 2, *x.shape), x.dtype)).astype(x.dtype)
            return x[None] + jnp.concatenate([step, -step])

        keys = jax.random.split(key, len(leaves))
        return structure.unflatten([around(k, x) for k, x in zip(keys, leaves)]), state

    def tell(self, population: Any, fitness: Array, state: State) -> State:
        """The state after one step of Adam up the gradient; `fitness` `[N]`."""
        descent = jax.tree.map(jnp.negative, self.gradient(population, fitness, state))
        updates, opt = self._adam(self.lr_at(state.generation)).update(descent, state.opt, state.mean)
        mean = optax.apply_updates(state.mean, updates)
        return State(mean=mean, opt=opt, generation=state.generation + 1)

    def mean(self, state: State) -> Any:
        """The centre of the Gaussian, like theta."""
        return state.mean

    def gradient(self, population: Any, fitness: Array, state: State) -> Any:
        """The estimate g of the gradient of (shaped) fitness in theta, like theta."""
        chex.assert_shape(fitness, (self.popsize,))
        sigma, half = self.sigma_at(state.generation), self.popsize // 2
        weights = self.shaping(fitness.astype(jnp.float32))
        first, second = jnp.split(_at_bottom(fitness), 2)
        # Pair by pair. Where nothing tells the two apart, 0 by decree: a compiler that fuses the difference with what
        # made the weights leaves a rounding error, which Adam would blow up to a whole step.
        push = jnp.where(first == second, 0.0, weights[:half] - weights[half:])

        def ascent(x):
            noise = (x[:half] - x[half:]) / (2.0 * sigma)
            # In full precision: accelerators would round the products to 10 bits, more than ranks differ by.
            total = jnp.tensordot(push.astype(x.dtype), noise, axes=1, precision=jax.lax.Precision.HIGHEST)
            return (total / (self.popsize * sigma)).astype(x.dtype)

        return jax.tree.map(ascent, population)

    def sigma_at(self, generation: Array) -> Array:
        """The standard deviation of generation t, `[]`."""
        return _decayed(self.sigma, self.sigma_decay, self.sigma_limit, generation)

    def lr_at(self, generation: Array) -> Array:
        """The learning rate of generation t, `[]`."""
        return _decayed(self.lr, self.lr_decay, self.lr_limit, generation)

    def _adam(self, lr: Scalar) -> optax.GradientTransformation:
        return optax.adamw(lr, self.beta1, self.beta2, self.eps, weight_decay=self.weight_decay)


def as_parameters(theta: Any) -> Any:
    """Theta as arrays.

    Raises:
      ConfigError: a leaf is no floating-point number, or there is none.
    """
    theta = as_arrays(theta)
    require(bool(jax.tree.leaves(theta)), "theta", theta, "holds no numbers; name the leaves to search over")
    for path, x in jax.tree.leaves_with_path(theta):
        if not jnp.issubdtype(x.dtype, jnp.floating):
            where = f"theta{jax.tree_util.keystr(path)}"
            raise ConfigError(f"{where} is {x.dtype}: a strategy moves floating-point numbers; convert it or leave it")
    return theta


def at_worst(fitness: Array) -> Array:
    """Fitnesses `[N]` with those that are not finite replaced by the least that is; zeros if none is."""
    fine = jnp.isfinite(fitness)
    worst = jnp.where(fine, fitness, jnp.inf).min()
    return jnp.where(fine, fitness, jnp.where(fine.any(), worst, 0.0))


def _at_bottom(fitness: Array) -> Array:
    """Fitnesses `[N]` with those that are not finite below all others, for comparisons."""
    return jnp.where(jnp.isfinite(fitness), fitness, -jnp.inf)


def _decayed(start: Scalar, decay: Scalar, limit: Scalar, generation: Array) -> Array:
    return jnp.maximum(start * decay**generation, jnp.minimum(limit, start))
