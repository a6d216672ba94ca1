"""Plans of many runs: which share a program, how many members run side by side, and what that takes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from rljax.build import Prepared
from rljax.engine.program import Inputs, Program, differing
from rljax.ops.tree import NARROW, numbers
from rljax.run import point_size
from rljax.spec import RunSpec

POINTS_A_CALL = 8
KEPT = 20  # programs at a time: each takes 1000 to 3000 memory maps, and a process on Linux may have 65,530

Member = tuple[int, int]  # a row and a seed


@dataclass(frozen=True)
class Group:
    """Rows that share a program; plain numbers, so that a record can hold it.

    Attributes:
      rows: their numbers.
      varying: the leaves of (hypers, task) that differ between them, counted in order.
      updates: that each run has done when it leaves; start: when it enters; last: when it ends for good.
      rung: how often its rows have been chosen to go on.
      log_every: updates a logged point.
      width: members side by side on a device, or in a process.
      width_by: who chose the width; "": nobody yet. why: the same in words, for people.
      bytes: what the program needs on each device.
      seconds: of one update of one member, measured; NaN if nothing was.
      own_length: every member may do another number of updates, at most these.
      seeds: of its runs; none: all that there are.
    """

    rows: list[int]
    varying: list[int]
    updates: int
    log_every: int
    last: int
    start: int = 0
    rung: int = 0
    width: int = 1
    width_by: Literal["", "user", "machine"] = ""
    why: str = ""
    bytes: int = 0
    seconds: float = math.nan
    own_length: bool = False
    seeds: list[int] = field(default_factory=list)

    def shards(self, seeds: Sequence[int]) -> list[tuple[Member, ...]]:
        """Divides the members into shards of at most `width`: what one device runs, and what is stored, at once."""
        members = [(row, seed) for row in self.rows for seed in self.seeds or seeds]
        return [tuple(members[i : i + self.width]) for i in range(0, len(members), self.width)]

    def points(self) -> list[int]:
        """Updates done at each logged point."""
        return sorted({*range(self.start + self.log_every, self.updates + 1, self.log_every), self.updates})


@dataclass
class Programs:
    """Compiled programs by what they are for, so that planning and running share them.

    Attributes:
      prepared: rows as built, by their numbers; a process that runs shards has the first of each group alone.
      rows: the descriptions from which another process builds them.
      made: the programs so far.
      evaluate: gives the function of a trained member that scores it, `(state, hypers, task, seed) -> []`, if any.
      every: updates between two scores; None: a member is scored when it is trained.
      placed: leaves that all members share, on the devices, with those on the host; by the identity of the latter.
    """

    prepared: Mapping[int, Prepared] | Sequence[Prepared]
    rows: Sequence[RunSpec] = ()
    made: dict[Any, Program] = field(default_factory=dict)
    evaluate: Callable[[Prepared], Callable[..., Any]] | None = None
    every: int | None = None
    placed: dict[int, tuple[Any, Any]] = field(default_factory=dict)

    def member(self, row: int) -> tuple[Any, Any]:
        """Gives (hypers, task) of a row, as arrays on the host."""
        return jax.tree.map(numbers, _member(self.prepared[row]))

    def varied(self, group: Group, rows: Sequence[int]) -> tuple[Any, ...]:
        """Stacks what differs between these rows of a group: leaves `[M, ...]`, None for those that do not differ."""
        columns = zip(*(jax.tree.leaves(_member(self.prepared[row])) for row in rows))
        varying = set(group.varying)
        return tuple(np.stack(list(map(numbers, x))) if i in varying else None for i, x in enumerate(columns))

    def upload(self, group: Group, varied: tuple[Any, ...]) -> Inputs:
        """Uploads the inputs of a population; leaves that do not vary are on the devices once, whatever reads them.

        Args:
          varied: of this process's members, as `varied` gives them.
        """
        program, (leaves, structure) = self.of(group), jax.tree.flatten(_member(self.prepared[group.rows[0]]))
        fixed = tuple(self._once(program, x) if v is None else None for v, x in zip(varied, leaves))
        return Inputs(fixed, program.place_members(varied), structure)

    def _once(self, program: Program, leaf: Any) -> Any:
        """Uploads a leaf unless it was uploaded before."""
        if id(leaf) not in self.placed:
            self.placed[id(leaf)] = leaf, program.copy(numbers(leaf))
        return self.placed[id(leaf)][1]

    def of(self, group: Group) -> Program:
        """The program of a group, compiled once, and again if more than `KEPT` others were asked for since."""
        first = self.prepared[group.rows[0]]
        size = min(group.last, POINTS_A_CALL * group.log_every)
        key = (*signature(first), tuple(group.varying), group.width, size, group.own_length, self.evaluate)
        found = self.made.pop(key, None) or Program(
            first.algorithm,
            self.member(group.rows[0]),
            frozenset(group.varying),
            group.width,
            size,
            group.own_length,
            self.evaluate and self.evaluate(first),
        )
        self.made[key] = found  # the latest is the last
        while len(self.made) > KEPT:
            del self.made[next(iter(self.made))]
        return found


def signature(prepared: Prepared) -> tuple[Any, ...]:
    """Gives what must be equal for rows to share a program: the algorithm, and the structure of hypers and task."""
    member = _member(prepared)
    leaves, structure = jax.tree.flatten(member)
    nodes = (*vars(member[0]).values(), *member)
    kinds = tuple(type(x) for x in nodes if not _is_number(x))  # a structure alone compares types by name
    return prepared.algorithm, structure, kinds, tuple(map(_shape, leaves))


def _member(prepared: Prepared) -> tuple[Any, Any]:
    return prepared.algorithm.hypers, prepared.task


def _is_number(x: Any) -> bool:
    return type(x) in NARROW or hasattr(x, "dtype")


def _shape(x: Any) -> tuple[tuple[int, ...], np.dtype]:
    if type(x) in NARROW:
        return (), np.dtype(NARROW[type(x)])
    return np.shape(x), x.dtype if isinstance(x, jax.Array) else jnp.result_type(x)


def group(programs: Programs, log_every: int | None = None, known: Sequence[Group] = ()) -> list[Group]:
    """Rows into as few groups as there must be programs, in the order of their first rows.

    Args:
      known: groups planned before; their rows are left out, and new rows that fit one of their programs get it.
    """
    planned = {row for g in known for row in g.rows}
    prepared = [programs.prepared[i] for i in range(len(programs.prepared))]
    keys = [(*signature(p), p.updates) for p in prepared]
    models = {keys[g.rows[0]]: g for g in reversed(known)}
    alike: dict[Any, list[int]] = {}
    for row, key in enumerate(keys):
        if row not in planned:
            alike.setdefault(key, []).append(row)
    found = []
    for key, rows in alike.items():
        updates, varying = key[-1], differing([_member(programs.prepared[row]) for row in rows])
        if key in models and varying <= set(models[key].varying):
            whole = {"start": 0, "updates": updates, "last": updates, "seeds": []}  # as the model need not
            found.append(dataclasses.replace(models[key], rows=rows, **whole))
        else:
            found.append(Group(rows, sorted(varying), updates, point_size(updates, log_every), updates))
    return found
