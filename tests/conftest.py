"""Settles the runtime before any test module can compute, and makes silent mistakes loud."""

import rljax  # noqa: I001  first: it chooses the CPU thread pool
import jax
import pytest

assert rljax.__name__ == "rljax"


@pytest.fixture
def strict():
    """Reused keys and silent rank promotion raise."""
    with jax.numpy_rank_promotion("raise"), jax.debug_key_reuse(True):
        yield
