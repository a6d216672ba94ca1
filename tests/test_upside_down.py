"""The script of upside-down RL with a forest runs, and its forests of arrays are those of scikit-learn."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

ensemble = pytest.importorskip("sklearn.ensemble")
BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


def module(name):
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
    assert spec and spec.loader
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def test_a_forest_of_arrays_is_the_forest():
    forest, random = module("forest"), np.random.default_rng(0)
    x = random.normal(size=(400, 3)).astype(np.float32).round(1)  # many values lie on thresholds, or next to them
    y = np.where(x[:, 0] + x[:, 1] * x[:, 2] > 0, 2, 0)  # 1 of 4 is never seen
    fitted = ensemble.RandomForestClassifier(7, random_state=0).fit(x, y)
    found = forest.probabilities(forest.arrays(fitted, 4), jnp.asarray(x))
    expected = np.zeros((400, 4))
    expected[:, [0, 2]] = fitted.predict_proba(x)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_the_script_runs(tmp_path):
    command = [sys.executable, BENCHMARKS / "upside_down.py", "--env=CartPole-v1|time_limit(12)", "--seeds=1"]
    command += ["--iterations=2", "--episodes=3", "--warmup=4", "--best=5", "--last=3", "--trees=3", "--tests=2"]
    command += ["--final", "12", "12", f"--out={tmp_path / 'found.json'}"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ, timeout=300)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    for runs in found["runs"].values():
        assert list(runs[0]["tests"]) == ["3", "6", "9", "12"] and len(runs[0]["tests"]["12"]) == 2
        assert all(1 <= x <= 12 for tested in runs[0]["tests"].values() for x in tested)
    assert len(found["runs"]["forest"][0]["curve"]) == 2 and "| forest |" in done.stdout
