"""Figures of runs. Imports matplotlib: import this module where a figure is wanted."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from rljax.errors import ConfigError
from rljax.log import compact, read_jsonl
from rljax.results.curves import band, bridge, isolated
from rljax.results.labels import CODE, labels
from rljax.storage import absolute, replacing

# Okabe and Ito's colours, told apart by all kinds of eyes; yellow is too pale for a line.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", ":")
GREY = "#6b6b6b"
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 11,
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#9a9a9a",
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e9e9e9",
    "grid.linewidth": 0.8,
    "xtick.color": "#9a9a9a",
    "ytick.color": "#9a9a9a",
    "xtick.labelcolor": "#333333",
    "ytick.labelcolor": "#333333",
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
}
WINDOW = 0.04  # of the run: the width of the smoothing window, unless that has fewer than three rows
DETAILS = ("policy_loss", "value_loss", "critic_loss", "actor_loss", "loss", "entropy", "explained_variance")


@dataclass(frozen=True)
class _Run:
    fields: dict[str, Any]  # what ran: all that makes it differ from others, its seed aside
    columns: dict[str, np.ndarray]

    @property
    def environment(self) -> str:
        """Which panel it belongs to."""
        return json.dumps([self.fields.get("env"), self.fields.get(f"{CODE}env")])


def plot_runs(
    run_dirs: Sequence[str | Path], out: str | Path, metric: str = "episode_return", title: str | None = None
) -> Path:
    """Draw learning curves: one a setting, the mean of its seeds with a 95% bootstrap band; a panel an environment.

    Runs are seeds of one setting if nothing else differs: algorithm, settings, length, the environment, its numbers,
    its arguments and its code. A curve is smoothed over a share of its own length that the figure names, and broken
    where no episode ended for long; one run alone is drawn raw behind it, with its losses below.

    Args:
      run_dirs: folders of training runs, each with a `metrics.jsonl` and a `config.json`.
      out: the figure; its suffix (`.png`, `.pdf`, `.svg`) is its format.
      metric: the column to draw.
      title: instead of what the runs have in common.

    Returns:
      `out`.

    Raises:
      ConfigError: no run, a run without metrics, or a format that cannot be written.
    """
    if not run_dirs:
        raise ConfigError("no run to plot: give the folder of a training run")
    folders = dict.fromkeys(absolute(folder, "run") for folder in run_dirs)  # each once
    runs = [_load(folder, metric) for folder in folders]
    panels: dict[str, list[_Run]] = {}
    for run in runs:
        panels.setdefault(run.environment, []).append(run)
    details = [name for name in DETAILS if name in runs[0].columns][:4] if len(runs) == 1 else []
    with rc_context(STYLE):
        if len(panels) > 1:
            return save_figure(_draw_panels(list(panels.values()), metric, title), out)
        figure = Figure(figsize=(6.4, 5.2 if details else 3.8), layout="constrained")
        if details:
            rows: Any = figure.subfigures(2, 1, height_ratios=(2.4, 1))
            _draw_curves(rows[0].subplots(), _group(runs), metric, title or _title(runs))
            _draw_details(rows[1], runs[0], details)
        else:
            _draw_curves(figure.subplots(), _group(runs), metric, title or _title(runs))
        return save_figure(figure, out)


def _load(folder: Path, metric: str) -> _Run:
    path = folder / "metrics.jsonl"
    if not path.is_file():
        raise ConfigError(f"{folder} has no metrics.jsonl: give the folder of a training run")
    columns = read_jsonl(path)
    if metric not in columns or not np.isfinite(columns[metric]).any():
        raise ConfigError(f"{path} has no '{metric}' yet: let the run go on, or plot another column")
    try:
        config = json.loads((folder / "config.json").read_text())
        fields = {name: config[name] for name in ("algo", "env", "steps") if name in config}
        prefixes = {"config": "", "hypers": "", "env_args": "env_args.", "task": "task.", "fingerprints": CODE}
        for part, prefix in prefixes.items():
            fields |= _flat(config.get(part, {}), prefix)
        if config.get("updates") is not None and fields.get("horizon") == config["updates"]:
            del fields["horizon"]  # follows from the steps
    except (OSError, ValueError, AttributeError, TypeError):  # nothing that rljax wrote
        fields = {"algo": folder.name, "folder": str(folder)}  # nothing says that it is a seed of another
    return _Run(fields, columns)


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for name, value in tree.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat


def _group(runs: list[_Run]) -> dict[str, list[_Run]]:
    """Runs that differ by seed only, under a label that says what sets them apart from the other groups."""
    settings: dict[str, list[_Run]] = {}
    for run in runs:
        numbers_known = f"{CODE}task" in run.fields  # those given and those left as they are
        same = {n: x for n, x in run.fields.items() if not (numbers_known and n.startswith("task."))}
        settings.setdefault(json.dumps(same, sort_keys=True), []).append(run)
    return dict(zip(labels([group[0].fields for group in settings.values()]), settings.values(), strict=True))


def _draw_panels(panels: list[list[_Run]], metric: str, title: str | None) -> Figure:
    """A panel for each environment, a label having the same colour in all of them."""
    groups = [_group(runs) for runs in panels]
    colors = {label: i for i, label in enumerate(dict.fromkeys(label for group in groups for label in group))}
    across = min(3, len(panels))
    down = -(-len(panels) // across)
    figure = Figure(figsize=(1 + 4.2 * across, 3.4 * down), layout="constrained")
    places = figure.subplots(down, across, squeeze=False).flat
    names = labels([{n: x for n, x in runs[0].fields.items() if n in ("env", f"{CODE}env")} for runs in panels])
    for axes, group, name in zip(places, groups, names):
        _draw_curves(axes, group, metric, name, colors)
    for axes in list(places):  # those left over
        axes.remove()
    figure.suptitle(title or _title([run for runs in panels for run in runs]), fontweight="bold")
    return figure


def _draw_curves(
    axes: Axes, groups: dict[str, list[_Run]], metric: str, title: str, colors: dict[str, int] | None = None
) -> None:
    runs = [run for group in groups.values() for run in group]
    raw = len(groups) <= 3 and len(runs) == len(groups)
    colors, ends = colors or {label: i for i, label in enumerate(groups)}, []
    for label, group in groups.items():
        index = colors[label]
        color, dash = PALETTE[index % len(PALETTE)], DASHES[index // len(PALETTE) % len(DASHES)]
        steps, curves = _aligned(group, metric)
        if raw:
            own = group[0].columns
            draw_line(axes, own["step"], bridge(own["step"], own[metric]), color=color, alpha=0.25, linewidth=0.8)
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
    windows = [_window(run, metric) for run in runs]
    axes.text(0, 1.03, _note(groups, windows, raw), transform=axes.transAxes, color=GREY, fontsize=8)
    axes.set_xlabel("environment steps")
    axes.set_ylabel(metric.replace("_", " "))
    _steps_axis(axes)


def draw_line(axes: Axes, steps: np.ndarray, values: np.ndarray, dash: str = "-", **look: Any) -> None:
    """A line that breaks where values are NaN, and a dot for a point that has no neighbour."""
    axes.plot(steps, values, dash, marker="o" if len(steps) == 1 else None, **look)
    alone = isolated(values)
    if alone.any() and len(steps) > 1:
        axes.plot(steps[alone], values[alone], ".", markersize=3, **{n: x for n, x in look.items() if n != "label"})


def _window(run: _Run, metric: str) -> float:
    """How many steps of a run are smoothed over: a share of it, and at least three measurements."""
    steps = run.columns["step"]
    measured = steps[np.isfinite(run.columns[metric])]
    apart = float(np.median(np.diff(measured))) if len(measured) > 1 else float(measured[0])
    return min(float(steps[-1]), max(WINDOW * float(steps[-1]), 3 * apart))


def _aligned(group: list[_Run], metric: str) -> tuple[np.ndarray, np.ndarray]:
    """The smoothed curves `[runs, points]` of a group, at the same steps `[points]`, all that every run has."""
    measured = [np.isfinite(run.columns[metric]) for run in group]
    first = max(run.columns["step"][m][0] for run, m in zip(group, measured))
    last = max(first, min(run.columns["step"][m][-1] for run, m in zip(group, measured)))
    points = np.linspace(first, last, min(200, max(int(m.sum()) for m in measured)))
    return points, np.stack([_smooth(run.columns, metric, points, _window(run, metric)) for run in group])


def _smooth(columns: dict[str, np.ndarray], metric: str, points: np.ndarray, window: float) -> np.ndarray:
    """The mean over a centred window of steps; of returns, over the episodes that ended in it; NaN in gaps."""
    measured = np.isfinite(columns[metric])
    steps, values = columns["step"][measured], columns[metric][measured]
    weights = columns["episodes"][measured] if metric == "episode_return" and "episodes" in columns else 1.0
    weights = np.nan_to_num(np.broadcast_to(weights, values.shape), nan=1.0)
    total, weight = (np.concatenate(([0.0], np.cumsum(x))) for x in (values * weights, weights))
    left = np.searchsorted(steps, points - window / 2, "left")
    right = np.searchsorted(steps, points + window / 2, "right")
    inside = weight[right] - weight[left]
    mean = np.divide(total[right] - total[left], inside, out=np.full(len(points), np.nan), where=inside > 0)
    return np.where(inside > 0, mean, np.interp(points, columns["step"], bridge(columns["step"], columns[metric])))


def _label_ends(axes: Axes, ends: list[tuple[float, str, str]]) -> None:
    """Name the curves where they end, from the lowest up, none over another."""
    ends = sorted(ends)
    values = np.array([value for value, _, _ in ends])
    bottom, top = axes.get_ylim()
    gaps = 0.055 * (top - bottom) * np.arange(len(ends))
    # Pushed up just enough, and down just enough: half way between, the gaps are as wide, and no end is favoured.
    up = np.maximum.accumulate(values - gaps) + gaps
    down = np.minimum.accumulate((values - gaps)[::-1])[::-1] + gaps
    places = (up + down) / 2
    places -= max(0, places[-1] - top)
    for (_, label, color), place in zip(ends, places):
        axes.annotate(
            label,
            (1, place),
            xycoords=("axes fraction", "data"),
            xytext=(4, 0),
            textcoords="offset points",
            color=color,
            va="center",
            annotation_clip=False,
        )
    axes.set_ylim(bottom, top)


def _draw_details(row: Any, run: _Run, names: list[str]) -> None:
    panels = np.atleast_1d(row.subplots(1, len(names)))
    for axes, name in zip(panels, names):
        steps = run.columns["step"]
        draw_line(axes, steps, run.columns[name], color=GREY, linewidth=0.9)
        axes.set_title(name.replace("_", " "), loc="left", fontsize=9)
        axes.tick_params(labelsize=7)
        axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
        _steps_axis(axes, 3)


def _steps_axis(axes: Axes, ticks: int = 6) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(ticks))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: compact(value)))
    axes.set_xlim(0, 1.01 * axes.dataLim.x1)


def _title(runs: list[_Run]) -> str:
    algos, envs = ({str(run.fields.get(name, "")) for run in runs} - {""} for name in ("algo", "env"))
    return " on ".join(next(iter(names)) for names in (algos, envs) if len(names) == 1)


def _note(groups: dict[str, list[_Run]], windows: list[float], raw: bool) -> str:
    """How the curves were made."""
    seeds = sorted({len(group) for group in groups.values()})
    over = " to ".join(dict.fromkeys(compact(window) for window in (min(windows), max(windows))))
    parts = [f"smoothed over {over} steps" + (", raw behind" if raw else "")]
    if seeds[-1] > 1:
        counts = str(seeds[0]) if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
        parts = [f"mean of {counts} seeds with 95% bootstrap interval", *parts]
    return ", ".join(parts)


def save_figure(figure: Figure, out: str | Path) -> Path:
    """Writes a figure in the format of the file's suffix, folders and all.

    Raises:
      ConfigError: a format that cannot be written.
      StorageError: the file cannot be written; nothing is left of it.
    """
    out = absolute(out)
    form = out.suffix[1:].lower()
    if form not in figure.canvas.get_supported_filetypes():
        raise ConfigError(f"out={out}: cannot write '{out.suffix}'; use .png, .pdf or .svg")
    picture = io.BytesIO()
    figure.savefig(picture, dpi=200, format=form)
    with replacing(out) as partial:
        partial.write_bytes(picture.getvalue())
    return out
