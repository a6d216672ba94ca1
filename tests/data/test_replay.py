"""A replay of steps: what may be drawn, what may not, and how often."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rljax.data.replay import replay
from rljax.errors import ConfigError
from rljax.types import LEGAL, Box, Dict, Discrete, TimeStep


def block(time):
    """Two steps of two environments; the reward says which: 10 t + e."""
    which = 10.0 * (time + jnp.arange(2))[:, None] + jnp.arange(2)[None]
    obs, flag = jnp.zeros((2, 2, 1)), jnp.zeros((2, 2), bool)
    return TimeStep(obs, jnp.zeros((2, 2), jnp.int32), which, obs, flag, flag, flag)


def filled(blocks, run=3, prioritised=True):
    """A replay with room for 8 steps of each environment, after that many blocks of two."""
    step = jax.tree.map(lambda x: x[0, 0], block(0))
    store = replay(step, length=8, num_envs=2, run=run, prioritised=prioritised)
    buffer = store.init()
    for i in range(blocks):
        buffer = store.add(buffer, block(2 * i))
    return store, buffer


@pytest.mark.parametrize("blocks", [2, 3, 4, 7, 9])
@pytest.mark.parametrize("prioritised", [False, True])
def test_runs_that_are_drawn_are_unbroken_and_all_of_them_are(prioritised, blocks):
    store, buffer = filled(blocks, prioritised=prioritised)
    steps = store.draw(buffer, (), jax.random.key(0), 4096).steps.reward  # [3, B]
    np.testing.assert_array_equal(np.diff(steps, axis=0), 10.0)
    first, last = max(0, 2 * blocks - 8), 2 * blocks - 3  # of the times at which a whole run begins
    expected = {10.0 * t + e for t in range(first, last + 1) for e in range(2)}
    assert set(np.asarray(steps[0]).tolist()) == expected


def test_draws_follow_priorities_and_weights_undo_them():
    store, buffer = filled(4, run=1)
    index = jnp.arange(16)
    priority = 1.0 + (index % 4)
    buffer = store.prioritise(buffer, index, priority)
    drawn = store.draw(buffer, (), jax.random.key(0), 200_000, beta=1.0)
    share = np.bincount(drawn.index, minlength=16) / 200_000
    np.testing.assert_allclose(share, priority / priority.sum(), rtol=0.03)
    np.testing.assert_allclose(drawn.weight, 1.0 / priority[drawn.index], rtol=1e-5)


def test_what_was_never_looked_at_has_the_highest_priority():
    store, buffer = filled(2, run=1)
    buffer = store.prioritise(buffer, jnp.array([0]), jnp.array([5.0]))
    buffer = store.add(buffer, block(4))
    leaves = buffer.priorities.nodes[buffer.priorities.leaves :]
    np.testing.assert_array_equal(leaves[:16], [5, 1, 1, 1, 1, 1, 1, 1, 5, 5, 5, 5, 0, 0, 0, 0])


def test_dicts_come_back_as_they_were_stored():
    """A mask of 3 bits, an image of bytes, numbers and whole numbers, in one row."""
    mask, image = (
        Box(np.zeros(3, bool), np.ones(3, bool), np.dtype(bool)),
        Box(*np.array([[0] * 5, [255] * 5], np.uint8)),
    )
    image = dataclasses.replace(image, dtype=np.dtype(np.uint8))
    space = Dict({LEGAL: mask, "image": image, "at": Dict({"x": Box(-np.ones(2), np.ones(2)), "room": Discrete(7)})})
    spaces = space, Dict({"go": Discrete(2)})
    obs, action = (
        jax.vmap(jax.vmap(space.sample))(jax.random.split(jax.random.key(i), (2, 2))) for i, space in enumerate(spaces)
    )
    after = jax.tree.map(lambda x: x[::-1], obs)
    steps = block(0)._replace(obs=obs, action=action, next_obs=after)
    store = replay(jax.tree.map(lambda x: x[0, 0], steps), length=8, num_envs=2)
    drawn = store.draw(store.add(store.init(), steps), (), jax.random.key(0), 50).steps
    which = drawn.reward[0].astype(int)
    for found, stored in ((drawn.obs, obs), (drawn.next_obs, after), (drawn.action, action)):
        expected = jax.tree.map(lambda x: x[which // 10, which % 10], stored)
        jax.tree.map(np.testing.assert_array_equal, jax.tree.map(lambda x: x[0], found), expected)
        assert jax.tree.map(lambda x: x.dtype, found) == jax.tree.map(lambda x: x.dtype, stored)


def test_steps_of_other_parts_are_refused_by_name():
    store, buffer = filled(1)
    with pytest.raises(ConfigError, match=r"steps=.*must have the parts that are stored.*extras_like"):
        store.add(buffer, block(2)._replace(extras={"value": jnp.zeros((2, 2))}))


@pytest.mark.parametrize("blocks", [2, 4, 7])
@pytest.mark.parametrize("prioritised", [False, True])
def test_runs_begin_with_blocks_beside_what_was_remembered_before_them(prioritised, blocks):
    step = jax.tree.map(lambda x: x[0, 0], block(0))
    carry = {"h": jax.ShapeDtypeStruct((2,), jnp.float32)}
    store = replay(step, length=8, num_envs=2, run=3, prioritised=prioritised, period=2, carry=carry)
    buffer = store.init()
    for i in range(blocks):
        h = 20.0 * i + jnp.arange(2)[:, None] + jnp.array([0.0, 0.5])
        buffer = store.add(buffer, block(2 * i), {"h": h})
    drawn = store.draw(buffer, (), jax.random.key(0), 2048)
    reward = np.asarray(drawn.steps.reward)  # [3, B]
    np.testing.assert_array_equal(np.diff(reward, axis=0), 10.0)
    first, last = max(0, 2 * blocks - 8), 2 * blocks - 4  # two blocks are needed for a run of three
    assert set(reward[0].tolist()) == {10.0 * t + e for t in range(first, last + 1, 2) for e in range(2)}
    np.testing.assert_array_equal(drawn.carry["h"], reward[0][:, None] + np.array([0.0, 0.5]))
    if prioritised:
        buffer = store.prioritise(buffer, drawn.index[:1], jnp.array([1e6]))
        again = store.draw(buffer, (), jax.random.key(1), 64)
        assert (np.asarray(again.steps.reward[0]) == reward[0, 0]).mean() > 0.9
