"""Trees as rows of words."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rljax.data.rows import layout
from rljax.errors import ConfigError


def tree(batch: tuple[int, ...]) -> dict:
    draw = np.random.default_rng(0)
    return {
        "half": draw.normal(size=(*batch, 3)).astype(np.float16),
        "float": (draw.normal(size=(*batch, 2, 2)).astype(np.float32), np.full((*batch,), np.nan, np.float32)),
        "flag": draw.random(batch) < 0.5,
        "image": draw.integers(0, 256, (*batch, 5, 3), np.uint8),
        "action": draw.integers(-5, 5, batch).astype(np.int32),
        "nothing": np.zeros((*batch, 0), np.float32),
    }


@pytest.mark.usefixtures("strict")
@pytest.mark.parametrize("batch", [(), (4,), (2, 3)])
def test_what_is_packed_comes_out_to_the_bit(batch):
    kind = layout(tree(()))
    rows = kind.pack(jax.tree.map(jnp.asarray, tree(batch)))
    assert rows.shape == (*batch, kind.words) and rows.dtype == jnp.uint32
    for found, given in zip(jax.tree.leaves(kind.unpack(rows)), jax.tree.leaves(tree(batch)), strict=True):
        assert found.dtype == given.dtype
        np.testing.assert_array_equal(found, given)


def test_nothing_is_larger_than_it_was_but_for_the_rest_of_a_word():
    kind = layout({"image": jax.ShapeDtypeStruct((10, 10, 4), np.uint8), "flag": jax.ShapeDtypeStruct((), bool)})
    assert kind.words == 100 + 1


def test_layouts_of_like_trees_are_equal():
    assert layout(tree(())) == layout(tree(())) and hash(layout(tree(()))) == hash(layout(tree(())))


def test_wide_numbers_take_several_words():
    with jax.enable_x64(True):
        given = jnp.array([1.0, -np.pi], jnp.float64)
        kind = layout(given[0])
        assert kind.words == 2
        np.testing.assert_array_equal(kind.unpack(kind.pack(given)), given)


def test_bits_are_never_read_as_those_of_another_dtype():
    kind = layout({"reward": jax.ShapeDtypeStruct((), np.float32), "action": jax.ShapeDtypeStruct((), np.int32)})
    for reward in (jnp.int32(3), jnp.array(True), jnp.float16(3)):
        step = {"reward": reward, "action": jnp.int32(2)}
        with pytest.raises(ConfigError, match=rf"={reward.dtype}: must be float32"):
            kind.pack(step)
        assert kind.unpack(kind.pack(kind.cast(step))) == {"reward": np.float32(reward), "action": 2}
    with pytest.raises(ConfigError, match="=float32: must be int32"):
        kind.pack(kind.cast({"reward": jnp.float32(1), "action": jnp.float32(1.5)}))
