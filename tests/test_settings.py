"""Settings read from source are those of the real classes."""

from __future__ import annotations

import dataclasses

import pytest
from toys import suited

from rljax import algos, settings
from rljax.algos.presets import PRESETS, preset
from rljax.build import describe, make
from rljax.errors import ConfigError
from rljax.objectives import OBJECTIVES


@pytest.mark.parametrize("name", [name for name in algos.names() if algos.base(name) == name])
def test_settings_are_the_fields_of_the_classes(name):
    module, known = algos.load(name), algos.settings(name)
    built, _ = make(name, suited(name))
    config = {n: s.default for n, s in known.items() if s.group == "config"}
    assert config == dataclasses.asdict(module.Config())
    hypers = {n: s.default for n, s in known.items() if s.group == "hypers" and s.type is not object}
    hypers = {n: "inf" if x == float("inf") else x for n, x in hypers.items()}
    found = {n: float(x) if isinstance(x, int) else x for n, x in describe(built.hypers).items()}
    assert hypers == found
    assert all(s.doc for s in known.values()), "a field without a comment behind it"


def test_objectives_are_those_of_the_table():
    assert settings.objectives() == {name: cls.__name__ for name, cls in OBJECTIVES.items()}


@pytest.mark.parametrize(("algo", "env"), list(PRESETS))
def test_presets_are_valid_and_sourced(algo, env):
    known = preset(algo, env)
    assert known is not None and known.source and known.steps > 0
    settings.check(algos.settings(algo), known.settings, algo)


def test_presets_match_by_name_then_by_pattern():
    assert preset("ppo", "Seaquest-MinAtar") is PRESETS["ppo", "*-MinAtar"]
    assert preset("ppo", "Breakout-MinAtar") is PRESETS["ppo", "Breakout-MinAtar"]
    assert preset("ppo", "nothing") is None


def test_assignments():
    assert settings.assignments(["a=1", "b=0.5", "c=-2"]) == {"a": 1, "b": 0.5, "c": -2}
    with pytest.raises(ConfigError, match="NAME=NUMBER"):
        settings.assignments(["a"])


def test_registering_an_algorithm_twice_is_refused():
    with pytest.raises(ConfigError, match="is taken"):
        algos.register("ppo", "somewhere.else")
