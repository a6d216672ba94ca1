"""POPGym step by step against the numpy package, policies whose returns are known, and the distributions of resets."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rljax.envs as envs
from rljax.envs import catalogue
from rljax.envs.popgym import FAMILIES, LEVELS, cards
from rljax.envs.references import REFERENCES
from rljax.errors import ConfigError

EASY = {family: f"popgym/{family}-easy" for family in FAMILIES}
SHARES = np.array([0.0, 0.5, 0.9, 1.0], np.float32)  # of the actions that are an expert's, in one episode each
CONTROL = [name for name in catalogue.POPGYM if "CartPole" in name or "Pendulum" in name]
OTHERS = [name for name in catalogue.POPGYM if name not in CONTROL]


def family_of(name):
    return name.removeprefix("popgym/").partition("-")[0]


# What someone would do who sees the whole state.


def flip(state, task):
    alike = (state.kinds == state.kinds[state.first]) & (jnp.arange(len(state.up)) != state.first)
    return jnp.argmax(~state.up & ((state.first < 0) | alike))


def cell(free):
    return jnp.stack(jnp.unravel_index(jnp.argmax(free), free.shape)).astype(jnp.int32)


def balance(state, task):
    return (state.theta + 0.5 * state.theta_dot + 0.02 * state.x + 0.06 * state.x_dot > 0).astype(jnp.int32)


EXPERTS = {
    "RepeatFirst": lambda state, task: state.suits[0],
    "RepeatPrevious": lambda state, task: state.suits[state.time + 1 - task.k],
    "Autoencode": lambda state, task: state.suits[::-1][state.time + 1 - len(state.suits)],
    "CountRecall": lambda state, task: state.counts[state.queries[state.time]],
    "Concentration": flip,
    "HigherLower": lambda state, task: state.ranks[state.time + 1] < state.ranks[state.time],
    "Battleship": lambda state, task: cell(state.ships & ~state.guessed),
    "MineSweeper": lambda state, task: cell(~state.mines & ~state.visited),
    "MultiarmedBandit": lambda state, task: jnp.argmax(state.arms),
    "PositionOnlyCartPole": balance,
    "VelocityOnlyCartPole": lambda state, task: state.theta_dot + 0.1 * state.x_dot > 0,  # which it shows
    "NoisyPositionOnlyCartPole": balance,
    "PositionOnlyPendulum": lambda state, task: jnp.float32([2.0]) * jnp.sign(state.theta_dot),
    "NoisyPositionOnlyPendulum": lambda state, task: jnp.float32([2.0]) * jnp.sign(state.theta_dot),
}


@functools.cache
def played(name):
    """A program that plays episodes `[B]`, going on after their end: `(keys, shares, task, start, given)`.

    `given` are actions `[B, T, ...]`, or None for those of the expert, a share of them, and random ones.
    `start` changes the state after the reset.
    """
    env, expert = envs.make(name), EXPERTS[family_of(name)]

    def one(key, share, task, start, given):
        k_reset, k_steps = jax.random.split(key)
        state, obs = env.reset(k_reset, task)
        state = state if start is None else state.replace(**start)

        def step(state, xs):
            key, given = xs
            k_choice, k_random, k_step = jax.random.split(key, 3)
            known = jnp.asarray(expert(state, task), env.action_space.dtype)
            drawn = env.action_space.sample(k_random)
            action = jnp.where(jax.random.uniform(k_choice) < share, known, drawn) if given is None else given
            after, result = env.step(k_step, state, action, task)
            kept = state if name in CONTROL else ()
            return after, {**result._asdict(), "action": action, "state": kept}

        steps = jax.random.split(k_steps, int(env.longest_episode()))
        return state, obs, jax.lax.scan(step, state, (steps, given))[1]

    return jax.jit(jax.vmap(one, (0, 0, None, 0, 0)))


def play(name, shares, seed=0, start=None, given=None, task=None):
    """The start, the first observation and the steps `[B, T, ...]` of episodes, as NumPy arrays."""
    keys = jax.random.split(jax.random.key(seed), len(shares))
    task = envs.make(name).task if task is None else task
    return jax.tree.map(np.asarray, played(name)(keys, jnp.asarray(shares), task, start, given))


def returns(steps):
    """The returns `[B]` and lengths `[B]` of episodes, each of which has to end."""
    over = steps["terminated"] | steps["truncated"]
    assert over.any(1).all()
    length = over.argmax(1) + 1
    counts = np.arange(over.shape[1]) < length[:, None]
    return np.where(counts, steps["reward"], 0).sum(1, dtype=np.float64), length


def at(tree, *index):
    return jax.tree.map(lambda x: x[index], tree)


class Script:
    """Stands for the random numbers of a POPGym environment: it gives what was written down."""

    def __init__(self, *drawn):
        self.drawn = list(drawn)

    def shuffle(self, x):
        x[:] = self.drawn.pop(0)

    def choice(self, *args, **kwargs):
        return self.drawn.pop(0)

    def random(self, *args, **kwargs):
        return self.drawn.pop(0) if self.drawn else 0.5


def cards_of(kinds, by):
    """Distinct cards of these kinds."""
    found = np.empty(len(kinds), int)
    found[np.argsort(kinds, kind="stable")] = np.argsort(cards.kinds(np.arange(len(kinds)), by), kind="stable")
    return found


def kind_of(name):
    family, _, level = name.removeprefix("popgym/").partition("-")
    return FAMILIES[family][1]["kind"][LEVELS.index(level)]


def oracle_of(name, state):
    """POPGym's environment with the cards, board or arms of a state -> (environment, its first observation)."""
    popgym = pytest.importorskip("popgym")
    family, _, level = name.removeprefix("popgym/").partition("-")
    oracle = getattr(popgym.envs, family + level.title())()
    script = {
        "Concentration": lambda: [cards_of(state.kinds, kind_of(name))],
        "HigherLower": lambda: [cards_of(state.ranks, "ranks")[::-1]],
        "CountRecall": lambda: [cards_of(x, kind_of(name))[::-1] for x in (state.values, state.queries)],
        "MineSweeper": lambda: [np.flatnonzero(state.mines)],
        "MultiarmedBandit": lambda: [state.arms.copy()],
    }.get(family, lambda: [cards_of(state.suits, "suits")[::-1]] if hasattr(state, "suits") else None)()
    if script is not None:
        oracle._np_random = Script(*script)
    obs, _ = oracle.reset()
    if family == "Battleship":
        oracle.board = state.ships.astype(np.int8)
    return oracle, obs


@pytest.mark.parametrize("name", OTHERS)
def test_it_is_popgym_step_by_step(name):
    env = envs.make(name)
    start = None
    if "Bandit" in name:  # arms that always win or never do, so that chance has no part
        wins = jax.random.bernoulli(jax.random.key(3), 0.5, (len(SHARES), env.action_space.n))
        start = {"arms": wins.astype(jnp.float32)}
    begun, first, steps = play(name, SHARES, start=start)
    for b in range(len(SHARES)):
        oracle, obs = oracle_of(name, at(begun, b))
        np.testing.assert_array_equal(np.ravel(first[b]), np.ravel(obs))
        for t in range(int(env.longest_episode())):
            ours = at(steps, b, t)
            obs, reward, terminated, truncated, _ = oracle.step(ours["action"])
            np.testing.assert_array_equal(np.ravel(ours["obs"]), np.ravel(obs))
            assert ours["reward"] == pytest.approx(reward, abs=1e-6)
            assert bool(ours["terminated"]) == terminated
            assert bool(ours["truncated"]) == (truncated and not terminated)
            if terminated or truncated:
                break
        assert terminated or truncated


@pytest.mark.parametrize("name", CONTROL)
def test_each_step_of_a_system_is_popgyms(name):
    popgym = pytest.importorskip("popgym")
    family, _, level = name.removeprefix("popgym/").partition("-")
    oracle, env = getattr(popgym.envs, family + level.title())(), envs.make(name)
    task = env.task
    if "Noisy" in name:
        np.testing.assert_allclose(oracle.noise_sigma, task.sigma, rtol=1e-6)
        oracle.noise_sigma, task = 0.0 * oracle.noise_sigma, task.replace(sigma=jnp.float32(0.0))
    np.testing.assert_allclose(env.observation_space.low, oracle.observation_space.low)
    begun, first, steps = play(name, SHARES, task=task)
    fields = ("theta", "theta_dot") if "Pendulum" in name else ("x", "x_dot", "theta", "theta_dot")
    for b in range(len(SHARES)):
        oracle.reset(seed=0)
        for t in range(int(env.longest_episode())):
            ours = at(steps, b, t)
            oracle.state = np.array([getattr(ours["state"], field) for field in fields], np.float64)
            obs, reward, terminated, truncated, _ = oracle.step(ours["action"])
            np.testing.assert_allclose(ours["obs"], obs, atol=2e-5)
            assert ours["reward"] == pytest.approx(reward, abs=1e-6)
            assert bool(ours["terminated"]) == terminated
            assert bool(ours["truncated"]) == (truncated and not terminated)
            if terminated or truncated:
                break
        assert terminated or truncated
    x = begun.theta
    shown = np.stack([np.cos(x), np.sin(x)], 1) if "Pendulum" in name else np.stack([begun.x, x], 1)
    shown = np.stack([begun.x_dot, begun.theta_dot], 1) if "Velocity" in name else shown  # POPGym's: positions
    np.testing.assert_allclose(first, shown, atol=1e-6)


@pytest.mark.parametrize("name", [name for name in OTHERS if "Bandit" not in name and "HigherLower" not in name])
def test_whoever_knows_everything_gets_one(name):
    env = envs.make(name)
    total, length = returns(play(name, np.ones(4, np.float32))[2])
    np.testing.assert_allclose(total, 1.0, atol=1e-5)
    shortest = {"Battleship": 12, "Concentration": getattr(env.action_space, "n", None)}
    assert (length == shortest.get(family_of(name), env.longest_episode())).all()


def test_a_balanced_pole_gets_one():
    for family in ("PositionOnlyCartPole", "VelocityOnlyCartPole", "NoisyPositionOnlyCartPole"):
        total, length = returns(play(EASY[family], np.ones(4, np.float32))[2])
        np.testing.assert_allclose(total, 1.0, atol=1e-5)
        assert (length == 200).all()


# Policies that see observations alone. In these games actions change no observation, so that the second of two plays
# from one key can be given actions which were computed from the first.


def replay(name, policy, episodes=4):
    """The returns `[B]` of the actions `policy(observations [B, T, ...])`, which begin with that of the reset."""
    shares = np.zeros(episodes, np.float32)
    _, first, steps = play(name, shares)
    seen = np.concatenate([first[:, None], steps["obs"]], 1)[:, :-1]
    return returns(play(name, shares, given=jnp.asarray(policy(seen), jnp.int32))[2])[0]


def counted(seen):
    value, query = seen[..., 0], seen[..., 1]
    return np.cumsum(value[:, None, :] == np.arange(13)[:, None], -1)[
        np.arange(len(seen))[:, None], query, np.arange(seen.shape[1])
    ]


@pytest.mark.parametrize(
    ("name", "policy"),
    [
        ("popgym/RepeatFirst-easy", lambda seen: np.repeat(seen[:, :1], seen.shape[1], 1)),
        ("popgym/RepeatPrevious-easy", lambda seen: np.roll(seen, 3, 1)),
        ("popgym/RepeatPrevious-medium", lambda seen: np.roll(seen, 31, 1)),
        ("popgym/Autoencode-easy", lambda seen: np.concatenate([seen[:, :51, 1] * 0, seen[:, 51::-1, 1]], 1)),
        ("popgym/CountRecall-easy", counted),
        ("popgym/CountRecall-hard", counted),
    ],
)
def test_memory_is_enough(name, policy):
    np.testing.assert_allclose(replay(name, policy), 1.0, atol=1e-5)


@pytest.mark.parametrize(
    ("family", "policy"),
    [
        ("RepeatFirst", lambda seen: seen),
        ("RepeatPrevious", lambda seen: (seen + 1) % 4),
        ("CountRecall", lambda seen: np.where(seen[..., 0] == seen[..., 1], 6, 2)),
        ("HigherLower", lambda seen: seen >= 6),
        ("Autoencode", lambda seen: seen[..., 1]),
    ],
)
def test_without_memory_it_gets_what_is_known(family, policy, optimised):
    total = replay(EASY[family], policy, 2048)
    assert abs(total.mean() - REFERENCES[EASY[family]].memoryless) < 4 * total.std() / 2048**0.5


def test_a_constant_action_gets_what_is_known():
    constant = lambda seen: np.full(seen.shape[:2], 2)  # noqa: E731
    np.testing.assert_allclose(replay("popgym/Autoencode-easy", constant), -0.5, atol=1e-6)  # 13 of 52 cards
    assert set(np.round(replay("popgym/RepeatFirst-easy", constant, 32), 5)) == {-1.0, 1.0}


def test_the_lag_is_a_number_of_the_task():
    env = envs.make("popgym/RepeatPrevious-easy")
    for k in (1, 4, 51):
        total, _ = returns(play(env.name, np.ones(4, np.float32), task=env.task.replace(k=jnp.int32(k)))[2])
        np.testing.assert_allclose(total, 1.0, atol=1e-5)


# Distributions.


def starts(env, count):
    return jax.tree.map(np.asarray, jax.jit(jax.vmap(env.reset, (0, None)))(keys(count), env.task))


def keys(count):
    return jax.random.split(jax.random.key(5), count)


def test_decks_are_shuffled_evenly():
    suits = starts(envs.make("popgym/RepeatFirst-easy"), 4096)[0].suits
    assert (np.sort(suits, 1) == np.repeat(np.arange(4), 13)).all()
    share = np.stack([(suits == s).mean(0) for s in range(4)])
    assert np.abs(share - 0.25).max() < 5 * (0.25 * 0.75 / 4096) ** 0.5
    both = starts(envs.make("popgym/CountRecall-easy"), 4096)[0]
    assert abs(np.mean(both.values == both.queries) - 0.5) < 0.01  # one deck says nothing of the other


def test_ships_lie_as_popgym_places_them():
    popgym = pytest.importorskip("popgym")
    ships = starts(envs.make("popgym/Battleship-easy"), 4096)[0].ships
    assert (ships.sum((1, 2)) == 12).all()
    oracle, boards = popgym.envs.BattleshipEasy(), []
    oracle.reset(seed=0)
    for _ in range(1024):
        oracle.reset()
        boards.append(oracle.board)
    assert np.abs(ships.mean(0) - np.mean(boards, 0)).max() < 5 * (0.25 * 0.75 * (1 / 1024 + 1 / 4096)) ** 0.5
    one = starts(envs.make("popgym/Battleship-easy", board=4, ships=(3,)), 4096)[0].ships
    counts = np.unique(one.reshape(4096, -1), axis=0, return_counts=True)[1]
    assert len(counts) == 16 and np.abs(counts - 256).max() < 5 * 16


def test_mines_and_arms():
    mines = starts(envs.make("popgym/MineSweeper-easy"), 4096)[0].mines
    assert (mines.sum((1, 2)) == 2).all() and np.abs(mines.mean(0) - 0.125).max() < 0.03
    env = envs.make("popgym/MultiarmedBandit-easy")
    arms = starts(env, 4096)[0].arms
    assert np.abs(np.quantile(arms, [0.1, 0.5, 0.9]) - [0.1, 0.5, 0.9]).max() < 0.01
    high = dataclasses.replace(env, task=env.task.replace(low=jnp.float32(0.8)))
    assert starts(high, 64)[0].arms.min() >= 0.8


def test_an_arm_wins_as_often_as_it_says():
    arms = jnp.full((64, 10), 0.3)
    _, _, steps = play(EASY["MultiarmedBandit"], np.ones(64, np.float32), start={"arms": arms})
    assert abs(steps["obs"].mean() - 0.3) < 5 * (0.21 / (64 * 200)) ** 0.5
    np.testing.assert_allclose(steps["reward"], np.where(steps["obs"] == 1, 1, -1) / 200, rtol=1e-6)


@pytest.mark.parametrize("family", ["NoisyPositionOnlyCartPole", "NoisyPositionOnlyPendulum"])
def test_noise_has_its_deviation_and_is_clipped(family):
    env = envs.make(f"popgym/{family}-hard")
    state, obs = starts(env, 4096)
    space = env.observation_space
    assert (obs >= space.low).all() and (obs <= space.high).all() and (obs[:, 1] == space.high[1]).any()
    inside = np.abs(np.cos(state.theta)) < 0.1 if "Pendulum" in family else np.ones(4096, bool)
    clean = np.cos(state.theta) if "Pendulum" in family else state.x
    noise = (obs[:, 0] - clean)[inside]
    assert abs(noise.std() - 0.3) < 5 * 0.3 / (2 * len(noise)) ** 0.5 + 0.002 and abs(noise.mean()) < 0.05


@pytest.mark.parametrize("name", catalogue.POPGYM)
def test_types(name, check_types):
    env = envs.make(name)
    assert env.name == name and env is envs.make(name) and name in REFERENCES
    check_types(env)


@pytest.mark.parametrize("name", EASY.values())
def test_keys_are_used_once_and_nothing_is_promoted(name, strict):
    env = envs.make(name)

    def everything(key):
        k_reset, k_step = jax.random.split(key)
        state, _ = env.reset(k_reset, env.task)
        return env.step(k_step, state, jnp.zeros(env.action_space.shape, env.action_space.dtype), env.task)

    jax.jit(everything).lower(jax.random.key(0))  # tracing is enough to be told


def test_names_are_families_in_levels():
    assert list(catalogue.POPGYM) == [f"popgym/{family}-{level}" for family in FAMILIES for level in LEVELS]
    assert envs.make("popgym/RepeatPrevious-hard", k=8, decks=1).longest_episode() == 51


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("popgym/RepeatFirst", {}, "did you mean 'popgym/RepeatFirst-"),
        ("popgym/RepeatFirst-easy", {"deks": 2}, "did you mean 'decks'"),
        ("popgym/RepeatFirst-easy", {"decks": 0}, "decks=0"),
        ("popgym/RepeatPrevious-easy", {"k": 52}, "k=52: must lie in 1 .. 51"),
        ("popgym/CountRecall-easy", {"kind": "colors"}, "kind=colors: must be one of colours, suits, ranks"),
        ("popgym/Concentration-easy", {"kind": "suits"}, "an odd number of each"),
        ("popgym/Battleship-easy", {"board": 4}, "board=4: may have no room"),
        ("popgym/Battleship-easy", {"ships": ()}, "must be one size or more"),
        ("popgym/MineSweeper-easy", {"mines": 14}, "mines=14: must be in 1 .. 13"),
        ("popgym/MultiarmedBandit-easy", {"arms": 0}, "arms=0"),
        ("popgym/NoisyPositionOnlyPendulum-easy", {"sigma": -1.0}, "sigma=-1.0: must be at least 0"),
        ("popgym/PositionOnlyCartPole-easy", {"max_steps": 0}, "max_steps=0"),
    ],
)
def test_errors(name, arguments, message):
    with pytest.raises(ConfigError, match=message):
        envs.make(name, **arguments)
