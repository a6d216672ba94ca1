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
from rljax.records import VERSION
from rljax.results.logged import by_setting, load
from rljax.results.plots import plot_runs
from rljax.results.video import save_film


def run_dir(folder: Path, seed: int = 0, rows: int = 50, algo: str = "ppo", offset: float = 0, record=None, **hypers):
    rng = np.random.default_rng(seed)
    sink = JsonlSink(folder / "metrics.jsonl")
    for i in range(1, rows + 1):
        returned = None if i == 1 else offset + 400 * i / rows + 5 * rng.standard_normal()
        row = {"step": 2000 * i, "updates": i, "episode_return": returned, "episodes": i}
        sink.write({**row, "policy_loss": rng.standard_normal(), "entropy": 0.7 - i / 1000, "fps": 1.0})
    sink.close()
    hypers = {"lr": 3e-4, **hypers}
    config = {
        "format": VERSION,
        "algo": algo,
        "env": "CartPole-v1",
        "seed": seed,
        "steps": 2000 * rows,
        "out": str(folder),
    }
    config |= {"config": {"hidden": [64, 64]}, "hypers": hypers}
    (folder / "config.json").write_text(json.dumps(config | (record or {})))
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
    heights = sorted(text.xy[1] for text in axes.texts[:-1])
    bottom, top = axes.get_ylim()
    assert len(heights) == 5 and np.diff(heights).min() > 0.05 * (top - bottom) and heights[-1] <= top


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


def grouped(*folders) -> dict[str, int]:
    return {
        label: len(runs) for label, runs in by_setting([load(folder, "episode_return") for folder in folders]).items()
    }


@pytest.mark.parametrize(
    ("one", "other", "labels"),
    [
        ({"task": {"gravity": 9.8}}, {"task": {"gravity": 20.0}}, ["task.gravity=9.8", "task.gravity=20"]),
        ({}, {"task": {"gravity": 20.0}}, ["task.gravity=default", "task.gravity=20"]),
        ({"env_args": {"n": 1}}, {"env_args": {"n": 2}}, ["env_args.n=1", "env_args.n=2"]),
        ({"fingerprints": {"env": "ab"}}, {"fingerprints": {"env": "cd"}}, ["code.env=ab", "code.env=cd"]),
        ({"fingerprints": {"task": "ab"}}, {"fingerprints": {"task": "cd"}}, ["code.task=ab", "code.task=cd"]),
        (
            {"task": {"g": 1}, "fingerprints": {"task": "ab"}},
            {"task": {"g": 2}, "fingerprints": {"task": "cd"}},
            ["task.g=1", "task.g=2"],
        ),
        ({"hypers": {"lr": 0.00100001}}, {"hypers": {"lr": 0.00100002}}, ["lr=0.00100001", "lr=0.00100002"]),
        ({"steps": 1000}, {"steps": 2000}, ["steps=1000", "steps=2000"]),
        ({"hypers": {"lr": 0.1}}, {"hypers": {"lr": 0.1, "new": 1}}, ["new=default", "new=1"]),
    ],
)
def test_what_ran_makes_a_group_and_nothing_is_dropped(one, other, labels, tmp_path):
    runs = [
        run_dir(tmp_path / f"{name}{seed}", seed, rows=5, record=record)
        for name, record in (("a", one), ("b", other))
        for seed in (0, 1)
    ]
    assert grouped(*runs) == dict.fromkeys(labels, 2)


def test_a_folder_that_is_given_twice_is_one_run(tmp_path, figures):
    run = run_dir(tmp_path / "a")
    plot_runs([run, str(run)], tmp_path / "curve.png")
    assert not figures[0].axes[0].collections  # no band


def test_a_number_given_as_it_would_be_anyway_is_no_other_setting(tmp_path):
    same = {"fingerprints": {"task": "ab"}}
    runs = [run_dir(tmp_path / "a", record=same), run_dir(tmp_path / "b", 1, record={**same, "task": {"g": 1}})]
    assert list(grouped(*runs).values()) == [2]


def test_environments_have_panels_of_their_own(tmp_path, figures):
    runs = [
        run_dir(tmp_path / f"{env}{algo}", algo=algo, record={"env": env}, offset=offset)
        for env, offset in (("CartPole-v1", 0), ("Acrobot-v1", -1000))
        for algo in ("ppo", "dqn")
    ]
    runs += [run_dir(tmp_path / "own", record={"env": "Acrobot-v1", "fingerprints": {"env": "ab"}})]
    plot_runs(runs, tmp_path / "curves.png")
    axes = figures[0].axes
    assert [x.get_title("left") for x in axes] == [
        "CartPole-v1",
        "Acrobot-v1 code.env=default",
        "Acrobot-v1 code.env=ab",
    ]
    colors = [{line.get_label(): line.get_color() for line in x.lines if line.get_alpha() is None} for x in axes]
    assert colors[0] == colors[1] and list(colors[0]) == ["ppo", "dqn"]
    assert axes[1].get_ylim()[1] < -500 < axes[0].get_ylim()[0]


def test_smoothing_is_by_the_length_of_each_run(tmp_path, figures):
    runs = [run_dir(tmp_path / "a", rows=10), run_dir(tmp_path / "b", rows=500)]
    plot_runs(runs, tmp_path / "curves.png")
    (axes,) = figures[0].axes
    short, long = (line for line in axes.lines if line.get_alpha() is None)
    assert np.ptp(short.get_ydata()) > 250 and len(short.get_xdata()) == 9 and len(long.get_xdata()) == 200
    assert texts(axes)[-1] == "smoothed over 6k to 40k steps, raw behind"


def test_a_line_breaks_where_no_episode_ended_for_long(tmp_path, figures):
    run = run_dir(tmp_path / "a", rows=100)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for line in lines[30:70]:
        line["episode_return"] = None
    (run / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    plot_runs([run], tmp_path / "curve.png")
    raw, smooth = figures[0].axes[0].lines
    for line in (raw, smooth):
        x, y = np.asarray(line.get_xdata()), np.asarray(line.get_ydata())
        assert np.isnan(y[(x > 66_000) & (x < 134_000)]).all() and np.isfinite(y[(x > 4_000) & (x < 56_000)]).all()


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
        assert gif.n_frames == 9 and gif.size == (16 * 17, 12 * 17)  # the least whole number that makes 200 pixels
        assert gif.info["loop"] == 0 and gif.info["duration"] == 40
        for n, frame in enumerate(frames):
            gif.seek(n)
            shown = np.asarray(gif.convert("RGB"), int)[8::17, 8::17]
            assert np.abs(shown - frame).max() <= 8
    with pytest.raises(ValueError, match="no frames"):
        save_film([], tmp_path / "none.gif")
