"""Environments are listed with the returns that they are known by, and those are ordered."""

from __future__ import annotations

import pytest

from rljax import envs
from rljax.cli import main
from rljax.envs.references import REFERENCES, Reference


def test_they_are_of_environments_that_exist():
    assert set(REFERENCES) <= set(envs.ENVIRONMENTS)


@pytest.mark.parametrize("name", REFERENCES)
def test_more_knowledge_is_no_worse(name):
    known = REFERENCES[name]
    values = [x for x in (known.random, known.memoryless, known.best) if x is not None]
    assert values and values == sorted(values) and known.source


def test_the_list_shows_them(capsys):
    assert main(["list", "envs"]) == 0
    assert "MemoryChain-bsuite  (random 0, without memory 0, best 1)\n" in capsys.readouterr().out
    assert str(Reference(best=1.0)) == "best 1"
