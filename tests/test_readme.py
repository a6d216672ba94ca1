"""What the README tells a newcomer to type works as it stands, with fewer steps."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np

from rljax import cli

README = (Path(__file__).parent.parent / "README.md").read_text()
FEWER = {"500_000": "2_000", "500000": "2000", "task, 100)": "task, 2)", "--seeds 16": "--seeds 1"}


def blocks(language: str) -> list[str]:
    text = README
    for many, few in FEWER.items():
        text = text.replace(many, few)
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_the_commands(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    commands = [line for block in blocks("") for line in block.splitlines() if line.startswith("rljax ")]
    assert len(commands) >= 5
    for command in commands:
        assert cli.main(shlex.split(command)[1:]) == 0, command


def test_the_python(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scope = {"observations": np.zeros((3, 4), np.float32), "make_my_env": lambda: None}
    programs = blocks("python")
    assert len(programs) >= 2
    for program in programs:
        exec("import rljax.envs\n" + program, scope)
    assert scope["action"].shape == (3,)
    assert scope["metrics"]["episode_return"].shape == (16, 2)
