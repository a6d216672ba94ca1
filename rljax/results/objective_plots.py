"""Pictures of policy objectives. Importing this module imports matplotlib.

`X` counts ratios, `Y` advantages, `P` times of a training run.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, LinearSegmentedColormap, ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from rljax.errors import require
from rljax.objectives import DPO, Objective, PPOClip
from rljax.results.landscape import (
    RATIOS,
    STRONGEST,
    TIMES,
    VISIBLE,
    Landscape,
    alike,
    landscape,
    maps,
    middles,
    rollback,
)
from rljax.results.style import DASHES, GREY, PALETTE, STYLE, save_figure

POINTS = 240  # a side of a map; even, so that neither r = 1 nor A = 0, where there is no sign, is one of them
SLICES = (1.0, -1.0)  # advantages whose curves are drawn
BANDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)  # steps of about 10^(1/2): drifts differ by such factors
WIDTH = 7.0  # inches: two columns of a paper
LOOK: dict[Any, Any] = STYLE | {"axes.titlesize": 9, "hatch.linewidth": 0.5, "hatch.color": "#333333"}
HATCH = "/////"
FELT_LABEL = "advantage felt\n$A - \\partial D / \\partial r$"
# Blue raises a probability, vermilion lowers it. Light enough at the ends to see a hatching.
ENDS = ("#a84a00", "#e88a4a", "#f8d2b8", "white", "#b5d6ea", "#4a9bcb", "#005a8f")
FELT = LinearSegmentedColormap.from_list("felt", ENDS)
REFERENCES: Mapping[str, Objective] = {"PPO": PPOClip(), "DPO": DPO()}


@dataclass(frozen=True)
class _Panel:
    label: str
    progress: float
    map: Landscape  # [Y, X]


def plot_objective(
    objective: Objective,
    out: str | Path,
    beside: Mapping[str, Objective] | None = None,
    name: str | None = None,
    title: str | None = None,
) -> Path:
    r"""Draws an objective, loss $D - r A$: its drift, and what it leaves of the advantage.

    From top to bottom: maps of the drift $D(r, A)$; maps of what the policy feels, $A - \partial D / \partial r$; and
    that as curves for A = 1 and A = -1. Scales are common to all objectives. Where what is felt has not the sign of A,
    the policy is pulled back (rollback): outlined and hatched. What changes with `progress` is drawn at 0, 1/2 and 1.

    The derivative is the one in r, since the gradient of the objective is that of the expected advantage under the new
    policy, with what is felt in the place of the advantage:

    $$\nabla E_{old}[r A - D] = E_{new}[(A - \partial D / \partial r) \nabla \log \pi]$$

    Args:
      objective: of any class that can be called as one; it is evaluated a sample at a time.
      out: the figure; its suffix (`.png`, `.pdf`, `.svg`) is its format.
      beside: name -> objective to compare with; PPO and DPO, as they are by default, unless it is one of them.
      name: of the objective, that of its class by default.
      title: above it all; none by default.

    Returns:
      `out`.

    Raises:
      ConfigError: two have the same name, or a format that cannot be written.
    """
    name = name or getattr(objective, "__name__", type(objective).__name__).lstrip("_")
    others = REFERENCES if beside is None else beside
    drawn, references = maps(objective, POINTS), {label: maps(each, POINTS) for label, each in others.items()}
    if beside is None:  # no picture twice
        references = {label: found for label, found in references.items() if not alike(found, drawn)}
    require(name not in references, "name", name, "is the name of one beside it; give another")
    landscapes, objectives = {name: drawn, **references}, {**others, name: objective}
    columns = sum(len(found.drift) for found in landscapes.values())
    width = max(WIDTH, 1.1 + 1.15 * columns)
    side = (width - 1.1) / columns
    panels = [p for label, found in landscapes.items() for p in _panels(textwrap.fill(label, int(13 * side)), found)]
    times = sorted({panel.progress for panel in panels})
    head = 0.15 * max(panel.label.count("\n") for panel in panels)
    heights = (0.9 + head + 2 * min(1.7, side), 0.7 + 1.6 * (1 if len(times) == 1 else len(SLICES)))
    with rc_context(LOOK):
        figure = Figure(figsize=(width, sum(heights)), layout="constrained")
        if title:
            figure.suptitle(title, x=0.01, ha="left", fontweight="bold", fontsize=11)
        parts: Any = figure.subfigures(2, 1, height_ratios=heights)
        _draw_maps(parts[0], panels)
        _draw_slices(parts[1], {label: objectives[label] for label in landscapes}, times)
        return save_figure(figure, out)


def _panels(label: str, found: Landscape) -> list[_Panel]:
    if len(found.drift) == 1:
        return [_Panel(label, TIMES[0], Landscape(found.drift[0], found.felt[0]))]
    return [_Panel(f"{label}\nprogress {t:g}", t, Landscape(*fields)) for t, *fields in zip(TIMES, *found)]


def _draw_maps(part: Any, panels: Sequence[_Panel]) -> None:
    """Draws a row of drifts and a row of felt advantages, a column a panel."""
    grid = part.subplots(2, len(panels), sharex=True, sharey=True, squeeze=False)
    scale = _drift_scale([panel.map.drift for panel in panels])
    drifts = [_draw_drift(axes, panel.map.drift, scale) for axes, panel in zip(grid[0], panels)]
    felts = [_draw_felt(axes, panel.map.felt) for axes, panel in zip(grid[1], panels)]
    for axes, panel in zip(grid[0], panels):
        axes.set_title(panel.label, parse_math=False)
    for axes in grid.flat:
        axes.set_facecolor("#bdbdbd")  # where there is no number
        axes.axhline(0, color=GREY, linewidth=0.5)
        _ratio_axis(axes)
        axes.set_yticks((-2, 0, 2))
        axes.spines[:].set_visible(True)  # white as they may be
    _bar(part, drifts[0], grid[0], "drift\n$D(r, A)$", ticks=scale["levels"])
    _bar(part, felts[0], grid[1], FELT_LABEL, extend="both", ticks=range(-3, 4))
    part.supxlabel("probability ratio $r$, new over old policy", fontsize=9)
    part.supylabel("advantage $A$, in standard deviations", fontsize=9)


def _draw_drift(axes: Axes, drift: np.ndarray, scale: dict[str, Any]) -> Any:
    ratio, advantage = middles(len(drift))
    return axes.contourf(np.log(ratio), advantage, _known(drift), **scale)


def _draw_felt(axes: Axes, felt: np.ndarray) -> Any:
    """Draws the felt advantage as an image, since it may jump, hatched where it is against the sign of A."""
    ratio, advantage = middles(len(felt))
    if rollback(felt, advantage[:, None]).any():
        share = np.clip(_known(felt / advantage[:, None]), -1, 1)  # 1: all of the advantage is felt
        where = (np.log(ratio), advantage, share)
        axes.contourf(*where, levels=[-2, -VISIBLE], colors="none", hatches=[HATCH])
        axes.contour(*where, levels=[-VISIBLE], colors="black", linewidths=0.9, linestyles="solid")
    return axes.imshow(
        _known(felt),
        cmap=FELT,
        norm=Normalize(-STRONGEST, STRONGEST),
        extent=(*np.log(RATIOS), -STRONGEST, STRONGEST),
        origin="lower",
        aspect="auto",
        interpolation="none",
    )


def _known(field: np.ndarray) -> np.ma.MaskedArray:
    """Masks NaN, and clips infinity to a number beyond any scale."""
    return np.ma.masked_invalid(np.clip(field, -1e9, 1e9))


def _drift_scale(drifts: Sequence[np.ndarray]) -> dict[str, Any]:
    """Chooses bands that hold all of the drifts: white for nearly none, a warning colour below 0."""
    every = np.concatenate([_known(drift).compressed() for drift in drifts])
    top = next((i for i, band in enumerate(BANDS) if band >= every.max(initial=1.0)), len(BANDS) - 1)
    levels = np.array([-VISIBLE, *BANDS[: top + 1]])
    below, above = every.min(initial=0.0) < levels[0], every.max(initial=0.0) > levels[-1]
    colors = ["white", *colormaps["YlGnBu"](np.linspace(0.12, 0.92, len(levels) - 2))]
    extend = {(0, 0): "neither", (1, 0): "min", (0, 1): "max", (1, 1): "both"}[int(below), int(above)]
    colormap = ListedColormap(colors).with_extremes(under=PALETTE[1], over="#04122e")
    return {"levels": levels, "cmap": colormap, "norm": BoundaryNorm(levels, len(colors)), "extend": extend}


def _bar(part: Any, image: Any, row: Any, label: str, **settings: Any) -> None:
    bar = part.colorbar(image, ax=list(row), pad=0.02, label=label, fraction=0.06, aspect=14, **settings)
    bar.outline.set_linewidth(0.5)
    bar.ax.tick_params(labelsize=8, length=0)
    bar.ax.minorticks_off()
    names = ["0" if abs(tick) <= VISIBLE else f"{tick:g}".replace("-", "−") for tick in settings["ticks"]]
    bar.ax.set_yticks(list(settings["ticks"]), names)


def _ratio_axis(axes: Axes) -> None:
    """Labels the horizontal axis, which is log r, by r."""
    ticks = (0.5, 1, 2)
    axes.set_xticks(np.log(ticks), [f"{tick:g}" for tick in ticks])
    axes.set_xlim(*np.log(RATIOS))
    axes.grid(False)
    axes.axvline(0, color=GREY, linewidth=0.5)


def _draw_slices(part: Any, objectives: Mapping[str, Objective], times: Sequence[float]) -> None:
    """Draws the felt advantage against the ratio: an axes for each of SLICES and each time, with all objectives."""
    ratio = np.geomspace(*RATIOS, 2 * POINTS)
    advantage, time = np.array(SLICES)[:, None], np.array(times)[:, None, None]
    curves = {name: landscape(each, ratio, advantage, time).felt for name, each in objectives.items()}  # [P, SLICES, X]
    alone = len(times) == 1
    grid = part.subplots(1 if alone else len(SLICES), len(SLICES) if alone else len(times), squeeze=False)
    looks = [_line(index) for index in _look_indices(list(objectives))]
    lines = []
    for index, axes in enumerate(grid.flat):
        row, column = (index, 0) if alone else divmod(index, len(times))
        lines = [axes.plot(np.log(ratio), c[column, row], **look)[0] for c, look in zip(curves.values(), looks)]
        head = f"$A$ = {SLICES[row]:g}".replace("-", "−")
        axes.set_title(head if alone else f"{head}, progress {times[column]:g}", loc="left")
        _ratio_axis(axes)
        _felt_axis(axes, SLICES[row], np.stack([felt[:, row] for felt in curves.values()]))
    hatched = Patch(facecolor="none", hatch=HATCH, linewidth=0)
    names = [*curves, "rollback: felt against the sign of $A$"]
    legend = part.legend([*lines, hatched], names, loc="outside upper center", ncols=4, frameon=False)
    for text in legend.get_texts()[: len(lines)]:  # names are shown as they are
        text.set_parse_math(False)
    part.supxlabel("probability ratio $r$, new over old policy", fontsize=9)
    part.supylabel(FELT_LABEL, fontsize=9)


def _look_indices(names: Sequence[str]) -> list[int]:
    """Chooses the look of each objective: the references have the same one in every figure."""
    order = list(dict.fromkeys([names[0], *REFERENCES, *names]))
    return [order.index(name) for name in names]


def _line(index: int) -> dict[str, Any]:
    """The style of a line: the first is full, others above it are thinner, so that none hides another."""
    style = ("-", *DASHES[1:], "-.", (0, (5, 1, 1, 1)))[index % 5]
    width = 2.2 if index == 0 else 1.5
    color = (PALETTE[0], "#000000", *PALETTE[1:6])[index % 7]
    return {"color": color, "linestyle": style, "linewidth": width, "zorder": 2 + (index > 0)}


def _felt_axis(axes: Axes, advantage: float, felt: np.ndarray) -> None:
    """Sets up the vertical axis, the same for all times; what lies across 0 is marked as rollback."""
    known = np.clip(felt[np.isfinite(felt)], -STRONGEST, STRONGEST)
    low, high = known.min(initial=min(advantage, 0)), known.max(initial=max(advantage, 0))
    margin = 0.12 * (high - low)
    axes.set_ylim(low - margin, high + margin)
    axes.axhline(0, color=GREY, linewidth=0.8)
    beyond = low - margin if advantage > 0 else high + margin
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    with rc_context({"hatch.color": "#cccccc"}):  # behind curves it must be paler than over a map
        axes.axhspan(0, beyond, facecolor="none", hatch=HATCH, linewidth=0, zorder=0)
