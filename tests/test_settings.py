"""Settings read from source are those of the real classes."""

from __future__ import annotations

import dataclasses

import pytest
from toys import suited

from rljax import algos, declarations, kinds, settings
from rljax.algos.presets import PRESETS, preset
from rljax.build import describe
from rljax.errors import ConfigError
from rljax.spec import make

SHIPPED = [name for name in algos.names() if algos.base(name) == name]


@pytest.mark.parametrize("name", SHIPPED)
def test_what_is_read_is_what_the_classes_say(name):
    module = algos.load(name)
    read = {n: s for n, s in algos.settings(name).items() if not n.startswith("objective.")}
    asked = [*declarations.of_class(module.Config), *declarations.of_class(module.Hypers)]
    assert list(read) == [field.name for field in asked]
    for field in asked:
        setting = read[field.name]
        assert (setting.kind, setting.doc.partition(": ppo-clip")[0]) == (field.kind, field.doc)
        assert field.name == "objective" or setting.default == field.default
        assert setting.doc, "a field without a meaning"


@pytest.mark.parametrize("name", SHIPPED)
def test_settings_are_the_numbers_that_an_algorithm_has(name):
    module, known = algos.load(name), algos.settings(name)
    built, _ = make(name, suited(name))
    config = {n: s.default for n, s in known.items() if s.group == "config"}
    assert config == dataclasses.asdict(module.Config())
    hypers = {n: s.default for n, s in known.items() if s.group == "hypers" and not isinstance(s.kind, kinds.Part)}
    hypers = {n: "inf" if x == float("inf") else x for n, x in hypers.items()}
    assert hypers == describe(built.hypers)


@pytest.mark.parametrize("name", SHIPPED)
def test_every_number_has_bounds(name):
    """But for those that may be anything finite."""
    free = {"value_low", "value_high", "entropy_continuous"}
    for setting in algos.settings(name).values():
        if isinstance(setting.kind, kinds.Number) and setting.name not in free:
            assert any(x is not None for x in dataclasses.astuple(setting.kind)), setting.name


@pytest.mark.parametrize("name", list(PRESETS))
def test_presets_are_valid_and_sourced(name):
    algo, env = name.split()
    known = preset(algo, env)
    assert known is not None and known.source and known.steps > 0
    settings.check(algos.settings(algo), known.settings, algo)


def test_presets_match_by_name_then_by_pattern():
    assert preset("ppo", "Seaquest-MinAtar") is PRESETS["ppo *-MinAtar"]
    assert preset("ppo", "Breakout-MinAtar") is PRESETS["ppo Breakout-MinAtar"]
    assert preset("ppo", "nothing") is None


def test_assignments():
    assert settings.assignments(["a=1", "b=0.5", "c=-2"]) == {"a": 1, "b": 0.5, "c": -2}
    with pytest.raises(ConfigError, match="NAME=NUMBER"):
        settings.assignments(["a"])


def test_registering_an_algorithm_twice_is_refused():
    with pytest.raises(ConfigError, match="is taken"):
        algos.register("ppo", "somewhere.else")
