"""Grids and samples: what is tried, in which order, and what is refused."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest

from rljax.errors import ConfigError
from rljax.sweeps.space import Distribution, distribution, literal, space


def values(text):
    return space({"x": text}, {}).grid["x"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("-2", -2),
        ("1e-4", 1e-4),
        ("0.5", 0.5),
        ("inf", math.inf),
        ("true", True),
        ("False", False),
        ("64x64", (64, 64)),
        ("8x16x8", (8, 16, 8)),
        ("[64,32]", (64, 32)),
        ("tanh", "tanh"),
        ("ppo-clip", "ppo-clip"),
        ("x", "x"),
        ("max", "max"),
    ],
)
def test_a_value_is_read_as_what_it_looks_like(text, value):
    assert literal(text) == value and type(literal(text)) is type(value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1e-4,3e-4,1e-3", [1e-4, 3e-4, 1e-3]),
        ("16,64", [16, 64]),
        ("64x64,8", [(64, 64), 8]),
        ("[64,64],[8]", [(64, 64), (8,)]),
        ("tanh", ["tanh"]),
        ("log:1e-4:1e-2:3", [1e-4, 1e-3, 1e-2]),
        ("log:1:8:4", [1.0, 2.0, 4.0, 8.0]),
        ("log:1e-2:1e-4:3", [1e-2, 1e-3, 1e-4]),
        ("linear:0.5:1:3", [0.5, 0.75, 1.0]),
        ("linear:1:-1:5", [1.0, 0.5, 0.0, -0.5, -1.0]),
    ],
)
def test_grids(text, expected):
    assert values(text) == expected
    assert list(map(type, values(text))) == list(map(type, expected))


def test_a_grid_has_round_numbers_that_can_be_asked_for_again():
    assert values("log:1e-5:1e-2:10")[3] == 1e-4
    assert [str(x) for x in values("linear:0:1:4")] == ["0.0", "0.333333", "0.666667", "1.0"]


def test_rows_are_cells_with_the_last_field_fastest_and_in_each_the_same_points():
    found = space({"a": [1, 2], "b": ["x", "y", "z"]}, {"c": "uniform:0:1"}, trials=2)
    rows = found.rows()
    assert found.fields == ["a", "b", "c"]
    assert [(row["a"], row["b"]) for row in rows] == [(a, b) for a in (1, 2) for b in "xyz" for _ in range(2)]
    points = [row["c"] for row in rows]
    assert points == points[:2] * 6 and points[0] != points[1]


def test_nothing_to_vary_is_one_row():
    assert space({}, {}).rows() == [{}]


def test_draws_are_reproducible_and_depend_on_the_seed():
    sample = {"lr": "log-uniform:1e-5:1e-2", "discount": "uniform:0.9:0.999"}
    one, again, other = (space({}, sample, 20, seed).rows() for seed in (0, 0, 1))
    assert one == again and one != other
    assert one[:5] == space({}, sample, 5, 0).rows()


@pytest.mark.parametrize("kind", ["uniform", "log-uniform"])
def test_continuous_draws_cover_their_range(kind):
    d, generator = distribution("x", f"{kind}:0.01:100"), np.random.default_rng(0)
    drawn = np.array([d.draw(generator) for _ in range(4000)])
    assert all(type(x) is float for x in drawn[:1].tolist()) and drawn.min() >= 0.01 and drawn.max() <= 100
    share = (drawn < 1).mean()
    assert share == pytest.approx(0.5 if kind == "log-uniform" else 0.01, abs=0.03)


def test_whole_numbers_include_both_ends():
    d, generator = distribution("x", "int:2:5"), np.random.default_rng(0)
    drawn = [d.draw(generator) for _ in range(200)]
    assert set(drawn) == {2, 3, 4, 5} and all(type(x) is int for x in drawn)


def test_choices_keep_their_types():
    d, generator = distribution("hidden", "choice:64x64,8,tanh,true"), np.random.default_rng(0)
    drawn = [d.draw(generator) for _ in range(200)]
    assert {repr(x) for x in drawn} == {"(64, 64)", "8", "'tanh'", "True"}


def test_a_distribution_may_be_given_as_such():
    given = Distribution("choice", options=(None, "a"))
    assert {row["x"] for row in space({}, {"x": given}, 50).rows()} == {None, "a"}


@pytest.mark.parametrize(
    ("grid", "sample", "trials", "message"),
    [
        ({"lr": []}, {}, None, "lr=.*empty grid"),
        ({"lr": ""}, {}, None, "lr=.*empty grid"),
        ({"lr": ","}, {}, None, "lr=,: an empty grid"),
        ({"lr": [1, 2, 1]}, {}, None, "lr=1: is in the grid twice"),
        ({"lr": "1e-3,0.001"}, {}, None, "lr=0.001: is in the grid twice"),
        ({"lr": "log:1:2"}, {}, None, "lr=log:1:2: write it as A,B,C or log:LOW:HIGH:COUNT"),
        ({"lr": "log:a:b:3"}, {}, None, "write it as"),
        ({"lr": "log:1:2:3:4"}, {}, None, "write it as"),
        ({"lr": "log:0:1:3"}, {}, None, "both ends must be above 0"),
        ({"lr": "log:1:-1:3"}, {}, None, "both ends must be above 0"),
        ({"lr": "linear:0:1:1"}, {}, None, "count must be a whole number, from 2"),
        ({"lr": "linear:0:1:2.5"}, {}, None, "count must be a whole number"),
        ({"lr": "linear:0:1:inf"}, {}, None, "lr=linear:0:1:inf: write it as"),
        ({"lr": "linear:0:nan:3"}, {}, None, "lr=linear:0:nan:3: write it as"),
        ({"lr": 1e-3}, {}, None, "lr=0.001: a grid needs a list of values"),
        ({"lr": [1]}, {"lr": "uniform:0:1"}, 3, "lr=.*in the grid and in the sample"),
        ({}, {"lr": "uniform:0:1"}, None, "trials=None: say how many"),
        ({}, {"lr": "uniform:0:1"}, 0, "trials=0: must be at least 1"),
        ({}, {}, 4, "trials=4: nothing is sampled"),
        ({}, {"lr": "uniform:0"}, 3, "lr=uniform:0: write it as uniform:LOW:HIGH"),
        ({}, {"lr": "uniform:a:b"}, 3, "write it as"),
        ({}, {"lr": "normal:0:1"}, 3, "lr=normal:0:1: a distribution is uniform"),
        ({}, {"lr": "uniform:1:1"}, 3, "lower end must lie below"),
        ({}, {"lr": "uniform:2:1"}, 3, "lower end must lie below"),
        ({}, {"lr": "log-uniform:0:1"}, 3, "both ends must be above 0"),
        ({}, {"lr": "log-uniform:-1:1"}, 3, "both ends must be above 0"),
        ({}, {"lr": "uniform:0:inf"}, 3, "lr=uniform:0:inf: write it as"),
        ({}, {"lr": "choice:"}, 3, "lr=choice:"),
        ({}, {"num_envs": "int:0.2:0.7"}, 3, "num_envs=int:0.2:0.7"),
        ({}, {"lr": [1e-3, 1e-2]}, 3, "lr="),
    ],
)
def test_nonsense_is_refused_in_one_line(grid, sample, trials, message):
    with pytest.raises(ConfigError, match=message) as caught:
        space(grid, sample, trials).rows()
    assert "\n" not in str(caught.value)


def test_it_needs_no_jax():
    program = "import sys, rljax.sweeps.space; assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)
