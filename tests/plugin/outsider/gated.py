"""A torso: linear layers, each times a gate of its own input."""

import flax.linen as nn


class Gated(nn.Module):
    VECTORS = True
    hidden: tuple[int, ...] = (64,)

    @nn.compact
    def __call__(self, x):
        for width in self.hidden:
            x = nn.Dense(width)(x) * nn.sigmoid(nn.Dense(width)(x))
        return x
