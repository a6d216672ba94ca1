"""The ring against a list that forgets from the front."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rljax.data import ring as rings
from rljax.data.rows import layout
from rljax.errors import ConfigError

KIND = layout({"time": jnp.int32(0), "env": jnp.int32(0)})


def block(start: int, num_steps: int, num_envs: int) -> dict:
    time, env = np.mgrid[start : start + num_steps, :num_envs].astype(np.int32)
    return {"time": jnp.asarray(time), "env": jnp.asarray(env)}


def filled(length: int, num_envs: int, num_steps: int, blocks: int) -> rings.Ring:
    ring = rings.empty(KIND, length, num_envs)
    for i in range(blocks):
        ring = rings.insert(ring, KIND, block(i * num_steps, num_steps, num_envs))
    return ring


@settings(deadline=None, max_examples=40)
@given(
    num_steps=st.integers(1, 3),
    room=st.integers(1, 4),
    num_envs=st.integers(1, 3),
    blocks=st.integers(1, 12),
    run=st.integers(1, 4),
)
@pytest.mark.usefixtures("strict")
def test_runs_are_whole_in_order_and_of_what_is_kept(num_steps, room, num_envs, blocks, run):
    """Over sizes, wraps, and rings that one block fills."""
    length = room * num_steps
    ring = filled(length, num_envs, num_steps, blocks)
    inserted = blocks * num_steps
    kept = range(max(0, inserted - length), inserted)
    assert ring.stored == len(kept)
    if run > len(kept):
        return
    size = 256
    time, env = rings.draw(ring, jax.random.key(inserted), size, run)
    found = rings.read(ring, KIND, time, env, run)
    first = np.asarray(found["time"][0])
    np.testing.assert_array_equal(found["time"], first + np.arange(run)[:, None])
    np.testing.assert_array_equal(found["env"], np.broadcast_to(env, (run, size)))
    every = {(t, e) for t in kept[: len(kept) - run + 1] for e in range(num_envs)}
    drawn = set(zip(first.tolist(), np.asarray(env).tolist()))
    assert drawn <= every
    assert drawn == every or len(every) > 20  # 256 draws out of 20 miss one with a chance of 4e-5


def test_draws_are_uniform():
    ring = filled(5, 3, 1, 8)
    time, env = rings.draw(ring, jax.random.key(0), 60_000, 2)
    found = rings.read(ring, KIND, time, env)
    _, counts = np.unique(np.asarray(found["time"]) * 3 + np.asarray(found["env"]), return_counts=True)
    assert len(counts) == 4 * 3  # five steps are kept, four begin a run of two
    assert np.abs(counts - 5000).max() < 5 * np.sqrt(5000)


@pytest.mark.usefixtures("strict")
@pytest.mark.parametrize("apart", [False, True])
def test_members_write_as_each_would_alone(apart):
    """In step, and at places of their own."""
    members = [filled(4, 2, 2, 1 + apart * i) for i in range(3)]
    population = jax.tree.map(lambda *x: jnp.stack(x), *members)
    new = jax.tree.map(lambda x: jnp.stack([x, x + 1, x + 2]), block(10, 2, 2))
    after = jax.jit(jax.vmap(lambda ring, steps: rings.insert(ring, KIND, steps)))(population, new)
    for i, ring in enumerate(members):
        alone = rings.insert(ring, KIND, jax.tree.map(lambda x, i=i: x[i], new))
        jax.tree.map(lambda x, y, i=i: np.testing.assert_array_equal(x[i], y), after, alone)


@pytest.mark.parametrize("members", [0, 3])
def test_nothing_is_copied(members):
    """A step in a loop needs no memory of the size of the ring beside the ring."""
    ring = rings.empty(KIND, 2**16, 1)
    if members:
        ring = jax.tree.map(lambda x: jnp.stack([x] * members), ring)

    def step(ring, key):
        ring = rings.insert(ring, KIND, block(0, 1, 1))
        return ring, rings.read(ring, KIND, *rings.draw(ring, key, 4))["time"].sum()

    def loop(ring, keys):
        return jax.lax.scan(step, ring, keys)

    keys = jax.random.split(jax.random.key(0), (members, 8) if members else 8)
    go = jax.jit(jax.vmap(loop) if members else loop, donate_argnums=0).lower(ring, keys).compile()
    analysis = go.memory_analysis()
    assert analysis is not None
    assert analysis.alias_size_in_bytes >= ring.rows.nbytes and analysis.temp_size_in_bytes < ring.rows.nbytes / 10


def test_room_is_in_whole_blocks():
    assert [rings.room(capacity, 2, 3) for capacity in (6, 7, 12, 13)] == [3, 6, 6, 9]
    with pytest.raises(ConfigError, match="capacity=5: must hold the 6 steps"):
        rings.room(5, 2, 3)
