"""The store of the best episodes against a list of them, and what is drawn of it."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rljax.data.episodes import best_episodes
from rljax.types import TimeStep

E, L, K = 2, 4, 3
STORE = best_episodes(jax.ShapeDtypeStruct((), jnp.int32), jax.ShapeDtypeStruct((), jnp.int32), K, L, E)


def steps_of(number, reward, terminated, truncated, reset):
    """Steps `[T, E]` whose observation is their number, and whose action is that plus 100."""
    number, reward = jnp.int32(number), jnp.float32(reward)
    flags = (jnp.asarray(x, bool) for x in (terminated, truncated, reset))
    return TimeStep(number, number + 100, reward, number + 1, *flags)


def blocks(seed, count, time):
    """Random steps of E environments, episodes of about three steps that end in both ways, and cross blocks."""
    random = np.random.default_rng(seed)
    reset, number = np.ones(E, bool), 0
    for _ in range(count):
        flags = random.random((time, E)) < 0.35
        truncated = flags & (random.random((time, E)) < 0.5)
        resets = np.concatenate([reset[None], flags[:-1]])
        reset = flags[-1]
        numbers = number + np.arange(time * E).reshape(time, E)
        number += time * E
        yield steps_of(numbers, random.integers(-2, 4, (time, E)), flags & ~truncated, truncated, resets)


def whole_episodes(steps, begun):
    """Goes on with the episodes in `begun` by a block -> those that ended, as lists of (observation, reward)."""
    ended = []
    for t in range(steps.reset.shape[0]):
        for e in range(E):
            if steps.reset[t, e]:
                begun[e] = []
            begun[e].append((int(steps.obs[t, e]), float(steps.reward[t, e])))
            if steps.terminated[t, e] or steps.truncated[t, e]:
                ended.append(begun[e])
    return ended


def total(episode):
    return sum(reward for _, reward in episode)


@pytest.mark.parametrize(("time", "seed"), [(1, 0), (3, 1), (7, 2)])
@pytest.mark.usefixtures("strict")
def test_it_keeps_the_best_of_all_episodes_whole(time, seed):
    """However they end, wherever a block does, and whatever came before in the same environment."""
    add, buffer, begun, every = jax.jit(STORE.add), STORE.init(), [[] for _ in range(E)], []
    for i, steps in enumerate(blocks(seed, 20, time)):
        buffer = add(buffer, steps)
        every += [(i, episode) for episode in whole_episodes(steps, begun)]
        returns = sorted((total(episode) for _, episode in every), reverse=True)[:K]
        stored = int(buffer.stored)
        assert stored == min(K, len(every))
        np.testing.assert_array_equal(buffer.best.returns[:stored], returns)
        latest = {}  # of episodes that came to the same those of the last block
        for block, episode in every:
            latest.setdefault(total(episode), []).append((block, [number for number, _ in episode]))
        obs, action, before = jax.device_get(STORE.layout.unpack(buffer.best.rows))
        for k in range(stored):
            same = latest[float(buffer.best.returns[k])]
            length = int(buffer.best.lengths[k])
            kept = obs[k, : min(length, L)].tolist()
            block = next(block for block, numbers in same if numbers[:L] == kept and len(numbers) == length)
            assert block >= sorted(b for b, _ in same)[-min(len(same), K)]
            np.testing.assert_array_equal(action[k, :length], np.array(kept) + 100)
            rewards = [r for episode in every for number, r in episode[1] if number in kept]
            np.testing.assert_array_equal(before[k, :length], np.cumsum([0, *rewards])[: len(kept)])
    assert any(len(episode) > L for _, episode in every) or time == 1


REWARDS = [1.0, 2.0, 4.0, 8.0, 16.0]


def of_one(length, **how):
    """Draws 512 times of one episode -> runs of (observation, R, h), masked steps left out."""
    ends = np.arange(length)[:, None] == length - 1
    first = np.arange(length)[:, None] == 0
    store = best_episodes(*[jax.ShapeDtypeStruct((), jnp.int32)] * 2, K, L, 1)
    steps = steps_of(np.arange(length)[:, None], np.array(REWARDS[:length])[:, None], ends, ends & False, first)

    @jax.jit
    def drawn(steps, key):
        return store.draw(store.add(store.init(), steps), key, 512, **how)

    found = jax.device_get(drawn(steps, jax.random.key(0)))
    assert found.reset[0].all() and not found.reset[1:].any()
    np.testing.assert_array_equal(found.action[found.mask], found.obs[found.mask] + 100)
    parts = np.stack([found.obs, *np.moveaxis(found.command, -1, 0)], -1).astype(int)
    return {
        tuple(tuple(step) for step, real in zip(parts[:, b].tolist(), found.mask[:, b]) if real) for b in range(512)
    }


@pytest.mark.usefixtures("strict")
def test_steps_are_commanded_what_their_episode_came_to():
    assert of_one(3) == {((0, 7, 3),), ((1, 7, 2),), ((2, 7, 1),)}


def test_steps_are_commanded_what_their_episode_had_come_to_at_any_later_step():
    found = of_one(3, anywhere=True)
    assert found == {((0, 1, 1),), ((0, 3, 2),), ((0, 7, 3),), ((1, 3, 1),), ((1, 7, 2),), ((2, 7, 1),)}


def test_of_a_long_episode_the_first_steps_know_how_it_ended():
    assert of_one(5) == {((0, 31, 5),), ((1, 31, 4),), ((2, 31, 3),), ((3, 31, 2),)}
    ends = {steps[0][1:] for steps in of_one(5, anywhere=True) if steps[0][0] == 0}
    assert ends == {(1, 1), (3, 2), (7, 3), (31, 5)}


def test_runs_are_in_order_and_end_with_their_episode():
    assert of_one(3, run=2) == {((0, 7, 3), (1, 7, 2)), ((1, 7, 2), (2, 7, 1))}
    assert of_one(3, run=6) == {((0, 7, 3), (1, 7, 2), (2, 7, 1))}  # all of a shorter one
    found = of_one(3, run=2, anywhere=True)
    assert ((0, 1, 1),) in found and ((1, 3, 1),) in found and ((0, 3, 2), (1, 3, 1)) in found
    assert all(steps[-1][2] >= 1 for steps in found)


def test_episodes_are_drawn_alike_however_long_and_nothing_is_drawn_of_none():
    draw = jax.jit(partial(STORE.draw, batch_size=4096))
    assert not draw(STORE.init(), jax.random.key(0)).mask.any()
    ends = np.array([[True, False], [False, False], [False, True]])
    steps = steps_of(np.arange(6).reshape(3, 2), np.ones((3, 2)), ends, ends & False, np.roll(ends, 1, 0) | ~ends[:1])
    steps = steps._replace(reset=jnp.array([[True, True], [True, False], [False, False]]))
    found = draw(jax.jit(STORE.add)(STORE.init(), steps), jax.random.key(1))
    counts = np.bincount(np.asarray(found.obs[0]), minlength=6) / 4096
    np.testing.assert_allclose(counts, [1 / 2, 1 / 6, 0, 1 / 6, 0, 1 / 6], atol=0.03)  # 0 alone; 1, 3 and 5
