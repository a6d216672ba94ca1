"""The figures of a sweep's report, as images to put into a page. Imports matplotlib."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from rljax.log import compact
from rljax.results.curves import bridge
from rljax.results.labels import shown as shown
from rljax.results.stats import iqm, performance_profile
from rljax.results.style import DASHES, GREY, PALETTE, STYLE, draw_line
from rljax.sweeps.report.view import Field, View

TOP = 8  # rows that get a colour of their own
MANY = 40  # rows from which on points are drawn as pixels, which takes less room
PALE = "#d4d4d4"
PAGE: dict[Any, Any] = STYLE | {
    "svg.hashsalt": "rljax",  # the same figure is the same file
    "text.parse_math": False,  # names are shown as they are
    "axes.labelcolor": "#333333",
    "lines.linewidth": 1.6,
}


def style(rank: int) -> tuple[str, str]:
    """The colour and the dash of a ranked row: neighbours differ in both, and no two of 21 are the same."""
    return PALETTE[rank % len(PALETTE)], DASHES[rank % len(DASHES)]


def curves(view: View) -> str:
    """Draws learning curves: the best rows with 95% intervals, the mean of each other row behind them, in grey."""
    top, rest = ([score.row for score in part] for part in (view.ranking[:TOP], view.ranking[TOP:]))
    every = view.result.metrics[view.metric]  # [N, S, U]
    mean = np.ma.masked_invalid(every).mean(1).filled(np.nan)
    steps = view.result.clock
    grey = [(steps[0], run) for run in every[0]] if len(steps) == 1 else [(steps[i], mean[i]) for i in rest]

    def draw(axes: Axes) -> None:
        for steps, curve in grey:
            draw_line(
                axes, steps, bridge(steps, curve), color=PALE, linewidth=0.7, rasterized=len(grey) > MANY, zorder=1
            )
        colored = list(enumerate(view.result.take(top).curve(view.metric, iqm)))
        for rank, (steps, center, low, high) in reversed(colored):  # the best on top
            color, dash = style(rank)
            if len(view.result.seeds) > 1:
                axes.fill_between(steps, low, high, color=color, alpha=0.2 / len(top) ** 0.5, linewidth=0, zorder=2)
            draw_line(axes, steps, center, dash, color=color, zorder=3)
        _cut_off(axes, [curve for _, curve in grey], [curve for _, (_, *three) in colored for curve in three])
        axes.set(xlabel=view.result.unit.replace("steps", "environment steps"), ylabel=view.title)
        axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: compact(value)))
        axes.set_xlim(left=0)

    return _drawn(draw, 6.0, 3.9)


def sensitivity(view: View, field: Field) -> str:
    """Draws each row's score against one field, and the interquartile mean; for a lone field, the seeds' interval."""
    best, diverged = view.ranking[0].row if view.compares else [], view.result.diverged.any(1)
    alone = len(view.fields) == 1
    places = field.places if alone else field.apart

    def draw(axes: Axes) -> None:
        if alone:
            ends = np.abs([(s.value - s.low, s.high - s.value) for s in view.ranking]).T
            rows = [score.row for score in view.ranking]
            axes.errorbar(places[rows], view.values[rows], ends, fmt="none", ecolor=PALETTE[0], capsize=3, zorder=2)
        look: Any = {"color": GREY, "alpha": 0.5, "linewidths": 1, "rasterized": len(places) > MANY}
        for rows, marker, size in ((~diverged & (not alone), "o", 14), (diverged, "x", 24)):
            axes.scatter(places[rows], view.values[rows], size, marker=marker, **look)
        axes.plot(*field.marginal(view.values), "-o" if field.ordered else "o", color=PALETTE[0], ms=5, zorder=3)
        axes.plot(places[best], view.values[best], "D", color=PALETTE[1], markersize=6, zorder=4)
        _name(axes, field)
        axes.set_ylabel(view.title)

    return _drawn(draw)


def interaction(view: View, x: Field, y: Field) -> str:
    """Draws the score against two fields: the mean of each cell, or a point a row where a field was sampled."""

    def draw(axes: Axes) -> None:
        if x.ticks is None or y.ticks is None:
            order = np.argsort(view.values)  # good ones on top, unknown ones above them and invisible
            a, b, c = x.apart[order], y.apart[order], view.values[order]
            image: Any = axes.scatter(a, b, 22, c, edgecolors="white", linewidths=0.3, rasterized=len(c) > MANY)
            _name(axes, x, y)
        else:
            image = _heat_map(axes, view, x.even, y.even)
        bar: Any = axes.figure.colorbar(image, ax=axes, pad=0.02)
        bar.outline.set_visible(False)
        bar.ax.tick_params(labelsize=8, length=0)

    return _drawn(draw)


def profile(view: View) -> str:
    """Draws the share of runs above each score, a curve a row; with 95% bands where they can be told apart."""

    def draw(axes: Axes) -> None:
        every = view.scores[np.isfinite(view.scores)]
        thresholds = every.min() + (np.ptp(every) or 1) * np.linspace(-0.03, 1.03, 300)
        for rank, score in reversed(list(enumerate(view.ranking[:TOP]))):
            runs = view.scores[score.row]
            share, low, high = performance_profile(runs[np.isfinite(runs)], thresholds)
            color, dash = style(rank)
            axes.plot(thresholds, share, dash, color=color, drawstyle="steps-post")
            if len(view.ranking) <= 3:
                axes.fill_between(thresholds, low, high, step="post", color=color, alpha=0.13, linewidth=0)
        axes.set(xlabel=view.title, ylabel="share of seeds above", ylim=(-0.02, 1.02))

    return _drawn(draw, 6.0, 3.3)


def _heat_map(axes: Axes, view: View, x: Field, y: Field) -> Any:
    cells = np.full((int(y.places.max()) + 1, int(x.places.max()) + 1), np.nan)
    for i, j in np.ndindex(cells.shape):
        inside = view.values[(x.places == j) & (y.places == i) & np.isfinite(view.values)]
        cells[i, j] = inside.mean() if inside.size else np.nan
    image: Any = axes.imshow(cells, aspect="auto", origin="lower")
    axes.grid(False)
    axes.tick_params(length=0)
    _name(axes, x, y)
    for (i, j), value in np.ndenumerate(cells) if cells.size <= 36 else ():
        text = f"{value:.3g}" if abs(value) < 1000 else compact(value)
        color = "black" if image.norm(value) > 0.55 else "white"
        axes.text(j, i, text if np.isfinite(value) else "", ha="center", va="center", fontsize=8, color=color)
    return image


def _name(axes: Axes, x: Field, y: Field | None = None) -> None:
    """Sets labels, ticks and scales of the axes."""
    for field, axis in ((x, axes.xaxis), (y, axes.yaxis)):
        if field is None:
            continue
        axis.set_label_text(field.name)
        if field.ticks is not None:
            axis.set_ticks(list(field.ticks), list(field.ticks.values()))
            if axis is axes.xaxis and sum(map(len, field.ticks.values())) > 36:  # too long to stand side by side
                axes.tick_params(axis="x", labelrotation=30)
        elif field.log:
            (axes.set_xscale if axis is axes.xaxis else axes.set_yscale)("log")
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.set_minor_formatter(NullFormatter())


def _cut_off(axes: Axes, grey: list[np.ndarray], colored: list[np.ndarray]) -> None:
    """Lets coloured curves fill the height: the lowest twentieth of the grey ones may fall below it."""
    behind, front = (x[np.isfinite(x)] for x in (np.concatenate([*curves, []]) for curves in (grey, colored)))
    if behind.size and front.size:
        low, high = min(np.percentile(behind, 5), front.min()), max(behind.max(), front.max())
        axes.set_ylim(low - 0.04 * (high - low), high + 0.04 * (high - low))


def _drawn(draw: Callable[[Axes], None], width: float = 4.6, height: float = 3.1) -> str:
    """Runs `draw`, and gives the figure as a data address of an image."""
    with rc_context(PAGE):
        figure = Figure(figsize=(width, height), layout="constrained")
        draw(figure.subplots())
        file = io.BytesIO()
        figure.savefig(file, format="svg", dpi=150, metadata={"Date": None, "Creator": None})
    return f"data:image/svg+xml;base64,{base64.b64encode(file.getvalue()).decode()}"
