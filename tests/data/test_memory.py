"""A memory of steps: what may be drawn, what may not, and how often."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rljax import envs
from rljax.data.memory import memory
from rljax.types import LEGAL, Box, Dict, Discrete, TimeStep


@dataclasses.dataclass(frozen=True)
class Config:
    num_envs: int = 2
    num_steps: int = 2
    capacity: int = 16
    n_step: int = 3
    prioritised: bool = True


def block(time):
    """Two steps of two environments; the reward says which: 10 t + e."""
    which = 10.0 * (time + jnp.arange(2))[:, None] + jnp.arange(2)[None]
    obs, flag = jnp.zeros((2, 2, 1)), jnp.zeros((2, 2), bool)
    return TimeStep(obs, jnp.zeros((2, 2), jnp.int32), which, obs, flag, flag, flag)


def filled(config, blocks):
    store = memory(envs.make("probe/action"), config)
    held = store.start()
    for i in range(blocks):
        held = store.add(held, block(2 * i))
    return store, held


@pytest.mark.parametrize("blocks", [2, 3, 4, 7, 9])
@pytest.mark.parametrize("prioritised", [False, True])
def test_runs_that_are_drawn_are_unbroken_and_all_of_them_are(prioritised, blocks):
    config = Config(prioritised=prioritised)
    store, held = filled(config, blocks)
    steps = store.draw(held, jax.random.key(0), 4096).steps.reward  # [3, B]
    np.testing.assert_array_equal(np.diff(steps, axis=0), 10.0)
    first, last = max(0, 2 * blocks - 8), 2 * blocks - 3  # of the times at which a whole run begins
    expected = {10.0 * t + e for t in range(first, last + 1) for e in range(2)}
    assert set(np.asarray(steps[0]).tolist()) == expected


def test_draws_follow_priorities_and_weights_undo_them():
    store, held = filled(Config(n_step=1), 4)
    place = jnp.arange(16)
    priority = 1.0 + (place % 4)
    held = store.prioritise(held, place, priority)
    drawn = store.draw(held, jax.random.key(0), 200_000, beta=1.0)
    share = np.bincount(drawn.place, minlength=16) / 200_000
    np.testing.assert_allclose(share, priority / priority.sum(), rtol=0.03)
    np.testing.assert_allclose(drawn.weight, 1.0 / priority[drawn.place], rtol=1e-5)


def test_what_was_never_looked_at_has_the_highest_priority():
    store, held = filled(Config(n_step=1), 2)
    held = store.prioritise(held, jnp.array([0]), jnp.array([5.0]))
    held = store.add(held, block(4))
    leaves = held.priorities.nodes[held.priorities.leaves :]
    np.testing.assert_array_equal(leaves[:16], [5, 1, 1, 1, 1, 1, 1, 1, 5, 5, 5, 5, 0, 0, 0, 0])


def test_dicts_come_back_as_they_were_stored():
    """A mask of 3 bits, an image of bytes, numbers and whole numbers, in one row."""
    mask, image = (
        Box(np.zeros(3, bool), np.ones(3, bool), np.dtype(bool)),
        Box(*np.array([[0] * 5, [255] * 5], np.uint8)),
    )
    image = dataclasses.replace(image, dtype=np.dtype(np.uint8))
    space = Dict({LEGAL: mask, "image": image, "at": Dict({"x": Box(-np.ones(2), np.ones(2)), "room": Discrete(7)})})
    env = dataclasses.replace(
        envs.make("probe/action"), observation_space=space, action_space=Dict({"go": Discrete(2)})
    )
    store = memory(env, Config(n_step=1, prioritised=False))
    obs, action = (
        jax.vmap(jax.vmap(space.sample))(jax.random.split(jax.random.key(i), (2, 2)))
        for i, space in enumerate((env.observation_space, env.action_space))
    )
    after = jax.tree.map(lambda x: x[::-1], obs)
    steps = block(0)._replace(obs=obs, action=action, next_obs=after)
    drawn = store.draw(store.add(store.start(), steps), jax.random.key(0), 50).steps
    which = drawn.reward[0].astype(int)
    for found, stored in ((drawn.obs, obs), (drawn.next_obs, after), (drawn.action, action)):
        expected = jax.tree.map(lambda x: x[which // 10, which % 10], stored)
        jax.tree.map(np.testing.assert_array_equal, jax.tree.map(lambda x: x[0], found), expected)
        assert jax.tree.map(lambda x: x.dtype, found) == jax.tree.map(lambda x: x.dtype, stored)
