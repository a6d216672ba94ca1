"""Settles the runtime before any test module can compute, and makes silent mistakes loud."""

import rljax  # noqa: I001  first: it chooses the CPU thread pool
import signal
from pathlib import Path

import jax
import pytest

from rljax import resources
from rljax.engine import remembered

assert rljax.__name__ == "rljax"
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background begins with Ctrl-C ignored


@pytest.fixture
def strict():
    """Reused keys and silent rank promotion raise."""
    with jax.numpy_rank_promotion("raise"), jax.debug_key_reuse(True):
        yield


@pytest.fixture
def optimised():
    """For tests that compute longer than they compile."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture(autouse=True)
def measure_anew(monkeypatch):
    """No plan is measured by what another test has measured."""
    monkeypatch.setattr(remembered, "recall", lambda key: None)
    monkeypatch.setattr(remembered, "keep", lambda key, values: None)


@pytest.fixture(autouse=True)
def plenty_of_memory(monkeypatch):
    """A plan takes another process for as large as this one, which holds the programs of thousands of tests."""
    monkeypatch.setattr(resources, "resident", lambda: 2**28)


@pytest.fixture(autouse=True)
def forget_programs():
    """Compiled programs take hundreds of memory maps each, and a process may have 65,530: then it is aborted."""
    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > 30_000:
        jax.clear_caches()
