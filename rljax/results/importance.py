"""The importance of swept fields: how much each moves the score, and which are not told from chance."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Protocol

import numpy as np

LEAST = 8  # settings below which no field can be told from chance
EACH = 2  # settings for each field
MANY = 40  # settings from which on curves of the fourth degree are fitted, not of the second
CHANCE = 0.05
PERMUTATIONS = 400


class Field(Protocol):
    """A swept field: its name, a number for each setting, and whether the order of these numbers means something."""

    @property
    def name(self) -> str: ...
    @property
    def places(self) -> np.ndarray: ...
    @property
    def ordered(self) -> bool: ...


def enough(settings: int, fields: int) -> int:
    """The number of settings that are missing to tell which of the fields matter; 0 if there are enough."""
    return max(0, max(LEAST, EACH * fields) - settings)


def importance(fields: Sequence[Field], scores: np.ndarray, seed: int = 0) -> tuple[dict[str, float], list[str]]:
    r"""The share of the differences between settings that each field explains, and which fields are told from chance.

    The model is additive: a curve through the ranks of an ordered field, a mean for each value of another. A share is
    epsilon squared (Kelley 1935), $(RSS_{without} - RSS - df \cdot MSE) / TSS$, at least 0, so not above 0 by chance:
    beside all other fields, or where settings are too few for that, beside those told from chance. These are found by
    forward selection, which goes on while permutations of what is left do as well, with the best of all fields, in
    less than 5 % of cases (Freedman and Lane 1983; Westfall and Young 1993). Fields that only matter together with
    others are not found.

    Args:
      fields: the swept fields, each with `places` `[N]`.
      scores: of the settings `[N]`.
      seed: of the permutations.

    Returns:
      Field -> share, those told from chance first, the largest of either before the others; and those told from chance.
    """
    spans = {field.name: _span(field, len(scores)) for field in fields}
    centred = scores - scores.mean()
    told = _selected(spans, centred, np.random.default_rng(seed)) if centred.any() else []
    size = sum(span.shape[1] for span in spans.values())
    model = list(spans) if 2 * (len(scores) - 1 - size) >= size else told
    shares = _beside(spans, model, list(spans), centred)
    ordered = sorted(spans, key=lambda name: (name not in told, -shares[name]))
    return {name: shares[name] for name in ordered}, [name for name in ordered if name in told]


def _selected(spans: dict[str, np.ndarray], left: np.ndarray, rng: np.random.Generator) -> list[str]:
    """Selects the fields that explain more of `left` `[N]` than chance would, one after the other."""
    spans, free, found = dict(spans), len(left) - 1, []
    while spans:
        total = float(left @ left)
        gains = {name: float(_share(span, left, free, total)) for name, span in spans.items()}
        best = max(gains, key=gains.__getitem__)
        shuffled = rng.permuted(np.repeat(left[None], PERMUTATIONS, 0), axis=1).T
        luck = np.max([_share(span, shuffled, free, total) for span in spans.values()], axis=0)
        if (1 + (luck >= gains[best] - 1e-9).sum()) / (1 + PERMUTATIONS) > CHANCE:
            break
        span = spans.pop(best)
        left, free = left - span @ (span.T @ left), free - span.shape[1]
        spans = {name: _orthonormal(other - span @ (span.T @ other)) for name, other in spans.items()}
        found.append(best)
    return found


def _beside(
    spans: dict[str, np.ndarray], model: list[str], names: Sequence[str], scores: np.ndarray
) -> dict[str, float]:
    """The share of the variance of `scores` `[N]`, centred, that each field explains beside the others of a model."""

    @functools.cache
    def fit(*names: str) -> tuple[float, int]:
        basis = _orthonormal(np.concatenate([np.zeros((len(scores), 0)), *(spans[n] for n in names)], axis=1))
        rest = scores - basis @ (basis.T @ scores)
        return float(rest @ rest), basis.shape[1]

    shares, total = {}, float(scores @ scores)
    for name in names:
        others = [n for n in model if n != name]
        (rest, size), (without, fewer) = fit(*(model if name in model else [*model, name])), fit(*others)
        free = len(scores) - 1 - size
        noise = rest / free if free > 0 else without  # nothing is left to estimate chance by
        shares[name] = max(0.0, (without - rest - (size - fewer) * noise) / total) if total else 0.0
    return shares


def _span(field: Field, settings: int) -> np.ndarray:
    """An orthonormal basis `[N, df]` of the functions of a field, without a constant."""
    values, groups = np.unique(field.places, return_inverse=True)
    if not field.ordered:
        columns = np.eye(len(values))[groups]
    else:
        _, groups, counts = np.unique(field.places, return_inverse=True, return_counts=True)
        ranks = (np.cumsum(counts) - (counts - 1) / 2)[groups]
        degree = min(2 if settings < MANY else 4, len(values) - 1)
        unit = (ranks - ranks.mean()) / max(float(np.ptp(ranks)), 1.0) * 2
        columns = np.stack([unit**k for k in range(1, degree + 1)], 1) if degree else np.zeros((settings, 0))
    return _orthonormal(columns - columns.mean(0))


def _orthonormal(columns: np.ndarray) -> np.ndarray:
    """A basis of the columns' span: by their products where these are far from dependent, which is much faster."""
    least = 1e-6 * max(1.0, len(columns) ** 0.5)
    if 0 < columns.shape[1] < len(columns):
        squares, vectors = np.linalg.eigh(columns.T @ columns)
        kept = squares > least**2
        if kept.any() and squares[kept][0] > 1e-3 * squares[-1]:
            return columns @ (vectors[:, kept] / np.sqrt(squares[kept]))
    left, size, _ = np.linalg.svd(columns, full_matrices=False)
    return left[:, size > least]


def _share(span: np.ndarray, left: np.ndarray, free: int, total: float) -> np.ndarray:
    """Epsilon squared by a basis of `left` `[N, ...]`, whose squares sum to `total`; 0 if no freedom would be left."""
    squares, size = ((span.T @ left) ** 2).sum(0), span.shape[1]
    if size >= free or size == 0 or total == 0:
        return np.zeros(left.shape[1:])
    return (squares - size * np.maximum(total - squares, 0.0) / (free - size)) / total
