"""Torsos: the layers between an observation's features and the heads, by name.

A torso is a flax module, or a function that makes one. It is called with features `[..., *feature_shape(space)]` and
gives `[..., width]`. Of these fields, those that it has are set: `hidden`, `activation`, `layer_norm`, `dense` and
further ones by the algorithm, `space`, the space of observations, and `images`, see `nets.cnn`. Arguments may be in its
name: `impala(features=(16,32))`. A torso whose class says `VECTORS = True` gets vectors, whatever the observations are.
"""

from __future__ import annotations

import dataclasses
import inspect
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp

from rljax.catalogue import TORSOS
from rljax.errors import ConfigError, reason, require
from rljax.nets.features import feature_shape, image_shapes
from rljax.nets.mlp import activation
from rljax.registry import parsed
from rljax.types import Array, Dict, Space

SWITCHES = {"noisy": "dense", "dropout": "dropout", "batch_norm": "batch_norm"}  # settings, and the fields they need


def torso(text: str, x: Array, space: Space, extra: Array | None = None, *, flat: bool = False, **sizes: Any) -> Array:
    """Applies a torso within a module: features of a space `[..., *feature_shape(space)]` -> `[..., width]`.

    Args:
      text: its name, possibly with arguments.
      x: features.
      extra: `[..., A]`, what is to join the features, such as the action of a critic: before the first layer that takes
        vectors, or after a torso that takes none.
      flat: whether `x` are vectors of features, `[..., F]`.
      sizes: fields of the torso, of which those are set that it has.
    """
    kind, shape = TORSOS.load(parsed(text).name), feature_shape(space)
    fields = _fields(kind) | parsed(text).named.keys()
    lead = x.shape[: x.ndim - (1 if flat else len(shape))]
    joins = extra is not None and ("images" in fields or takes_vectors(kind))
    if takes_vectors(kind) or ("images" in fields and (joins or isinstance(space, Dict))):
        x = x.reshape(*lead, -1)
        sizes["images"] = image_shapes(space)
    else:
        x = x.reshape(*lead, *shape)
    if joins and extra is not None:
        x = jnp.concatenate([x, extra], axis=-1)
    given = {name: value for name, value in {**sizes, "space": space}.items() if name in fields}
    made = TORSOS.make(text, **given)(x)
    if extra is None or joins:
        return made
    after = {name: sizes[name] for name in ("hidden", "activation", "layer_norm") if name in sizes}
    return TORSOS.load("mlp")(**after)(jnp.concatenate([made, extra], axis=-1))


def check_torso(config: Any, space: Space) -> None:
    """Refuses a `torso` that does not fit the observations or the config. Raises ConfigError."""
    activation(config.activation)
    TORSOS.check(parsed(config.torso).name)
    kind = TORSOS.load(parsed(config.torso).name)
    if "images" in _fields(kind):
        given = "a Dict without one" if isinstance(space, Dict) else space.shape
        require(bool(image_shapes(space)), "torso", config.torso, f"needs [H, W, C] images, not {given}")
    for switch, field in SWITCHES.items():
        asked = getattr(config, switch, False)
        require(not asked or field in _fields(kind), switch, asked, f"torso {config.torso} has no {field}; use mlp")
    sizes = {name: getattr(config, name) for name in ("hidden", "activation", "layer_norm") if hasattr(config, name)}
    _check_shapes(config.torso, space, tuple(sizes.items()))


@cache
def _check_shapes(text: str, space: Space, sizes: tuple[tuple[str, Any], ...]) -> None:
    """Refuses a torso that cannot take features of this space, or gives no vectors."""
    from flax import linen as nn

    class Alone(nn.Module):
        @nn.compact
        def __call__(self, x: Array) -> Array:
            return torso(text, x, space, **dict(sizes))

    shape = feature_shape(space)
    try:
        found, _ = jax.eval_shape(Alone().init_with_output, jax.random.key(0), jnp.zeros((2, *shape)))
    except ConfigError:
        raise
    except Exception as error:  # whatever a module of the user's raises
        why = reason(error)
        raise ConfigError(f"torso={text}: does not take features of the shape {shape} ({why})") from error
    fits = getattr(found, "ndim", 0) == 2 and found.shape[0] == 2 and jnp.issubdtype(found.dtype, jnp.floating)
    gives = getattr(found, "shape", type(found).__name__)
    require(fits, "torso", text, f"must give vectors, [B, width], of [B, {str(shape)[1:-1]}], not {gives}")


def takes_vectors(kind: Any) -> bool:
    """Whether a torso of this class gets vectors, whatever the observations are."""
    return getattr(kind, "VECTORS", False)


def _fields(kind: Any) -> set[str]:
    """The fields of a module, or the arguments of a function that makes one."""
    if dataclasses.is_dataclass(kind):
        return {field.name for field in dataclasses.fields(kind)}
    return set(inspect.signature(kind).parameters)
