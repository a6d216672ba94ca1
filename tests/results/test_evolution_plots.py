"""Pictures of meta-training: what they hold, and that they are refused in words."""

from __future__ import annotations

import matplotlib.figure
import numpy as np
import pytest
from PIL import Image

from rljax.errors import ConfigError
from rljax.results.evolution_plots import evolution_plot

ENVS = ("SpaceInvaders-MinAtar", "probe/action-observation")


def history(generations: int = 21, envs=ENVS, every: int = 5) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    generation = np.arange(generations)
    mean = np.log1p(generation) + 0.1 * rng.standard_normal(generations)
    columns = {"generation": generation, "fitness_mean": mean, "fitness_low": mean - 1, "fitness_high": mean + 1}
    columns["fitness_best"] = mean + 2
    for index, name in enumerate(envs):
        score = np.where(generation % every == 0, index + mean, np.nan)
        columns |= {f"held_out/{name}": score, f"held_out/{name}/low": score - 0.5, f"held_out/{name}/high": score + 1}
        for end, value in (("", 1.0), ("/low", 0.75), ("/high", 1.5)):
            columns[f"start/{name}{end}"] = np.full(generations, value + index)
    return columns


@pytest.fixture
def figures(monkeypatch) -> list[matplotlib.figure.Figure]:
    """The figures that were to be saved: most of the time goes into drawing."""
    saved = []
    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", lambda self, *args, **kwargs: saved.append(self))
    return saved


def texts(figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_the_drawn_values(tmp_path, figures):
    columns = history()
    evolution_plot(columns, tmp_path / "course.png", start="PPO")
    top, below = figures[0].subfigs
    (axes,) = top.axes
    lines = {line.get_label(): line for line in axes.lines}
    np.testing.assert_array_equal(lines["mean"].get_ydata(), columns["fitness_mean"])
    np.testing.assert_array_equal(lines["best"].get_ydata(), columns["fitness_best"])
    band = axes.collections[0].get_paths()[0].vertices
    assert band[:, 1].min() == columns["fitness_low"].min() and band[:, 1].max() == columns["fitness_high"].max()
    assert [axes.get_title("left") for axes in below.axes] == list(ENVS)
    assert texts(below) == ["mean of the search, with 95% interval", "PPO, with 95% interval"]
    for index, axes in enumerate(below.axes):
        learned, start = axes.lines
        np.testing.assert_array_equal(learned.get_xdata(), [0, 5, 10, 15, 20])
        np.testing.assert_array_equal(learned.get_ydata(), index + columns["fitness_mean"][::5])
        assert list(start.get_ydata()) == [1.0 + index] * 2 and start.get_linestyle() == "--"
        (span,) = axes.patches
        assert span.get_y() == 0.75 + index and span.get_height() == 0.75
        ends = axes.collections[0].get_paths()[0].vertices[:, 1]
        assert ends.min() == np.nanmin(columns[f"held_out/{ENVS[index]}/low"])
        assert ends.max() == np.nanmax(columns[f"held_out/{ENVS[index]}/high"])


@pytest.mark.parametrize(("count", "shape"), [(1, (1, 1)), (3, (1, 3)), (4, (2, 2)), (5, (2, 3))])
def test_an_axes_for_each_environment(tmp_path, figures, count, shape):
    evolution_plot(history(envs=[f"env{i}" for i in range(count)]), tmp_path / "a.png")
    axes = figures[0].subfigs[1].axes
    assert len(axes) == count and axes[0].get_gridspec().get_geometry() == shape


def test_without_held_out_environments(tmp_path, figures):
    evolution_plot(history(envs=()), tmp_path / "a.png", title="Search")
    assert len(figures[0].axes) == 1 and figures[0].get_suptitle() == "Search"


def test_a_search_that_has_only_begun(tmp_path, figures):
    columns = history(generations=1)
    evolution_plot(columns, tmp_path / "a.png")
    for name in [name for name in columns if name.startswith("held_out/")]:
        columns[name] = np.full(1, np.nan)
    columns["fitness_low"] = np.full(1, -np.inf)  # a member diverged
    evolution_plot(columns, tmp_path / "b.png")
    waiting = [text.get_text() for axes in figures[1].subfigs[1].axes for text in axes.texts]
    assert waiting == ["not evaluated yet"] * 2
    for figure in figures:
        figure.draw_without_rendering()


def test_formats(tmp_path):
    for suffix in (".png", ".pdf", ".svg"):
        out = tmp_path / "made" / f"course{suffix}"
        assert evolution_plot(history(), out) == out and out.stat().st_size > 1000
    assert Image.open(tmp_path / "made" / "course.png").size[0] == 1400  # 7 inches


def test_refusals(tmp_path):
    whole, name = history(), ENVS[0]
    for columns, out, message in [
        (whole, "a.docx", "cannot write '.docx'"),
        ({k: v for k, v in whole.items() if k != "fitness_low"}, "a.png", "history has no 'fitness_low'"),
        ({k: v for k, v in whole.items() if k != f"start/{name}/high"}, "a.png", f"no 'start/{name}/high'"),
        (whole | {"fitness_best": np.zeros(3)}, "a.png", r"fitness_best=array of shape \(3,\): give a value a gen"),
        (history(generations=0), "a.png", "no generation to plot"),
    ]:
        with pytest.raises(ConfigError, match=message) as error:
            evolution_plot(columns, tmp_path / out)
        assert "\n" not in str(error.value)
