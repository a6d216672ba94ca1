"""Paths as they are meant; files whole or not at all; refusals in one line."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from rljax import storage
from rljax.errors import ConfigError, StorageError


def test_a_path_is_what_the_user_means(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    assert storage.absolute("~/runs/a") == tmp_path / "home" / "runs" / "a"
    assert storage.absolute("runs/a") == tmp_path / "runs" / "a" == storage.absolute(Path("runs") / "a")
    for odd in ("x[1]", "a:b", "50%", "~x", "gs:"):
        assert storage.absolute(f"runs/{odd}") == tmp_path / "runs" / odd


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("", "out='': give the path of a folder"),
        ("a\0b", "give the path of a folder"),
        ("gs://bucket/a", "out=gs://bucket/a: is an address; give a local path"),
        (Path("s3://bucket/a"), "out=s3:/bucket/a: is an address"),
        ("https://host/a", "is an address"),
        ("~nobody-of-this-name/a", "give an absolute path"),
    ],
)
def test_what_is_no_local_path_is_refused(path, message):
    with pytest.raises(ConfigError) as caught:
        storage.absolute(path)
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "the disk is full"),
        (errno.EFBIG, "the limit on the size of a file is reached"),
        (errno.EROFS, "Read-only file system"),
    ],
)
def test_a_file_that_cannot_be_written_is_as_it_was(number, words, tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    storage.write_json(path, {"old": 1})

    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StorageError, match=f"{path} cannot be written: {words}$"):
        storage.write_json(path, {"new": 1})
    assert path.read_text() == '{\n  "old": 1\n}\n' and os.listdir(tmp_path) == ["a.json"]


def test_nothing_is_left_of_what_cannot_be_said_in_json(tmp_path):
    with pytest.raises(TypeError):
        storage.write_json(tmp_path / "a" / "b.json", {"x": object()})
    assert not os.listdir(tmp_path)


def test_the_number_of_an_error_is_found_in_words_too():
    said = ValueError('PERMISSION_DENIED: Error reading local file "/x": Permission denied [tensorstore_spec="{}"]')
    assert storage.number_of(said) == errno.EACCES and storage.reason(said) == "Permission denied"
    assert storage.number_of(ValueError("DATA_LOSS: checksum")) is None


def test_json_is_for_readers():
    """Rows of numbers take lines, not a line for each number, and read back they are what they were."""
    content = {"rows": [{"lr": 1e-5, "hidden": [64, 64]}] * 3, "points": [-1e-05] * 100, "names": ["a" * 70, "b" * 70]}
    content |= {"none": [], "nested": [[1, 2], [3, None]], "not a number": float("inf")}
    text = storage.formatted(content)
    assert json.loads(text) == content and max(map(len, text.splitlines())) <= 120
    assert 10 < len(text.splitlines()) < 30 and '{"lr": 1e-05, "hidden": [64, 64]}' in text
