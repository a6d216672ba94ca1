"""The values that fields take: bounds, forms of numbers, and refusals."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from rljax.errors import ConfigError
from rljax.kinds import INF, Choice, Count, Flag, Maybe, Number, Several, Text, Weights

SIZES = Several(Count())

TAKEN = [
    (Number(), 1, 1.0),
    (Number(), np.float32(0.5), 0.5),
    (Number(), np.int64(5), 5.0),
    (Number(), np.array(0.25), 0.25),
    (Number(0.0, INF), "inf", INF),
    (Number(-INF), "-inf", -INF),
    (Number(0.0, 1.0), 1.0, 1.0),
    (Count(), np.int64(4), 4),
    (Count(), 1e3, 1000),
    (Count(), np.float64(100.0), 100),
    (Count(None), -3, -3),
    (Flag(), np.True_, True),
    (Choice(("a", 3)), 3, 3),
    (SIZES, (np.int64(8), 4.0), (8, 4)),
    (SIZES, np.array([8, 4]), (8, 4)),
    (SIZES, 8, (8,)),
    (SIZES, [], ()),
    (Text(), "tanh", "tanh"),
    (Maybe(Count()), None, None),
    (Several(Number()), [1, np.float32(2)], (1.0, 2.0)),
]

REFUSED = [
    (Number(), "1e-4", "x='1e-4': must be a number, not text"),
    (Number(), True, "x=True: must be a number"),
    (Number(), np.True_, "x=True: must be a number"),
    (Number(), None, "x=None: must be a number"),
    (Number(), 1j, "x=1j: must be a number"),
    (Number(), float("nan"), "x=nan: must be a number"),
    (Number(), INF, "x=inf: must be finite"),
    (Number(), 1e39, "x=1e+39: must be finite"),  # infinite in float32
    (Number(low=0.0), np.float32(-1), "x=-1.0: must be at least 0"),
    (Number(low=0.0), -INF, "x=-inf: must be finite"),
    (Number(0.0, 1.0), 1.5, "x=1.5: must lie between 0 and 1"),
    (Number(above=0.0), 0, "x=0: must be above 0"),
    (Number(above=0.0), 1e-40, "x=1e-40: must be above 0"),  # 0 in a program
    (Number(low=0.5, below=1.0), 1 - 1e-12, "must be at least 0.5 and below 1"),  # 1 in float32
    (Number(low=0.0), np.array([1.0, -2.0]), "x=-2.0: must be at least 0"),
    (Number(), jnp.array([1.0, jnp.nan]), "x=nan: must be a number"),
    (Number(), np.array(["a"]), "must be a number, or an array of numbers"),
    (Number(), np.zeros(0), "must be a number, or an array of numbers"),
    (Count(), 0, "x=0: must be at least 1"),
    (Count(), 1.5, "x=1.5: must be a whole number"),
    (Count(), "4", "x='4': must be a whole number, not text"),
    (Count(), True, "x=True: must be a whole number"),
    (Count(), INF, "x=inf: must be a whole number"),
    (Count(), 2**31, "x=2147483648: must be at most 2147483647"),
    (Count(None), -(2**31) - 1, "must be at least -2147483648"),
    (Flag(), 1, "x=1: must be true or false"),
    (Flag(), "true", "x='true': must be true or false, not text"),
    (Choice(("a", "b")), "c", "x=c: must be one of a, b"),
    (Choice((1, 2)), True, "must be one of 1, 2"),
    (SIZES, (8, 0), "x=0: must be at least 1"),
    (SIZES, "64", "x='64': must be a whole number, not text"),
    (Text(), 3, "x=3: must be text"),
    (Several(Number()), ["a"], "x='a': must be a number, not text"),
    (Weights(), np.array([np.inf]), "must be finite"),
    (Weights(), [1.0, [float("nan")]], "must be a list of numbers"),
]


@pytest.mark.parametrize(("kind", "given", "right"), TAKEN)
def test_numbers_are_taken_as_they_come(kind, given, right):
    found = kind.convert("x", given)
    assert found == right and type(found) is type(right)


@pytest.mark.parametrize(("kind", "given", "message"), REFUSED)
def test_what_it_does_not_take_is_refused_in_one_line(kind, given, message):
    with pytest.raises(ConfigError) as error:
        kind.convert("x", given)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_number_of_more_digits_than_python_writes():
    assert Number(0.0, INF).convert("x", 10**5000) == INF
    for kind, message in ((Number(), "x=1e5000: must be finite"), (Count(), "x=1e5000: must be at most 2147483647")):
        with pytest.raises(ConfigError, match=message):
            kind.convert("x", 10**5000)


def test_an_array_stays_what_it_is():
    array = jnp.array([1.0, 2.0])
    assert Number(low=0.0).convert("x", array) is array
