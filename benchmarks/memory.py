"""Experiments on tasks that cannot be done without a memory, with controls.

    python benchmarks/memory.py                        # what there is: claims, and what would falsify them
    python benchmarks/memory.py chain                  # as declared; stopped, it goes on where it was
    python benchmarks/memory.py chain --seeds 2 --steps 100000 --only 'S5'    # a first look
    python benchmarks/memory.py --table benchmarks/results/memory-chain-cpu-DATE.json

Every arm is a sweep of learning rates x seeds with the same three rates; its row is that of the rate with the highest
mean, chosen by the same seeds, for every arm alike, and the others stand in the file. Returns are those of 64 greedy
episodes of the final policy.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from harness import header, markdown, save, say
from matplotlib import rc_context
from matplotlib.figure import Figure
from remembering import EXPERIMENTS, RATES, Arm, Experiment

import rljax
from rljax import runtime
from rljax.results.stats import mean_ci
from rljax.results.style import PALETTE, STYLE, save_figure

EPISODES = 64


def measure(arm: Arm, experiment: Experiment, given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Trains an arm at every rate and seed, evaluates the final policies."""
    say(f"{arm.label}: {arm.algo} on {arm.env}")
    rates = {"lr": list(given.rates)}
    if arm.algo in ("sac", "rsac", "td3", "rtd3", "rdpg"):
        rates = {"lr": list(given.rates), "critic_lr": [1e-3]}
    steps, seeds = given.steps or experiment.steps, given.seeds or experiment.seeds
    found = rljax.sweep(
        arm.algo, arm.env, steps, seeds, grid=rates, task=arm.task, out=folder, use_preset=False, progress=False,
        **arm.settings,
    )  # fmt: skip
    rows = [{"lr": rate, "seeds": evaluated(found, i, seeds, experiment)} for i, rate in enumerate(given.rates)]
    means = [np.mean([np.mean(seed) for seed in row["seeds"]]) for row in rows]
    return {"arm": arm._asdict(), "steps": steps, "rows": rows, "best": int(np.argmax(means))}


def evaluated(found: Any, row: int, seeds: int, experiment: Experiment) -> list[list[float]]:
    """Mean returns of each seed: of an episode, or of each episode of a trial."""
    returns = []
    for seed in range(seeds):
        policy = found.policy(row=row, seed=seed)
        played = policy.trial_returns(EPISODES) if experiment.trials else policy.evaluate(EPISODES, seed=0)[:, None]
        returns.append(np.mean(played, axis=0).round(4).tolist())
    return returns


def table(result: dict[str, Any]) -> str:
    """The result as Markdown."""
    rows = []
    for found in result["arms"]:
        best = found["rows"][found["best"]]
        seeds = np.array(best["seeds"])
        mean, low, high = mean_ci(seeds.mean(1))
        shown = ", ".join(f"{x:.3g}" for x in (seeds.mean(0) if seeds.shape[1] > 1 else np.sort(seeds[:, 0])))
        rows.append([found["arm"]["label"], f"{best['lr']:g}", f"{mean:.3g} [{low:.3g}, {high:.3g}]", shown])
    last = "by episode of a trial" if result["trials"] else "each seed"
    head = f"{result['claim']}\n\nFalsified if: {result['falsified_if']}\n\n"
    return head + markdown(["arm", "lr", "return", last], rows)


def picture(result: dict[str, Any]) -> Figure:
    """Draws every seed of every arm at its best rate."""
    figure = Figure(figsize=(7.0, 0.8 + 0.28 * len(result["arms"])), layout="constrained")
    axes = figure.subplots()
    for y, found in enumerate(result["arms"]):
        seeds = np.array(found["rows"][found["best"]]["seeds"]).mean(1)
        axes.plot(seeds, np.full(len(seeds), y), "o", color=PALETTE[0], markersize=4, alpha=0.5)
        axes.plot([seeds.mean()], [y], "|", color=PALETTE[1], markersize=14)
    axes.set_yticks(range(len(result["arms"])), [found["arm"]["label"] for found in result["arms"]])
    axes.invert_yaxis()
    axes.set_xlabel("return of each seed, and their mean")
    return figure


def main() -> None:
    """Runs an experiment, or lists them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", nargs="?", choices=EXPERIMENTS)
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--rates", type=float, nargs="+", default=RATES)
    parser.add_argument("--only", default="", help="arms whose label contains this")
    parser.add_argument("--work", type=Path, default=Path("runs/memory"), help="where sweeps are kept")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--table", type=Path)
    given = parser.parse_args()
    if given.table:
        print(table(json.loads(given.table.read_text())))
        return
    if given.experiment is None:
        for name, each in EXPERIMENTS.items():
            print(f"{name}: {each.claim}\n  falsified if: {each.falsified_if}\n")
        return
    experiment = EXPERIMENTS[given.experiment]
    arms = [arm for arm in experiment.arms if given.only in arm.label]
    result = header(f"memory-{given.experiment}") | {"runtime": runtime.report()}
    result |= {"claim": experiment.claim, "falsified_if": experiment.falsified_if, "trials": experiment.trials}
    folders = [given.work / given.experiment / arm.label.replace(" ", "-").replace(",", "") for arm in arms]
    result["arms"] = [measure(arm, experiment, given, folder) for arm, folder in zip(arms, folders)]
    path = save(result, given.out, "cpu")
    with rc_context(STYLE):
        save_figure(picture(result), path.with_suffix(".png"))
    print(table(result))


if __name__ == "__main__":
    main()
