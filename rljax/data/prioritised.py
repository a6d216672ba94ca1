r"""Priorities of what is in a memory, and draws in proportion to them.

$$P(i) = p_i / \sum_k p_k, \qquad w_i = (N P(i))^{-\beta} / \max_j w_j$$

Priorities are the leaves of a binary tree whose inner nodes hold sums, so a draw and a change take $\log_2$ of the
size. Sums are computed from below and never adjusted by differences, so they do not drift.

Source: Schaul et al. 2016, arXiv:1511.05952, eq. 1 and section 3.4.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import struct

from rljax.types import Array, Scalar


class Priorities(struct.PyTreeNode):
    """Priorities of `size` places; part of an algorithm's state.

    Attributes:
      nodes: `[2 P]`, P the power of two that `size` fits into: node 1 is the root, the children of node i are 2i and
        2i + 1, and entry k is node P + k.
      highest: `[]`, the highest priority that was ever given: that of what was never looked at.
    """

    nodes: Array
    highest: Array

    @property
    def leaves(self) -> int:
        """P."""
        return self.nodes.shape[0] // 2

    @property
    def total(self) -> Array:
        """The sum of all priorities, `[]`."""
        return self.nodes[1]


def init(size: int) -> Priorities:
    """All zero: nothing can be drawn yet."""
    return Priorities(jnp.zeros(2 * 2 ** max(size - 1, 1).bit_length()), jnp.float32(1.0))


def assign(priorities: Priorities, index: Array, value: Array) -> Priorities:
    """New priorities `value` [K], non-negative, of entries `index` [K] int32; of one that stands twice, either."""
    node = index + priorities.leaves
    nodes = priorities.nodes.at[node].set(value)
    for _ in range(priorities.leaves.bit_length() - 1):
        node = node // 2
        nodes = nodes.at[node].set(nodes[2 * node] + nodes[2 * node + 1])
    return Priorities(nodes, jnp.maximum(priorities.highest, value.max()))


def draw(priorities: Priorities, key: Array, batch_size: int) -> Array:
    """Places `[B]` int32, each with a probability in proportion to its priority; stratified.

    The sum of priorities is cut into B equal ranges and one number is drawn from each, so every entry is expected as
    often as with independent draws, and varies less.
    """
    nodes, leaves = priorities.nodes, priorities.leaves
    share = (jnp.arange(batch_size) + jax.random.uniform(key, (batch_size,))) / batch_size
    left_over, node = share * priorities.total, jnp.ones(batch_size, jnp.int32)
    for _ in range(leaves.bit_length() - 1):
        left, right = nodes[2 * node], nodes[2 * node + 1]
        # Rounding may leave more than a subtree holds; what holds nothing is never entered.
        to_right = (right > 0) & ((left_over >= left) | (left <= 0))
        left_over = jnp.where(to_right, left_over - left, left_over)
        node = 2 * node + to_right
    return node - leaves


def weights(priorities: Priorities, index: Array, stored: Array, beta: Scalar) -> Array:
    r"""Importance weights `[B]` of places that were drawn, the largest of them 1.

    Args:
      index: `[B]`.
      stored: N, how many places can be drawn.
      beta: 0 corrects nothing, 1 all of the bias.

    The largest weight is that of the batch, as in common implementations; the paper does not say over what.
    """
    probability = priorities.nodes[index + priorities.leaves] / priorities.total
    weight = (stored * probability) ** -beta
    return weight / weight.max()
