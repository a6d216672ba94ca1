"""The figures of a sweep's report, as images to put into a page. Imports matplotlib."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from rljax.log import compact
from rljax.results.plots import DASHES, GREY, PALETTE, STYLE
from rljax.results.stats import iqm, paired_difference, performance_profile
from rljax.sweeps.result import Score, SweepResult

TOP = 8  # rows that get a colour of their own
FEW = 8  # values of a number that get a tick each
MANY = 40  # rows from which on points are drawn as pixels, which takes less room
PALE = "#d4d4d4"
PAGE: dict[Any, Any] = STYLE | {
    "svg.hashsalt": "rljax",  # the same figure is the same file
    "text.parse_math": False,  # names are shown as they are
    "axes.labelcolor": "#333333",
    "lines.linewidth": 1.6,
}


@dataclass(frozen=True)
class Field:
    """A swept field as an axis.

    Attributes:
      name: of the field.
      places: `[N]`, where each row stands on the axis.
      ticks: place -> name of the value, where there are few; None for a continuous axis.
      ordered: its values are numbers.
      log: a continuous axis is logarithmic.
    """

    name: str
    places: np.ndarray
    ticks: dict[float, str] | None
    ordered: bool
    log: bool = False

    @classmethod
    def of(cls, name: str, values: Sequence[Any]) -> Field:
        """The axis of a field that has these values, `[N]`: numbers to scale, unless that would crowd them."""
        names = [text if len(text) <= 24 else f"{text[:11]}…{text[-11:]}" for text in shown(values)]
        if not all(isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in values):
            order = list(dict.fromkeys(map(str, values)))
            places = np.array([order.index(str(value)) for value in values], float)
            return cls(name, places, dict(zip(places.tolist(), names)), False)
        numbers = np.array(values, float)
        distinct, inverse = np.unique(numbers, return_inverse=True)
        log = _loglike(distinct)
        if len(distinct) > FEW:
            return cls(name, numbers, None, True, log)
        spots = np.log(distinct) if log else distinct
        spots = (spots - spots[0]) * (len(spots) - 1) / max(np.ptp(spots), 1e-300)
        if np.diff(spots).min(initial=1) < 0.3:
            spots = np.arange(len(spots), dtype=float)
        places = np.round(spots, 6)[inverse]
        return cls(name, places, dict(zip(places.tolist(), names)), True)

    @property
    def apart(self) -> np.ndarray:
        """`places`, but rows of the same value side by side rather than one over the other."""
        shifts = np.arange(len(self.places)) * 0.6180339887 % 1 - 0.5  # the golden ratio's: neighbours are far apart
        return self.places if self.ticks is None else self.places + 0.22 * shifts

    @property
    def even(self) -> Field:
        """The same axis with its few values evenly spaced."""
        spots, texts = zip(*sorted((self.ticks or {}).items()))
        return replace(self, places=np.searchsorted(spots, self.places).astype(float), ticks=dict(enumerate(texts)))

    def parts(self, known: np.ndarray) -> list[np.ndarray]:
        """The rows (of the mask `known`, `[N]`) with each value in order, or up to 8 equal shares where continuous."""
        rows = np.flatnonzero(known)
        if self.ticks is not None:
            return [rows[self.places[rows] == place] for place in np.unique(self.places[rows])]
        return np.array_split(rows[np.argsort(self.places[rows], kind="stable")], max(1, min(8, len(rows) // 4)))

    def marginal(self, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Places on the axis and the interquartile means there, of the rows' scores `[N]`, whatever else varies."""
        parts = self.parts(np.isfinite(scores))
        return np.array([np.median(self.places[p]) for p in parts]), np.array([iqm(scores[p]) for p in parts])


@dataclass(frozen=True)
class View:
    """The rows of a sweep that can be compared: a `SweepResult` with its ranking, and words for what is in it."""

    result: SweepResult
    metric: str

    @cached_property
    def ranking(self) -> list[Score]:
        return self.result.ranked(self.metric) if self.result.metrics else []

    @cached_property
    def values(self) -> np.ndarray:
        """The score of each row, `[N]`; NaN where nothing is finished."""
        values = np.full(len(self.result), np.nan)
        values[[score.row for score in self.ranking]] = [score.value for score in self.ranking]
        return values

    @cached_property
    def scores(self) -> np.ndarray:
        """The score of each run, `[N, S]`, a diverged one's being the worst, as in `SweepResult.ranked`."""
        return self.result.comparable(self.metric)

    @cached_property
    def behind(self) -> dict[int, tuple[float, float, float] | None]:
        """Row -> by how much the best is above it seed by seed, with a 95% interval; None without two common seeds."""
        found = {}
        for score in self.ranking[1:]:
            best, other = self.scores[self.ranking[0].row], self.scores[score.row]
            both = np.isfinite(best) & np.isfinite(other)
            found[score.row] = paired_difference(best[both], other[both], iqm) if both.sum() > 1 else None
        return found

    @property
    def tied(self) -> list[int]:
        """The rows that are not told apart from the best at 95%."""
        return [row for row, difference in self.behind.items() if difference is None or difference[1] <= 0]

    @cached_property
    def names(self) -> dict[str, list[str]]:
        """Field -> its value in each row, as text; only fields that differ between these rows."""
        texts = {name: shown([row.get(name) for row in self.result.rows]) for name in self.result.varied}
        return {name: values for name, values in texts.items() if len(set(values)) > 1}

    @cached_property
    def effects(self) -> dict[str, float]:
        """Field -> the share of the rows' variance that it explains beside the others, the largest first.

            (RSS without it - RSS - df MSE) / TSS, at least 0

        of the additive model with a mean for each value (or eighth) of each field: epsilon squared (Kelley 1935), which
        unlike eta squared is not above 0 by chance. 1 where no row is left to judge chance by.
        """
        known = np.isfinite(self.values)
        rows = np.flatnonzero(known)
        means = {f.name: np.stack([np.isin(rows, part) for part in f.parts(known)], 1) for f in self.fields}
        scores = self.values[known] - self.values[known].mean()

        def fit(without: str | None) -> tuple[float, int]:
            columns = [np.ones((len(scores), 1)), *(x for name, x in means.items() if name != without)]
            design = np.concatenate(columns, axis=1)
            solution, _, rank, _ = np.linalg.lstsq(design, scores)
            return float(((scores - design @ solution) ** 2).sum()), int(rank)

        (rest, rank), total = fit(None), float((scores**2).sum()) or 1.0
        noise = rest / (len(scores) - rank) if len(scores) > rank else 0.0
        fits = {name: fit(name) for name in means}
        shares = {name: max(0.0, (rss - rest - (rank - r) * noise) / total) for name, (rss, r) in fits.items()}
        return dict(sorted(shares.items(), key=lambda item: -item[1]))

    @cached_property
    def fields(self) -> list[Field]:
        """The swept fields."""
        return [Field.of(name, [row.get(name) for row in self.result.rows]) for name in self.names]

    @property
    def title(self) -> str:
        return self.metric.replace("_", " ")

    def label(self, row: int) -> list[str]:
        """What sets a row apart, `["lr=0.001", "num_envs=16"]`."""
        return [f"{name}={values[row]}" for name, values in self.names.items()] or ["all seeds"]

    def text(self, *values: float) -> str:
        """Scores with as many decimals as their spread over the runs deserves: `12.3 to 45.6`."""
        known = self.scores[np.isfinite(self.scores)]
        decimals = max(0, 2 - math.floor(math.log10(np.ptp(known) or abs(known[0]) or 1.0)))
        return " to ".join(f"{round(value, decimals) + 0.0:,.{decimals}f}".replace("-", "−") for value in values)


def shown(values: Sequence[Any]) -> list[str]:
    """Values as short text: round numbers in full, others with as many digits as it takes to tell most apart."""
    floats = {v for v in values if isinstance(v, float)}
    digits = next((d for d in range(3, 17) if len({f"{v:.{d}g}" for v in floats}) >= 0.9 * len(floats)), 17)

    def short(number: float) -> str:
        text = f"{number:.5g}"
        return text if math.isclose(float(text), number, rel_tol=1e-7) else f"{number:.{digits}g}"

    return [short(value) if isinstance(value, float) else str(value) for value in values]


def style(rank: int) -> tuple[str, str]:
    """The colour and the dash of a ranked row: neighbours differ in both, and no two of 21 are the same."""
    return PALETTE[rank % len(PALETTE)], DASHES[rank % len(DASHES)]


def curves(view: View) -> str:
    """Learning curves: the best rows with 95% intervals, the mean of each of the others behind them, in grey."""
    top, rest = ([score.row for score in part] for part in (view.ranking[:TOP], view.ranking[TOP:]))
    every = view.result.metrics[view.metric]  # [N, S, U]
    mean = np.ma.masked_invalid(every).mean(1).filled(np.nan)
    steps = view.result.step
    grey = [(steps[0], run) for run in every[0]] if len(steps) == 1 else [(steps[i], mean[i]) for i in rest]

    def draw(axes: Axes) -> None:
        for steps, curve in grey:
            there = np.isfinite(curve)
            axes.plot(steps[there], curve[there], color=PALE, linewidth=0.7, rasterized=len(grey) > MANY, zorder=1)
        colored = list(enumerate(view.result.take(top).curve(view.metric, iqm)))
        for rank, (steps, center, low, high) in reversed(colored):  # the best on top
            color, dash = style(rank)
            if len(view.result.seeds) > 1:
                axes.fill_between(steps, low, high, color=color, alpha=0.2 / len(top) ** 0.5, linewidth=0, zorder=2)
            axes.plot(steps, center, dash, color=color, marker="o" if len(steps) == 1 else None, zorder=3)
        _cut_off(axes, [curve for _, curve in grey], [curve for _, (_, *three) in colored for curve in three])
        axes.set(xlabel="environment steps", ylabel=view.title)
        axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: compact(value)))
        axes.set_xlim(left=0)

    return _drawn(draw, 6.0, 3.9)


def sensitivity(view: View, field: Field) -> str:
    """Each row's score against one field, and the interquartile mean; of a field swept alone, the seeds' interval."""
    best, diverged = view.ranking[0].row, view.result.diverged.any(1)
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
    """The score against two fields: the mean of each cell, or a point a row where a field was sampled."""

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
    """The share of runs above each score, a curve a row; with 95% bands where these can be told apart."""

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
    """Labels, ticks and scales of the axes."""
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
    """Lets what is drawn in colour fill the height: the lowest twentieth of the grey may fall below it."""
    behind, front = (x[np.isfinite(x)] for x in (np.concatenate([*curves, []]) for curves in (grey, colored)))
    if behind.size and front.size:
        low, high = min(np.percentile(behind, 5), front.min()), max(behind.max(), front.max())
        axes.set_ylim(low - 0.04 * (high - low), high + 0.04 * (high - low))


def _drawn(draw: Callable[[Axes], None], width: float = 4.6, height: float = 3.1) -> str:
    """What `draw` draws, as the address of an image that holds it."""
    with rc_context(PAGE):
        figure = Figure(figsize=(width, height), layout="constrained")
        draw(figure.subplots())
        file = io.BytesIO()
        figure.savefig(file, format="svg", dpi=150, metadata={"Date": None, "Creator": None})
    return f"data:image/svg+xml;base64,{base64.b64encode(file.getvalue()).decode()}"


def _loglike(distinct: np.ndarray) -> bool:
    """Whether ascending values are spread more evenly in their logarithm: their middle is nearer the geometric one."""
    if distinct[0] <= 0 or distinct[-1] / distinct[0] < 3:
        return False
    middle, ends = np.median(np.log(distinct)), distinct[[0, -1]]
    return abs(middle - np.log(ends).mean()) < abs(middle - np.log(ends.mean()))
