"""Short labels from settings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

CODE = "code."


def shown(values: Sequence[Any]) -> list[str]:
    """Writes values as short text: round numbers in full, others with enough digits to tell most of them apart."""
    floats = {v for v in values if isinstance(v, float)}
    digits = next((d for d in range(3, 17) if len({f"{v:.{d}g}" for v in floats}) >= 0.9 * len(floats)), 17)

    def short(number: float) -> str:
        text = f"{number:.5g}"
        return text if math.isclose(float(text), number, rel_tol=1e-7) else f"{number:.{digits}g}"

    return [short(value) if isinstance(value, float) else str(value) for value in values]


def labels(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """Labels settings by their differences, e.g. `ppo lr=0.001`; different settings get different labels.

    Names of the algorithm and the environment where they differ, then what differs among those of the same names; code
    (fields `code.NAME`, a hash) where nothing else does. A field that is not given is `default`.
    """
    names = [n for n in ("algo", "env") if len({str(one.get(n)) for one in settings}) > 1]
    found = [_label(one, settings, names, code=False) for one in settings]
    return [
        label if found.count(label) == 1 else _label(one, settings, names, code=True)
        for one, label in zip(settings, found)
    ]


def _label(one: Mapping[str, Any], settings: Sequence[Mapping[str, Any]], names: list[str], code: bool) -> str:
    alike = [other for other in settings if all(other.get(n) == one.get(n) for n in ("algo", "env"))]
    words = [str(one.get(n, "")) for n in names]
    for name in dict.fromkeys(n for other in alike for n in other):
        values = [other.get(name, "default") for other in alike]
        if name in ("algo", "env") or all(value == values[0] for value in values) or (is_code(name) and not code):
            continue
        texts = shown(values)
        if len(set(texts)) < len(set(map(repr, values))):  # shortened too much
            texts = [str(value) for value in values]
        words.append(f"{name}={texts[next(i for i, other in enumerate(alike) if other is one)]}")
    return " ".join(words)


def is_code(name: str) -> bool:
    """Whether a field is a hash of code."""
    return name.startswith(CODE)
