"""The look of figures, lines, and the files they become. Imports matplotlib: import where a figure is wanted."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rljax.errors import ConfigError
from rljax.results.curves import isolated, thinned
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


def draw_line(axes: Axes, steps: np.ndarray, values: np.ndarray, dash: str = "-", **look: Any) -> None:
    """Draws a line `[U]` that breaks where values are NaN, and a dot for a point that has no neighbour.

    Of many points only those are drawn that can be seen.
    """
    seen = thinned(values)
    steps, values = steps[seen], values[seen]
    axes.plot(steps, values, dash, marker="o" if len(steps) == 1 else None, **look)
    alone = isolated(values)
    if alone.any() and len(steps) > 1:
        axes.plot(steps[alone], values[alone], ".", markersize=3, **{n: x for n, x in look.items() if n != "label"})


def save_figure(figure: Figure, out: str | Path) -> Path:
    """Writes a figure in the format of the file's suffix, and makes its folder.

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
