"""The progress of a run, for people: a bar on a terminal, otherwise lines."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

Row = Mapping[str, Any]
BAR = 30  # characters of a bar in a notebook


class ProgressSink:
    """Shows progress on standard error: a live bar on a terminal, one line in a notebook, else lines now and then.

    Args:
      description: of the run, e.g. "ppo CartPole-v1".
      total: environment steps at the end.
      start: environment steps at the beginning, where a run resumes.
      console: a `rich.console.Console` to write to instead.
      interval: seconds between lines where there is no terminal.
      unit: `steps` of the environment, or `updates` where there are none.
    """

    def __init__(
        self,
        description: str,
        total: int,
        start: int = 0,
        console: Any = None,
        interval: float = 2.0,
        unit: str = "steps",
    ):
        from rich.console import Console

        self._description, self._total, self._interval, self._unit = description, total, interval, unit
        self._console = console or Console(stderr=True)
        self._return = math.nan
        self._mark: tuple[float, int] | None = None  # when speed is measured from, and the step then
        self._pending: Row | None = None  # the latest row, while no line shows it
        self._printed = -math.inf
        self._speed = math.nan
        self._bar = self._task = None
        self._shown: Any = None  # the line in a notebook, which is written over
        if self._console.is_terminal:
            self._bar = _bar(self._console)
            self._task = self._bar.add_task(description, total=total, completed=start, note="compiling")
            self._bar.start()

    def write(self, row: Row) -> None:
        value = row.get("episode_return")
        if value is not None and not math.isnan(value):
            self._return = float(value)
        self._measure(clock(row))
        if self._bar is not None:
            self._bar.update(self._task, completed=clock(row), note=self._note())
            return
        self._pending = row
        if time.perf_counter() - self._printed >= self._interval:
            self._print()

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
        elif self._pending is not None:
            self._print()

    def _measure(self, step: int) -> None:
        """Measures speed from the first row on: the time before it is mostly compilation."""
        now = time.perf_counter()
        if self._mark is None:
            self._mark = now, step
            return
        then, start = self._mark
        self._speed = (step - start) / max(now - then, 1e-9)

    def _note(self) -> str:
        shown = "" if math.isnan(self._return) else f"return {self._return:.4g}"
        return f"{self._pace()}{shown}"

    def _pace(self) -> str:
        return "" if math.isnan(self._speed) else f"{compact(self._speed)} {self._unit}/s  "

    def _left(self, step: int) -> str:
        """The time that is left at this pace; empty at the end, and before there is a pace."""
        if not self._speed > 0 or step >= self._total:
            return ""
        return f"{duration((self._total - step) / self._speed)} left  "

    def _print(self) -> None:
        assert self._pending is not None
        step = clock(self._pending)
        share = step / max(self._total, 1)
        done = f"{compact(step)}/{compact(self._total)} {self._unit} ({share:.0%})"
        line = f"{self._description}  {done}  {self._left(step)}{self._note()}"
        if self._console.is_jupyter:
            full = round(BAR * min(share, 1.0))
            self._write_over({"text/plain": f"{'█' * full}{'░' * (BAR - full)}  {line}"})
        else:
            self._console.print(line, highlight=False, markup=False, soft_wrap=True)
        self._pending, self._printed = None, time.perf_counter()

    def _write_over(self, line: dict[str, str]) -> None:
        """Shows one line in a notebook's cell, replacing the previous one."""
        from IPython.display import display  # pyright: ignore[reportMissingImports]

        if self._shown is None:
            self._shown = display(line, raw=True, display_id=True)
        else:
            self._shown.update(line, raw=True)


def _bar(console: Any) -> Any:
    from rich.progress import BarColumn, Progress, ProgressColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class Steps(ProgressColumn):
        def render(self, task: Any) -> Text:
            return Text(f"{compact(task.completed)}/{compact(task.total)}", style="progress.download")

    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(bar_width=30),
        TaskProgressColumn(),
        Steps(),
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(compact=True),
    )
    return Progress(*columns, console=console, refresh_per_second=4)


def clock(row: Row) -> int:
    """Counts environment steps, or updates of what learns without any."""
    return int(row["step"]) or int(row.get("updates") or 0)


def amount(steps: int, updates: int) -> str:
    """Says them in words: `51,200 steps`, or `400 updates`."""
    return f"{steps:,} steps" if steps else f"{updates:,} updates"


def duration(seconds: float) -> str:
    """Writes a time in its two largest units: `45 s`, `3 min 20 s`, `5 h 7 min`, `2 d 3 h`."""
    whole = math.ceil(seconds)
    for large, small, size, part in (("d", "h", 86400, 3600), ("h", "min", 3600, 60), ("min", "s", 60, 1)):
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size} {large} {rest} {small}" if rest else f"{whole // size} {large}"
    return f"{whole} s"


def compact(number: float) -> str:
    """Writes a number with at most three significant digits and a suffix: `51.2k`, `1.5M`, `3B`."""
    for size, suffix in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= size * 0.9995:
            return f"{number / size:.3g}{suffix}"
    return f"{number:.3g}"
