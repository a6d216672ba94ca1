"""The commands and programs of the README work as they stand, outside of a clone, with fewer steps."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rljax import cli

FEWER = {  # what is changed: steps and seeds alone
    "500_000": "2_000",
    "50_000": "2_000",
    "500000": "2000",
    "600000": "3000",
    "--steps 200000 --num-envs": "--steps 8192 --num-envs",
    "--steps 1000000 --num-envs": "--steps 8192 --num-envs",
    "--steps 20000 ": "--steps 3000 ",
    "100000": "2000",
    "--steps 64000": "--steps 1280",
    "task, 100)": "task, 2)",
    "--seeds 16": "--seeds 1",
    "`rljax train ppo Pendulum-v1`": "`rljax train ppo Pendulum-v1 --steps 2000`",
    "--prioritised --n-step 3`": "--prioritised --n-step 3 --steps 2000`",
}
TEXT = (Path(__file__).parent.parent / "README.md").read_text()
for many, few in FEWER.items():
    assert many in TEXT, many
    TEXT = TEXT.replace(many, few)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PROGRAMS = [body for language, body in FENCE.findall(TEXT) if language == "python"]


def commands() -> Iterator[str]:
    """The commands in blocks and within sentences, in their order; `rljax report` alone is the name of one."""
    for language, block, span in re.findall(r"^```(\w*)\n(.*?)^```$|`(rljax [^`\n]+)`", TEXT, re.DOTALL | re.MULTILINE):
        for line in [span] if span else block.splitlines() if not language else []:
            if line.startswith("rljax ") and len(line.split()) > 2:
                yield line


def expressions() -> list[str]:
    """Calls within sentences."""
    return [span for span in re.findall(r"`([^`\n]+)`", FENCE.sub("", TEXT)) if re.match(r"[\w.]+\(", span)]


def test_the_commands(tmp_path, monkeypatch, capsys):
    """One after the other, in one folder."""
    monkeypatch.chdir(tmp_path)
    found = list(commands())
    assert len(found) >= 20 and any(command.startswith("rljax train dqn") for command in found)
    assert not re.search("^    rljax ", TEXT, re.MULTILINE)  # in a fence, where it is found
    for command in found:
        try:
            assert cli.main(shlex.split(command)[1:]) == 0, command
        except SystemExit as done:  # as help ends
            assert command.endswith("--help") and not done.code, command


def test_the_first_command_in_a_process_of_its_own(tmp_path):
    command = next(commands())
    done = subprocess.run(
        [sys.executable, "-P", "-m", *shlex.split(command)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs" / "a" / "curve.png").exists()


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    return tmp_path_factory.mktemp("elsewhere")


@pytest.mark.parametrize("program", [*PROGRAMS, *expressions()], ids=lambda program: program.split("\n")[0][:40])
def test_the_python(program, elsewhere):
    """Each by itself, as a newcomer who has imported rljax would type it."""
    text = f"import rljax\n{program}\n"
    if "action = " in program:
        text += "assert action.shape == (1,)\n"
    if "state, metrics = " in program:
        text += "assert metrics['episode_return'].shape == (16, 2)\n"
    done = subprocess.run(
        [sys.executable, "-P", "-c", text], cwd=elsewhere, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_there_are_programs():
    assert len(PROGRAMS) >= 4
