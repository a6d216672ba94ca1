"""Learned Policy Optimisation: objectives whose drift is a network, to be meta-trained."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from rljax.errors import ConfigError
from rljax.fields import INF, number, weights
from rljax.objectives import files
from rljax.objectives.base import bounded
from rljax.types import Array, Scalar

# The authors' code has 1e-4, a later distillation of LPO 1e-6. It is the larger one here: the one that was trained
# with, and well above what float32 rounds sums of the size of advantages to, so the flat part at r = 1 is a real one.
OFFSET = 1e-4


def network(inputs: int, width: int = 128) -> dict[str, Any]:
    """Makes the weights of a drift network that is zero everywhere: `LPO(**network(8, 64))` is a narrower LPO.

    The last layer is zero. The first one is not, or the slope in either layer would be zero, and no meta-gradient
    could ever leave.

    Returns:
      `hidden` [inputs, width], of variance 1 / inputs and always the same; `output` [width].
    """
    draw = np.random.RandomState(0).standard_normal((inputs, width))  # a stream that numpy promises not to change
    return {"hidden": (draw / inputs**0.5).astype(np.float32), "output": np.zeros(width, np.float32)}


class LPO(struct.PyTreeNode, eq=False):  # two are equal if they are the same: arrays have no truth value
    r"""Learned Policy Optimisation: $D - r A$ with a network in the drift,

    $$D = \max(0, p D_{ppo} + f(x) - 10^{-4}), \quad f(x) = w \cdot \tanh(x W),$$

    $D_{ppo} = \max(0, (r - \mathrm{clip}(r, 1-\epsilon, 1+\epsilon)) A)$ being the drift of PPO, and x the eight inputs
    $(\log r, (\log r)^2, 1 - r, (1 - r)^2)$ and the same times A. Whatever the leaves are, $D \ge 0$, and D is 0 with
    slope 0 at r = 1: x is zero there, so f is, and the offset puts the outer maximum into its flat part. As it starts,
    f = 0, which is PPO to within the offset.

    Inputs, their order and sign, and the offset are those of the authors' code; weights trained elsewhere may have
    another order, or r - 1. Meant for standardised advantages.

    Source: Lu et al. 2022, arXiv:2210.05639, and the code that goes with it.
    """

    hidden: Array = weights(lambda: network(8)["hidden"], "W [8, width]")
    output: Array = weights(lambda: network(8)["output"], "w [width]")
    clip: Scalar = number(0.2, "epsilon of the PPO drift that it starts from", low=0.0, high=INF)
    ppo: Scalar = number(1.0, "weight p of that drift; 0: start from none", low=0.0)

    def __call__(self, log_ratio: Array, advantage: Array, progress: Scalar, reference: Array | None = None) -> Array:
        log_ratio = bounded(log_ratio)
        ratio = jnp.exp(log_ratio)
        clip = jnp.maximum(self.clip, 0.0)  # where a search oversteps it
        start = jax.nn.relu((ratio - jnp.clip(ratio, 1.0 - clip, 1.0 + clip)) * advantage)
        learned = jnp.tanh(self.inputs(log_ratio, advantage, progress) @ self.hidden) @ self.output
        return jax.nn.relu(self.ppo * start + learned - OFFSET) - ratio * advantage

    def inputs(self, log_ratio: Array, advantage: Array, progress: Scalar) -> Array:
        """The inputs of the network for samples `[...]`: `[..., 8]`, all zero at r = 1."""
        change = -jnp.expm1(log_ratio)  # 1 - r, exact near r = 1
        alone = [log_ratio, jnp.square(log_ratio), change, jnp.square(change)]
        return jnp.stack([*alone, *(x * advantage for x in alone)], axis=-1)

    def save(self, path: str | Path, provenance: Mapping[str, Any]) -> None:
        """Writes one small file: an npz of the fields and of `record`, JSON. Readable with numpy alone.

        Args:
          path: the file; it is replaced if it exists.
          provenance: JSON-like; must say `method` (how it was trained), `tasks` (on what) and `scores`. The versions
            of the code and the machine are added as `machine`.

        Raises:
          ConfigError: something of that is missing or not JSON, or the file cannot be written.
        """
        arrays = {f.name: np.asarray(getattr(self, f.name)) for f in dataclasses.fields(self)}
        files.write(path, files.Stored(type(self).__name__, arrays, dict(provenance)))

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Loads what `save` wrote, to the bit.

        Raises:
          ConfigError: the file cannot be read, or holds something else.
        """
        stored, default = files.read(path), cls()
        if stored.kind != cls.__name__:
            raise ConfigError(f"{path}: holds {stored.kind}, not {cls.__name__}; rljax.objectives.load takes either")
        width = stored.arrays["output"].size if "output" in stored.arrays else 0
        shapes = {"hidden": (default.hidden.shape[0], width), "output": (width,), "clip": (), "ppo": ()}
        found = {name: x.shape for name, x in stored.arrays.items()}
        if found != shapes or not all(np.isfinite(x).all() for x in stored.arrays.values()):
            raise ConfigError(
                f"{path}: its arrays are not those of {cls.__name__}; give a file that {cls.__name__}.save wrote"
            )
        return cls(**stored.arrays)


class TALPO(LPO, eq=False):
    r"""Temporally-aware LPO: the drift may change over a training run.

    The network sees $(x, \tfrac{n}{N} x)$, 16 inputs, where x are those of LPO and n / N is `progress`. As products
    with x, the new ones vanish at r = 1 too, so it is a drift at every time; at progress 0 it is the LPO that has the
    first 8 rows of W.

    n / N is a proportion, as the paper says (released code of the same authors feeds raw counts, which would tie a
    network to one scale of time), so it does not matter that rljax counts in updates and the paper in interactions.
    The length N itself is no input: the paper gives that to TA-LPG alone.

    Source: Jackson et al. 2024, arXiv:2402.05828, eq. 10.
    """

    hidden: Array = weights(lambda: network(16)["hidden"], "W [16, width]")

    def inputs(self, log_ratio: Array, advantage: Array, progress: Scalar) -> Array:
        """The inputs of the network for samples `[...]`: `[..., 16]`, all zero at r = 1."""
        x = super().inputs(log_ratio, advantage, progress)
        return jnp.concatenate([x, progress * x], axis=-1)
