"""Arrays that a run learns from, as the user gives them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from rljax.fingerprint import fingerprint
from rljax.ops.tree import named_leaves


@dataclass(frozen=True, eq=False)
class Data:
    """A pytree of arrays to learn from; the rows of a sweep share one."""

    arrays: Any

    @cached_property
    def fingerprint(self) -> str:
        """The hash by which it is recorded."""
        return fingerprint(named_leaves(self.arrays))

    @classmethod
    def of(cls, given: Any) -> Data | None:
        """Makes one of what a user gives; None of None."""
        return given if given is None or isinstance(given, cls) else cls(given)
