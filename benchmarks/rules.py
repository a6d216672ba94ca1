"""Learned update rules, with and without knowledge of time, by evolution and by meta-gradients. Run by discovery.py.

Agents are tables on a family of small gridworlds, another level for each run; a run has 10 to 250 updates of 64
environments x 20 steps, log-uniform, and counts by the score of its policy at the end. The rules have a recurrent layer
of 16 units.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from harness import say
from kept import compared, finished, once, summary

from rljax.envs.gridworld_values import optimal_return
from rljax.meta import descend, evolve, fitness, runner, spec, tasks
from rljax.meta.result import Learned
from rljax.meta.strategies import OpenES, raw
from rljax.meta.tasks import Domain
from rljax.ops.tree import as_arrays
from rljax.results import stats
from rljax.run import run

FAMILY = "gridworld/small"
EACH = 64 * 20  # environment steps of an update
BOUNDS = (10 * EACH, 250 * EACH)
SIZES: dict[str, Any] = {"rule_width": 16, "bootstrap": 4, "embedding": 8}
VALIDATION: dict[str, Any] = {"kind": "evaluation", "validation_runs": 64}
LENGTHS = (10, 25, 50, 100, 250, 500)  # updates; no run of a search was as long as the last
SEEDS = 128
TUNING = 32  # the first of them choose PPO's settings, the others count
PPO = [{"lr": lr, "num_epochs": epochs} for lr in (1e-3, 4e-3, 1e-2) for epochs in (2, 8)]
TUNED_UP_TO = 100  # updates; in longer runs PPO has the settings that are best in these
SEEN = (25, 100, 250)  # lengths of the runs that are looked into
TOLD = 250  # updates, to agents that have fewer
POINTS = 25  # of a run, in a result
LOOKED_AT = ("entropy", "pi_hat_sq", "kl", "grad_norm")


def lpg(work: Path) -> dict[str, Any]:
    """Learns LPG and TA-LPG by both methods, and compares them at every length and over runs."""
    found = {}
    for algo in ("lpg", "ta-lpg"):
        found[f"{algo}, evolution"] = by_evolution(algo, work / f"{algo}-evolution")
        found[f"{algo}, gradient"] = by_gradient(algo, work / f"{algo}-gradient")
    return {
        "searches": {name: summary(x) for name, x in found.items()},
        "places": [once(work / f"rules-{n}.json", lambda n=n: compare_at(found, n, work)) for n in LENGTHS],
        "runs": once(work / "rules-runs.json", lambda: {name: looked_into(x) for name, x in found.items()}),
    }


def by_evolution(algo: str, folder: Path) -> Learned:
    """Learns a rule by evolution; pairs of members share levels, lengths and seeds, and the better one counts."""
    return finished(
        evolve.evolve(
            algo,
            FAMILY,
            BOUNDS,
            learn=("rule",),
            strategy=OpenES(popsize=256, shaping=raw, sigma=0.1, lr=0.03, lr_decay=0.985, beta1=0.9),
            generations=160,
            runs=1,
            shared=False,
            normalise="pairwise",
            validate_every=20,
            out=folder,
            **VALIDATION,
            **SIZES,
        )
    )


def by_gradient(algo: str, folder: Path) -> Learned:
    """Learns a rule by meta-gradients through five updates of agents that persist."""
    return finished(
        descend.descend(
            algo,
            FAMILY,
            BOUNDS,
            generations=100,
            agents=32,
            num_updates=5,
            meta_steps=20,
            meta_lr=1e-3,
            meta_max_grad_norm=0.1,
            validate_every=12,
            out=folder,
            **VALIDATION,
            **SIZES,
        )
    )


def compare_at(found: dict[str, Learned], updates: int, work: Path) -> dict[str, Any]:
    """Compares all rules and PPO in the same runs of one length, beside the best possible return."""
    steps = updates * EACH
    rules = {
        name: [spec.domain(algo_of(x), FAMILY, steps, use_preset=False, rule=x.theta["rule"], **SIZES)]
        for name, x in found.items()
    }
    settings, of_ppo = ppo(updates, work)
    scores = scored(rules) | {"ppo": of_ppo}
    counted = {name: np.asarray(x[TUNING:]) for name, x in scores.items()}
    best_return = optimal(range(TUNING, SEEDS))
    rows = [row(name, x, best_return, counted) for name, x in counted.items()]
    for each in rows:
        say(f"{updates} updates: {each}")
    return {
        "env": FAMILY,
        "steps": steps,
        "updates": updates,
        "optimal": float(best_return.mean()),
        "ppo": settings,
        "table": rows,
        "scores": {name: np.round(x, 4).tolist() for name, x in counted.items()},
    }


def ppo(updates: int, work: Path) -> tuple[dict[str, Any], list[float]]:
    """Finds PPO's best settings in the first runs; -> (settings, the scores of all runs with them)."""
    candidates = PPO if updates <= TUNED_UP_TO else [ppo(TUNED_UP_TO, work)[0]]
    domains = {
        str(i): [spec.domain("ppo", FAMILY, updates * EACH, use_preset=False, num_envs=64, num_steps=20, **one)]
        for i, one in enumerate(candidates)
    }
    scores = once(work / f"rules-ppo-{updates}.json", lambda: scored(domains))
    best = max(scores, key=lambda i: np.mean(scores[i][:TUNING]))
    return candidates[int(best)], scores[best]


def scored(domains: dict[str, list[Domain]]) -> dict[str, list[float]]:
    """The final scores of each contender's runs, the same runs for all."""
    found = compared(domains, SEEDS, "evaluation")
    return dict(zip(found.contenders, found.comparable()[:, 0].tolist()))


def row(name: str, scores: np.ndarray, best: np.ndarray, others: dict[str, np.ndarray]) -> dict[str, Any]:
    """Makes a row of the table: mean return, its share of the best one, and for TA-LPG the difference to LPG."""
    mean, low, high = stats.mean_ci(scores)
    found = {"contender": name, "mean": mean, "low": low, "high": high, "of_best": mean / float(best.mean())}
    if name.startswith("ta-"):
        gain, gain_low, gain_high = stats.paired_difference(scores, others[name.removeprefix("ta-")])
        found |= {"gain": gain, "gain_low": gain_low, "gain_high": gain_high}
    return found


def looked_into(found: Learned) -> dict[str, Any]:
    """Trains runs of several lengths, and again with agents that are told a length that is not theirs."""
    runs = {}
    for updates in SEEN:
        score, course = train(found, updates, updates)
        runs[str(updates)] = {"course": course, "final": stats.mean_ci(score)}
        if algo_of(found) == "ta-lpg" and updates < TOLD:
            misinformed, _ = train(found, updates, TOLD)
            runs[str(updates)] |= {
                "told_wrong": stats.mean_ci(misinformed),
                "difference": stats.paired_difference(score, misinformed),
            }
    return runs


def train(found: Learned, updates: int, told: int) -> tuple[np.ndarray, dict[str, list[float]]]:
    """Trains agents that are told a length; -> (final returns `[runs]`, means over runs at points of a run)."""
    steps = updates * EACH
    prepared = spec.prepare(algo_of(found), FAMILY, steps=steps, use_preset=False, **SIZES)
    hypers: Any = runner.write(as_arrays(prepared.algorithm.hypers), found.theta)
    hypers = hypers.replace(horizon=jnp.float32(told))
    seeds = np.arange(TUNING, SEEDS, dtype=np.uint32)
    levels = tasks.tasks_of(prepared, [tasks.Run(0, int(seed), updates, {}) for seed in seeds])

    @jax.jit
    def all_of(seeds, levels):
        one = lambda seed, level: run(prepared.algorithm, jax.random.key(seed), hypers, level, updates)[1]  # noqa: E731
        return jax.vmap(one)(seeds, levels)

    metrics = {name: np.asarray(x) for name, x in all_of(seeds, levels).items()}
    score = fitness.of_training("final", metrics, np.full(len(seeds), updates))
    parts = np.array_split(np.arange(updates), min(POINTS, updates))
    course = {name: [float(np.nanmean(metrics[name][:, part])) for part in parts] for name in LOOKED_AT}
    return np.where(np.isfinite(score), score, np.nanmin(score)), course


def optimal(seeds: range) -> np.ndarray:
    """The best return that can be expected on the level of each run."""
    prepared = spec.prepare("lpg", FAMILY, steps=EACH, use_preset=False)
    levels = tasks.tasks_of(prepared, [tasks.Run(0, seed, 1, {}) for seed in seeds])
    return np.asarray(jax.lax.map(optimal_return, levels))


def algo_of(found: Learned) -> str:
    """The algorithm of a search's agents."""
    return cast(str, found.record["rows"][0]["algo"])
