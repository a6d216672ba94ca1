"""A policy for `numpy_policy.py`: its operations as JSON, and its constants, in one `.npz`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from rljax.deploy import numpy_policy
from rljax.deploy.params import plain
from rljax.deploy.trace import trace, unsupported
from rljax.policy import Policy
from rljax.storage import replacing


def write(policy: Policy, path: Path) -> None:
    """Writes it, for one observation at a time. Raises ConfigError for an operation that the reader does not have."""
    program = trace(policy)
    constants: dict[str, np.ndarray] = {}

    def ref(value: Any) -> Any:
        if isinstance(value, int):
            return value
        constants[f"c{len(constants)}"] = np.asarray(value)
        return [len(constants) - 1]

    ranks = {value: len(shape) for _, value, shape, _ in program.inputs}
    written = []
    for operation in program.operations:
        ranks |= {value: len(shape) for value, (shape, _) in zip(operation.outputs, operation.shapes)}
        params = plain(operation, [ranks[x] if isinstance(x, int) else np.ndim(x) for x in operation.inputs])
        if params is None or operation.name not in numpy_policy.OPERATIONS:
            raise unsupported(policy, operation.name, ".npz")
        written.append([operation.name, list(map(ref, operation.inputs)), operation.outputs, params, operation.shapes])
    outputs = [(name, ref(value), shape, dtype) for name, value, shape, dtype in program.outputs]
    text = json.dumps({"inputs": program.inputs, "outputs": outputs, "operations": written}, default=int)
    with replacing(path) as partial, partial.open("wb") as file:
        np.savez(file, allow_pickle=False, program=np.array(text), **constants)  # pyright: ignore[reportArgumentType]
