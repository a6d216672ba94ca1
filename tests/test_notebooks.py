"""Every notebook runs from top to bottom, as a script; what takes minutes there, shorter."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.py"))
QUICK = ("JAX_DISABLE_MOST_OPTIMIZATIONS", "XLA_FLAGS")  # to compile, as tests are: these here run as users run them
SHORTER = {"03_learn_an_objective": ("24_576", "6_144")}


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(notebook, tmp_path):
    text, (long, short) = notebook.read_text(), SHORTER.get(notebook.stem, ("", ""))
    assert long in text
    (tmp_path / notebook.name).write_text(text.replace(long, short))
    done = subprocess.run(
        [sys.executable, notebook.name],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if name not in QUICK} | {"MPLBACKEND": "agg"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
