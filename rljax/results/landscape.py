"""The landscape of a policy objective, loss $D - r A$: its drift D, and the advantage that the policy feels.

`X` counts ratios, `Y` advantages, `P` times of a training run.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from rljax.objectives import Objective

RATIOS = (0.4, 2.5)  # as far down as up, in logarithms
STRONGEST = 3.0  # the largest advantage in a map, in standard deviations; beyond it, what is felt saturates
TIMES = (0.0, 0.5, 1.0)  # values of `progress`
VISIBLE = 1e-3  # differences below it are neither seen in a figure nor told apart from rounding


class Landscape(NamedTuple):
    """The drift of an objective, and what it leaves of the advantage, over ratios and advantages."""

    drift: np.ndarray  # D(r, A), in units of the advantage
    felt: np.ndarray  # A - dD/dr, in units of the advantage


def landscape(objective: Objective, ratio: ArrayLike, advantage: ArrayLike, progress: ArrayLike = 0.0) -> Landscape:
    r"""The drift of an objective, and the derivative in r of what is maximised.

    $$D(r, A) = L(\log r, A) + r A, \quad \partial(r A - D) / \partial r = -\partial L / \partial r$$

    Args:
      objective: the loss per sample, L.
      ratio: r > 0, new probability over old.
      advantage: A, of any shape that broadcasts with it.
      progress: the fraction of the run that is over, of any shape that broadcasts with them.

    Returns:
      Both in units of the advantage, of the common shape.
    """

    def sample(point: tuple[Any, Any, Any]) -> tuple[Any, Any]:
        ratio, advantage, progress = point
        loss, slope = jax.value_and_grad(lambda r: objective(jnp.log(r), advantage, progress))(ratio)
        return loss + ratio * advantage, -slope

    points = jnp.broadcast_arrays(*(jnp.asarray(x, float) for x in (ratio, advantage, progress)))
    flat = tuple(x.reshape(-1) for x in points)
    # In blocks, so that a network's activations do not need gigabytes.
    drift, felt = jax.jit(lambda flat: jax.lax.map(sample, flat, batch_size=8192))(flat)
    return Landscape(*(np.asarray(x).reshape(points[0].shape) for x in (drift, felt)))


def is_temporal(objective: Objective) -> bool:
    """Whether drift or derivative differ visibly (by 1e-3) between progress 0, 1/2 and 1, anywhere in the maps."""
    return len(maps(objective, 48).drift) > 1


def rollback(felt: ArrayLike, advantage: ArrayLike) -> np.ndarray:
    """Marks where the policy is pulled back: what it feels has not the sign of A. False where it feels nothing.

    Args:
      felt: A - dD/dr.
      advantage: A, not 0, of any shape that broadcasts with it.
    """
    return np.asarray(felt) / advantage < -VISIBLE


def maps(objective: Objective, points: int) -> Landscape:
    """Computes maps of `points` cells a side at all TIMES, `[P, Y, X]`; at the first time alone if all are alike."""
    ratio, advantage = middles(points)
    found = landscape(objective, ratio, advantage[:, None], np.array(TIMES)[:, None, None])
    first = Landscape(*(field[:1] for field in found))
    constant = Landscape(*(np.broadcast_to(field, found.drift.shape) for field in first))
    return first if alike(found, constant) else found


def alike(one: Landscape, other: Landscape) -> bool:
    """Whether two landscapes differ by less than a figure shows."""
    look = {"rtol": VISIBLE, "atol": VISIBLE, "equal_nan": True}
    return all(x.shape == y.shape and np.allclose(x, y, **look) for x, y in zip(one, other))


def middles(points: int) -> tuple[np.ndarray, np.ndarray]:
    """The ratios [X] and the advantages [Y] of a map: the middles of its cells."""
    share = (np.arange(points) + 0.5) / points
    low, high = np.log(RATIOS)
    return np.exp(low + (high - low) * share), STRONGEST * (2 * share - 1)
