"""A policy in plain numpy: acts by an `.npz` file that rljax exported. Needs nothing but numpy; copy it anywhere.

    policy = NumpyPolicy("policy.npz")
    action = policy(obs)           # one observation, as the environment gives it
    policy.reset()                 # before each episode, for a policy with a memory

Run `python numpy_policy.py policy.npz` to see what it takes and gives.
"""

from __future__ import annotations

import json
import sys

import numpy as np


class NumpyPolicy:
    """The greedy policy in a file.

    Attributes:
      inputs, outputs: (name, value, shape, dtype) of what the program takes and gives; shapes with a batch of one.
    """

    def __init__(self, path):
        with np.load(path, allow_pickle=False) as file:
            program = json.loads(str(file["program"]))
            self._constants = {int(name[1:]): file[name] for name in file.files if name[0] == "c"}
        self.inputs, self.outputs, self._operations = (program[n] for n in ("inputs", "outputs", "operations"))
        self.reset()

    def reset(self):
        """Forgets what was seen: the next observation opens an episode."""
        self._carry, self._first = {n: np.zeros(shape, t) for n, _, shape, t in self.inputs if n[:3] != "obs"}, True

    def __call__(self, obs):
        """The action for one observation: an array, or a dict of them."""
        values = {}
        for name, number, shape, dtype in self.inputs:
            if name[:3] == "obs":
                given = obs
                for part in name.split(".")[1:]:
                    given = given[part]
            else:
                given = [self._first] if name == "reset" else self._carry[name]
            values[number] = np.asarray(given, dtype).reshape(shape)
        with np.errstate(all="ignore"):
            self._run(values)
        found = {name: self._value(values, ref) for name, ref, _, _ in self.outputs}
        self._carry, self._first = {n: found.get(f"next_{n}", x) for n, x in self._carry.items()}, False
        actions = {name: x[0] for name, x in found.items() if name.split(".")[0] == "action"}
        return actions["action"] if "action" in actions else {n.split(".", 1)[1]: x for n, x in actions.items()}

    def _value(self, values, ref):
        return self._constants[ref[0]] if isinstance(ref, list) else values[ref]

    def _run(self, values):
        for name, inputs, outputs, params, shapes in self._operations:
            found = OPERATIONS[name](*(self._value(values, ref) for ref in inputs), **params)
            for number, x, (shape, dtype) in zip(outputs, found if isinstance(found, list) else [found], shapes):
                values[number] = np.asarray(x).astype(dtype).reshape(shape)


def _dot(a, b, letters):
    return np.einsum(letters, a, b, optimize=True)


def _conv(x, kernel, strides, pads):  # NHWC, HWIO
    x = np.pad(x, [(0, 0), *pads, (0, 0)])
    sides = (kernel.shape[0], kernel.shape[1])
    windows = np.lib.stride_tricks.sliding_window_view(x, sides, (1, 2))[:, :: strides[0], :: strides[1]]
    return np.einsum("bijchw,hwcf->bijf", windows, kernel, optimize=True)


def _window_max(x, sides, strides, pads):
    low = -np.inf if np.issubdtype(x.dtype, np.floating) else np.iinfo(x.dtype).min
    x = np.pad(x, pads, constant_values=low)
    windows = np.lib.stride_tricks.sliding_window_view(x, sides)
    return windows[tuple(slice(None, None, s) for s in strides)].max(tuple(range(x.ndim, 2 * x.ndim)))


def _broadcast(x, shape, dims):
    inner = [1] * len(shape)
    for axis, dim in enumerate(dims):
        inner[dim] = x.shape[axis]
    return np.broadcast_to(x.reshape(inner), shape)


def _pad(x, value, pads):
    x = np.pad(x, [(max(low, 0), max(high, 0)) for low, high in pads], constant_values=value)
    return x[tuple(slice(max(-low, 0), x.shape[i] - max(-high, 0)) for i, (low, high) in enumerate(pads))]


def _erf(x):
    """Abramowitz and Stegun, 7.1.26: to 1.5e-7."""
    t = 1 / (1 + 0.3275911 * np.abs(x))
    poly = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    return np.sign(x) * (1 - poly * np.exp(-x * x))


def _reduction(function):
    return lambda x, axes: function(x, axis=tuple(axes))


OPERATIONS = {
    **{name: getattr(np, name) for name in ("tanh", "exp", "log", "log1p", "expm1", "sqrt", "square", "abs", "sign")},
    **{name: getattr(np, name) for name in ("floor", "ceil", "sin", "cos")},
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "max": np.maximum,
    "min": np.minimum,
    "neg": np.negative,
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
    "not": np.invert,
    "rem": np.fmod,
    "pow": np.power,
    "round": np.round,
    "erf": _erf,
    "is_finite": np.isfinite,
    "div": lambda a, b: a / b if np.issubdtype(a.dtype, np.floating) else np.trunc(a / b),
    "logistic": lambda x: 1 / (1 + np.exp(-x)),
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "integer_pow": lambda x, y: x**y,
    "clamp": lambda low, x, high: np.clip(x, low, high),
    "select_n": lambda which, *cases: np.select([which == i for i in range(len(cases))], cases),
    "convert_element_type": lambda x: x,
    "reshape": lambda x: x,
    "squeeze": lambda x: x,
    "expand_dims": lambda x: x,
    "broadcast_in_dim": _broadcast,
    "transpose": lambda x, permutation: np.transpose(x, permutation),
    "concatenate": lambda *x, axis: np.concatenate(x, axis),
    "stack": lambda *x, axis: np.stack(x, axis),
    "tile": lambda x, reps: np.tile(x, reps),
    "rev": lambda x, axes: np.flip(x, axes),
    "erfc": lambda x: 1 - _erf(x),
    "split": lambda x, sizes, axis: np.split(x, np.cumsum(sizes)[:-1], axis),
    "slice": lambda x, starts, limits, strides: x[tuple(map(slice, starts, limits, strides))],
    "pad": _pad,
    "argmax": lambda x, axis: np.argmax(x, axis),
    "argmin": lambda x, axis: np.argmin(x, axis),
    "reduce_sum": _reduction(np.sum),
    "reduce_max": _reduction(np.max),
    "reduce_min": _reduction(np.min),
    "reduce_and": _reduction(np.all),
    "reduce_or": _reduction(np.any),
    "dot_general": _dot,
    "conv_general_dilated": _conv,
    "reduce_window_max": _window_max,
}


if __name__ == "__main__":
    policy = NumpyPolicy(sys.argv[1])
    for what, described in (("takes", policy.inputs), ("gives", policy.outputs)):
        for name, _, shape, dtype in described:
            print(f"{what} {name} {shape} {dtype}")
