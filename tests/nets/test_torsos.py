"""Shapes, initialisation and input types of the torsos."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from numpy.testing import assert_allclose

from rljax.catalogue import TORSOS
from rljax.errors import ConfigError
from rljax.nets.cnn import CNN, Impala, Nature
from rljax.nets.conv import Conv
from rljax.nets.features import features
from rljax.nets.mlp import AVERAGES, MLP, activation
from rljax.nets.torsos import check_torso, torso
from rljax.types import Box, Dict, MultiDiscrete


@pytest.fixture(autouse=True)
def strict():
    with jax.numpy_rank_promotion("raise"):
        yield


def count(params) -> int:
    return sum(x.size for x in jax.tree.leaves(params))


def test_activation_by_name():
    x = jnp.linspace(-2.0, 2.0, 9)
    assert_allclose(activation("relu")(x), jnp.maximum(x, 0.0))
    assert_allclose(activation("swish")(x), activation("silu")(x))
    with pytest.raises(ConfigError, match="unknown activation 'tahn'; did you mean 'tanh'"):
        activation("tahn")
    with pytest.raises(ConfigError, match="unknown activation"):
        MLP((4,), "softplus").init(jax.random.key(0), jnp.ones(3))


def test_mlp_is_its_equation():
    net, x = MLP((8, 3), "elu"), jax.random.normal(jax.random.key(0), (5, 4))
    params = net.init(jax.random.key(1), x)
    for name in ("Dense_0", "Dense_1"):
        params["params"][name]["bias"] += 0.1
    (w0, b0), (w1, b1) = ((p["kernel"], p["bias"]) for p in params["params"].values())
    expected = jax.vmap(lambda row: jax.nn.elu(jax.nn.elu(row @ w0 + b0) @ w1 + b1))(x)
    assert_allclose(net.apply(params, x), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("gain", [2**0.5, 0.5])
def test_mlp_is_orthogonal(gain):
    params = MLP((16,), gain=gain).init(jax.random.key(0), jnp.ones(16))["params"]["Dense_0"]
    assert_allclose(params["kernel"].T @ params["kernel"], gain**2 * jnp.eye(16), atol=1e-5)
    assert not params["bias"].any()


def test_mlp_layer_norm():
    net, x = MLP((32,), "relu", layer_norm=True), 1e3 * jax.random.normal(jax.random.key(0), (6, 4))
    params = net.init(jax.random.key(1), x)
    assert params["params"].keys() == {"Dense_0", "LayerNorm_0"}
    assert_allclose(net.apply(params, x), net.apply(params, 5.0 * x), rtol=1e-4)
    y = x @ params["params"]["Dense_0"]["kernel"]  # normalised before the activation: scale 1 and offset 0 as it starts
    y = (y - y.mean(-1, keepdims=True)) / y.std(-1, keepdims=True)
    assert_allclose(net.apply(params, x), jnp.maximum(y, 0.0), rtol=1e-4, atol=1e-5)


def test_mlp_batch_norm():
    net, x = MLP((32,), "relu", batch_norm=True), 3.0 + jax.random.normal(jax.random.key(0), (64, 4))
    variables = net.init(jax.random.key(1), x[:1])
    learn = jax.jit(lambda variables: net.apply(variables, x, mutable=[AVERAGES]))
    for _ in range(1000):
        found, averages = learn(variables)
        variables |= averages
    assert_allclose(found.mean(0), jnp.zeros(32), atol=1e-5)
    assert_allclose(variables[AVERAGES]["BatchNorm_0"]["mean"], x.mean(0), rtol=1e-3)
    alone = net.apply(variables, x[:1])  # by averages, not by the batch of one
    assert_allclose(alone, found[:1], rtol=0.02, atol=0.02)


def test_mlp_without_layers_is_the_identity():
    x = jnp.ones((2, 3))
    assert MLP(()).init_with_output(jax.random.key(0), x)[0] is x


@pytest.mark.parametrize("net, event", [(MLP((6,)), (5,)), (CNN((4, 2), 3, (6,)), (8, 7, 3))])
def test_any_batch_axes_and_input_types(net, event):
    for batch in ((), (4,), (2, 4), (0,)):
        y, _ = jax.eval_shape(net.init_with_output, jax.random.key(0), jnp.zeros((*batch, *event)))
        assert y.shape == (*batch, 6)

    x = jax.random.bernoulli(jax.random.key(0), 0.5, (2, 4, *event))
    params = jax.jit(net.init)(jax.random.key(1), jnp.zeros(event))
    apply = jax.jit(net.apply)
    y = apply(params, x.astype(jnp.float32))
    for dtype in (bool, jnp.uint8, jnp.int32):
        z = apply(params, x.astype(dtype))
        assert z.dtype == jnp.float32
        assert_allclose(z, y, rtol=1e-6)
    each = jax.vmap(jax.vmap(lambda x: net.apply(params, x)))(x)
    assert_allclose(y, each, rtol=1e-5, atol=1e-6)


def test_cnn_defaults_are_minatars_network():
    params = jax.eval_shape(CNN().init, jax.random.key(0), jnp.zeros((10, 10, 4), bool))
    assert count(params) == (3 * 3 * 4 * 16 + 16) + (8 * 8 * 16 * 128 + 128)


def test_what_comes_with_an_image_joins_the_dense_layers():
    image, others = jax.random.normal(jax.random.key(0), (5, 4, 4, 2)), jax.random.normal(jax.random.key(1), (5, 3))
    net = CNN((6,), hidden=(7,), images=((4, 4, 2),))
    x = jnp.concatenate([image.reshape(5, -1), others], axis=-1)
    params = net.init(jax.random.key(2), x)
    assert params["params"]["MLP_0"]["Dense_0"]["kernel"].shape == (2 * 2 * 6 + 3, 7)
    alone = params | {"params": jax.tree.map(lambda p: p[:24] if p.shape == (27, 7) else p, params["params"])}
    params = {"params": jax.tree.map(lambda p: p.at[24:].set(0.0) if p.shape == (27, 7) else p, params["params"])}
    assert_allclose(net.apply(params, x), CNN((6,), hidden=(7,)).apply(alone, image), rtol=1e-5)


def test_nature_and_impala_have_the_parameters_of_their_papers():
    shapes = jax.eval_shape(Nature().init, jax.random.key(0), jnp.zeros((84, 84, 4)))
    convolutions = (8 * 8 * 4 * 32 + 32) + (4 * 4 * 32 * 64 + 64) + (3 * 3 * 64 * 64 + 64)
    assert count(shapes) == convolutions + (7 * 7 * 64 * 512 + 512)
    shapes = jax.eval_shape(Impala().init, jax.random.key(0), jnp.zeros((96, 72, 3)))
    sections = [(3, 16), (16, 32), (32, 32)]
    convolutions = sum(9 * before * here + here + 4 * (9 * here * here + here) for before, here in sections)
    assert count(shapes) == convolutions + (12 * 9 * 32 * 256 + 256)


def test_a_residual_block_without_weights_is_the_identity():
    """Pooling, and then nothing: all residual branches end in a convolution of weight 0."""
    net, x = Impala((3,), hidden=()), jax.random.normal(jax.random.key(0), (2, 4, 4, 3))
    params = jax.tree.map(jnp.zeros_like, net.init(jax.random.key(1), x))
    params["params"]["Conv_0"]["kernel"] = params["params"]["Conv_0"]["kernel"].at[1, 1].set(jnp.eye(3))
    padded = jnp.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)), constant_values=-jnp.inf)
    largest = jnp.stack([padded[:, i : i + 3 : 2, j : j + 3 : 2] for i in range(3) for j in range(3)]).max(0)
    assert_allclose(net.apply(params, x), jnp.maximum(largest, 0.0).reshape(2, -1), rtol=1e-6)


def test_every_image_of_a_dict_has_convolutions_of_its_own():
    space = Dict({"eye": Box(*pixels(4, 4, 1)), "ear": Box(*pixels(3)), "map": MultiDiscrete((2, 3), (3, 3))})
    x = features(space, space.sample(jax.random.key(0)))
    params = jax.eval_shape(Applied("cnn", space).init, jax.random.key(1), x)["params"]["CNN_0"]
    assert params["Conv_0"]["kernel"].shape == (3, 3, 1, 16) and params["Conv_1"]["kernel"].shape == (3, 3, 5, 16)
    assert params["MLP_0"]["Dense_0"]["kernel"].shape == (2 * 2 * 16 + 1 * 16 + 3, 8)


class Applied(nn.Module):
    name_of_torso: str
    space: Any
    extra: int = 0

    @nn.compact
    def __call__(self, x):
        extra = jnp.ones((*x.shape[:-1], self.extra)) if self.extra else None
        return torso(self.name_of_torso, x, self.space, extra, flat=True, hidden=(8,), activation="relu")


class Sums(nn.Module):
    """A torso that knows nothing of how wide it is to be."""

    def __call__(self, x):
        return x.sum((-3, -2))


def pixels(*shape):
    return np.zeros(shape, np.float32), np.ones(shape, np.float32)


@pytest.mark.parametrize(("name", "joined"), [("mlp", 48 + 2), ("cnn", 2 * 2 * 16 + 2), ("sums", 3 + 2)])
def test_an_action_joins_before_the_first_layer_that_takes_vectors(name, joined, monkeypatch):
    monkeypatch.setitem(TORSOS.registered(), "sums", Sums)
    space = Box(*pixels(4, 4, 3))
    shapes = jax.eval_shape(Applied(name, space, 2).init, jax.random.key(0), jnp.zeros((5, 48)))
    first = next(x.shape for x in jax.tree.leaves(shapes) if x.ndim == 2)
    assert first == (joined, 8)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("nature", (10, 10, 4), r"torso=nature: does not take features of the shape \(10, 10, 4\)"),
        ("impala", (10,), r"torso=impala: needs \[H, W, C\] images, not \(10,\)"),
        ("sums", (4, 4), r"torso=sums: must give vectors, \[B, width\], of \[B, 4, 4\], not \(4,\)"),
        ("impala(feature=3)", (8, 8, 1), r"torso 'impala\(feature=3\)': .*unexpected keyword argument 'feature'"),
        ("impala(", (8, 8, 1), "write it as a name with plain arguments"),
        ("scalar", (4,), r"torso=scalar: must give vectors, \[B, width\], of \[B, 4,\], not \(2,\)"),
    ],
)
def test_a_torso_that_does_not_fit_is_refused_in_a_line(name, shape, message, monkeypatch):
    monkeypatch.setitem(TORSOS.registered(), "sums", Sums)
    monkeypatch.setitem(TORSOS.registered(), "scalar", lambda: lambda x: x.sum(-1))
    with pytest.raises(ConfigError, match=message):
        check_torso(SimpleNamespace(torso=name, activation="relu", hidden=(8,)), Box(*pixels(*shape)))


def test_what_a_torso_cannot_do_is_refused(monkeypatch):
    for asked in ("dropout", "batch_norm"):
        with pytest.raises(ConfigError, match=f"{asked}=.*: torso cnn has no {asked}; use mlp"):
            check_torso(SimpleNamespace(torso="cnn", activation="relu", **{asked: 0.5}), Box(*pixels(8, 8, 1)))


def test_arguments_in_its_name():
    space = Box(*pixels(8, 8, 1))
    shapes = jax.eval_shape(Applied("impala(features=(4,))", space).init, jax.random.key(0), jnp.zeros((5, 64)))
    assert shapes["params"]["Impala_0"]["Conv_0"]["kernel"].shape == (3, 3, 1, 4)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("padding", ["VALID", "SAME"])
def test_a_convolution_by_patches_is_that_of_flax(stride, padding):
    x = jax.random.normal(jax.random.key(0), (5, 9, 8, 3))
    ours, theirs = Conv(4, 3, stride, padding), nn.Conv(4, (3, 3), (stride, stride), padding)
    params = ours.init(jax.random.key(1), x)
    both = [jax.value_and_grad(lambda p, net=net: (net.apply(p, x) ** 2).sum())(params) for net in (ours, theirs)]
    for one, other in zip(*map(jax.tree.leaves, both), strict=True):
        assert_allclose(one, other, rtol=1e-4, atol=1e-4)
    assert_allclose(ours.apply(params, x), theirs.apply(params, x), rtol=1e-5, atol=1e-5)
    assert ours.apply(params, x[None]).shape == (1, *ours.apply(params, x).shape)
