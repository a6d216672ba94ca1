"""Fields of classes that know nothing of rljax.fields: an algorithm of one's own, of whatever form."""

from __future__ import annotations

import dataclasses
import sys
import types
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jax
import numpy as np
import pytest
from flax import struct

from rljax import declarations, fields, settings
from rljax.algos import ppo
from rljax.errors import ConfigError
from rljax.kinds import INF, Choice, Kind, Maybe, Number, PolicyObjective, Several, Weights
from rljax.objectives import PPOClip
from rljax.types import Scalar


@dataclass(frozen=True)
class Base:
    capacity: int = 10**6  # steps that are remembered
    window: int | None = None
    name: str = "a"


@dataclass(frozen=True)
class Config(Base):
    layers: Sequence[int] = (8, 8)
    gains: tuple[float, ...] = (0.5,)
    mode: Literal["fast", "slow"] = "fast"
    quick: bool = True
    start: Any = 3
    made: Any = dataclasses.field(default_factory=lambda: (1, 2))
    odd: Any = dataclasses.field(default_factory=dict)


class Hypers(struct.PyTreeNode):
    lr: jax.Array = 1e-3  # pyright: ignore[reportAssignmentType]
    decay: Scalar = 1  # how fast
    bound: float = INF
    table: Any = dataclasses.field(default_factory=lambda: np.zeros(3))
    objective: Any = PPOClip(clip=0.1)


def test_fields_are_asked_of_the_class():
    found = {field.name: field for field in [*declarations.of_class(Config), *declarations.of_class(Hypers)]}
    assert {name: field.default for name, field in found.items() if name not in ("odd", "objective")} == {
        "capacity": 1_000_000,
        "window": None,
        "name": "a",
        "layers": (8, 8),
        "gains": (0.5,),
        "mode": "fast",
        "quick": True,
        "start": 3,
        "made": (1, 2),
        "lr": 1e-3,
        "decay": 1,
        "bound": INF,
        "table": None,
    }
    whole, real = declarations.WHOLE, declarations.REAL
    assert found["capacity"].kind == whole and found["window"].kind == Maybe(whole) and found["start"].kind == whole
    assert found["layers"].kind == Several(whole) == found["made"].kind and found["gains"].kind == Several(real)
    assert found["mode"].kind == Choice(("fast", "slow")) and found["odd"].kind == Kind()
    assert found["lr"].kind == real == found["decay"].kind and found["table"].kind == Weights()
    assert found["capacity"].doc == "steps that are remembered" and found["decay"].doc == "how fast"


def module(name, monkeypatch, **parts):
    made = types.ModuleType(name)
    vars(made).update(parts)
    monkeypatch.setitem(sys.modules, name, made)
    return name


@pytest.mark.parametrize("name", ["__main__", "somebodys"])
def test_an_algorithm_of_any_module(name, monkeypatch):
    known = settings.of_algorithm(module(name, monkeypatch, Config=Config, Hypers=Hypers, make=None))
    assert known["capacity"].group == "config" and known["lr"].group == "hypers"
    assert known["objective"].kind == PolicyObjective() and known["objective"].default == "ppo-clip"
    assert known["objective.clip"].default == 0.1 and isinstance(known["objective.clip"].kind, Number)
    given = {"window": np.int64(4), "capacity": 1e3, "layers": [4], "objective.clip": 0.3, "lr": np.float32(0.5)}
    right = {"window": 4, "capacity": 1000, "layers": (4,), "objective.clip": 0.3, "lr": 0.5}
    assert settings.check(known, given, name) == right
    with pytest.raises(ConfigError, match=r"objective.clip=-1: must be at least 0"):
        settings.check(known, {"objective": PPOClip(clip=-1)}, name)


def test_what_is_no_algorithm(monkeypatch):
    with pytest.raises(ConfigError, match="cannot be imported"):
        settings.of_algorithm("nowhere.to.be.found")
    with pytest.raises(ConfigError, match="has no Config; give it Config, Hypers and make"):
        settings.of_algorithm(module("empty", monkeypatch))
    with pytest.raises(ConfigError, match="Config: must be a dataclass"):
        plain = type("Config", (), {})
        settings.of_algorithm(module("half", monkeypatch, Config=plain, Hypers=Hypers, make=None))


def test_a_class_that_extends_one_of_ours():
    class Longer(ppo.Hypers):
        extra: Scalar = 0.5

    found = {field.name: field for field in declarations.of_class(Longer)}
    assert found["discount"].kind == Number(0.0, 1.0) and found["extra"].kind == declarations.REAL


SHARED = """
from rljax.fields import count, number, share

class Shared(Base):
    lr: Scalar = number(1e-3, "learning rate", low=0.0)
    discount: Scalar = share(0.99, "weight of the future")

class Other:
    batch_size: int = count(64, "steps of a gradient step")
    lr: Scalar = number(0.5, "another", low=0.1)
"""
HANDED_ON = "from rljax.shared import Shared as Common"
HEIRS = """
from rljax.package import Common
from rljax import shared

class Direct(Common):
    lr: Scalar = 1e-4
    extra: Scalar = share(0.1, "its own")

class Both(Common, shared.Other):
    batch_size: int = 32
"""


def test_fields_are_inherited_across_modules_in_the_order_of_dataclasses(tmp_path, monkeypatch):
    for name, text in (("shared", SHARED), ("package", HANDED_ON), ("heirs", HEIRS)):
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.setattr(declarations, "file_of", lambda module: tmp_path / f"{module.rpartition('.')[2]}.py")
    declarations._read.cache_clear()
    direct = {f.name: f for f in declarations.in_source("rljax.heirs", "Direct")}
    assert [(f.name, f.default) for f in direct.values()] == [("lr", 1e-4), ("discount", 0.99), ("extra", 0.1)]
    assert direct["lr"].doc == "learning rate" and direct["lr"].kind == Number(low=0.0)
    both = declarations.in_source("rljax.heirs", "Both")
    assert [(f.name, f.default) for f in both] == [("batch_size", 32), ("lr", 1e-3), ("discount", 0.99)]
    with pytest.raises(LookupError, match="defines no class Nothing"):
        declarations.in_source("rljax.heirs", "Nothing")
    declarations._read.cache_clear()


def test_another_default_alone_keeps_what_the_base_says_of_a_field():
    class Shared(struct.PyTreeNode):
        lr: Scalar = fields.number(1e-3, "learning rate", low=0.0)
        discount: Scalar = fields.share(0.99, "weight of the future")

    class Heir(Shared):
        lr: Scalar = 1e-4

    class Second(Heir):
        pass

    for kind in (Heir, Second):
        lr, discount = declarations.of_class(kind)
        assert (lr.kind, lr.default, lr.doc) == (Number(low=0.0), 1e-4, "learning rate") and discount.default == 0.99


def test_one_number_may_have_to_be_above_another():
    from rljax import algos

    known = algos.settings("dqn")
    settings.check(known, {"value_low": -5.0}, "dqn")
    for given in ({"value_low": 100.0}, {"value_high": -1.0}, {"value_low": 5.0, "value_high": 1.0}):
        with pytest.raises(ConfigError, match=r"value_high=.*: must be above value_low="):
            settings.check(known, given, "dqn")
