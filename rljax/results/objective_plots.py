"""Pictures of what a policy objective does. Imports matplotlib: import this module where one is wanted.

`X` counts ratios, `Y` advantages, `P` times of an agent's life.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, LinearSegmentedColormap, ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from rljax.errors import require
from rljax.objectives import DPO, Objective, PPOClip
from rljax.results.style import DASHES, GREY, PALETTE, STYLE, save_figure

POINTS = 240  # a side of a map; even, so that neither r = 1 nor A = 0, where there is no sign, is one of them
RATIOS = (0.4, 2.5)  # as far down as up, in logarithms
STRONGEST = 3.0  # the largest advantage in a map, in standard deviations; beyond it, what is felt saturates
SLICES = (1.0, -1.0)  # advantages whose curves are drawn
TIMES = (0.0, 0.5, 1.0)
BANDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)  # steps of about 10^(1/2): drifts differ by such factors
VISIBLE = 1e-3  # differences below it are neither seen in a figure nor told apart from rounding
WIDTH = 7.0  # inches: two columns of a paper
LOOK: dict[Any, Any] = STYLE | {"axes.titlesize": 9, "hatch.linewidth": 0.5, "hatch.color": "#333333"}
HATCH = "/////"
FELT_LABEL = "advantage felt\n$A - \\partial D / \\partial r$"
# Blue raises a probability, vermilion lowers it. Light enough at the ends to see a hatching.
ENDS = ("#a84a00", "#e88a4a", "#f8d2b8", "white", "#b5d6ea", "#4a9bcb", "#005a8f")
FELT = LinearSegmentedColormap.from_list("felt", ENDS)
REFERENCES: Mapping[str, Objective] = {"PPO": PPOClip(), "DPO": DPO()}


class Landscape(NamedTuple):
    """What an objective does to samples."""

    drift: np.ndarray  # D(r, A), in units of the advantage
    felt: np.ndarray  # A - dD/dr, in units of the advantage


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
    r"""Draw what an objective, loss $D - r A$, does: its drift, and what it leaves of the advantage.

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
    own, lives = _life(objective), {label: _life(each) for label, each in others.items()}
    if beside is None:  # no picture twice
        lives = {label: life for label, life in lives.items() if not _alike(life, own)}
    require(name not in lives, "name", name, "is the name of one beside it; give another")
    lives, objectives = {name: own, **lives}, {**others, name: objective}
    columns = sum(len(life.drift) for life in lives.values())
    width = max(WIDTH, 1.1 + 1.15 * columns)
    side = (width - 1.1) / columns
    panels = [panel for label, life in lives.items() for panel in _panels(textwrap.fill(label, int(13 * side)), life)]
    times = sorted({panel.progress for panel in panels})
    head = 0.15 * max(panel.label.count("\n") for panel in panels)
    heights = (0.9 + head + 2 * min(1.7, side), 0.7 + 1.6 * (1 if len(times) == 1 else len(SLICES)))
    with rc_context(LOOK):
        figure = Figure(figsize=(width, sum(heights)), layout="constrained")
        if title:
            figure.suptitle(title, x=0.01, ha="left", fontweight="bold", fontsize=11)
        parts: Any = figure.subfigures(2, 1, height_ratios=heights)
        _draw_maps(parts[0], panels)
        _draw_slices(parts[1], {label: objectives[label] for label in lives}, times)
        return save_figure(figure, out)


def landscape(objective: Objective, ratio: ArrayLike, advantage: ArrayLike, progress: ArrayLike = 0.0) -> Landscape:
    r"""The drift of an objective, and the derivative in r of what is maximised.

    $$D(r, A) = L(\log r, A) + r A, \quad \partial(r A - D) / \partial r = -\partial L / \partial r$$

    Args:
      objective: the loss per sample, L.
      ratio: r > 0, new probability over old.
      advantage: A, of any shape that goes with it.
      progress: the fraction of the run that is over, of any shape that goes with them.

    Returns:
      Both in units of the advantage, of the common shape.
    """

    def sample(point: tuple[Any, Any, Any]) -> tuple[Any, Any]:
        ratio, advantage, progress = point
        loss, slope = jax.value_and_grad(lambda r: objective(jnp.log(r), advantage, progress))(ratio)
        return loss + ratio * advantage, -slope

    points = jnp.broadcast_arrays(*(jnp.asarray(x, float) for x in (ratio, advantage, progress)))
    flat = tuple(x.reshape(-1) for x in points)
    # In blocks, so that a network's activations do not need gigabytes.
    drift, felt = jax.jit(lambda flat: jax.lax.map(sample, flat, batch_size=8192))(flat)
    return Landscape(*(np.asarray(x).reshape(points[0].shape) for x in (drift, felt)))


def is_temporal(objective: Objective) -> bool:
    """Whether drift or derivative differ visibly (by 1e-3) between progress 0, 1/2 and 1, anywhere in the maps."""
    return len(_life(objective, POINTS // 5).drift) > 1


def rollback(felt: ArrayLike, advantage: ArrayLike) -> np.ndarray:
    """Where the policy is pulled back: what it feels has not the sign of the advantage; False where it feels nothing.

    Args:
      felt: A - dD/dr.
      advantage: A, not 0, of any shape that goes with it.
    """
    return np.asarray(felt) / advantage < -VISIBLE


def _life(objective: Objective, points: int | None = None) -> Landscape:
    """The maps at all TIMES, [P, Y, X]; at the first alone if they are the same."""
    ratio, advantage = _axes(points or POINTS)
    life = landscape(objective, ratio, advantage[:, None], np.array(TIMES)[:, None, None])
    start = Landscape(*(field[:1] for field in life))
    return start if _alike(life, Landscape(*(np.broadcast_to(field, life.drift.shape) for field in start))) else life


def _alike(one: Landscape, other: Landscape) -> bool:
    look = {"rtol": VISIBLE, "atol": VISIBLE, "equal_nan": True}
    return all(x.shape == y.shape and np.allclose(x, y, **look) for x, y in zip(one, other))


def _axes(points: int) -> tuple[np.ndarray, np.ndarray]:
    """The ratios [X] and the advantages [Y] of a map: the middles of its cells."""
    middles = (np.arange(points) + 0.5) / points
    low, high = np.log(RATIOS)
    return np.exp(low + (high - low) * middles), STRONGEST * (2 * middles - 1)


def _panels(label: str, life: Landscape) -> list[_Panel]:
    if len(life.drift) == 1:
        return [_Panel(label, TIMES[0], Landscape(life.drift[0], life.felt[0]))]
    return [_Panel(f"{label}\nprogress {t:g}", t, Landscape(*fields)) for t, *fields in zip(TIMES, *life)]


def _draw_maps(part: Any, panels: Sequence[_Panel]) -> None:
    """A row of drifts and a row of what is felt, a column a panel."""
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
    ratio, advantage = _axes(len(drift))
    return axes.contourf(np.log(ratio), advantage, _known(drift), **scale)


def _draw_felt(axes: Axes, felt: np.ndarray) -> Any:
    """What is felt as an image, since it may jump; where it is against the sign of A, hatched."""
    ratio, advantage = _axes(len(felt))
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
    """What can be drawn: all but NaN, infinity as beyond any scale."""
    return np.ma.masked_invalid(np.clip(field, -1e9, 1e9))


def _drift_scale(drifts: Sequence[np.ndarray]) -> dict[str, Any]:
    """Bands that hold all of the drifts: white where there is nearly none, a warning colour below 0."""
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
    """The horizontal axis, where what is plotted is log r and what is read is r."""
    ticks = (0.5, 1, 2)
    axes.set_xticks(np.log(ticks), [f"{tick:g}" for tick in ticks])
    axes.set_xlim(*np.log(RATIOS))
    axes.grid(False)
    axes.axvline(0, color=GREY, linewidth=0.5)


def _draw_slices(part: Any, objectives: Mapping[str, Objective], times: Sequence[float]) -> None:
    """What is felt against the ratio: an axes for each of SLICES and each time, all objectives in each."""
    ratio = np.geomspace(*RATIOS, 2 * POINTS)
    advantage, time = np.array(SLICES)[:, None], np.array(times)[:, None, None]
    curves = {name: landscape(each, ratio, advantage, time).felt for name, each in objectives.items()}  # [P, SLICES, X]
    alone = len(times) == 1
    grid = part.subplots(1 if alone else len(SLICES), len(SLICES) if alone else len(times), squeeze=False)
    looks = [_line(place) for place in _places(list(objectives))]
    lines = []
    for place, axes in enumerate(grid.flat):
        row, column = (place, 0) if alone else divmod(place, len(times))
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


def _places(names: Sequence[str]) -> list[int]:
    """Which look each objective has: the first its own, the references theirs in every figure."""
    order = list(dict.fromkeys([names[0], *REFERENCES, *names]))
    return [order.index(name) for name in names]


def _line(index: int) -> dict[str, Any]:
    """The objective in full, others above it but thinner, so that none hides another."""
    style = ("-", *DASHES[1:], "-.", (0, (5, 1, 1, 1)))[index % 5]
    width = 2.2 if index == 0 else 1.5
    color = (PALETTE[0], "#000000", *PALETTE[1:6])[index % 7]
    return {"color": color, "linestyle": style, "linewidth": width, "zorder": 2 + (index > 0)}


def _felt_axis(axes: Axes, advantage: float, felt: np.ndarray) -> None:
    """The vertical axis, the same for all times, with what lies across 0 marked as rollback."""
    known = np.clip(felt[np.isfinite(felt)], -STRONGEST, STRONGEST)
    low, high = known.min(initial=min(advantage, 0)), known.max(initial=max(advantage, 0))
    margin = 0.12 * (high - low)
    axes.set_ylim(low - margin, high + margin)
    axes.axhline(0, color=GREY, linewidth=0.8)
    beyond = low - margin if advantage > 0 else high + margin
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    with rc_context({"hatch.color": "#cccccc"}):  # behind curves it must be paler than over a map
        axes.axhspan(0, beyond, facecolor="none", hatch=HATCH, linewidth=0, zorder=0)
