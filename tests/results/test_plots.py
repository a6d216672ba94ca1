"""Figures: what they hold, and that they are refused in words."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import matplotlib.figure
import numpy as np
import pytest
from PIL import GifImagePlugin, Image

from rljax.errors import ConfigError
from rljax.log import JsonlSink
from rljax.results.plots import plot_runs
from rljax.results.video import save_film


def run_dir(folder: Path, seed: int = 0, rows: int = 50, algo: str = "ppo", offset: float = 0, **hypers) -> Path:
    rng = np.random.default_rng(seed)
    sink = JsonlSink(folder / "metrics.jsonl")
    for i in range(1, rows + 1):
        returned = None if i == 1 else offset + 400 * i / rows + 5 * rng.standard_normal()
        row = {"step": 2000 * i, "updates": i, "episode_return": returned, "episodes": i}
        sink.write({**row, "policy_loss": rng.standard_normal(), "entropy": 0.7 - i / 1000, "fps": 1.0})
    sink.close()
    hypers = {"lr": 3e-4, **hypers}
    config = {"algo": algo, "env": "CartPole-v1", "seed": seed, "steps": 2000 * rows, "out": str(folder)}
    (folder / "config.json").write_text(json.dumps({**config, "config": {"hidden": [64, 64]}, "hypers": hypers}))
    return folder


@pytest.fixture
def figures(monkeypatch) -> list[matplotlib.figure.Figure]:
    """The figures that were saved."""
    saved = []
    save = matplotlib.figure.Figure.savefig

    def keep(self, *args, **kwargs):
        saved.append(self)
        return save(self, *args, **kwargs)

    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", keep)
    return saved


def texts(axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_one_run(tmp_path, figures):
    out = plot_runs([run_dir(tmp_path / "a")], tmp_path / "made" / "curve.png")
    assert out == tmp_path / "made" / "curve.png" and Image.open(out).size == (1280, 1040)
    axes, *details = figures[0].axes
    assert axes.get_title("left") == "ppo on CartPole-v1"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("environment steps", "episode return")
    assert texts(axes) == ["smoothed over 6k steps, raw behind"]
    raw, smooth = axes.lines
    assert len(raw.get_xdata()) == 50 and len(smooth.get_xdata()) == 49  # no episode ended in the first row
    assert not axes.collections  # no band
    assert [panel.get_title("left") for panel in details] == ["policy loss", "entropy"]
    assert "100k" in [label.get_text() for label in axes.get_xticklabels()]


def test_smoothing_is_the_mean_over_episodes(tmp_path, figures):
    plot_runs([run_dir(tmp_path / "a")], tmp_path / "a.png")
    raw, smooth = figures[0].axes[0].lines
    x, y = np.asarray(raw.get_xdata()), np.asarray(raw.get_ydata())
    at = 20  # a window of 6k steps holds the rows one before to one after; row i ended i + 1 episodes
    assert x[at] == smooth.get_xdata()[at - 1]
    weights = np.arange(at, at + 3)
    assert smooth.get_ydata()[at - 1] == pytest.approx((y[at - 1 : at + 2] * weights).sum() / weights.sum())


def test_seeds_are_grouped(tmp_path, figures):
    runs = [run_dir(tmp_path / f"a{seed}", seed) for seed in range(4)]
    runs += [run_dir(tmp_path / f"b{seed}", seed, lr=1e-3, offset=50) for seed in range(3)]
    plot_runs(runs, tmp_path / "curves.png")
    (axes,) = figures[0].axes
    assert [line.get_label() for line in axes.lines] == ["lr=0.0003", "lr=0.001"]
    assert len(axes.collections) == 2
    *names, note = texts(axes)
    assert note == "mean of 3 to 4 seeds with 95% bootstrap interval, smoothed over 6k steps"
    assert sorted(names) == ["lr=0.0003", "lr=0.001"]
    band = axes.collections[0].get_paths()[0].vertices
    line = axes.lines[0]
    assert band[:, 1].min() <= np.min(line.get_ydata()) and band[:, 1].max() >= np.max(line.get_ydata())


def test_algorithms_are_labelled_by_name(tmp_path, figures):
    runs = [run_dir(tmp_path / "a"), run_dir(tmp_path / "b", algo="dqn", lr=1e-3, tau=0.005)]
    plot_runs(runs, tmp_path / "curves.png")
    (axes,) = figures[0].axes
    assert axes.get_title("left") == "CartPole-v1"
    assert [line.get_label() for line in axes.lines if line.get_alpha() is None] == ["ppo", "dqn"]


def test_names_of_curves_keep_apart(tmp_path, figures):
    runs = [run_dir(tmp_path / f"{lr}", lr=lr) for lr in (1e-4, 2e-4, 3e-4, 4e-4, 5e-4)]
    plot_runs(runs, tmp_path / "curves.png")
    (axes,) = figures[0].axes
    places = sorted(text.xy[1] for text in axes.texts[:-1])
    bottom, top = axes.get_ylim()
    assert len(places) == 5 and np.diff(places).min() > 0.05 * (top - bottom) and places[-1] <= top


def test_many_settings_get_a_legend(tmp_path, figures):
    runs = [run_dir(tmp_path / f"{n}", rows=5, lr=n / 1000) for n in range(1, 10)]
    plot_runs(runs, tmp_path / "curves.png")
    (axes,) = figures[0].axes
    assert len(axes.get_legend().get_texts()) == 9
    assert len({(line.get_color(), line.get_linestyle()) for line in axes.lines}) == 9


def test_runs_of_unequal_length(tmp_path, figures):
    runs = [run_dir(tmp_path / "a", 0), run_dir(tmp_path / "b", 1)]
    lines = (runs[1] / "metrics.jsonl").read_text().splitlines()
    (runs[1] / "metrics.jsonl").write_text("\n".join(lines[:30]))  # still running
    plot_runs(runs, tmp_path / "curves.png")
    (line,) = figures[0].axes[0].lines
    assert line.get_xdata()[-1] == 60_000  # as far as the mean is of both


@pytest.mark.parametrize("suffix", [".pdf", ".svg"])
def test_other_formats(tmp_path, suffix):
    assert plot_runs([run_dir(tmp_path / "a", rows=2)], tmp_path / f"a{suffix}").stat().st_size > 1000


def test_one_row_and_another_column(tmp_path, figures):
    plot_runs([run_dir(tmp_path / "a", rows=1)], tmp_path / "a.png", metric="entropy", title="Entropy")
    axes = figures[0].axes[0]
    assert axes.get_title("left") == "Entropy" and axes.get_ylabel() == "entropy"


def test_without_a_config_the_folder_names_the_curve(tmp_path, figures):
    runs = [run_dir(tmp_path / "first"), run_dir(tmp_path / "second")]
    (runs[0] / "config.json").unlink()
    (runs[1] / "config.json").write_text("{")
    plot_runs(runs, tmp_path / "curves.png")
    assert {"first", "second"} <= set(texts(figures[0].axes[0]))


def test_refusals(tmp_path):
    run = run_dir(tmp_path / "a", rows=1)  # no episode ended
    empty = tmp_path / "empty"
    empty.mkdir()
    for run_dirs, out, message in [
        ([], "a.png", "no run to plot"),
        ([empty], "a.png", f"{empty} has no metrics.jsonl: give the folder of a training run"),
        ([run], "a.png", "metrics.jsonl has no 'episode_return' yet"),
        ([shutil.copytree(run_dir(tmp_path / "b"), tmp_path / "c")], "a.docx", "cannot write '.docx'"),
    ]:
        with pytest.raises(ConfigError, match=message) as error:
            plot_runs(run_dirs, tmp_path / out)
        assert "\n" not in str(error.value)


def test_gif(tmp_path):
    frames = [np.full((12, 16, 3), (255, 255, 255), np.uint8) for _ in range(9)]
    for n, frame in enumerate(frames):
        frame[:, n : n + 3] = (200, 30, 10 * n)
    path = save_film(frames, tmp_path / "made" / "episode.gif", fps=25)
    with GifImagePlugin.GifImageFile(path) as gif:
        assert gif.n_frames == 9 and gif.size == (16, 12)
        assert gif.info["loop"] == 0 and gif.info["duration"] == 40
        for n, frame in enumerate(frames):
            gif.seek(n)
            assert np.abs(np.asarray(gif.convert("RGB"), int) - frame).max() <= 8
    with pytest.raises(ValueError, match="no frames"):
        save_film([], tmp_path / "none.gif")
