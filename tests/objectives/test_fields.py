"""The fields of objectives as settings, read from source."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest

from rljax import algos, settings
from rljax.errors import ConfigError
from rljax.kinds import Weights
from rljax.objectives import OBJECTIVES

PPO = algos.settings("ppo")


@pytest.mark.parametrize("name", list(OBJECTIVES))
def test_settings_are_the_fields_of_the_class(name):
    known = settings.of_objective(name)
    assert known == settings.of_objective(OBJECTIVES[name].__name__)
    assert list(known) == [f"objective.{f.name}" for f in dataclasses.fields(OBJECTIVES[name])]
    default = OBJECTIVES[name]()
    for setting in known.values():
        value = getattr(default, setting.name.removeprefix("objective."))
        assert setting.doc and (setting.kind == Weights() if hasattr(value, "dtype") else setting.default == value)
    assert known == settings.of_instance(default)


def test_they_are_read_without_jax():
    program = (
        "import sys; from rljax import catalogue, settings; print(*map(settings.of_objective, catalogue.OBJECTIVES)); "
        "assert 'jax' not in sys.modules and 'numpy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize(
    "given",
    [
        {"objective.clip": 0.1},
        {"objective": "dpo", "objective.alpha": 1.5},
        {"objective": "kl-penalty", "objective.forward": 1, "objective.final": 0.0},
        {"objective": "lpo", "objective.output": [0.5, 1], "objective.hidden": [[1.0, 2.0]] * 8},
        {"objective": "mine:Own", "objective.whatever": 3},
    ],
)
def test_the_fields_of_the_chosen_objective_are_accepted(given):
    assert settings.check(PPO, given, "ppo") == given


def test_a_class_name_is_as_good_as_a_name():
    given = {"objective": "DPO", "objective.beta": 1}
    assert settings.check(PPO, given, "ppo") == {"objective": "dpo", "objective.beta": 1.0}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"objective.alpha": 1.0}, "unknown field of objective ppo-clip 'objective.alpha'"),
        ({"objective": "dpo", "objective.clip": 0.1}, "unknown field of objective dpo 'objective.clip'; did you mean"),
        ({"objective": "dpo", "objective.alpa": 0.1}, "did you mean 'objective.alpha'"),
        ({"objective": "DPPO"}, "unknown objective 'DPPO'; did you mean 'dpo'"),
        ({"objective": "dpo", "objective.beta": 0.0}, "objective.beta=0.0: must be at least 1e-06"),
        ({"objective.clip": -0.1}, "objective.clip=-0.1: must be at least 0"),
        ({"objective": "kl-penalty", "objective.reverse": True}, "objective.reverse=True: must be a number"),
        ({"objective": "lpo", "objective.hidden": [["a"]]}, "objective.hidden=...: must be a list of numbers"),
    ],
)
def test_what_cannot_be_is_refused(given, message):
    with pytest.raises(ConfigError) as error:
        settings.check(PPO, given, "ppo")
    assert message in str(error.value) and "\n" not in str(error.value)


def test_the_settings_of_an_algorithm_with_another_objective():
    known = settings.with_objective(PPO, "dpo")
    assert known["objective"].default == "dpo" and known["objective.alpha"].default == 2.0
    assert "objective.clip" not in known and known["lr"] == PPO["lr"]
