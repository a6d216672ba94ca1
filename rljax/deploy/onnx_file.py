"""A policy as an ONNX graph, for onnxruntime and the like.

import onnxruntime

session = onnxruntime.InferenceSession("policy.onnx")
(action,) = session.run(["action"], {"obs": obs})  # [batch, ...]
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from rljax.deploy.params import Plain, plain
from rljax.deploy.trace import Operation, trace, unsupported
from rljax.errors import ConfigError
from rljax.policy import Policy
from rljax.storage import replacing

OPSET = 20
DIRECT = {  # operations that are one of ONNX's
    "add": "Add",
    "sub": "Sub",
    "mul": "Mul",
    "div": "Div",
    "max": "Max",
    "min": "Min",
    "pow": "Pow",
    "neg": "Neg",
    "abs": "Abs",
    "sign": "Sign",
    "exp": "Exp",
    "log": "Log",
    "tanh": "Tanh",
    "logistic": "Sigmoid",
    "sqrt": "Sqrt",
    "erf": "Erf",
    "floor": "Floor",
    "ceil": "Ceil",
    "round": "Round",
    "sin": "Sin",
    "cos": "Cos",
    "eq": "Equal",
    "lt": "Less",
    "le": "LessOrEqual",
    "gt": "Greater",
    "ge": "GreaterOrEqual",
    "and": "And",
    "or": "Or",
    "xor": "Xor",
    "not": "Not",
}


def write(policy: Policy, path: Path, batch: int = 1) -> None:
    """Writes `obs [batch, ...] -> action [batch, ...]`; a policy with a memory takes its carry, and gives the next.

    Raises:
      ConfigError: an operation that has no form here, or `onnx` is not installed.
    """
    onnx = _onnx()
    program = trace(policy, batch)
    graph = _Graph(onnx)
    for name, value, shape, dtype in program.inputs:
        graph.take(name, value, shape, dtype)
    for operation in program.operations:
        if not graph.add(operation):
            raise unsupported(policy, operation.name, ".onnx")
    for name, value, shape, dtype in program.outputs:
        graph.give(name, value, shape, dtype)
    model = onnx.helper.make_model(
        graph.made(), opset_imports=[onnx.helper.make_opsetid("", OPSET)], producer_name="rljax", ir_version=10
    )
    onnx.checker.check_model(model, full_check=True)
    with replacing(path) as partial:
        partial.write_bytes(model.SerializeToString())


def _onnx() -> Any:
    try:
        import onnx  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ConfigError("an .onnx file needs onnx: pip install onnx") from None
    return onnx


class _Graph:
    """A graph of ONNX under way. Values are named by their numbers: `v3`."""

    def __init__(self, onnx: Any):
        self._onnx, self._helper = onnx, onnx.helper
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []
        self._shapes: dict[str, tuple[int, ...]] = {}

    def made(self) -> Any:
        return self._helper.make_graph(self._nodes, "policy", self._inputs, self._outputs, self._constants)

    def take(self, name: str, value: int, shape: tuple[int, ...], dtype: str) -> None:
        """Adds an input of the program."""
        self._inputs.append(self._helper.make_tensor_value_info(name, self._type(dtype), shape))
        self._node("Identity", [name], f"v{value}")
        self._shapes[f"v{value}"] = shape

    def give(self, name: str, value: Any, shape: tuple[int, ...], dtype: str) -> None:
        """Adds an output of the program."""
        self._outputs.append(self._helper.make_tensor_value_info(name, self._type(dtype), shape))
        self._node("Identity", [self._ref(value)], name)

    def add(self, operation: Operation) -> bool:
        """Adds an operation; false where ONNX has none such."""
        inputs = [self._ref(x) for x in operation.inputs]
        outputs = [f"v{x}" for x in operation.outputs]
        self._shapes |= {name: shape for name, (shape, _) in zip(outputs, operation.shapes)}
        params = plain(operation, [len(self._shapes[x]) for x in inputs])
        if params is None:
            return False
        if operation.name == "split":
            self._node("Split", [inputs[0], self._ints(params["sizes"])], *outputs, axis=params["axis"])
            return True
        rule: Callable[..., str] | None = getattr(self, f"_{operation.name}", None)
        if operation.name not in DIRECT and rule is None:
            return False
        shape, dtype = operation.shapes[0]
        made = self._node(DIRECT[operation.name], inputs) if rule is None else rule(inputs, params, shape, dtype)
        self._node("Identity", [made], outputs[0])
        return True

    def _node(self, kind: str, inputs: list[str], *outputs: str, **attributes: Any) -> str:
        named = list(outputs) or [f"n{len(self._nodes)}"]
        self._nodes.append(self._helper.make_node(kind, inputs, named, **attributes))
        return named[0]

    def _ref(self, value: Any) -> str:
        return f"v{value}" if isinstance(value, int) else self._constant(np.asarray(value))

    def _constant(self, array: np.ndarray) -> str:
        name = f"c{len(self._constants)}"
        self._constants.append(
            self._onnx.numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name)
        )
        self._shapes[name] = array.shape
        return name

    def _ints(self, values: Any) -> str:
        return self._constant(np.array([*values], np.int64))

    def _type(self, dtype: str) -> int:
        return self._helper.np_dtype_to_tensor_dtype(np.dtype(dtype))

    def _one(self, dtype: str) -> str:
        return self._constant(np.ones((), dtype))

    # What each operation becomes: (inputs, params, shape, dtype) -> the name of its value.

    def _reshape(self, inputs: list[str], params: Plain, shape: tuple[int, ...], dtype: str) -> str:
        return self._node("Reshape", [inputs[0], self._ints(shape)])

    _squeeze = _expand_dims = _reshape

    def _broadcast_in_dim(self, inputs: list[str], params: Plain, shape: tuple[int, ...], dtype: str) -> str:
        inner = [1] * len(shape)
        for axis, dim in enumerate(params["dims"]):
            inner[dim] = self._shapes[inputs[0]][axis]
        return self._node("Expand", [self._node("Reshape", [inputs[0], self._ints(inner)]), self._ints(shape)])

    def _convert_element_type(self, inputs: list[str], params: Plain, shape: tuple[int, ...], dtype: str) -> str:
        return self._node("Cast", inputs, to=self._type(dtype))

    def _square(self, inputs: list[str], params: Plain, shape: tuple[int, ...], dtype: str) -> str:
        return self._node("Mul", inputs * 2)

    def _rsqrt(self, inputs: list[str], params: Plain, shape: tuple[int, ...], dtype: str) -> str:
        return self._node("Reciprocal", [self._node("Sqrt", inputs)])

    def _log1p(self, inputs: list[str], params: Plain, shape: tuple[int, ...], dtype: str) -> str:
        return self._node("Log", [self._node("Add", [inputs[0], self._one(dtype)])])

    def _expm1(self, inputs: list[str], params: Plain, shape: tuple[int, ...], dtype: str) -> str:
        return self._node("Sub", [self._node("Exp", inputs), self._one(dtype)])

    def _integer_pow(self, inputs: list[str], params: Plain, shape: tuple[int, ...], dtype: str) -> str:
        return self._node("Pow", [inputs[0], self._constant(np.array(params["y"], dtype))])

    def _ne(self, inputs: list[str], params: Plain, shape: tuple[int, ...], dtype: str) -> str:
        return self._node("Not", [self._node("Equal", inputs)])

    def _rem(self, inputs: list[str], params: Plain, shape: tuple[int, ...], dtype: str) -> str:
        return self._node("Mod", inputs, fmod=1)

    def _clamp(self, inputs: list[str], params: Plain, shape: tuple[int, ...], dtype: str) -> str:
        low, x, high = inputs
        return self._node("Min", [self._node("Max", [x, low]), high])

    def _select_n(self, inputs: list[str], params: Plain, shape: tuple[int, ...], dtype: str) -> str:
        which, *cases = inputs
        made = cases[0]
        for i, case in enumerate(cases[1:], 1):
            number = self._node("Cast", [which], to=self._type("int32"))
            chosen = self._node("Equal", [number, self._constant(np.array(i, np.int32))])
            made = self._node("Where", [chosen, case, made])
        return made

    def _transpose(self, inputs: list[str], params: Plain, shape: tuple[int, ...], dtype: str) -> str:
        return self._node("Transpose", inputs, perm=params["permutation"])

    def _concatenate(self, inputs: list[str], params: Plain, shape: tuple[int, ...], dtype: str) -> str:
        return self._node("Concat", inputs, axis=params["axis"])

    def _stack(self, inputs: list[str], params: Plain, shape: tuple[int, ...], dtype: str) -> str:
        axis = self._ints([params["axis"]])
        return self._node("Concat", [self._node("Unsqueeze", [x, axis]) for x in inputs], axis=params["axis"])

    def _slice(self, inputs: list[str], params: Plain, shape: tuple[int, ...], dtype: str) -> str:
        starts, limits, strides = (self._ints(params[name]) for name in ("starts", "limits", "strides"))
        return self._node("Slice", [inputs[0], starts, limits, self._ints(range(len(shape))), strides])

    def _tile(self, inputs: list[str], params: Plain, shape: tuple[int, ...], dtype: str) -> str:
        return self._node("Tile", [inputs[0], self._ints(params["reps"])])

    def _rev(self, inputs: list[str], params: Plain, shape: tuple[int, ...], dtype: str) -> str:
        axes, before_the_first = params["axes"], -(2**31)
        starts, ends, steps = (self._ints([x] * len(axes)) for x in (-1, before_the_first, -1))
        return self._node("Slice", [inputs[0], starts, ends, self._ints(axes), steps])

    def _erfc(self, inputs: list[str], params: Plain, shape: tuple[int, ...], dtype: str) -> str:
        return self._node("Sub", [self._one(dtype), self._node("Erf", inputs)])

    def _pad(self, inputs: list[str], params: Plain, shape: tuple[int, ...], dtype: str) -> str:
        sides = [*(low for low, _ in params["pads"]), *(high for _, high in params["pads"])]
        return self._node("Pad", [inputs[0], self._ints(sides), inputs[1]])

    def _argmax(self, inputs: list[str], params: Plain, shape: tuple[int, ...], dtype: str) -> str:
        return self._node("Cast", [self._node("ArgMax", inputs, axis=params["axis"], keepdims=0)], to=self._type(dtype))

    def _argmin(self, inputs: list[str], params: Plain, shape: tuple[int, ...], dtype: str) -> str:
        return self._node("Cast", [self._node("ArgMin", inputs, axis=params["axis"], keepdims=0)], to=self._type(dtype))

    def _reduce_sum(self, inputs: list[str], params: Plain, shape: tuple[int, ...], dtype: str) -> str:
        return self._node("ReduceSum", [inputs[0], self._ints(params["axes"])], keepdims=0)

    def _reduce_max(self, inputs: list[str], params: Plain, shape: tuple[int, ...], dtype: str) -> str:
        return self._node("ReduceMax", [inputs[0], self._ints(params["axes"])], keepdims=0)

    def _reduce_min(self, inputs: list[str], params: Plain, shape: tuple[int, ...], dtype: str) -> str:
        return self._node("ReduceMin", [inputs[0], self._ints(params["axes"])], keepdims=0)

    def _dot_general(self, inputs: list[str], params: Plain, shape: tuple[int, ...], dtype: str) -> str:
        return self._node("Einsum", inputs, equation=params["letters"])

    def _conv_general_dilated(self, inputs: list[str], params: Plain, shape: tuple[int, ...], dtype: str) -> str:
        x, kernel = self._node("Transpose", inputs[:1], perm=[0, 3, 1, 2]), inputs[1]
        kernel = self._node("Transpose", [kernel], perm=[3, 2, 0, 1])
        (top, bottom), (left, right) = params["pads"]
        y = self._node("Conv", [x, kernel], strides=params["strides"], pads=[top, left, bottom, right])
        return self._node("Transpose", [y], perm=[0, 2, 3, 1])

    def _reduce_window_max(self, inputs: list[str], params: Plain, shape: tuple[int, ...], dtype: str) -> str:
        x, pads = self._node("Transpose", inputs[:1], perm=[0, 3, 1, 2]), params["pads"]
        sides, strides = params["sides"][1:3], params["strides"][1:3]
        around = [pads[1][0], pads[2][0], pads[1][1], pads[2][1]]
        y = self._node("MaxPool", [x], kernel_shape=sides, strides=strides, pads=around)
        return self._node("Transpose", [y], perm=[0, 2, 3, 1])
