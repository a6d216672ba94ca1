"""Decks of playing cards, shuffled once an episode and dealt without replacement.

A card is a whole number c below 52 D, where there are D decks: its rank is `(c mod 52) // 4`, ace to king, its suit
`c mod 4` and its colour `c mod 2`, so that every deck has 13 ranks, 4 suits and 2 colours in equal numbers.

Source: Morad et al. 2023 (POPGym, ICLR), `popgym.core.deck`.
"""

from __future__ import annotations

from rljax.errors import require
from rljax.kinds import Count
from rljax.ops.minibatch import permutation
from rljax.types import Array

SIZE = 52
KINDS = {"colours": 2, "suits": 4, "ranks": 13}
"""The ways to tell cards apart, each with the number of kinds that it knows."""


def count(decks: int) -> int:
    """The number of cards in so many decks. Raises ConfigError if that is no positive whole number."""
    return SIZE * Count().convert("decks", decks)


def number_of_kinds(by: str) -> int:
    """The number of kinds of cards. Raises ConfigError if `by` is not in `KINDS`."""
    require(by in KINDS, "kind", by, f"must be one of {', '.join(KINDS)}")
    return KINDS[by]


def dealt(key: Array, decks: int, by: str) -> Array:
    """The kinds of shuffled cards, `[52 decks]` int32, in the order in which they are dealt."""
    return kinds(permutation(key, SIZE * decks), by)


def kinds(cards: Array, by: str) -> Array:
    """The kinds `[...]` int32 of cards `[...]`, below `KINDS[by]`."""
    return cards % SIZE // KINDS["suits"] if by == "ranks" else cards % KINDS[by]


def require_pairs(decks: int, by: str) -> None:
    """Refuses cards of which one would be left without a partner of its kind. Raises ConfigError."""
    require(count(decks) // KINDS[by] % 2 == 0, "kind", by, f"an odd number of each in {decks} deck(s); must be even")
