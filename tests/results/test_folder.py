"""Folders: held by one, numbered without a race, gone again where nothing came of them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from rljax.errors import ConfigError, StorageError
from rljax.results.folder import RUN, SEARCH, SWEEP, Numbered, locked

KINDS = pytest.mark.parametrize("kind", [RUN, SWEEP, SEARCH], ids=lambda kind: kind.name)


@KINDS
def test_a_folder_is_locked_by_one_process(kind, tmp_path):
    with locked(tmp_path / "a", kind) as folder:
        folder.record({"x": 1})
        with pytest.raises(ConfigError) as caught, locked(tmp_path / "a", kind):
            pass
        said = str(caught.value)
        assert f"another process is running this {kind.name} (process {os.getpid()} on " in said and "\n" not in said
        assert "exists; " in said and "wait for it or stop it" in said
    with locked(tmp_path / "a", kind) as again:
        assert again.recorded


HOLD = """
import sys, time
from pathlib import Path
from rljax.results.folder import RUN, locked
with locked(Path(sys.argv[1]), RUN):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_process_that_is_killed_holds_nothing_and_its_empty_folder_is_free(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path / "a"], stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"held\n"
    with pytest.raises(ConfigError, match=f"process {process.pid} on"), locked(tmp_path / "a", RUN):
        pass
    process.kill()
    process.wait()
    (tmp_path / "a" / ".0123.partial").write_text("half of a record")
    with locked(tmp_path / "a", RUN) as folder:
        assert not folder.recorded


@KINDS
def test_what_comes_to_nothing_leaves_nothing(kind, tmp_path):
    with pytest.raises(ValueError, match="no plan"), locked(tmp_path / "new" / "a", kind):
        raise ValueError("no plan")
    (tmp_path / "mine").mkdir()
    with pytest.raises(ValueError, match="no plan"), locked(tmp_path / "mine", kind):
        raise ValueError("no plan")
    assert os.listdir(tmp_path) == ["mine"] and not os.listdir(tmp_path / "mine")


@KINDS
def test_what_is_somebody_elses_is_not_touched(kind, tmp_path):
    (tmp_path / "letter").write_text("dear")
    with (
        pytest.raises(ConfigError, match=f"exists, and is not of a {kind.name}; choose another"),
        locked(tmp_path, kind),
    ):
        pass
    with pytest.raises(ConfigError, match="File name too long"), locked(tmp_path / ("a" * 300), kind):
        pass
    for path in (tmp_path / "letter", tmp_path / "letter" / "a"):
        with pytest.raises(ConfigError, match="exists, or leads through a file"), locked(path, kind):
            pass
    assert os.listdir(tmp_path) == ["letter"]


def test_folders_that_are_numbered_at_once_are_all_different(tmp_path):
    found: list[Path] = []
    start = threading.Barrier(8)

    def take():
        start.wait()
        with locked(Numbered(tmp_path / "runs", "a"), RUN) as folder:
            folder.record({})
            found.append(folder.path)

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(path.name for path in found) == ["a", *(f"a-{i}" for i in range(2, 9))]


def test_a_refusal_of_the_disk_says_what_is_safe_and_how_to_go_on(tmp_path):
    path = tmp_path / "it's [1]"
    with pytest.raises(StorageError) as caught, locked(path, RUN) as folder:
        folder.record({})
        raise StorageError("x cannot be written: the disk is full")
    command = f"rljax train --resume '{tmp_path}/it'\"'\"'s [1]'"
    assert str(caught.value) == (
        f"x cannot be written: the disk is full; what is finished is kept: {command} goes on with it"
    )
    with pytest.raises(StorageError, match=r"metrics.jsonl cannot be used: No such file"), locked(path, RUN):
        (path / "metrics.jsonl").read_text()
    with pytest.raises(FileNotFoundError), locked(path, RUN):
        (tmp_path / "of the user's own environment").read_text()


@pytest.mark.parametrize("how", ["deleted", "deleted but for what was written since", "moved", "made anew"])
def test_a_folder_that_goes_is_noticed(how, tmp_path):
    with pytest.raises(StorageError) as caught, locked(tmp_path / "a", RUN) as folder:
        folder.record({})
        folder.check()
        if how == "moved":
            (tmp_path / "a").rename(tmp_path / "b")
        else:
            shutil.rmtree(tmp_path / "a")
        if how == "deleted but for what was written since":
            (tmp_path / "a" / "checkpoints" / "10").mkdir(parents=True)
        if how == "made anew":
            (tmp_path / "a").mkdir()
            (tmp_path / "a" / "letter").write_text("dear")
        folder.check()
    assert str(caught.value) == f"{tmp_path / 'a'}: the run's folder was deleted or moved while it was in use"
    left = {"moved": ["b"], "made anew": ["a"]}.get(how, [])
    assert os.listdir(tmp_path) == left and (how != "made anew" or os.listdir(tmp_path / "a") == ["letter"])
