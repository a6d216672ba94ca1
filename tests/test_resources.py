"""Bytes in words and back, and what the machine has."""

from __future__ import annotations

import os

import pytest

from rljax import resources
from rljax.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("16GB", 16 * 10**9),
        ("800MB", 800 * 10**6),
        ("1.5g", 1_500_000_000),
        ("2 tb", 2 * 10**12),
        ("64kB", 64_000),
        ("12345", 12_345),
        (12_345, 12_345),
    ],
)
def test_memory_is_read(text, count):
    assert resources.read(text) == count


@pytest.mark.parametrize("text", ["", "GB", "16XB", "-1GB", "0", "0GB", "nan", "inf", "1e9", "1.2.3GB", "."])
def test_what_is_no_memory_is_refused(text):
    with pytest.raises(ConfigError, match=r"memory_limit=.*: write it as 16GB, 800MB or a number of bytes"):
        resources.read(text)


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 kB"), (25.7e6, "25.7 MB"), (16e9, "16 GB"), (2e12, "2 TB")],
)
def test_memory_is_written(count, text):
    assert resources.write(count) == text
    if count:
        assert resources.read(text.removesuffix(" bytes")) == count


def test_what_is_free_is_less_than_there_is():
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 0 < resources.free() < total
    assert 1 <= resources.cores() <= (os.cpu_count() or 1)


def test_a_containers_limit_counts(monkeypatch):
    monkeypatch.setattr(
        resources, "_number", lambda path: {"memory.max": 3 * 10**6, "memory.current": 10**6}[path.name]
    )
    assert resources.host() == 2 * 10**6
    monkeypatch.setattr(resources, "_number", lambda path: None)
    assert resources.host() > 2 * 10**6
