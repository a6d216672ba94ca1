"""Forests of scikit-learn as arrays, so that a compiled rollout can ask them."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Forest(NamedTuple):
    """M trees of at most N nodes; a leaf is its own child. Padded, so that few shapes are compiled."""

    feature: jax.Array  # [M, N] int32
    threshold: jax.Array  # [M, N] float32
    children: jax.Array  # [M, N, 2] int32: at most the threshold, or more
    share: jax.Array  # [M, N, A] float32 of the classes
    depth: jax.Array  # [] int32 of the deepest tree


def arrays(fitted: Any, classes: int) -> Forest:
    """Takes the trees out of a fitted `RandomForestClassifier`, whose classes are among 0 .. A - 1."""
    trees = [each.tree_ for each in fitted.estimators_]
    room = 1 << (max(tree.node_count for tree in trees) - 1).bit_length()

    def padded(x: np.ndarray) -> np.ndarray:
        return np.pad(x, [(0, room - len(x))] + [(0, 0)] * (x.ndim - 1))

    features, thresholds, children, shares = [], [], [], []
    for tree in trees:
        leaf, nodes = tree.children_left < 0, np.arange(tree.node_count)
        share = np.zeros((tree.node_count, classes), np.float32)
        share[:, fitted.classes_.astype(int)] = tree.value[:, 0] / tree.value[:, 0].sum(-1, keepdims=True)
        features.append(padded(np.where(leaf, 0, tree.feature).astype(np.int32)))
        thresholds.append(padded(_down(tree.threshold)))
        both = np.stack([tree.children_left, tree.children_right], -1)
        children.append(padded(np.where(leaf[:, None], nodes[:, None], both).astype(np.int32)))
        shares.append(padded(share))
    depth = jnp.int32(max(tree.max_depth for tree in trees))
    return Forest(*(jnp.asarray(np.stack(x)) for x in (features, thresholds, children, shares)), depth)


def probabilities(forest: Forest, x: jax.Array) -> jax.Array:
    """The probabilities of classes `[B, A]` for inputs `[B, F]` float32, as `predict_proba` gives them."""
    tree = jnp.arange(forest.feature.shape[0])

    def down(_: Any, node: jax.Array) -> jax.Array:
        value = jnp.take_along_axis(x, forest.feature[tree, node], axis=1)
        return forest.children[tree, node, (value > forest.threshold[tree, node]).astype(jnp.int32)]

    root = jnp.zeros((x.shape[0], tree.size), jnp.int32)
    leaf = jax.lax.fori_loop(0, forest.depth, down, root)
    return forest.share[tree, leaf].mean(1)


def _down(x: np.ndarray) -> np.ndarray:
    """The greatest float32 that is no greater: with it a float32 is on the same side."""
    near = x.astype(np.float32)
    return np.where(near > x, np.nextafter(near, np.float32(-np.inf)), near)
