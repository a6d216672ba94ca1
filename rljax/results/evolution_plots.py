"""Pictures of meta-training. Importing this module imports matplotlib. `G` counts generations."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from rljax.errors import ConfigError, require
from rljax.results.style import GREY, PALETTE, STYLE, save_figure

FITNESS = ("generation", "fitness_mean", "fitness_low", "fitness_high", "fitness_best")
LOSS = "meta_loss"  # of a search that follows gradients
ENDS = ("", "/low", "/high")  # of an interval
WIDTH = 7.0  # inches: two columns of a paper
LOOK: dict[Any, Any] = STYLE | {"axes.titlesize": 9}


def evolution_plot(
    history: Mapping[str, ArrayLike],
    out: str | Path,
    title: str | None = None,
    start: str = "start",
    score: str = "episode return",
    band: str = "quartiles",
) -> Path:
    """Draws the course of a meta-training run: the fitness of its population, and the scores of its mean elsewhere.

    Each held-out environment has a small axes of its own, where the score of what the search began with is dashed.

    Args:
      history: name -> column `[G]`: `generation`, `fitness_mean`, `fitness_low`, `fitness_high`, `fitness_best`; and
        for each environment NAME `held_out/NAME`, the score of the mean, with its 95% interval `held_out/NAME/low`
        and `held_out/NAME/high`, and the same of the start as `start/NAME`, constant. NaN is what was not measured. A
        search that follows gradients has `meta_loss` instead of a population's fitness.
      out: the figure; its suffix (`.png`, `.pdf`, `.svg`) is its format.
      title: above it all; none by default.
      start: what the search began with, e.g. "PPO".
      score: what the scores are, in words and units.
      band: what `fitness_low` and `fitness_high` are.

    Returns:
      `out`.

    Raises:
      ConfigError: no generation, a column that is missing or of another length, or a format that cannot be written.
    """
    columns = {name: np.asarray(column, float) for name, column in history.items()}
    names = [name.removeprefix("held_out/") for name in columns if _is_score(name)]
    _check(columns, names)
    across = len(names) if len(names) < 4 else 2 if len(names) == 4 else 3
    down = -(-len(names) // max(across, 1))
    heights = (2.3, 0.7 + 1.5 * down)
    with rc_context(LOOK):
        figure = Figure(figsize=(WIDTH, sum(heights) if names else heights[0]), layout="constrained")
        if title:
            figure.suptitle(title, x=0.01, ha="left", fontweight="bold", fontsize=11)
        if names:
            parts: Any = figure.subfigures(2, 1, height_ratios=heights)
            _draw_search(parts[0].subplots(), columns, band)
            _draw_held_out(parts[1], columns, names, (down, across), start, score)
        else:
            _draw_search(figure.subplots(), columns, band)
        return save_figure(figure, out)


def _is_score(column: str) -> bool:
    return column.startswith("held_out/") and not column.endswith(ENDS[1:])


def _check(columns: Mapping[str, np.ndarray], names: list[str]) -> None:
    course = ("generation", LOSS) if LOSS in columns else FITNESS
    wanted = [*course, *(f"{kind}/{name}{end}" for name in names for kind in ("held_out", "start") for end in ENDS)]
    missing = [column for column in wanted if column not in columns]
    if missing:
        raise ConfigError(f"history has no '{missing[0]}'; it needs {', '.join(wanted)}")
    length = columns["generation"].size
    require(length > 0, "generation", [], "no generation to plot; let the search go on")
    for column in wanted:
        shape = columns[column].shape
        require(shape == (length,), column, f"array of shape {shape}", f"give a value a generation, [{length}]")


def _draw_search(axes: Axes, columns: Mapping[str, np.ndarray], band: str) -> None:
    """Draws what the search optimises: the fitness of a population, or a loss."""
    if LOSS not in columns:
        _draw_fitness(axes, columns, band)
        return
    generation = columns["generation"]
    axes.plot(generation, columns[LOSS], color=PALETTE[0], marker=_marker(generation))
    axes.set(xlabel="generation", ylabel="outer loss")
    _generations(axes, generation)


def _draw_fitness(axes: Axes, columns: Mapping[str, np.ndarray], band: str) -> None:
    generation = columns["generation"]
    finite = {name: np.where(np.isfinite(columns[name]), columns[name], np.nan) for name in FITNESS}
    marker = _marker(generation)
    low, high = finite["fitness_low"], finite["fitness_high"]
    axes.fill_between(generation, low, high, color=PALETTE[0], alpha=0.2, linewidth=0, label=band)
    if len(generation) == 1:  # a band of no width would not show
        axes.vlines(generation, low, high, color=PALETTE[0], alpha=0.4)
    best = {"color": PALETTE[1], "linestyle": "--", "linewidth": 1.2}
    axes.plot(generation, finite["fitness_best"], label="best", marker=marker, **best)
    axes.plot(generation, finite["fitness_mean"], color=PALETTE[0], label="mean", marker=marker)
    handles, labels = axes.get_legend_handles_labels()
    order = [labels.index(label) for label in ("mean", band, "best")]
    above: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderaxespad": 0.2}
    axes.legend([handles[i] for i in order], [labels[i] for i in order], ncols=3, frameon=False, **above)
    axes.set(xlabel="generation", ylabel="fitness of the population")
    _generations(axes, generation)


def _draw_held_out(
    part: Any, columns: Mapping[str, np.ndarray], names: list[str], shape: tuple[int, int], start: str, score: str
) -> None:
    """Draws a small axes for each environment, and one legend for all."""
    grid = part.subplots(*shape, squeeze=False)
    lines = []
    for axes, name in zip(grid.flat, names):
        learned, first = ([columns[f"{kind}/{name}{end}"] for end in ENDS] for kind in ("held_out", "start"))
        lines = _draw_scores(axes, columns["generation"], learned, first)
        axes.set_title(name, loc="left", parse_math=False)
        axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
        axes.tick_params(labelsize=8)
        _generations(axes, columns["generation"], 4)
    for axes in grid.flat[len(names) :]:
        axes.remove()
    labels = ["mean of the search, with 95% interval", f"{start}, with 95% interval"]
    part.legend(lines, labels, loc="outside upper center", ncols=2, frameon=False)
    part.supxlabel("generation", fontsize=9)
    part.supylabel(f"held-out\n{score}", fontsize=9)


def _draw_scores(axes: Axes, generation: np.ndarray, learned: list[np.ndarray], first: list[np.ndarray]) -> list[Any]:
    """Draws the scores of evaluated generations, and the start's across all of them; gives the legend's handles."""
    done = np.isfinite(learned[0])
    at, (value, low, high) = generation[done], (column[done] for column in learned)
    band = axes.fill_between(at, low, high, color=PALETTE[0], alpha=0.2, linewidth=0)
    if len(at) == 1:
        axes.vlines(at, low, high, color=PALETTE[0], alpha=0.4)
    (line,) = axes.plot(at, value, color=PALETTE[0], marker=_marker(at), markersize=3.5)
    level, bottom, top = (column[np.isfinite(column)][-1:] for column in first)
    span: Any = axes.fill_between([], [], [], color=GREY, alpha=0.2, linewidth=0)
    if bottom.size and top.size:
        span = axes.axhspan(bottom[0], top[0], color=GREY, alpha=0.2, linewidth=0, zorder=0)
    look: dict[str, Any] = {"color": "#333333", "linestyle": "--", "linewidth": 1.2}
    dashed = axes.axhline(level[0], **look) if level.size else axes.plot([], [], **look)[0]
    if not at.size:
        axes.text(0.5, 0.5, "not evaluated yet", transform=axes.transAxes, ha="center", color=GREY, fontsize=8)
    return [(band, line), (span, dashed)]


def _generations(axes: Axes, generation: np.ndarray, ticks: int = 8) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(ticks, integer=True, steps=[1, 2, 5, 10]))
    low, high = generation.min(), generation.max()
    margin = 0.02 * (high - low) or 0.5
    axes.set_xlim(low - margin, high + margin)


def _marker(generation: np.ndarray) -> str | None:
    """Marks points where there are few."""
    return "o" if len(generation) <= 25 else None
