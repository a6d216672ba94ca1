"""Pictures of the results of discovery.py.

python benchmarks/figures.py benchmarks/results/discovery-*-cpu-2026-11-21.json
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from harness import say
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

from rljax.results.style import DASHES, GREY, PALETTE, STYLE, save_figure

WIDTH = 7.0  # inches: two columns of a paper
BEST = "PPO, best clip"  # of several clips the best at that length: generous to PPO
COURSES = {"entropy": "entropy of the policy, nats", "pi_hat_sq": "mean square of $\\hat\\pi$"}


def differences(entries: list[dict[str, Any]]) -> Figure:
    """Draws the lead of the first contender over each other one, by environment, in deviations of the other's runs."""
    others = [row["contender"] for row in entries[0]["table"][1:]]
    figure = Figure(figsize=(WIDTH, 1.1 + 0.33 * len(entries)), layout="constrained")
    axes = figure.subplots()
    for i, other in enumerate(others):
        for y, entry in enumerate(entries):
            row = next(row for row in entry["table"] if row["contender"] == other)
            runs = entry["scores"][[r["contender"] for r in entry["table"]].index(other)]
            low, gain, high = (row[n] / np.std(runs, ddof=1) for n in ("gain_low", "gain", "gain_high"))
            at = y + 0.22 * (i - (len(others) - 1) / 2)
            axes.plot([low, high], [at, at], color=PALETTE[i], linewidth=1.6)
            axes.plot([gain], [at], "o", color=PALETTE[i], markersize=4.5, label=f"to {other}" if y == 0 else None)
    axes.axvline(0.0, color=GREY, linewidth=0.8)
    axes.set_yticks(range(len(entries)), [f"{entry['env']}, {entry['steps'] // 1000} k" for entry in entries])
    axes.invert_yaxis()
    name = entries[0]["table"][0]["contender"]
    label = f"{name} minus another, in standard deviations of the other's runs (95 % interval)"
    figure.supxlabel(label, fontsize=STYLE["axes.labelsize"])
    axes.legend(frameon=False)
    return figure


def lengths(entries: list[dict[str, Any]]) -> Figure:
    """Draws final returns over the length of a run, a panel an environment."""
    envs = list(dict.fromkeys(entry["env"] for entry in entries))
    figure = Figure(figsize=(WIDTH, 2.7), layout="constrained")
    for column, (env, axes) in enumerate(zip(envs, np.atleast_1d(figure.subplots(1, len(envs))))):
        chosen = [entry for entry in entries if entry["env"] == env]
        named = [{row["contender"]: row for row in entry["table"]} for entry in chosen]
        annealed = [{n: row for n, row in rows.items() if n.endswith("annealed")} for rows in named]
        constant = [
            {n: row for n, row in rows.items() if n.startswith("ppo") and n not in a}
            for rows, a in zip(named, annealed)
        ]
        lines = {name: [rows[name] for rows in named] for name in ("ta-lpo", "lpo", "dpo")}
        lines |= {BEST: [_best(rows) for rows in constant], f"{BEST}, annealed": [_best(rows) for rows in annealed]}
        _over(axes, [round(entry["steps"] / 1000) for entry in chosen], lines, "iqm")
        axes.set_title(env)
        axes.set_xlabel("steps of a run, thousands")
        if column == 0:
            axes.set_ylabel("return at the end, IQM")
    axes = figure.axes[0]
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False, fontsize=8)
    return figure


def rules(found: dict[str, Any]) -> Figure:
    """Draws returns of learned update rules over the length of a run, and metrics within runs."""
    entries = found["places"]
    figure = Figure(figsize=(WIDTH, 5.4), layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=(1.2, 1))
    top, bottom = parts
    axes = top.subplots()
    names = [row["contender"] for row in entries[0]["table"]]
    lines = {name: [next(r for r in entry["table"] if r["contender"] == name) for entry in entries] for name in names}
    # Without bands: levels differ far more than rules do. The table has intervals of differences on the same levels.
    _over(axes, [entry["updates"] for entry in entries], lines, "mean", bands=False)
    axes.axhline(entries[0]["optimal"], color=GREY, linewidth=0.8, linestyle=DASHES[1])
    axes.annotate("best possible", (entries[0]["updates"], entries[0]["optimal"]), color=GREY, va="bottom", fontsize=8)
    axes.set_xlabel("updates in a run")
    axes.set_ylabel("mean return at the end")
    top.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=5, frameon=False, fontsize=8)
    panels = bottom.subplots(1, len(COURSES))
    for axes, (name, label) in zip(panels, COURSES.items()):
        for i, runs in enumerate(found["runs"].values()):
            for j, run in enumerate(runs.values()):
                course = run["course"][name]
                age = (np.arange(len(course)) + 0.5) / len(course)
                axes.plot(age, course, color=PALETTE[i], linestyle=DASHES[j % len(DASHES)], linewidth=1.2)
        axes.set_xlabel("part of the run that is over")
        axes.set_title(label, fontsize=9)
    spans = ", ".join(
        f"{n} updates: {w}" for n, w in zip(next(iter(found["runs"].values())), ("solid", "dashed", "dotted"))
    )
    bottom.suptitle(f"Within a run; colours as above, {spans}", fontsize=9)
    return figure


def _best(rows: dict[str, Any]) -> dict[str, Any]:
    return max(rows.values(), key=lambda row: row["iqm"])


def _over(axes: Axes, x: list[float], lines: dict[str, list[dict[str, Any]]], middle: str, bands: bool = True) -> None:
    for i, (name, rows) in enumerate(lines.items()):
        low, value, high = (np.array([row[n] for row in rows]) for n in ("low", middle, "high"))
        axes.plot(x, value, "o-", color=PALETTE[i], markersize=3.5, label=name)
        if bands:
            axes.fill_between(x, low, high, color=PALETTE[i], alpha=0.13, linewidth=0)
    axes.set_xscale("log")
    axes.set_xticks(x)
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.minorticks_off()


PARTS = {"lpg": rules, "ta-lpo": lambda found: lengths(found["places"])}  # the others: as differences


def main() -> None:
    """Draws a picture of each result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, nargs="+", help="each gets a picture of its name beside it")
    for path in parser.parse_args().results:
        result = json.loads(path.read_text())
        part = result["suite"].removeprefix("discovery-")
        with rc_context(STYLE):
            draw = PARTS.get(part, lambda found: differences(found["places"]))
            say(str(save_figure(draw(result[part]), path.with_suffix(".png"))))


if __name__ == "__main__":
    main()
