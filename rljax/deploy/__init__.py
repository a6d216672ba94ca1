"""Policies for use without rljax: files in three forms, and an agent for Gymnasium's environments.

agent.py         acts in environments of Gymnasium's interface
jax_file.py      `.jax`: a program of JAX, for any batch, on any device
onnx_file.py     `.onnx`: for onnxruntime and the like
numpy_file.py    `.npz`: for `numpy_policy.py`, a file of its own that needs numpy alone
trace.py         the operations of a policy, which the last two write
params.py        their parameters
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rljax.deploy.agent import Agent as Agent
from rljax.errors import require
from rljax.kinds import Count
from rljax.policy import Policy
from rljax.storage import absolute

FORMS = {".jax": "rljax.deploy.jax_file", ".onnx": "rljax.deploy.onnx_file", ".npz": "rljax.deploy.numpy_file"}


def export(policy: Policy, path: str | Path, batch: int | None = None) -> Path:
    """Writes the greedy policy into a file of the form that its suffix says.

    Args:
      path: `policy.jax`, `policy.onnx` or `policy.npz`.
      batch: observations that a `.onnx` file takes at once, by default one; `.jax` takes any number, `.npz` one.

    Returns:
      The path, absolute.

    Raises:
      ConfigError: another suffix, an operation that such files do not have, or `onnx` is not installed.
      StorageError: it cannot be written.
    """
    import importlib

    out = absolute(path)
    require(out.suffix in FORMS, "out", out.name, f"must end in {', '.join(FORMS)}")
    require(batch is None or out.suffix == ".onnx", "batch", batch, f"has no effect on a {out.suffix} file")
    arguments: dict[str, Any] = {} if batch is None else {"batch": Count(1, 10**6).convert("batch", batch)}
    importlib.import_module(FORMS[out.suffix]).write(policy, out, **arguments)
    return out
