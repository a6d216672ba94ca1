"""Settles the runtime before any test module can compute, and makes silent mistakes loud."""

import rljax  # noqa: I001  first: it chooses the CPU thread pool
import signal

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


compiled = []  # how long each program took that has not been forgotten


@jax.monitoring.register_event_duration_secs_listener
def note_program(event, seconds, **_):
    if event == "/jax/core/compile/backend_compile_duration":
        compiled.append(seconds)


@pytest.fixture(autouse=True)
def forget_programs():
    """Forgets programs from time to time: the more there are, the longer the next one takes to compile.

    With 4,000 of them a process holds 7 GB, and a quarter of its time goes into caches of those that were compiled; at
    65,530 memory maps, some or hundreds for each, it would be aborted.
    """
    yield
    if len(compiled) > 1000:
        jax.clear_caches()
        compiled.clear()
