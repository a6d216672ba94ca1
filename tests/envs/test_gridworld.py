"""Gridworlds: rules, random levels, and exact values against closed forms, enumeration and simulation."""

from __future__ import annotations

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rljax.envs as envs
from rljax.algos import ppo
from rljax.envs import catalogue, gridworld
from rljax.envs.gridworld import State
from rljax.envs.gridworld_levels import MODES, Kind, Level, Mode, random_level
from rljax.envs.gridworld_values import optimal_return, optimal_values
from rljax.errors import ConfigError
from rljax.run import as_arrays, run

KEY = jax.random.key(0)
RIGHT, STAY = 3, 4
G = 0.9


def with_limit(level, limit):
    return level.replace(max_steps_in_episode=jnp.int32(limit))


def hand_made(rows, objects, start=0, limit=100):
    """A level from lines of `.` and `#`, and objects as (cell, reward, terminate, respawn)."""
    walls = np.array([[letter == "#" for letter in row] for row in rows])
    position, *numbers = (np.array(column) for column in zip(*objects))
    used, kind = np.ones(len(objects), bool), np.arange(len(objects))
    return as_arrays(Level(walls, start, position, used, kind, *[np.float32(x) for x in numbers], limit))


def tabular():
    """Its functions take any level."""
    return envs.make("gridworld/dense")


@functools.partial(jax.jit, static_argnames=("roaming",))
def play(keys, level, policy, roaming=False):
    """Episodes `[B]`, going on after their end, under a policy `[T, states or 1]` -> states and results `[B, T]`."""
    env = envs.make("gridworld/rand-small") if roaming else tabular()

    def one(key):
        k_reset, k_steps = jax.random.split(key)

        def step(state, given):
            key, actions = given
            action = actions[gridworld._index(state, level) % actions.size]
            state, result = env.step(key, state, action, level)
            return state, (state, result)

        return jax.lax.scan(step, env.reset(k_reset, level)[0], (jax.random.split(k_steps, len(policy)), policy))[1]

    return jax.vmap(one)(keys)


def keys(count):
    return jax.random.split(jax.random.key(1), count)


@functools.cache
def drawn(name):
    """`[200]` levels of a mode, one by one, as that program is compiled already."""
    return jax.tree.map(lambda *x: np.stack(x), *[random_level(key, name) for key in keys(200)])


@pytest.mark.parametrize("name", catalogue.GRIDWORLDS)
def test_types(name, check_types):
    env = envs.make(name)
    assert env.name == name and env is envs.make(name)
    assert env.longest_episode() == int(env.task.max_steps_in_episode) and connected(~np.asarray(env.task.walls))
    check_types(env)
    assert (env.task.position is None) == name.startswith("gridworld/rand") == (env.task.start is None)


@pytest.mark.parametrize("name", ["all", "rand-small"])
def test_rollout(name, check_rollout):
    long, short = check_rollout(envs.make(f"gridworld/{name}"), with_limit)
    same = ~short["terminated"][:2].any(0)
    np.testing.assert_array_equal(short["next_obs"][:3][:, same], long["next_obs"][:3][:, same])


@pytest.mark.parametrize("name", ["small", "rand-small"])
def test_keys_are_used_once_and_nothing_is_promoted(name, strict):
    env = envs.make(f"gridworld/{name}")

    def everything(key):
        k_reset, k_step, k_level = jax.random.split(key, 3)
        state, _ = env.reset(k_reset, env.task)
        result = env.step(k_step, state, jnp.int32(RIGHT), env.task)
        return result, random_level(k_level, name), optimal_return(env.task) if name == "small" else 0.0

    jax.jit(everything).lower(jax.random.key(0))  # tracing is enough to be told


def test_names_are_modes_and_seeds_are_levels():
    assert [f"gridworld/{name}" for name in MODES] == list(catalogue.GRIDWORLDS)
    one, other = (envs.make("gridworld/small", seed=seed) for seed in (1, 2))
    assert any((np.asarray(x) != y).any() for x, y in zip(jax.tree.leaves(one.task), jax.tree.leaves(other.task)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: envs.make("gridworld/dens"), "did you mean 'gridworld/dense'"),
        (lambda: envs.make("gridworld/dense", observation="pixels"), "observation=pixels: must be one of"),
        (lambda: envs.make("gridworld/rand-dense", observation="index"), "observation=index: must be one of"),
        (lambda: random_level(KEY, "smal"), "unknown mode 'smal'; did you mean 'small'"),
        (lambda: optimal_return(gridworld.make("rand-small").task), "objects that roam have too many states"),
        (lambda: optimal_return(hand_made(["." * 256], [(0, 1, 0, 0)] * 13)), "states=2097152: can be 1048576"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ConfigError, match=message):
        call()


def connected(free):
    """Whether all free cells can be reached from one of them, by flood filling."""
    reached, front = set(), [tuple(np.argwhere(free)[0])]
    while front:
        row, column = front.pop()
        if 0 <= row < len(free) and 0 <= column < len(free) and free[row, column] and (row, column) not in reached:
            reached.add((row, column))
            front += [(row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)]
    return len(reached) == free.sum()


@pytest.mark.parametrize("name", ["longer", "small", "all", "rand-all"])
def test_random_levels_are_valid(name):
    mode, levels = MODES[name], drawn(name)
    ranges = mode.side, mode.max_steps, mode.used or len(levels.kind[0])
    (least, side), (shortest, longest), (fewest, most) = (np.broadcast_to(x, 2) for x in ranges)
    assert levels.walls.shape[1:] == (side, side) and all(connected(~walls) for walls in levels.walls)
    assert ((levels.max_steps_in_episode >= shortest) & (levels.max_steps_in_episode <= longest)).all()
    assert set(levels.used.sum(1)) == set(range(fewest, most + 1)) and not levels.respawn[~levels.used].any()
    extents = {int(np.argwhere(~walls).max()) + 1 for walls in levels.walls}
    assert extents <= set(range(1, side + 1)) and set(range(least, side + 1)) <= extents
    if not mode.roaming:
        for i, cells in enumerate(np.column_stack([levels.start, levels.position])):
            assert len(set(cells)) == len(cells) and not levels.walls[i].reshape(-1)[cells].any()
        assert len(set(levels.start)) > side  # levels differ in it
    for numbers, column in ((levels.reward, 1), (levels.terminate, 2), (levels.respawn, 3)):
        bounds = np.array([np.broadcast_to(kind[column], 2) for kind in mode.kinds])[levels.kind[0]]
        found = np.where(levels.used, numbers, bounds[:, 0])
        assert (found >= bounds[:, 0] - 1e-6).all() and (found <= bounds[:, 1] + 1e-6).all()


def test_numbers_are_exact_where_they_are_given_and_log_uniform_where_not():
    dense = gridworld.make("dense").task
    numbers = np.stack([dense.kind, dense.reward, dense.terminate, dense.respawn])
    expected = [[0, 0, 1, 2], [1, 1, -1, -1], [0, 0, 0.5, 0], [0.05, 0.05, 0.1, 0.5]]
    np.testing.assert_array_equal(numbers, np.float32(expected))
    levels = drawn("all")
    assert np.median(levels.terminate) == pytest.approx(0.1, rel=0.2)  # sqrt(0.01 * 1)
    assert np.median(levels.max_steps_in_episode) == pytest.approx((20 * 750) ** 0.5, rel=0.4)
    assert levels.reward[:, 0].min() >= 0 and levels.reward[:, 1:].mean() == pytest.approx(0, abs=0.1)


def test_moves_stop_at_walls_and_edges():
    level, step = hand_made(["..#", "...", "#.."], [(0, 0.0, 0.0, 0.0)]), jax.jit(tabular().step)
    for cell, (action, (down, right)) in itertools.product((0, 1, 3, 4, 5, 7, 8), enumerate(gridworld.MOVES)):
        row, column = cell // 3 + down, cell % 3 + right
        free = 0 <= row < 3 and 0 <= column < 3 and not level.walls[row, column]
        state = State(jnp.int32(cell), level.position, level.used, jnp.int32(0))
        after, result = step(KEY, state, jnp.int32(action), level)
        assert int(after.cell) == (row * 3 + column if free else cell)
        assert int(result.obs) == int(after.cell) + 9 * int(after.present[0])


def test_an_index_for_every_state_and_the_grid_shows_the_same():
    grid = gridworld.make("small", observation="grid")
    level, index, step = grid.task, jax.jit(gridworld._index), jax.jit(grid.step)
    start, cells = grid.reset(KEY, level)[0], level.walls.size
    states = itertools.product(range(cells), itertools.product([False, True], repeat=3))
    seen = {int(index(State(jnp.int32(cell), level.position, jnp.array(p), jnp.int32(0)), level)) for cell, p in states}
    assert seen == set(range(cells * 2**3)) and tabular().observation_space.n == 121 * 2**4
    for action in range(5):
        state, result = step(KEY, start, jnp.int32(action), level)
        shown = np.zeros((cells, 5))
        shown[state.cell, 0] = 1
        shown[state.position, range(1, 4)] = state.present
        shown[:, 4] = level.walls.reshape(-1)
        np.testing.assert_array_equal(result.obs.reshape(cells, 5), shown)


def test_objects_end_episodes_and_come_back_as_often_as_they_say():
    level = hand_made(["..."], [(1, 2.0, 0.25, 0.1)], limit=1000)
    state, result = play(keys(4000), level, jnp.array([[RIGHT]] + [[STAY]] * 30))
    assert (result.reward[:, 0] == 2.0).all() and not state.present[:, 0].any()
    assert float(result.terminated[:, 0].mean()) == pytest.approx(0.25, abs=0.03)
    collected = result.reward > 0
    assert not (result.terminated & ~collected).any()
    # Away after the first step, it comes back after n more with probability p (1 - p)^(n - 1), to be collected next.
    wait = np.where(collected[:, 1:].any(1), np.asarray(collected[:, 1:]).argmax(1), 30)
    for n in (1, 2, 5):
        assert float((wait == n).mean()) == pytest.approx(0.1 * 0.9 ** (n - 1), abs=0.02)
    assert not collected[:, 1].any()  # what is collected does not come back in the same step


def test_an_end_on_the_last_allowed_step_is_an_end():
    level = hand_made(["..."], [(2, 1.0, 1.0, 0.0)], limit=2)
    for last, terminated in ((RIGHT, True), (STAY, False)):
        _, result = play(keys(1), level, jnp.array([[RIGHT], [last]]))
        assert result.terminated.tolist() == [[False, terminated]]
        assert result.truncated.tolist() == [[False, not terminated]]


def test_roaming_objects_appear_on_vacant_cells():
    level = hand_made(["..#", "..."], [*[(0, 1, 0, 0.5)] * 4, (0, 1, 0, 0)], start=None)  # as many cells as it takes
    level = level.replace(position=None, used=jnp.arange(5) < 4)
    actions = jax.random.randint(KEY, (60, 1), 0, 5)
    state, result = jax.tree.map(np.asarray, play(keys(64), level, actions, roaming=True))
    assert result.reward.any() and np.isfinite(result.obs).all() and not state.present[..., 4].any()
    walls = np.asarray(level.walls).reshape(-1)
    assert not walls[state.cell].any() and not walls[state.position[state.present]].any()
    appeared = state.present[:, 1:] & ~state.present[:, :-1]
    assert appeared.any() and not (appeared & (state.position[:, 1:] == state.cell[:, 1:, None])).any()
    moved = state.position[:, 1:] != state.position[:, :-1]
    assert (appeared & moved).any() and not (moved & ~appeared).any()
    same = state.position[..., :, None] == state.position[..., None, :]
    assert not (same & state.present[..., :, None] & state.present[..., None, :] & ~np.eye(5, dtype=bool)).any()


def test_fresh_starts_differ_where_the_level_leaves_them_open():
    def starts(level):
        return jax.tree.map(np.asarray, jax.jit(jax.vmap(tabular().reset, (0, None)))(keys(400), level)[0])

    def free(level):
        return set(np.flatnonzero(~np.asarray(level.walls)))

    fixed = random_level(KEY, "small")
    assert len(set(starts(fixed).cell)) == 1 and (starts(fixed).cell == fixed.start).all()
    assert set(starts(fixed.replace(start=None)).cell) == free(fixed) - set(fixed.position[fixed.used].tolist())
    roaming = starts(random_level(KEY, "rand-small"))
    assert set(roaming.cell) == set(roaming.position[:, 0]) == free(random_level(KEY, "rand-small"))
    assert all(len({*cells}) == 5 for cells in np.column_stack([roaming.cell, roaming.position]))


def test_a_corridor_with_a_goal():
    level = hand_made(["......"], [(5, 1.0, 1.0, 0.0)], limit=10)
    for discount, limit, expected in ((1.0, 10, 1.0), (G, 10, G**4), (G, 5, G**4), (G, 4, 0.0)):
        assert float(optimal_return(with_limit(level, limit), discount)) == pytest.approx(expected)
    away = np.array([1, 2, 3, 4])  # the mean over all vacant starts
    assert float(optimal_return(level.replace(start=None), G)) == pytest.approx((1 + (G**away).sum()) / 5)
    values = np.asarray(optimal_values(level, G))  # rows: cells without and then with the goal
    np.testing.assert_allclose(values[[0, 6]], [[0.0] * 5, [G**5, G**5, G**5, G**4, G**5]], rtol=1e-5)


def test_a_corridor_with_a_toll():
    level = hand_made(["..."], [(1, -0.3, 0.5, 0.0), (2, 1.0, 1.0, 0.0)])
    assert float(optimal_return(level, G)) == pytest.approx(-0.3 + 0.5 * G)
    assert float(optimal_return(level.replace(reward=jnp.array([-0.6, 1.0])), G)) == 0.0  # better to stay
    assert float(optimal_return(level.replace(used=jnp.array([False, True])), G)) == pytest.approx(G)


@pytest.mark.parametrize("p", [0.05, 0.5, 1.0])
def test_waiting_where_an_object_comes_back(p):
    level = hand_made(["...."], [(3, 1.0, 0.0, p)], limit=1000)
    # Collecting: C = 1 + g A; waiting: A = g (p C + (1 - p) A).
    collecting = 1 / (1 - G * G * p / (1 - G * (1 - p)))
    assert float(optimal_return(level, G)) == pytest.approx(G**2 * collecting, rel=1e-5)
    if p == 1.0:  # every other step, from the third on
        assert float(optimal_return(level)) == 499.0


def enumerated(level, discount, steps):
    """The same by enumerating every outcome, in plain Python."""
    level = jax.tree.map(np.asarray, level)
    height, width = level.walls.shape

    @functools.cache
    def value(k, cell, present):
        return max(action_value(k, cell, present, move) for move in gridworld.MOVES.tolist()) if k else 0.0

    def action_value(k, cell, present, move):
        row, column = cell // width + move[0], cell % width + move[1]
        if 0 <= row < height and 0 <= column < width and not level.walls[row, column]:
            cell = row * width + column
        got = [exists and cell == where for exists, where in zip(present, level.position)]
        total, alive = sum(level.reward[got]), np.prod(1 - level.terminate[got])
        for after in itertools.product([False, True], repeat=len(present)):
            then = [0.0 if taken else 1.0 if exists else p for exists, taken, p in zip(present, got, level.respawn)]
            chance = np.prod([p if exists else 1 - p for exists, p in zip(after, then)])
            if chance:
                total += discount * alive * chance * value(k - 1, cell, after)
        return total

    return value(steps, int(level.start), tuple(level.used.tolist()))


def test_values_equal_enumeration():
    level = hand_made(["...", "#..", "..."], [(1, -0.4, 0.3, 0.2), (4, 1.0, 0.2, 0.6), (8, 0.7, 0.5, 0.1)])
    for discount, limit in itertools.product((1.0, G), (1, 4, 7)):
        exact = enumerated(level, discount, limit)
        assert float(optimal_return(with_limit(level, limit), discount)) == pytest.approx(exact, rel=1e-5, abs=1e-6)


def test_values_equal_what_their_greedy_policy_earns():
    level = random_level(jax.random.key(8), "small")
    level = with_limit(level.replace(respawn=jnp.where(level.used, 0.2, 0.0)), 40)
    best = jax.vmap(lambda k: optimal_values(level, 1.0, k).argmax(-1))(jnp.arange(40, 0, -1))  # by steps to go
    result = play(keys(20_000), level, best)[1]
    over = np.cumsum(result.terminated, axis=1) - result.terminated  # before this step
    earned, expected = np.where(over, 0.0, result.reward).sum(1), float(optimal_return(level))
    error = earned.std() / np.sqrt(len(earned))
    assert error < 0.05 * expected and abs(earned.mean() - expected) < 4 * error


def test_levels_are_batched_by_vmap():
    levels = drawn("small")
    together = jax.vmap(optimal_return, (0, None))(levels, G)
    alone = [optimal_return(jax.tree.map(lambda x, i=i: x[i], levels), G) for i in range(6)]
    np.testing.assert_allclose(together[:6], alone, rtol=1e-6)
    assert len(set(together.tolist())) > 150 and (together >= 0).all()


def test_ppo_learns_on_many_levels_in_one_program():
    mode = Mode((3, 4), 20, (Kind(1, 1, 1, 0), Kind(1, -1, 1, 0)), scattered=2)
    env = gridworld.make(mode)
    config = ppo.Config(num_envs=16, num_steps=32, num_epochs=4, num_minibatches=2, hidden=(16,))
    algo = ppo.PPO(env, config)
    hypers = as_arrays(algo.hypers.replace(lr=1e-2, horizon=30.0))

    @jax.jit
    @jax.vmap
    def train(key):
        k_level, k_run = jax.random.split(key)
        level = random_level(k_level, mode)
        return level, optimal_return(level), run(algo, k_run, hypers, level, 30)[1]

    levels, best, metrics = train(keys(4))
    alone = random_level(jax.random.split(keys(4)[2])[0], mode)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x[2], y, rtol=1e-6), levels, alone)
    returns = np.asarray(metrics["episode_return"])
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(metrics))
    np.testing.assert_allclose(best, 1.0)
    assert (returns[:, 0] < 0.6).all() and (returns[:, -5:].mean(1) > 0.85).all() and (returns <= 1.0).all()


def test_picture():
    env = envs.make("gridworld/rand-small")
    frames = [env.render(env.reset(jax.random.key(i), env.task)[0], env.task) for i in range(2)]
    assert frames[0].dtype == np.uint8 and min(frames[0].shape[:2]) >= 100 and (frames[0] != frames[1]).any()
