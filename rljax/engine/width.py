"""Measures how wide a group's program should be, and what it takes."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator, Sequence

import jax
import numpy as np

from rljax import resources
from rljax.engine.machine import Machine
from rljax.engine.plan import Group, Programs
from rljax.errors import ConfigError
from rljax.log import compact
from rljax.spec import RunSpec

BRIEF = 20.0  # seconds: a group that takes less in turn is not worth a comparison
GAIN = 1.1  # a wider program must be so many times as fast
WIDER = 8  # how many times as wide the next program to try is


def choose_width(
    programs: Programs, planned: Group, seeds: int, machine: Machine, row: RunSpec, given: bool = False
) -> Group:
    """The group with the fastest width that fits, by measurement; with the width it has, if that was given or chosen.

    Raises:
      ConfigError: not even one member fits into memory.
    """
    if planned.width_by:
        return planned
    members = len(planned.rows) * (len(planned.seeds) or seeds)
    budget = machine.memory // machine.workers
    need = programs.of(planned).bytes
    if need > budget:
        raise ConfigError(_too_big(programs, planned, row, need, budget))
    best = dataclasses.replace(planned, bytes=need, seconds=_time(programs, planned))
    if given:
        return dataclasses.replace(best, width_by="user", why="as given")
    best = dataclasses.replace(best, width_by="machine")
    if members <= machine.slots:
        return dataclasses.replace(best, why=f"{members} runs, so each has a {_slot(machine)} of its own")
    takes = best.seconds * (best.updates - best.start) * math.ceil(members / machine.slots)
    if takes < BRIEF:
        return dataclasses.replace(best, why=f"in turn: {takes:.1f} s in all, too little to compare")
    tried = [best]
    for candidate in _wider(best, members, machine, budget):
        program = programs.of(candidate)
        if program.bytes > budget:
            break
        candidate = dataclasses.replace(candidate, bytes=program.bytes, seconds=_time(programs, candidate))
        tried.append(candidate)
        if candidate.seconds * GAIN > best.seconds:
            break
        best = candidate
    return dataclasses.replace(best, why=_why(best, tried, programs.prepared[best.rows[0]].algorithm.steps_per_update))


def training_seconds(groups: Sequence[Group], seeds: int, machine: Machine) -> float:
    """Estimates how long the training itself will take."""
    return sum(
        g.seconds
        * g.width
        * (g.updates - g.start)
        * math.ceil(math.ceil(len(g.rows) * (len(g.seeds) or seeds) / g.width) / machine.slots)
        for g in groups
    )


def _wider(alone: Group, members: int, machine: Machine, budget: int) -> Iterator[Group]:
    """Ever wider programs, as wide as all slots can fill and memory allows."""
    most = min(math.ceil(members / machine.slots), budget // alone.bytes)
    width = 1
    while width < most:
        width = min(WIDER * width, most)
        rounds = math.ceil(math.ceil(members / width) / machine.slots)
        yield dataclasses.replace(
            alone, width=math.ceil(members / (rounds * machine.slots))
        )  # no slot idles at the end


def _time(programs: Programs, planned: Group) -> float:
    """Seconds of one update of one member, on one device among all of them at work; with its share of a score."""
    program = programs.of(planned)
    rows = [planned.rows[i % len(planned.rows)] for i in range(len(program.local))]
    inputs = programs.upload(planned, programs.varied(planned, rows))
    state = program.start(np.arange(len(rows)), inputs)
    taken, n = 0.0, 1
    for updates in (1, 1, None):  # the first call warms up, the second says how many updates make a measurement
        n = updates or int(np.clip(0.3 / taken, 1, program.size))
        jax.block_until_ready(state)
        began = time.perf_counter()
        state, metrics = program.advance(state, inputs, n)
        jax.block_until_ready((state, metrics))
        taken = time.perf_counter() - began
    scoring = 0.0
    for _ in range(2 if programs.every else 0):
        began = time.perf_counter()
        jax.block_until_ready(program.evaluate(state, inputs, np.arange(len(rows))))
        scoring = (time.perf_counter() - began) / (programs.every or 1)
    return (taken / n + scoring) / planned.width


def _why(best: Group, tried: Sequence[Group], steps: int) -> str:
    def words(g: Group) -> str:
        return f"{'in turn' if g.width == 1 else f'{g.width} side by side'} {compact(steps / g.seconds)} steps/s"

    others = ", ".join(words(g) for g in tried if g is not best)
    return f"{words(best)}, the fastest measured" + (f" ({others})" if others else "")


def _slot(machine: Machine) -> str:
    return "device" if machine.devices > 1 else "process" if machine.workers > 1 else "turn"


def _too_big(programs: Programs, alone: Group, row: RunSpec, need: int, budget: int) -> str:
    """Words the error where a shard does not fit: the figure, and the field to shrink, whose half saves most."""
    if alone.width > 1:
        short = f"needs {resources.write(need)}, {resources.write(budget)} are free; give a smaller one"
        return f"width={alone.width}: {short}"
    halves = {}
    for name, value in programs.prepared[alone.rows[0]].config.items():
        if type(value) is not int or value < 2:
            continue
        try:
            halved = Programs([row.with_settings(row.settings | {name: value // 2}).prepare()])
            halves[name] = halved.of(dataclasses.replace(alone, rows=[0])).bytes
        except ConfigError:  # it must divide something
            continue
    field = min(halves, key=halves.__getitem__) if halves else "hidden"
    value = programs.prepared[alone.rows[0]].config[field]
    return (
        f"{field}={value}: one run needs {resources.write(need)} and {resources.write(budget)} are free; "
        f"give a smaller {field}, or more with memory_limit="
    )
