"""TEMPLATE, a network of my own between observations and the heads of an algorithm.

rljax train ppo CartPole-v1 --plugin ./TEMPLATE.py --torso TEMPLATE
rljax sweep ppo CartPole-v1 --plugin ./TEMPLATE.py --grid torso=TEMPLATE,mlp --seeds 8
"""

import flax.linen as nn
import jax.numpy as jnp

from rljax import catalogue


class TEMPLATE_CLASS(nn.Module):
    """Features `[..., F]` -> `[..., hidden[-1]]`: dense layers, each of which sees the features again.

    Of the fields `hidden`, `activation`, `layer_norm` and `space`, an algorithm sets those that are here. Others are
    set in the name: --torso 'TEMPLATE(scale=2.0)'.
    """

    VECTORS = True  # images come as vectors; without this line they come as they are, [..., H, W, C]
    hidden: tuple[int, ...] = (64, 64)
    scale: float = 1.0

    @nn.compact
    def __call__(self, x):
        h = x
        for width in self.hidden:
            h = nn.silu(nn.Dense(width)(self.scale * jnp.concatenate([h, x], axis=-1)))
        return h


catalogue.TORSOS.register("TEMPLATE", TEMPLATE_CLASS)
