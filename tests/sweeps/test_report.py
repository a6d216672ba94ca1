"""The report of a sweep: whole, self-contained and readable, whatever the sweep's shape."""

from __future__ import annotations

import base64
import html
import itertools
import math
import re
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from toys import recorded

from rljax.sweeps.report import write_report
from rljax.sweeps.report.figures import Field, View, shown, style
from rljax.sweeps.result import SweepResult

MACHINE = {"platform": "cpu", "device": "Some <CPU> & co", "device_count": 2, "versions": {"jax": "0.10.2"}}
POINTS = np.array([2, 4, 8, 16, 32, 48, 64, 80, 96, 112, 122])


def quality(fields) -> float:
    """The score of settings, at most 1: lr best at 1e-3, then num_envs, everything else hardly matters."""
    score = np.exp(-0.5 * np.log10(fields.get("lr", 1e-3) / 1e-3) ** 2 / 0.5)
    score *= {16: 0.8, 64: 0.97, 256: 1.0}.get(fields.get("num_envs"), 1.0)
    return score - 0.05 * (fields.get("activation") == "relu")


def make(folder: Path, rows: list[dict], seeds: int = 8, unfinished=(), diverged=(), env="CartPole-v1", **more):
    """A sweep whose curves rise to 500 x quality, with noise that seeds share; lists of (row, seed) that failed."""
    rng = np.random.default_rng(0)
    names = list(dict.fromkeys(itertools.chain(*rows)))
    share = POINTS / POINTS[-1]
    luck = rng.normal(0, 15, (1, seeds, 1))
    scale = np.array([[[500 * quality(row)]] for row in rows])
    returns = scale * (1 - np.exp(-6 * share)) + luck + rng.normal(0, 10, (len(rows), seeds, len(share)))
    reached, gone = np.full((len(rows), seeds), POINTS[-1]), np.zeros((len(rows), seeds), bool)
    for row, seed in diverged:
        returns[row, seed, 5:], gone[row, seed] = np.nan, True
    for row, seed in unfinished:
        returns[row, seed], reached[row, seed] = np.nan, 0
    record = {
        "algo": ["ppo"],
        "env": [env],
        "seeds": list(range(seeds)),
        "varied": names,
        "rows": [
            {
                "algo": row.get("algo", "ppo"),
                "env": row.get("env", env),
                **recorded({"discount": 0.99, "gae_lambda": 0.95, "torso": [64, 64], **row}),
                "varied": row,
                "steps": 250_000,
                "steps_per_update": 2048,
                "warmup_steps": 0,
                "updates": int(POINTS[-1]),
                "points": POINTS.tolist(),
                "group": 0,
            }
            for row in rows
        ],
        "asked": {"grid": {"lr": [1e-3]}, "sample": {"clip": {"kind": "uniform", "low": 0.1, "high": 0.3}}},
        "plan": [{"rows": [0], "width": 8, "start": 30, "updates": 122, "why": "8 side by side: 232 k steps/s"}],
        "command": 'rljax sweep ppo CartPole-v1 lr="<1e-4,1e-3>" && true',
        "created": "2026-11-21T10:00:00+00:00",
        "machine": MACHINE,
        "workers": 2,
        **more,
    }
    update = np.tile(POINTS.astype(float), (len(rows), 1))
    metrics = {"episode_return": returns, "episodes": np.ones_like(returns)} if reached.any() else {}
    return SweepResult(record, np.arange(len(rows)), metrics, update, reached, gone, folder)


def grid(**fields) -> list[dict]:
    return [dict(zip(fields, values)) for values in itertools.product(*fields.values())]


def sampled(n: int) -> list[dict]:
    rng = np.random.default_rng(1)
    return [
        {
            "lr": float(10 ** rng.uniform(-5, -1)),
            "entropy_coef": float(rng.uniform(0, 0.1)),
            "num_envs": int(rng.choice([16, 64, 256])),
            "activation": str(rng.choice(["tanh", "relu"])),
        }
        for _ in range(n)
    ]


LRS = [1e-5, 1e-4, 1e-3, 1e-2, 1e-1]
SHAPES = {
    "grid": lambda path: make(path, grid(lr=LRS, num_envs=[16, 64, 256]), diverged=[(12, 0), (12, 3), (14, 1)]),
    "one": lambda path: make(path, grid(lr=LRS), seeds=4),
    "seeds": lambda path: make(path, [{}], seeds=20),
    "one_seed": lambda path: make(path, grid(lr=LRS, activation=["tanh", "relu"]), seeds=1),
    "single_run": lambda path: make(path, [{}], seeds=1),
    "many": lambda path: make(path, sampled(300), seeds=5, diverged=[(7, 1), (90, 2)]),
    "unfinished": lambda path: make(
        path, grid(lr=LRS, num_envs=[16, 64]), unfinished=[(9, s) for s in range(8)] + [(8, 7)]
    ),
    "nothing": lambda path: make(path, grid(lr=LRS), seeds=2, unfinished=itertools.product(range(5), range(2))),
    "envs": lambda path: make(path, grid(env=["CartPole-v1", "Acrobot-v1"], lr=LRS)),
    "mixed": lambda path: make(path, grid(torso=[[64, 64], [256, 256]], horizon=[9, math.inf], clip=[True, None])),
}


class Nesting(HTMLParser):
    """Checks that every element is closed where it was opened, and collects the text."""

    def __init__(self, page: str):
        super().__init__()
        self.open, self.text = [], ""
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += f"{data} " if self.open[-1:] not in (["style"], ["strong"]) else data if self.open else ""


def read(result: SweepResult) -> tuple[str, str]:
    """The page's source, and its text in single spaces."""
    page = write_report(result).read_text(encoding="utf-8")
    return page, re.sub(r"\s+", " ", Nesting(page).text)


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """shape -> its result, and its page's source and text, written once."""
    folder = tmp_path_factory.mktemp("sweeps")

    @cache
    def written(shape):
        result = SHAPES[shape](folder / shape)
        return result, *read(result)

    return written


@pytest.mark.parametrize("shape", SHAPES)
def test_a_page_of_any_shape_is_whole_and_needs_no_network(shape, pages):
    result, page, text = pages(shape)
    assert result.folder.joinpath("report.html").is_file()
    assert "http:" not in page and "https:" not in page and "url(" not in page and "@import" not in page
    assert re.findall(r"<(script|link|iframe|object)\b", page) == []
    anchors = re.findall(r'href="([^"]*)"', page)
    assert anchors and all(f'id="{anchor[1:]}"' in page for anchor in anchors)
    images = re.findall(r'src="data:image/svg\+xml;base64,([^"]*)"', page)
    assert page.count("src=") == page.count("<img ") == len(images)
    assert not [x for x in map(base64.b64decode, images) if re.search(rb'href="(?!#|data:)|(\$|nan)[^<>]*</text>', x)]
    assert ("nan" not in text.lower() and "None:" in text) or shape in ("grid", "many", "unfinished", "nothing")
    for name, values in View(result, "episode_return").names.items():
        assert all(f"{name}={value}" in text for value in values if shape != "many" and name != "env")


def test_the_best_row_is_named_first_with_its_score(pages):
    result, _, text = pages("grid")
    best = result.best()
    assert best.settings == {"lr": 1e-3, "num_envs": 256}
    summary, ranking = text.split("Ranking", 1)
    assert "15 settings of lr and num_envs, 8 seeds each, 250k steps a run" in summary
    assert f"Best: lr=0.001, num_envs=256, episode return {best.value:.0f}" in summary
    assert f"(95% interval {best.low:.0f} to {best.high:.0f})" in summary
    assert re.search(r"1 lr=0\.001 num_envs=256 \d+.*? best 2 lr=0\.001 num_envs=64 ", ranking)
    assert ranking.index("15 lr=1e-05") > 0


def test_diverged_runs_are_said(pages):
    _, _, text = pages("grid")
    assert "3 of 120 runs diverged" in text
    assert "Diverged: 3 runs lr=0.1 num_envs=16 seed 0, 3 lr=0.1 num_envs=256 seed 1" in text
    assert "2 of 8 seeds diverged" in text


def test_what_is_missing_is_said_at_the_top(pages):
    summary = pages("unfinished")[2].split("Ranking")[0]
    assert "Not complete: 71 of 80 runs are stored" in summary
    assert "No run has a score yet" in pages("nothing")[2]


def test_rows_that_are_alike_are_not_told_apart(tmp_path):
    """Five learning rates, each with a setting that changes nothing but the noise."""
    result = make(tmp_path, grid(lr=LRS, nothing=["a", "b"]))
    view = View(result, "episode_return")
    assert [result.rows[row]["lr"] for row in view.tied] == [1e-3]
    _, text = read(result)
    assert "1 setting cannot be told apart from the best, at 95%" in text and "they share with it: lr=0.001" in text
    assert "1 other cannot be told apart from it" in text


def test_few_seeds_are_not_trusted(pages):
    assert "interval is narrower than it should be" in pages("one")[2]
    assert "95% interval" not in pages("one_seed")[2].split("Ranking")[0]
    assert "narrower" not in pages("grid")[2]


def test_a_long_ranking_is_folded(pages):
    _, page, text = pages("many")
    first, rest = page.split("<details>", 1)
    assert first.count("<tr>") == 21 and rest.split("</details>")[0].count("<tr>") == 281
    assert "The other 280" in text


def test_environments_are_ranked_by_themselves(pages):
    _, _, text = pages("envs")
    assert "Best on CartPole-v1: lr=0.001" in text and "Best on Acrobot-v1: lr=0.001" in text


def test_rows_without_a_score_are_last_and_scores_from_few_seeds_say_so(tmp_path):
    result = make(tmp_path, grid(lr=LRS), seeds=5, diverged=[(4, seed) for seed in range(5)])
    result.metrics["episode_return"][2, 1:], result.metrics["episodes"][2, 1:] = np.nan, 0  # no other ended an episode
    _, text = read(result)
    summary, ranking = text.split("Ranking", 1)
    assert "Best: lr=0.001" in summary and "from 1 of 5 seeds" in summary
    ranking = ranking.split("Learning curves")[-1] if "1 lr=0.001" not in ranking else ranking
    assert ranking.index("from 1 of 5 seeds") < ranking.index("lr=1e-05")
    assert re.search(r"lr=1e-05 .* lr=0\.1 none no score: 5 of 5 seeds diverged", ranking)


def test_rows_of_different_physics_are_not_ranked(tmp_path):
    _, text = read(make(tmp_path, [{"task.length": n} for n in (5, 10, 20)]))
    assert "Not ranked: every setting has an environment of its own (task.length)" in text
    assert "there is no best setting" in text and "Best" not in text and "Ranking" not in text
    _, text = read(make(tmp_path / "b", grid(**{"task.length": [5, 10], "lr": LRS})))
    assert "Best on CartPole-v1 length=5: lr=0.001" in text and "Best on CartPole-v1 length=10: lr=0.001" in text


def test_importance_in_words(tmp_path):
    fields = {f"other{i}": np.random.default_rng(i).uniform(size=24).tolist() for i in range(6)}
    rows = [row | {name: values[i] for name, values in fields.items()} for i, row in enumerate(sampled(24))]
    _, text = read(make(tmp_path / "a", rows))
    assert re.search(r"each field explains, beside the others: lr \d+%(,| and|\.)", text)
    assert re.search(r"Not told from chance: [^.]*other4", text) and " 0%" not in text
    _, text = read(make(tmp_path / "b", rows[:12]))
    assert "12 settings of 10 fields are too few to tell which field matters: it takes 8 more" in text
    _, text = read(make(tmp_path / "c", [{"a": x, "b": -x % 0.3} for x in fields["other0"]]))
    assert "No field by itself moves the score more than chance would" in text


def test_rows_stopped_early_are_said(tmp_path):
    result = make(tmp_path, grid(lr=LRS))
    result.reached[0], result.metrics["episode_return"][0, :, 5:] = 32, np.nan
    assert "stopped at 26%" in read(result)[1]


def test_everything_is_escaped(tmp_path):
    nasty = '<script>alert("1")</script>&$x^2$'
    result = make(tmp_path, grid(objective=[nasty, "clip"]), env=nasty, machine={"device": nasty}, command=nasty)
    page, text = read(result)
    assert "<script" not in page and f"objective={nasty}" in text
    assert page.count(html.escape(nasty)) > 5


def test_how_it_was_run(pages):
    _, _, text = pages("grid")
    for said in ('rljax sweep ppo CartPole-v1 lr="<1e-4,1e-3>" && true', "232 k steps/s", "updates 30 to 122"):
        assert said in text
    for said in (
        "device Some <CPU> & co",
        "jax 0.10.2",
        "torso [64, 64]",
        "seeds 0, 1, 2, 3",
        "clip uniform [0.1, 0.3]",
    ):
        assert said in text


def test_a_record_may_lack_all_but_the_rows(tmp_path):
    result = make(tmp_path, grid(lr=LRS))
    rows = [{k: v for k, v in row.items() if k not in ("algo", "env")} for row in result.record["rows"]]
    bare = {"rows": rows, "seeds": result.seeds, "varied": result.varied}
    assert "Best: lr=0.001" in read(SweepResult(bare, *list(result.__dict__.values())[1:]))[1]


def test_the_page_goes_where_it_is_told(tmp_path):
    result = SHAPES["single_run"](tmp_path)
    out = write_report(result, tmp_path / "a" / "b.html")
    assert out == tmp_path / "a" / "b.html" and out.read_bytes() == write_report(result).read_bytes()


def test_effects_are_not_above_zero_by_chance(tmp_path):
    effects = View(SHAPES["many"](tmp_path), "episode_return").effects
    assert list(effects)[:2] == ["lr", "num_envs"]
    assert effects["lr"] > 0.8 and effects["entropy_coef"] < 0.01


def test_effects_of_an_additive_model_are_its_shares(tmp_path):
    """Balanced and without noise: the shares of the sum of squares."""
    view = View(make(tmp_path, grid(a=[0, 1, 2], b=["x", "y"])), "episode_return")
    object.__setattr__(view, "values", np.array([0.0, 1, 3, 4, 6, 7]))  # 3 a + [b is y]
    assert view.effects == pytest.approx({"a": 36 / 37.5, "b": 1.5 / 37.5})


def test_axes():
    assert Field.of("lr", [1e-4, 1e-3, 1e-2]).places.tolist() == pytest.approx([0, 1, 2])
    assert Field.of("width", [16, 32, 64]).ticks == {0: "16", 1: "32", 2: "64"}
    assert Field.of("n", [1, 2, 4]).places.tolist() == pytest.approx([0, 1, 2])
    assert Field.of("linear", [1, 2, 3, 4]).places.tolist() == pytest.approx([0, 1, 2, 3])
    crowded = Field.of("discount", [0.9, 0.99, 0.999, 0.9999])
    assert crowded.ticks == {0: "0.9", 1: "0.99", 2: "0.999", 3: "0.9999"}
    assert Field.of("sampled", (10.0 ** np.linspace(-4, -1, 20)).tolist()).log
    assert not Field.of("sampled", np.linspace(0.5, 100, 20).tolist()).log
    words = Field.of("torso", [[64, 64], None, [64, 64]])
    assert words.places.tolist() == [0, 1, 0] and not words.ordered
    assert Field.of("one", [0.5, 0.5]).places.tolist() == [0, 0]


def test_numbers_are_short_but_distinct():
    assert shown([3e-4, 0.9995, 1e-5]) == ["0.0003", "0.9995", "1e-05"]
    assert shown([0.1234567, 0.1234599]) == ["0.123457", "0.12346"]
    assert shown([1 / 3, True, None, 64]) == ["0.333", "True", "None", "64"]


def test_curves_differ_in_look():
    assert len({style(rank) for rank in range(21)}) == 21
