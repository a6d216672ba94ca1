"""Fixtures of this room, some of which it shares with another."""

import pytest
from populations import compiled, every_compilation, finished, shared_programs

from rljax import resources

__all__ = ["compiled", "every_compilation", "finished", "shared_programs"]


@pytest.fixture(autouse=True)
def plenty_of_memory(monkeypatch):
    """The tests beside one take what is free, so plans would differ from one moment to the next."""
    monkeypatch.setattr(resources, "free", lambda: 2**40)
