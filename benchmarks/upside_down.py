"""Upside-down RL with a random forest (arXiv:2411.11457) beside that with a network, after as many episodes.

python benchmarks/upside_down.py                                  # CartPole, 7500 episodes; needs scikit-learn
python benchmarks/upside_down.py --iterations 20 --seeds 1        # a first look
python benchmarks/upside_down.py --table benchmarks/results/upside_down-cpu-DATE.json

The forest is fitted on the host to all steps of the best episodes, and asked by compiled rollouts (`forest.py`). Its
commands are those of `rljax.algos.udrl`: the return of the whole episode, and the steps that are left.
"""

from __future__ import annotations

import argparse
import json
import time
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from forest import Forest, arrays, probabilities
from harness import header, markdown, save, say

import rljax
from rljax.nets.features import features
from rljax.ops.commands import count_down
from rljax.ops.explore import epsilon_greedy
from rljax.ops.rollout import play
from rljax.results.stats import mean_ci
from rljax.run import advance, evaluate, start
from rljax.types import Env

SCALE, EPSILON = 0.02, 0.2  # of commands; the share of random actions
NETWORK: dict[str, Any] = {"num_envs": 15, "hidden": (64, 64), "batch_size": 768, "gradient_steps": 16, "lr": 3e-4}


class Episode(NamedTuple):
    """A whole episode of T steps."""

    x: np.ndarray  # [T, F] features of observations
    action: np.ndarray  # [T]
    came_to: float  # its return


@partial(jax.jit, static_argnames=("env", "steps"))
def played(env: Env, forest: Forest | None, command: jax.Array, epsilon: float, key: jax.Array, steps: int) -> Any:
    """Plays an episode for each command `[B, 2]`: (features `[T, B, F]`, actions, rewards, mask `[T, B]`)."""

    def policy(carry, obs, reset, key):
        now = jnp.where(reset[:, None], command, carry)
        x = features(env.observation_space, obs)
        action = jnp.zeros(len(command), jnp.int32)
        if forest is not None:
            action = probabilities(forest, jnp.concatenate([x, SCALE * now], axis=-1)).argmax(-1).astype(jnp.int32)
        return count_down(now), epsilon_greedy(key, action, epsilon, env.action_space.n), x

    done, mask = play(env, env.task, policy, command, key, len(command), steps)
    return {"features": done.extras, "action": done.action, "reward": done.reward, "mask": mask}


def episodes(found: dict[str, Any]) -> list[Episode]:
    """The episodes in what was played."""
    found, made = jax.device_get(found), []
    for b in range(found["mask"].shape[1]):
        real = found["mask"][:, b]
        x, action, reward = (found[name][real, b] for name in ("features", "action", "reward"))
        made.append(Episode(x, action, float(reward.sum())))
    return made


def fitted(best: list[Episode], env: Env, given: argparse.Namespace, seed: int) -> Forest:
    """A forest of what was done in these episodes, under the command of what they came to."""
    from sklearn.ensemble import RandomForestClassifier

    def inputs(episode: Episode) -> np.ndarray:
        left = np.arange(len(episode.x), 0, -1)
        command = np.stack([np.full(len(left), episode.came_to), left], -1)
        return np.concatenate([episode.x, SCALE * command], -1).astype(np.float32)

    forest = RandomForestClassifier(
        given.trees, max_samples=given.max_samples, max_depth=given.max_depth, n_jobs=-1, random_state=seed
    )
    size = sum(len(episode.x) for episode in best)
    if given.max_samples and given.max_samples > size:
        forest.set_params(max_samples=None)
    forest.fit(np.concatenate([inputs(each) for each in best]), np.concatenate([each.action for each in best]))
    return arrays(forest, env.action_space.n)


def commands(best: list[Episode], count: int, random: np.random.Generator) -> np.ndarray:
    """Commands `[B, 2]` between the mean return of these episodes and a standard deviation above it."""
    returns = np.array([each.came_to for each in best])
    wanted = returns.mean() + returns.std() * random.random(count)
    return np.stack([wanted, np.full(count, np.mean([len(each.x) for each in best]))], -1).astype(np.float32)


def with_forest(env: Env, seed: int, given: argparse.Namespace) -> dict[str, Any]:
    """A run: returns of each iteration, and of tests under commands."""
    random, key, steps = np.random.default_rng(seed), jax.random.key(seed), env.max_episode_steps
    key, k_warmup, k_test = jax.random.split(key, 3)
    best = episodes(played(env, None, jnp.zeros((given.warmup, 2)), 1.0, k_warmup, steps))
    curve, forest = [], None
    for i in range(given.iterations):
        best = sorted(best, key=lambda each: each.came_to)[-given.best :]
        forest = fitted(best, env, given, seed + i)
        wanted = commands(best[-given.last :], given.episodes, random)
        new = episodes(played(env, forest, wanted, EPSILON, jax.random.fold_in(key, i), steps))
        curve.append(float(np.mean([each.came_to for each in new])))
        best += new
        if (i + 1) % max(1, given.iterations // 10) == 0:
            say(f"forest, seed {seed}, iteration {i + 1}: {np.mean(curve[-10:]):.1f}")
    tests = {}
    for share in (0.25, 0.5, 0.75, 1.0):
        wanted = np.tile(np.float32(given.final) * share, (given.tests, 1))
        found = episodes(played(env, forest, wanted, 0.0, k_test, steps))
        tests[f"{wanted[0, 0]:g}"] = [each.came_to for each in found]
    return {"curve": curve, "tests": tests}


def with_network(env: Env, seed: int, given: argparse.Namespace) -> dict[str, Any]:
    """A run of `udrl` for as many episodes."""
    sizes = {"best_episodes": given.best, "command_episodes": given.last, "episode_steps": env.max_episode_steps}
    algo, env = rljax.make(
        "udrl", env.name, **NETWORK | sizes, epsilon=EPSILON, return_scale=SCALE, horizon_scale=SCALE
    )
    hypers, task, ended, curve = algo.hypers, env.task, 0, []
    state = start(algo, jax.random.key(seed), hypers, task)
    while ended < given.iterations * given.episodes:
        state, metrics = advance(algo, state, hypers, task, np.int32(10), 10)
        counts, returns = (np.asarray(metrics[name]) for name in ("episodes", "episode_return"))
        ended += int(counts.sum())
        curve.append([ended, float(np.nansum(counts * returns) / max(counts.sum(), 1))])
    tests = {}
    for share in (0.25, 0.5, 0.75, 1.0):
        wanted, horizon = (jnp.float32(share * x) for x in given.final)
        told = state.replace(outcomes=state.outcomes.replace(mean=wanted, length=horizon))
        tests[f"{wanted:g}"] = np.asarray(evaluate(algo, told, env, jax.random.key(1), given.tests)).tolist()
    say(f"network, seed {seed}: {np.mean(tests[f'{wanted:g}']):.1f}")
    return {"curve": curve, "tests": tests}


def table(found: dict[str, Any]) -> str:
    """The returns that were come to, by what was commanded, as Markdown: means over seeds with 95 % intervals."""
    rows = []
    for name, runs in found["runs"].items():
        cells = []
        for wanted in runs[0]["tests"]:
            mean, low, high = mean_ci(np.array([np.mean(run["tests"][wanted]) for run in runs]))
            cells.append(f"{mean:.0f} [{low:.0f}, {high:.0f}]")
        rows.append([name, *cells])
    return markdown(["commanded", *next(iter(found["runs"].values()))[0]["tests"]], rows)


def parsed() -> argparse.Namespace:
    """The command line; by default the settings of the paper."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", default="CartPole-v1|time_limit(200)")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--iterations", type=int, default=500)
    parser.add_argument("--episodes", type=int, default=15, help="of an iteration")
    parser.add_argument("--warmup", type=int, default=50, help="random episodes")
    parser.add_argument("--best", type=int, default=700, help="episodes that are kept")
    parser.add_argument("--last", type=int, default=75, help="of them, from which commands are made")
    parser.add_argument("--trees", type=int, default=100)
    parser.add_argument("--max-depth", type=int, help="of a tree")
    parser.add_argument(
        "--max-samples", type=int, help="steps that a tree is fitted to; by default as many as there are"
    )
    parser.add_argument("--tests", type=int, default=100, help="episodes under each command at the end")
    parser.add_argument("--final", type=float, nargs=2, default=(200.0, 200.0), help="return and steps, then commanded")
    parser.add_argument("--only", choices=["forest", "network"])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--table", type=Path)
    return parser.parse_args()


def main() -> None:
    """Trains, tests and stores the result."""
    given = parsed()
    if given.table:
        print(table(json.loads(given.table.read_text())))
        return
    env, kinds = rljax.envs.make(given.env), {"forest": with_forest, "network": with_network}
    found = header("upside_down") | {"given": {n: str(x) for n, x in vars(given).items()}, "runs": {}, "seconds": {}}
    for name in [given.only] if given.only else kinds:
        began = time.perf_counter()
        found["runs"][name] = [kinds[name](env, seed, given) for seed in range(given.seeds)]
        found["seconds"][name] = time.perf_counter() - began
    path = save(found, given.out, jax.default_backend())
    print(table(found), path, sep="\n")


if __name__ == "__main__":
    main()
