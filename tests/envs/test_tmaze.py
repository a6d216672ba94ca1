"""T-mazes against a rewriting in plain Python, and policies whose returns are known."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rljax.envs as envs
from rljax.envs import catalogue
from rljax.envs.tmaze import DOWN, LEFT, RIGHT, UP
from rljax.errors import ConfigError

STARTS = {"tmaze/passive": 0, "tmaze/active": 1}


class Maze:
    """The maze as a set of cells, by the rules of Ni et al. 2023."""

    def __init__(self, oracle, length, goal):
        self.oracle, self.length, self.goal = oracle, length, goal
        self.end = oracle + length
        self.cells = {(x, 0) for x in range(self.end + 1)} | {(self.end, 1), (self.end, -1)}
        self.position, self.time, self.visited = (oracle, 0), 0, False

    def look(self):
        x, y = self.position
        if x == 0:
            cue, self.visited = 0 if self.visited else self.goal, True
            return [0, cue]
        return [1, y] if x == self.end else [0, 0]

    def step(self, action):
        self.time += 1
        move = {RIGHT: (1, 0), UP: (0, 1), LEFT: (-1, 0), DOWN: (0, -1)}[action]
        moved = (self.position[0] + move[0], self.position[1] + move[1])
        self.position = moved if moved in self.cells else self.position
        over = self.time == self.length + 2 * self.oracle + 1
        late = -1 / self.length if self.position[0] < self.time - self.oracle else 0.0
        reward = float(self.position[1] == self.goal) if over else late
        return self.look(), reward, over


@functools.cache
def player(name):
    """A program that plays given actions `[T]` from the start of an episode, going on after its end."""
    env = envs.make(name)

    def play(key, actions, task):
        def step(state, action):
            state, result = env.step(key, state, action, task)
            return state, result

        state, obs = env.reset(key, task)
        return state.goal, obs, jax.lax.scan(step, state, actions)[1]

    return jax.jit(jax.vmap(play, (0, 0, None)))


def play(name, actions, length=10, seed=0):
    """Goals `[B]`, first observations `[B, 2]` and steps `[B, T]` of actions `[B, T]`, padded to one program."""
    padded = np.zeros((len(actions), 64), np.int32)
    padded[:, : actions.shape[1]] = actions
    task = envs.make(name).task.replace(length=jnp.int32(length))
    out = player(name)(jax.random.split(jax.random.key(seed), len(actions)), padded, task)
    return jax.tree.map(np.asarray, out)


def total(name, actions, length, goal):
    """The return of actions `[T]` in an episode with that goal, which has to end with the last of them."""
    goals, _, steps = play(name, np.tile(np.asarray(actions), (16, 1)), length)
    b, over = list(goals).index(goal), len(actions) - 1
    assert steps.terminated[b].argmax() == over and not steps.truncated.any()
    return steps.reward[b, : over + 1].sum()


@pytest.mark.parametrize("length", [1, 3, 10])
@pytest.mark.parametrize("name", catalogue.TMAZES)
def test_it_is_the_maze_step_by_step(name, length):
    count = length + 2 * STARTS[name] + 1
    right = np.random.default_rng(length).random((16, count)) < np.linspace(0.2, 1.0, 16)[:, None]
    actions = np.where(right, RIGHT, np.random.default_rng(0).integers(4, size=right.shape))
    goals, first, steps = play(name, actions, length)
    assert set(goals) == {-1, 1}
    for b in range(16):
        maze = Maze(STARTS[name], length, goals[b])
        assert first[b].tolist() == maze.look()
        for t in range(count):
            obs, reward, over = maze.step(actions[b, t])
            assert steps.obs[b, t].tolist() == obs and steps.reward[b, t] == pytest.approx(reward)
            assert steps.terminated[b, t] == over and not steps.truncated[b, t]


@pytest.mark.parametrize("length", [1, 10, 50])
@pytest.mark.parametrize("goal", [1, -1])
@pytest.mark.parametrize("name", catalogue.TMAZES)
def test_returns_are_known(name, goal, length):
    detour = [LEFT, RIGHT] * STARTS[name]
    turn = {1: UP, -1: DOWN}
    assert total(name, [*detour, *[RIGHT] * length, turn[goal]], length, goal) == 1.0
    assert total(name, [*detour, *[RIGHT] * length, turn[-goal]], length, goal) == 0.0
    wait = [RIGHT] * (2 * STARTS[name])  # whoever knows nothing is early
    assert total(name, [*[RIGHT] * length, *wait, turn[goal]], length, goal) == 1.0
    assert total(name, [UP] * (length + 2 * STARTS[name] + 1), length, goal) == pytest.approx(-1.0)


def test_the_cue_is_seen_once():
    goals, first, steps = play("tmaze/active", np.array([[LEFT, RIGHT, LEFT, LEFT]] * 8))
    assert (first == 0).all() and (steps.obs[:, 0] == np.stack([0 * goals, goals], 1)).all()
    assert (steps.obs[:, 1:4] == 0).all()


@pytest.mark.parametrize("name", catalogue.TMAZES)
def test_types(name, check_types, strict):
    env = envs.make(name, length=50)
    assert env.name == name and env.longest_episode() == 51 + 2 * STARTS[name]
    assert env.time_limit(env.task.replace(length=jnp.int32(3))) == 4 + 2 * STARTS[name]
    check_types(env)
    state, _ = env.reset(jax.random.key(0), env.task)
    env.step(jax.random.key(1), state, jnp.int32(RIGHT), env.task)


def test_errors():
    with pytest.raises(ConfigError, match="length=0"):
        envs.make("tmaze/passive", length=0)
    with pytest.raises(ConfigError, match="did you mean 'length'"):
        envs.make("tmaze/active", lenght=5)
