"""Pictures of objectives: what is drawn is what the formulas say."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import matplotlib.figure
import numpy as np
import pytest
from flax import struct
from PIL import Image

from rljax.errors import ConfigError
from rljax.objectives import DPO, LPO, TALPO, KLPenalty, PPOClip
from rljax.results import objective_plots
from rljax.results.landscape import is_temporal, landscape, middles, rollback
from rljax.results.objective_plots import plot_objective

RATIO, ADVANTAGE = np.geomspace(0.3, 3, 41), np.linspace(-3, 3, 24)[:, None]


class Leash(struct.PyTreeNode):
    """An objective of a user."""

    weight: float = 3.0

    def __call__(self, log_ratio, advantage, progress):
        return self.weight * (1 - progress) * jnp.square(log_ratio) - jnp.exp(log_ratio) * advantage


def random(kind):
    plain = kind()
    k_hidden, k_output = jax.random.split(jax.random.key(0))
    hidden = jax.random.normal(k_hidden, plain.hidden.shape, jnp.float32)
    return plain.replace(hidden=hidden, output=0.1 * jax.random.normal(k_output, plain.output.shape, jnp.float32))


@pytest.fixture
def figures(monkeypatch) -> list[matplotlib.figure.Figure]:
    """The figures that were to be saved: most of the time goes into drawing."""
    saved = []
    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", lambda self, *args, **kwargs: saved.append(self))
    return saved


@pytest.fixture
def coarse(monkeypatch):
    monkeypatch.setattr(objective_plots, "POINTS", 60)


def parts(figure):
    """The axes of the maps, drifts before what is felt, and those of the slices."""
    maps, slices = figure.subfigs
    return [axes for axes in maps.axes if axes.get_label() != "<colorbar>"], slices.axes


def test_ppo_clip():
    found = landscape(PPOClip(clip=0.2), RATIO, ADVANTAGE)
    beyond = (RATIO - np.clip(RATIO, 0.8, 1.2)) * ADVANTAGE
    np.testing.assert_allclose(found.drift, np.maximum(beyond, 0), atol=3e-6)
    np.testing.assert_allclose(found.felt, np.where(beyond > 0, 0, np.broadcast_to(ADVANTAGE, beyond.shape)), atol=1e-5)
    assert not rollback(found.felt, ADVANTAGE).any()


def test_dpo():
    advantage, ratio, drift, felt = np.transpose(
        [
            (1, 0.5, 0, 1),
            (1, 1.2, 0.00066401, 0.990066),
            (1, 3.0, 0.47681169, 0.419974),
            (2, 3.0, 2.07194484, 0.141302),
            (-1, 1.5, 0, -1),
            (-1, 0.8, 0.00974895, -0.841885),
            (-1, 0.5, 0.20145660, 0.343109),
            (-2, 0.5, 0.79799099, 1.845565),
        ]
    )
    np.testing.assert_allclose(landscape(DPO(), ratio, advantage), (drift, felt), atol=2e-6)


def test_dpo_pulls_back_below_a_ratio():
    advantage, turn = np.array([-1.0, -2.0, -0.5]), np.array([0.55938, 0.69689, 0.40533])
    ratio = turn + np.array([[-2e-3], [2e-3]])
    assert rollback(landscape(DPO(), ratio, advantage).felt, advantage).tolist() == [[True] * 3, [False] * 3]


def test_progress_broadcasts_against_the_others():
    found = landscape(Leash(), RATIO, ADVANTAGE, np.array([0.0, 0.5, 1.0])[:, None, None])
    assert found.drift.shape == found.felt.shape == (3, 24, 41)
    for drift, weight in zip(found.drift, (3, 1.5, 0)):
        np.testing.assert_allclose(drift, np.broadcast_to(weight * np.log(RATIO) ** 2, (24, 41)), atol=1e-5)
    np.testing.assert_allclose(found.felt[0], ADVANTAGE - 6 * np.log(RATIO) / RATIO, atol=1e-4)


@pytest.mark.parametrize("objective", [PPOClip(), DPO(), KLPenalty(), random(LPO), TALPO()])
def test_what_stays_as_it_is(objective):
    assert not is_temporal(objective)


@pytest.mark.parametrize("objective", [KLPenalty(final=0.5), random(TALPO), Leash(), lambda x, a, t: t * x**2 - a * x])
def test_what_changes_over_a_run(objective):
    assert is_temporal(objective)


def test_columns_and_names(tmp_path, figures, coarse):
    beside = {"a": PPOClip(), "_$b$": KLPenalty(), "with a name that is long": DPO(alpha=1.0)}
    plot_objective(DPO(), tmp_path / "dpo.png", beside, name="c")
    maps, slices = parts(figures[0])
    assert [axes.get_title() for axes in maps] == ["c", "a", "_$b$", "with a name that is\nlong", *[""] * 4]
    assert [axes.get_title("left") for axes in slices] == ["$A$ = 1", "$A$ = −1"]
    assert [text.get_text() for text in figures[0].subfigs[1].legends[0].get_texts()][:3] == ["c", "a", "_$b$"]


def test_the_drawn_values(tmp_path, figures):
    plot_objective(DPO(), tmp_path / "dpo.png", beside={"PPO": PPOClip()})
    maps, slices = parts(figures[0])
    ratio, advantage = middles(objective_plots.POINTS)
    image = maps[2].images[0]
    np.testing.assert_allclose(image.get_array(), landscape(DPO(), ratio, advantage[:, None]).felt, atol=1e-6)
    assert image.get_extent() == [*np.log([0.4, 2.5]), -3, 3] and image.origin == "lower"
    dpo, ppo = (slices[1].lines[i] for i in (0, 1))
    x, y = np.exp(dpo.get_xdata()), dpo.get_ydata()
    last = np.flatnonzero(y > 0)[-1]  # the ratio at which A = -1 turns, between two points
    assert x[last] < 0.55938 < x[last + 1]
    assert set(np.round(ppo.get_ydata(), 5)) == {-1.0, 0.0}
    assert x[0] == pytest.approx(0.4) and x[-1] == pytest.approx(2.5)

    hatched, outline = maps[2].collections  # where the sign turns
    assert not maps[3].collections  # PPO lets go, and never pulls back
    points = np.concatenate([path.vertices for path in outline.get_paths()])
    for bad, turn in ((-1.0, 0.55938), (-2.0, 0.69689)):
        nearest = points[np.abs(points[:, 1] - bad).argmin()]
        assert np.exp(nearest[0]) == pytest.approx(turn, abs=0.01)
    assert hatched.hatches


def test_one_that_changes_has_a_column_a_time(tmp_path, figures, coarse):
    plot_objective(Leash(), tmp_path / "leash.png", title="Mine")
    maps, slices = parts(figures[0])
    heads = [axes.get_title() for axes in maps[:5]]
    assert heads == ["Leash\nprogress 0", "Leash\nprogress 0.5", "Leash\nprogress 1", "PPO", "DPO"]
    assert len(slices) == 6 and slices[5].get_title("left") == "$A$ = −1, progress 1"
    leash, ppo, _ = (slices[2].lines[i].get_ydata() for i in (0, 1, 2))  # A = 1 at the end: the leash is off
    np.testing.assert_allclose(leash, 1, atol=1e-5)
    assert set(np.round(ppo, 5)) == {1.0, 0.0}
    assert figures[0].get_suptitle() == "Mine"


def test_a_reference_is_not_drawn_beside_itself(tmp_path, figures, coarse):
    plot_objective(PPOClip(), tmp_path / "ppo.png")
    plot_objective(PPOClip(clip=0.3), tmp_path / "wider.png")
    plot_objective(DPO(), tmp_path / "dpo.png")
    titles = [[axes.get_title() for axes in parts(figure)[0][: len(parts(figure)[0]) // 2]] for figure in figures]
    assert titles == [["PPOClip", "DPO"], ["PPOClip", "PPO", "DPO"], ["DPO", "PPO"]]


def test_what_is_no_drift_shows(tmp_path, figures, coarse):
    def wild(log_ratio, advantage, progress):  # below 0, infinite and not a number in places
        return jnp.sqrt(log_ratio + 0.5) / (progress - 1) - jnp.exp(9 * log_ratio) * advantage

    plot_objective(wild, tmp_path / "wild.png", beside={})
    maps, slices = parts(figures[0])
    assert maps[0].get_title() == "wild\nprogress 0" and len(maps) == 6
    assert maps[0].collections[0].extend == "both"
    assert all(np.isfinite(axes.get_ylim()).all() for axes in slices)
    figures[0].draw_without_rendering()


def test_a_drift_has_bands_up_to_its_height():
    for height, top, extend in ((0.2, 1, "neither"), (5, 10, "neither"), (1e6, 100, "max"), (np.inf, 100, "max")):
        scale = objective_plots._drift_scale([np.array([0, height]), np.array([np.nan])])
        assert scale["levels"][-1] == top and scale["extend"] == extend
    assert objective_plots._drift_scale([np.array([-0.1, 2])])["extend"] == "min"


def test_formats(tmp_path, coarse):
    for suffix in (".png", ".pdf", ".svg"):
        out = tmp_path / "made" / f"dpo{suffix}"
        assert plot_objective(DPO(), out, beside={"_$b$": PPOClip()}) == out and out.stat().st_size > 1000
    assert Image.open(tmp_path / "made" / "dpo.png").size[0] == 1400  # 7 inches


def test_refusals(tmp_path, coarse):
    with pytest.raises(ConfigError, match=r"cannot write '\.docx'"):
        plot_objective(DPO(), tmp_path / "a.docx", beside={})
    with pytest.raises(ConfigError, match="name=PPO: is the name of one beside it; give another"):
        plot_objective(DPO(), tmp_path / "a.png", name="PPO")
