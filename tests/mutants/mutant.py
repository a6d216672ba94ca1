"""A deliberate error in the package, and the tests of its room that are to notice it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]


class Mutant(NamedTuple):
    """One error: `old` stands exactly once in `file`, and becomes `new`."""

    file: str  # within rljax/
    old: str
    new: str
    meaning: str
    tests: tuple[str, ...]  # within tests/, quick ones: files or single tests

    @property
    def occurrences(self) -> int:
        return (ROOT / "rljax" / self.file).read_text().count(self.old)


def within(file: str, tests: str, *errors: tuple[str, ...]) -> list[Mutant]:
    """Errors `(old, new, meaning)` in one file, each noticed by `tests`, or by others where it names them as a fourth.

    Several tests are separated by a space.
    """
    return [
        Mutant(file, old, new, meaning, tuple((named or [tests])[0].split())) for old, new, meaning, *named in errors
    ]
