"""The target that several critics give together, and their loss."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax.data.transitions import Transition
from rljax.ops.value_heads import Bootstrap, Head, HeadParams, expected
from rljax.types import Array, Scalar


def least(head: Head, outputs: Array, numbers: HeadParams) -> Array:
    """The outputs of the critic that expects the least, entry by entry: `[M, ..., K]` -> `[..., K]`.

    Source: Fujimoto et al. 2018, arXiv:1802.09477, eq. 10; of scalar outputs it is the minimum.
    """
    lowest = head.value(outputs, numbers).argmin(0)
    taken = jnp.arange(outputs.shape[0]).reshape(-1, *(1,) * lowest.ndim) == lowest[None]
    return jnp.where(taken[..., None], outputs, 0.0).sum(0)


def subset(key: Array, outputs: Array, size: int) -> Array:
    """The outputs of `size` critics drawn without replacement: `[M, ...]` -> `[size, ...]`; all of them if M is `size`.

    Source: Chen et al. 2021 (REDQ), arXiv:2101.05982, algorithm 1.
    """
    if outputs.shape[0] == size:
        return outputs
    return outputs[jax.random.permutation(key, outputs.shape[0])[:size]]


def following(steps: Transition, outputs: Array, weight: Array, bonus: Array, raised: Scalar = 0.0) -> Bootstrap:
    """Gathers what follows transitions `[B, ...]`, said of their `next_obs`: outputs `[B, A, K]`, the others `[B, A]`.

    `raised` is added to the rewards.
    """
    outputs, weight, bonus = (steps.at_end(x) for x in (outputs, weight, bonus))
    return Bootstrap(outputs, weight, bonus, steps.reward + raised, steps.discount)


def target_loss(
    head: Head, outputs: Array, after: Bootstrap, weight: Array, numbers: HeadParams, expectile: Scalar = 0.5
) -> tuple[Array, Array]:
    r"""The loss of all critics on one target.

    $$\sum_m \frac{1}{B} \sum_b w_b \, 2 |\tau - 1[y_b < Q_m]| \, \ell(Q_m, y_b)$$

    At $\tau = 1/2$ that is the loss alone, and values are those of the policy; above, what turned out better than
    expected counts more, so values move towards those of the best action: from Bellman's operator to his optimality
    operator.

    Args:
      outputs: `[M, B, K]`, of the actions taken.
      after: what follows them.
      weight: w, `[B]`.
      expectile: tau, in [1/2, 1).

    Returns:
      (loss `[]`, the absolute errors of the critics on average `[B]`).

    Source of the asymmetry: Omura et al. 2025, arXiv:2506.05968.
    """
    target = jax.lax.stop_gradient(head.target(after, numbers))
    losses, errors = jax.vmap(lambda x: head.loss(x, target, numbers))(outputs)
    y = after.reward + after.discount * expected(head.value(after.outputs, numbers), after)
    better = y[None] >= head.value(outputs, numbers)  # a comparison: no gradient passes
    share = 2.0 * jnp.where(better, expectile, 1.0 - expectile)
    return (weight[None] * share * losses).mean(1).sum(), errors.mean(0)
