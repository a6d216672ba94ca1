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
def measure_anew():
    """No plan is measured by what another test has measured, also after a test has undone its own patches."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(remembered, "recall", lambda key: None)
        patch.setattr(remembered, "keep", lambda key, values: None)
        yield


@pytest.fixture(autouse=True)
def plenty_of_memory():
    """A plan takes another process for as large as this one, which holds the programs of many tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resources, "resident", lambda: 2**28)
        yield


compiled = []  # how long each program took that has not been forgotten


def note_program(event, seconds, **_):
    if event == "/jax/core/compile/backend_compile_duration":
        compiled.append(seconds)


jax.monitoring.register_event_duration_secs_listener(note_program)


@pytest.fixture(autouse=True)
def forget_programs():
    """Forgets programs from time to time: the more there are, the longer the next one takes to compile.

    With 4,000 of them a process holds 7 GB and spends a quarter of its time on walks through the compiler's caches.
    Each also takes memory maps, some take hundreds, and at 65,530 of those the process would be aborted.
    """
    yield
    maps = Path("/proc/self/maps")
    if len(compiled) > 1000 or (maps.exists() and maps.read_bytes().count(b"\n") > 30_000):
        jax.clear_caches()
        compiled.clear()
