"""Figures of runs. Imports matplotlib: import this module where a figure is wanted."""

from __future__ import annotations

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
from rljax.results.stats import mean_band
from rljax.storage import replacing

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
    fields: dict[str, Any]  # what makes it differ from others, its seed aside
    columns: dict[str, np.ndarray]


def plot_runs(
    run_dirs: Sequence[str | Path], out: str | Path, metric: str = "episode_return", title: str | None = None
) -> Path:
    """Draw learning curves: one a setting, the mean of its seeds with a 95% bootstrap band.

    The curve is smoothed over a window that the figure names; one run alone is drawn raw behind it, with its
    losses below.

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
    runs = [_load(Path(folder), metric) for folder in run_dirs]
    groups = _group(runs)
    details = [name for name in DETAILS if name in runs[0].columns][:4] if len(runs) == 1 else []
    with rc_context(STYLE):
        figure = Figure(figsize=(6.4, 5.2 if details else 3.8), layout="constrained")
        if details:
            rows: Any = figure.subfigures(2, 1, height_ratios=(2.4, 1))
            _draw_curves(rows[0].subplots(), groups, metric, title)
            _draw_details(rows[1], runs[0], details)
        else:
            _draw_curves(figure.subplots(), groups, metric, title)
        return save_figure(figure, Path(out))


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
        for part in ("config", "hypers"):
            fields |= _flat(config.get(part, {}))
    except (OSError, ValueError):
        fields = {"algo": folder.name}
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
        settings.setdefault(json.dumps(run.fields, sort_keys=True), []).append(run)
    everything = [group[0].fields for group in settings.values()]
    return {_label(group[0].fields, everything): group for group in settings.values()}


def _label(fields: dict[str, Any], everything: list[dict[str, Any]]) -> str:
    """E.g. "ppo lr=0.001": the names where they vary, and what varies among runs of the same names."""
    names = [n for n in ("algo", "env") if len({other.get(n) for other in everything}) > 1]
    alike = [other for other in everything if all(other.get(n) == fields.get(n) for n in ("algo", "env"))]
    varying = [n for n in fields if any(other.get(n) != fields[n] for other in alike)]
    return " ".join([str(fields[n]) for n in names] + [f"{n}={_short(fields[n])}" for n in varying])


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _draw_curves(axes: Axes, groups: dict[str, list[_Run]], metric: str, title: str | None) -> None:
    runs = [run for group in groups.values() for run in group]
    end = max(run.columns["step"][-1] for run in runs)
    sparsest = max(np.diff(run.columns["step"], prepend=0).mean() for run in runs)
    window = min(end, max(WINDOW * end, 3 * sparsest))
    raw = len(groups) <= 3 and len(runs) == len(groups)
    ends = []
    for index, (label, group) in enumerate(groups.items()):
        color = PALETTE[index % len(PALETTE)]
        steps, curves = _aligned(group, metric, window)
        if raw:
            axes.plot(group[0].columns["step"], group[0].columns[metric], color=color, alpha=0.25, linewidth=0.8)
        if len(group) > 1:
            axes.fill_between(steps, *mean_band(curves), color=color, alpha=0.18, linewidth=0)
        mean = curves.mean(0)
        dash = DASHES[index // len(PALETTE) % len(DASHES)]
        axes.plot(steps, mean, dash, color=color, label=label, marker=_marker(steps))
        ends.append((float(mean[-1]), label, color))
    if len(groups) > len(PALETTE):  # colours repeat, so dashes must show
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False, fontsize=8)
    elif len(groups) > 1:
        _label_ends(axes, ends)
    axes.set_title(title or _title(runs), loc="left", fontweight="bold", pad=20)
    axes.text(0, 1.03, _note(groups, window, raw), transform=axes.transAxes, color=GREY, fontsize=8)
    axes.set_xlabel("environment steps")
    axes.set_ylabel(metric.replace("_", " "))
    _steps_axis(axes)


def _aligned(group: list[_Run], metric: str, window: float) -> tuple[np.ndarray, np.ndarray]:
    """The smoothed curves `[runs, points]` of a group, at the same steps `[points]`, all that every run has."""
    measured = [np.isfinite(run.columns[metric]) for run in group]
    first = max(run.columns["step"][m][0] for run, m in zip(group, measured))
    last = max(first, min(run.columns["step"][m][-1] for run, m in zip(group, measured)))
    points = np.linspace(first, last, min(200, max(int(m.sum()) for m in measured)))
    return points, np.stack([_smooth(run.columns, metric, points, window) for run in group])


def _smooth(columns: dict[str, np.ndarray], metric: str, points: np.ndarray, window: float) -> np.ndarray:
    """The mean over a centred window of steps; of returns, over the episodes that ended in it."""
    measured = np.isfinite(columns[metric])
    steps, values = columns["step"][measured], columns[metric][measured]
    weights = columns["episodes"][measured] if metric == "episode_return" and "episodes" in columns else 1.0
    weights = np.nan_to_num(np.broadcast_to(weights, values.shape), nan=1.0)
    total, weight = (np.concatenate(([0.0], np.cumsum(x))) for x in (values * weights, weights))
    left = np.searchsorted(steps, points - window / 2, "left")
    right = np.searchsorted(steps, points + window / 2, "right")
    inside = weight[right] - weight[left]
    mean = np.divide(total[right] - total[left], inside, out=np.full(len(points), np.nan), where=inside > 0)
    return np.where(inside > 0, mean, np.interp(points, steps, values))


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
        axes.plot(steps, run.columns[name], color=GREY, linewidth=0.9, marker=_marker(steps))
        axes.set_title(name.replace("_", " "), loc="left", fontsize=9)
        axes.tick_params(labelsize=7)
        axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
        _steps_axis(axes, 3)


def _steps_axis(axes: Axes, ticks: int = 6) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(ticks))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: compact(value)))
    axes.set_xlim(0, 1.01 * axes.dataLim.x1)


def _marker(steps: np.ndarray) -> str | None:
    """A line of one point would not show."""
    return "o" if len(steps) == 1 else None


def _title(runs: list[_Run]) -> str:
    algos, envs = ({str(run.fields.get(name, "")) for run in runs} - {""} for name in ("algo", "env"))
    return " on ".join(next(iter(names)) for names in (algos, envs) if len(names) == 1)


def _note(groups: dict[str, list[_Run]], window: float, raw: bool) -> str:
    """How the curves were made."""
    seeds = sorted({len(group) for group in groups.values()})
    parts = [f"smoothed over {compact(window)} steps" + (", raw behind" if raw else "")]
    if seeds[-1] > 1:
        counts = str(seeds[0]) if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
        parts = [f"mean of {counts} seeds with 95% bootstrap interval", *parts]
    return ", ".join(parts)


def save_figure(figure: Figure, out: Path) -> Path:
    """Writes a figure in the format of the file's suffix, folders and all.

    Raises:
      ConfigError: a format that cannot be written.
      StorageError: the file cannot be written; nothing is left of it.
    """
    form = out.suffix[1:].lower()
    if form not in figure.canvas.get_supported_filetypes():
        raise ConfigError(f"out={out}: cannot write '{out.suffix}'; use .png, .pdf or .svg")
    with replacing(out) as partial:
        figure.savefig(partial, dpi=200, format=form)
    return out
