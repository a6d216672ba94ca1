"""The parameters of JAX's operations, in the plain form that the files have."""

from __future__ import annotations

from collections.abc import Mapping
from string import ascii_lowercase
from typing import Any

from rljax.deploy.trace import Operation

Plain = dict[str, Any]
NONE = ("convert_element_type", "reshape", "squeeze", "expand_dims")  # whose results are told by shape and dtype


def plain(operation: Operation, ranks: list[int]) -> Plain | None:
    """The parameters that matter of an operation, lists and numbers alone; None where no file has it.

    Args:
      ranks: the number of axes of each input.
    """
    name, params = operation.name, operation.params
    if name in NONE:
        return {}
    if name in ("argmax", "argmin"):
        return {"axis": params["axes"][0]}
    if name.startswith("reduce_") and name != "reduce_window_max":
        return {"axes": [*params["axes"]]} if "axes" in params else None
    special = _SPECIAL.get(name)
    if special is not None:
        return special(params, operation, ranks)
    unknown = {name: x for name, x in params.items() if name not in ("accuracy", "rounding_method") and x is not None}
    return None if unknown else {}


def _dot(params: Mapping[str, Any], operation: Operation, ranks: list[int]) -> Plain:
    """Einstein's summation: batch axes first, then those of each side that are left."""
    (left, right), (left_batch, right_batch) = params["dimension_numbers"]
    a = list(ascii_lowercase[: ranks[0]])
    b = list(ascii_lowercase[ranks[0] : ranks[0] + ranks[1]])
    for i, j in zip((*left, *left_batch), (*right, *right_batch)):
        b[j] = a[i]
    summed = {a[i] for i in left}
    batch = [a[i] for i in left_batch]
    rest = [x for x in a if x not in summed and x not in batch]
    rest += [x for x in b if x not in summed and x not in batch]
    return {"letters": f"{''.join(a)},{''.join(b)}->{''.join(batch + rest)}"}


def _conv(params: Mapping[str, Any], operation: Operation, ranks: list[int]) -> Plain | None:
    spec = params["dimension_numbers"]
    plain_one = {*params["lhs_dilation"], *params["rhs_dilation"], params["feature_group_count"]} == {1}
    channels_last = (spec.lhs_spec, spec.rhs_spec, spec.out_spec) == ((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2))
    if not plain_one or not channels_last:
        return None
    return {"strides": [*params["window_strides"]], "pads": [list(pad) for pad in params["padding"]]}


def _window(params: Mapping[str, Any], operation: Operation, ranks: list[int]) -> Plain | None:
    if {*params["base_dilation"], *params["window_dilation"]} != {1}:
        return None
    sides, strides = params["window_dimensions"], params["window_strides"]
    return {"sides": [*sides], "strides": [*strides], "pads": [list(pad) for pad in params["padding"]]}


def _pad(params: Mapping[str, Any], operation: Operation, ranks: list[int]) -> Plain | None:
    pads = params["padding_config"]
    return None if any(inner for *_, inner in pads) else {"pads": [[low, high] for low, high, _ in pads]}


def _slice(params: Mapping[str, Any], operation: Operation, ranks: list[int]) -> Plain:
    strides = params["strides"] or [1] * ranks[0]
    return {"starts": [*params["start_indices"]], "limits": [*params["limit_indices"]], "strides": [*strides]}


_SPECIAL: dict[str, Any] = {
    "dot_general": _dot,
    "conv_general_dilated": _conv,
    "reduce_window_max": _window,
    "pad": _pad,
    "slice": _slice,
    "integer_pow": lambda params, *_: {"y": int(params["y"])},
    "broadcast_in_dim": lambda params, *_: {
        "shape": [*params["shape"]],
        "dims": [*params["broadcast_dimensions"]],
    },
    "transpose": lambda params, *_: {"permutation": [*params["permutation"]]},
    "concatenate": lambda params, *_: {"axis": params["dimension"]},
    "tile": lambda params, *_: {"reps": [*params["reps"]]},
    "rev": lambda params, *_: {"axes": [*params["dimensions"]]},
    "stack": lambda params, *_: {"axis": params["axis"]},
    "split": lambda params, *_: {"sizes": [*params["sizes"]], "axis": params["axis"]},
}
