"""Bandits, dark rooms and key-to-door, step by step, and the returns that they are known by."""

from __future__ import annotations

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rljax.envs as envs
from rljax.envs import catalogue, darkroom
from rljax.envs.references import REFERENCES
from rljax.errors import ConfigError

UP, DOWN, LEFT, RIGHT, STAY = range(5)
MOVES = {UP: (-1, 0), DOWN: (1, 0), LEFT: (0, -1), RIGHT: (0, 1), STAY: (0, 0)}
ROOMS = (*catalogue.DARKROOMS, *catalogue.KEYDOORS)


def room(name):
    """Side, first cell and whether the goal pays once."""
    if name == "keydoor/9x9":
        return 9, (4, 4), True
    side, start, _, once = darkroom.ROOMS[name]
    return side, (start, start), once


@functools.cache
def player(name):
    """A program that plays given actions `[T]` under a task of its own -> (first obs, steps)."""
    env = envs.make(name)

    def play(key, actions, task):
        k_reset, k_steps = jax.random.split(key)
        state, obs = env.reset(k_reset, task)
        step = lambda state, x: env.step(x[0], state, x[1], task)  # noqa: E731
        return obs, jax.lax.scan(step, state, (jax.random.split(k_steps, len(actions)), actions))[1]

    return jax.jit(jax.vmap(play))


def play(name, actions, tasks, seed=0):
    """First observations `[B, ...]` and steps `[B, T]` of actions `[B, T]` under tasks `[B]`."""
    out = player(name)(jax.random.split(jax.random.key(seed), len(actions)), jnp.asarray(actions, jnp.int32), tasks)
    return jax.tree.map(np.asarray, out)


def tasks(name, count):
    """Draws `[B]` of the task."""
    return jax.jit(jax.vmap(envs.make(name).new_task))(jax.random.split(jax.random.key(7), count))


def walked(name, actions):
    """The cells after each of the actions, in plain Python."""
    side, cell, _ = room(name)
    for action in actions:
        cell = tuple(min(max(x + d, 0), side - 1) for x, d in zip(cell, MOVES[action]))
        yield cell


@pytest.mark.parametrize("name", ROOMS)
def test_a_room_step_by_step(name):
    limit, count = envs.make(name).longest_episode(), 64
    actions = np.random.default_rng(0).integers(5, size=(count, limit))
    given = tasks(name, count)
    _, start, once = room(name)
    goals = [given.key, given.door] if name == "keydoor/9x9" else [given.goal]
    goals = np.stack(goals, axis=1)
    near = count // 2  # half of the goals are where the agent comes, so that they pay
    for b in range(near):
        path = list(walked(name, actions[b]))
        goals[b] = [path[b % limit], path[-1 - b % 3]][: goals.shape[1]]
    named = dict(zip(("key", "door") if name == "keydoor/9x9" else ("goal",), goals.swapaxes(0, 1)))
    first, steps = play(name, actions, given.replace(**named))
    assert (first == start).all()
    for b in range(count):
        found = [False] * goals.shape[1]
        for t, cell in enumerate(walked(name, actions[b])):
            due, reward = found.index(False) if False in found else -1, 0.0
            at = [tuple(goal) == cell for goal in goals[b]]
            if once and due >= 0 and at[due]:
                found[due], reward = True, 1.0
            elif not once:
                reward = float(at[0])
            assert tuple(steps.obs[b, t]) == cell and steps.reward[b, t] == reward
            assert steps.truncated[b, t] == (t + 1 == limit) and not steps.terminated[b, t]
    assert steps.reward[:near].sum() > near / 2


@pytest.mark.parametrize("name", ["bandit/3x10", "bandit/10x10"])
def test_a_bandit_pays_as_often_as_its_arm_says(name):
    env, count = envs.make(name), 512
    arms = env.action_space.n
    chance = np.linspace(0.0, 1.0, arms, dtype=np.float32)
    given = jax.tree.map(lambda x: jnp.broadcast_to(x, (arms * count, *x.shape)), env.task.replace(arms=chance))
    _, steps = play(name, np.repeat(np.arange(arms), count)[:, None].repeat(10, 1), given)
    won = steps.reward.reshape(arms, -1)
    assert set(won.ravel()) <= {0.0, 1.0} and won[0].sum() == 0 and won[-1].all()
    assert (abs(won.mean(1) - chance) <= 4 * np.sqrt(chance * (1 - chance) / won.shape[1])).all()
    assert (steps.truncated == (np.arange(10) == 9)).all() and not steps.terminated.any() and not steps.obs.any()


@pytest.mark.parametrize("name", ROOMS)
def test_goals_are_uniform_over_all_cells(name):
    side, given = room(name)[0], tasks(name, 8192)
    goals = [given.key, given.door] if name == "keydoor/9x9" else [given.goal]
    for goal in goals:
        often = np.bincount(np.asarray(goal) @ [side, 1], minlength=side**2)
        expected = len(goal) / side**2
        surplus = ((often - expected) ** 2 / expected).sum() - (side**2 - 1)  # of chi squared
        assert len(often) == side**2 and abs(surplus) < 5 * np.sqrt(2 * side**2)
    if len(goals) == 2:
        assert abs((goals[0] == goals[1]).all(1).mean() - 1 / 81) < 5 * np.sqrt(1 / 81 / 8192)


def test_arms_are_uniform_and_independent():
    arms = np.asarray(tasks("bandit/3x10", 8192).arms)
    assert (abs(arms.mean(0) - 0.5) < 4 * np.sqrt(1 / 12 / 8192)).all()
    np.testing.assert_allclose(np.cov(arms.T), np.eye(3) / 12, atol=0.005)
    assert arms.max(1).mean() == pytest.approx(3 / 4, abs=0.01)  # k / (k + 1)


def moves_of(side):
    """The chance to come from one cell `[side^2]` to another by a random action."""
    chance = np.zeros((side**2, side**2))
    for (r, c), (dr, dc) in itertools.product(np.ndindex(side, side), MOVES.values()):
        chance[r * side + c, np.clip(r + dr, 0, side - 1) * side + np.clip(c + dc, 0, side - 1)] += 1 / len(MOVES)
    return chance


def arrivals(chance, start, limit):
    """The chance `[T + 1, goal]` that a random walk comes to each cell for the first time with step t."""
    first = np.zeros((limit + 1, len(chance)))
    not_yet = np.tile(np.eye(len(chance))[start], (len(chance), 1))  # [goal, cell]
    for t in range(1, limit + 1):
        not_yet = not_yet @ chance
        first[t] = np.diag(not_yet)
        np.fill_diagonal(not_yet, 0.0)
    return first


def random_return(name):
    """The return of random actions, by dynamic programming."""
    env, (side, (row, column), once) = envs.make(name), room(name)
    chance, start, limit = moves_of(side), side * row + column, int(env.longest_episode())
    if not once:  # the chances of all cells add up to 1 in each step
        return limit / side**2
    first = arrivals(chance, start, limit)
    if name == "darkroom/hard":
        return first.sum() / side**2
    from_key = np.array([arrivals(chance, key, limit).sum(1).cumsum() for key in range(side**2)])  # [key, T + 1]
    doors = sum(first[t] @ from_key[:, limit - t] for t in range(limit + 1))
    return first.sum() / side**2 + doors / side**4


def spiral(limit):
    """Actions that lead to a new cell with every step, from the centre outwards."""
    turns = itertools.cycle([UP, RIGHT, DOWN, LEFT])
    return [a for n in range(1, limit) for _ in range(2) for a in [next(turns)] * n][:limit]


@pytest.mark.parametrize("name", ROOMS)
def test_a_random_walk_gives_what_is_said(name):
    assert random_return(name) == pytest.approx(REFERENCES[name].random, abs=6e-4)
    limit, count = int(envs.make(name).longest_episode()), 4096
    _, steps = play(name, np.random.default_rng(1).integers(5, size=(count, limit)), tasks(name, count))
    returns = steps.reward.sum(1)
    assert abs(returns.mean() - random_return(name)) < 4.5 * returns.std() / np.sqrt(count)


@pytest.mark.parametrize("name", ["darkroom/hard", "keydoor/9x9"])
def test_no_walk_that_sees_no_goal_is_better_than_one_to_new_cells(name):
    """All tasks are equally probable, so that such a walk earns by the cells that it comes to, and their order."""
    limit, (side, start, _) = int(envs.make(name).longest_episode()), room(name)
    path = list(walked(name, spiral(limit)))
    assert len({start, *path}) == limit + 1
    cells = np.array(path)[:, None] if name == "darkroom/hard" else np.array([*itertools.product(path, path)])
    env, names = envs.make(name), ("goal",) if name == "darkroom/hard" else ("key", "door")
    given = jax.tree.map(lambda x: jnp.broadcast_to(x, (len(cells), *x.shape)), env.task)
    given = given.replace(**{each: jnp.int32(cells[:, i]) for i, each in enumerate(names)})
    _, steps = play(name, np.tile(spiral(limit), (len(cells), 1)), given)
    hidden = steps.reward.sum()  # keys on the path with the door on it; those with another door pay 1
    hidden += len(path) * (side**2 - len(path)) if name == "keydoor/9x9" else 0
    total = hidden / side ** (2 * len(names))
    assert total == pytest.approx(limit / side**2 + (limit * (limit - 1) / 2 / side**4 if len(names) == 2 else 0.0))
    assert total == pytest.approx(REFERENCES[name].memoryless, abs=6e-4)


def way(start, goal):
    """The actions of a shortest way."""
    (r, c), (row, column) = start, goal
    return [DOWN if row > r else UP] * abs(row - r) + [RIGHT if column > c else LEFT] * abs(column - c)


@pytest.mark.parametrize("name", ROOMS)
def test_whoever_knows_the_goal_gets_the_best(name):
    (side, start, _), limit = room(name), int(envs.make(name).longest_episode())
    if name == "keydoor/9x9":
        given = tasks(name, 512)
        stops = list(zip(given.key.tolist(), given.door.tolist()))
    else:
        stops = [(cell,) for cell in np.ndindex(side, side)]
        task = jax.tree.map(lambda x: jnp.broadcast_to(x, (len(stops), *x.shape)), envs.make(name).task)
        given = task.replace(goal=jnp.array(stops, jnp.int32)[:, 0])
    actions = np.full((len(stops), limit), STAY)
    for b, goals in enumerate(stops):
        taken = way(start, goals[0]) or [STAY]
        taken += way(goals[0], goals[1]) if len(goals) == 2 else []
        actions[b, : len(taken)] = taken
    _, steps = play(name, actions, given)
    assert steps.reward.sum(1).mean() == pytest.approx(REFERENCES[name].best, abs=6e-4)


@pytest.mark.parametrize("name", catalogue.BANDITS)
def test_bandits_are_known_by_the_order_statistics_of_their_arms(name):
    arms, pulls = map(int, name.removeprefix("bandit/").split("x"))
    env, known = envs.make(name), REFERENCES[name]
    assert env.action_space.n == arms and env.longest_episode() == pulls
    assert known.random == known.memoryless == pulls / 2
    assert known.best == pytest.approx(pulls * arms / (arms + 1), abs=0.01)


@pytest.mark.parametrize("name", ["bandit/3x10", *ROOMS])
def test_types(name, check_types, check_rollout):
    env = envs.make(name)
    assert env.name == name and env is envs.make(name) and name in REFERENCES
    check_types(env)
    field = "pulls" if name.startswith("bandit") else "max_steps"
    check_rollout(env, lambda task, limit: task.replace(**{field: jnp.int32(limit)}))
    assert jax.tree.map(jnp.shape, env.new_task(jax.random.key(0))) == jax.tree.map(jnp.shape, env.task)
    other = envs.make(name, seed=1)
    assert any((a != b).any() for a, b in zip(jax.tree.leaves(env.task), jax.tree.leaves(other.task)))
    if name in ROOMS:
        state, _ = env.reset(jax.random.key(0), env.task)
        assert env.render(state, env.task).dtype == np.uint8


@pytest.mark.parametrize("name", ["bandit/3x10", "darkroom/hard", "keydoor/9x9"])
def test_no_key_is_used_twice(name, strict):
    env = envs.make(name)
    k_task, k_reset, k_step = jax.random.split(jax.random.key(0), 3)
    task = env.new_task(k_task)
    state, _ = env.reset(k_reset, task)
    env.step(k_step, state, jnp.int32(0), task)


@pytest.mark.parametrize("name", ["bandit/10x10", "darkroom/5x5", "keydoor/9x9"])
def test_play_finds_nothing(name):
    assert envs.check(name, 200) is envs.make(name)


def test_arguments():
    assert envs.make("bandit/3x10", arms=4, pulls=7).longest_episode() == 7
    assert envs.make("bandit/3x10", arms=4).task.arms.shape == (4,)
    assert envs.make("darkroom/5x5", max_steps=7).longest_episode() == 7
    for name, arguments, message in (
        ("bandit/3x10", {"arms": 0}, "arms=0: must be at least 1"),
        ("bandit/3x10", {"pulls": 1.5}, "pulls=1.5: must be a whole number"),
        ("darkroom/5x5", {"max_steps": 0}, "max_steps=0: must be at least 1"),
        ("keydoor/9x9", {"max_step": 9}, "did you mean 'max_steps'"),
        ("darkroom/6x6", {}, "did you mean 'darkroom/"),
    ):
        with pytest.raises(ConfigError, match=message):
            envs.make(name, **arguments)
