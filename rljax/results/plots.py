"""Figures of runs. Imports matplotlib: import this module where a figure is wanted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from rljax.errors import ConfigError
from rljax.progress import compact
from rljax.results.curves import aligned, band, bridge, window
from rljax.results.labels import CODE, labels
from rljax.results.logged import LoggedRun, by_setting, first_metric, load
from rljax.results.style import DASHES, GREY, PALETTE, STYLE, draw_line, save_figure
from rljax.storage import absolute

DETAILS = ("policy_loss", "value_loss", "critic_loss", "actor_loss", "loss", "entropy", "explained_variance")


def plot_runs(
    run_dirs: Sequence[str | Path], out: str | Path, metric: str | None = None, title: str | None = None
) -> Path:
    """Draws learning curves: one a setting, the mean of its seeds with a 95% bootstrap band; a panel an environment.

    Runs are seeds of one setting if nothing else differs: algorithm, settings, length, the environment, its numbers,
    its arguments and its code. A curve is smoothed over a share of its own length that the figure names, and broken
    where no episode ended for long; one run alone is drawn raw behind it, with its losses below.

    Args:
      run_dirs: folders of training runs, each with a `metrics.jsonl` and a `config.json`.
      out: the figure; its suffix (`.png`, `.pdf`, `.svg`) is its format.
      metric: the column to draw; by default the return, or of runs that log none the first that they have.
      title: instead of what the runs have in common.

    Returns:
      `out`.

    Raises:
      ConfigError: no run, a run without metrics, or a format that cannot be written.
    """
    if not run_dirs:
        raise ConfigError("no run to plot: give the folder of a training run")
    folders = dict.fromkeys(absolute(folder, "run") for folder in run_dirs)  # each once
    metric = first_metric(next(iter(folders))) if metric is None else metric
    runs = [load(folder, metric, DETAILS if len(folders) == 1 else ()) for folder in folders]
    panels: dict[str, list[LoggedRun]] = {}
    for run in runs:
        panels.setdefault(run.environment, []).append(run)
    details = [name for name in DETAILS if name in runs[0].columns and name != metric][:4] if len(runs) == 1 else []
    with rc_context(STYLE):
        if len(panels) > 1:
            return save_figure(_draw_panels(list(panels.values()), metric, title), out)
        figure = Figure(figsize=(6.4, 5.2 if details else 3.8), layout="constrained")
        if details:
            rows: Any = figure.subfigures(2, 1, height_ratios=(2.4, 1))
            _draw_curves(rows[0].subplots(), by_setting(runs), metric, title or _title(runs))
            _draw_details(rows[1], runs[0], details)
        else:
            _draw_curves(figure.subplots(), by_setting(runs), metric, title or _title(runs))
        return save_figure(figure, out)


def _draw_panels(panels: list[list[LoggedRun]], metric: str, title: str | None) -> Figure:
    """Draws a panel for each environment, with the same colour for a label in all of them."""
    groups = [by_setting(runs) for runs in panels]
    colors = {label: i for i, label in enumerate(dict.fromkeys(label for group in groups for label in group))}
    across = min(3, len(panels))
    down = -(-len(panels) // across)
    figure = Figure(figsize=(1 + 4.2 * across, 3.4 * down), layout="constrained")
    slots = figure.subplots(down, across, squeeze=False).flat
    names = labels([{n: x for n, x in runs[0].fields.items() if n in ("env", f"{CODE}env")} for runs in panels])
    for axes, group, name in zip(slots, groups, names):
        _draw_curves(axes, group, metric, name, colors)
    for axes in list(slots):  # those left over
        axes.remove()
    figure.suptitle(title or _title([run for runs in panels for run in runs]), fontweight="bold")
    return figure


def _draw_curves(
    axes: Axes, groups: dict[str, list[LoggedRun]], metric: str, title: str, colors: dict[str, int] | None = None
) -> None:
    runs = [run for group in groups.values() for run in group]
    raw = len(groups) <= 3 and len(runs) == len(groups)
    colors, ends = colors or {label: i for i, label in enumerate(groups)}, []
    for label, group in groups.items():
        index = colors[label]
        color, dash = PALETTE[index % len(PALETTE)], DASHES[index // len(PALETTE) % len(DASHES)]
        steps, curves = aligned([run.columns for run in group], metric)
        if raw:
            first = group[0].columns
            draw_line(axes, first["step"], bridge(first["step"], first[metric]), color=color, alpha=0.25, linewidth=0.8)
        mean, low, high = band(curves)
        if len(group) > 1:
            axes.fill_between(steps, low, high, color=color, alpha=0.18, linewidth=0)
        draw_line(axes, steps, mean, dash, color=color, label=label)
        ends.append((float(mean[np.isfinite(mean)][-1]), label, color))
    if len(groups) > len(PALETTE):  # colours repeat, so dashes must show
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False, fontsize=8)
    elif len(groups) > 1 or len(colors) > 1:
        _label_ends(axes, ends)
    axes.set_title(title, loc="left", fontweight="bold", pad=20)
    windows = [window(run.columns, metric) for run in runs]
    axes.text(0, 1.03, _note(groups, windows, raw), transform=axes.transAxes, color=GREY, fontsize=8)
    axes.set_xlabel(runs[0].unit)
    axes.set_ylabel(metric.replace("_", " "))
    _steps_axis(axes)


def _label_ends(axes: Axes, ends: list[tuple[float, str, str]]) -> None:
    """Writes the name of each curve at its end, from the lowest up, without overlaps."""
    ends = sorted(ends)
    values = np.array([value for value, _, _ in ends])
    bottom, top = axes.get_ylim()
    gaps = 0.055 * (top - bottom) * np.arange(len(ends))
    # Pushed up just enough, and down just enough: half way between, the gaps are as wide, and no end is favoured.
    up = np.maximum.accumulate(values - gaps) + gaps
    down = np.minimum.accumulate((values - gaps)[::-1])[::-1] + gaps
    heights = (up + down) / 2
    heights -= max(0, heights[-1] - top)
    for (_, label, color), height in zip(ends, heights):
        axes.annotate(
            label,
            (1, height),
            xycoords=("axes fraction", "data"),
            xytext=(4, 0),
            textcoords="offset points",
            color=color,
            va="center",
            annotation_clip=False,
        )
    axes.set_ylim(bottom, top)


def _draw_details(row: Any, run: LoggedRun, names: list[str]) -> None:
    panels = np.atleast_1d(row.subplots(1, len(names)))
    if run.every > 1:
        row.supxlabel(f"every {run.every}th row", color=GREY, fontsize=8)
    for axes, name in zip(panels, names):
        steps, values = run.columns["step"], run.columns[name]
        read = np.isfinite(values) if run.every > 1 else slice(None)
        draw_line(axes, steps[read], values[read], color=GREY, linewidth=0.9)
        axes.set_title(name.replace("_", " "), loc="left", fontsize=9)
        axes.tick_params(labelsize=7)
        axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
        _steps_axis(axes, 3)


def _steps_axis(axes: Axes, ticks: int = 6) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(ticks))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: compact(value)))
    axes.set_xlim(0, 1.01 * axes.dataLim.x1)


def _title(runs: list[LoggedRun]) -> str:
    algos, envs = ({str(run.fields.get(name, "")) for run in runs} - {""} for name in ("algo", "env"))
    return " on ".join(next(iter(names)) for names in (algos, envs) if len(names) == 1)


def _note(groups: dict[str, list[LoggedRun]], windows: list[float], raw: bool) -> str:
    """Says how the curves were made."""
    seeds = sorted({len(group) for group in groups.values()})
    over = " to ".join(dict.fromkeys(compact(window) for window in (min(windows), max(windows))))
    unit = next(iter(groups.values()))[0].unit.removeprefix("environment ")
    parts = [f"smoothed over {over} {unit}" + (", raw behind" if raw else "")]
    if seeds[-1] > 1:
        counts = str(seeds[0]) if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
        parts = [f"mean of {counts} seeds with 95% bootstrap interval", *parts]
    return ", ".join(parts)
