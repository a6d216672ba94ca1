"""Progress bars over many runs, fed by the reports of the processes that run them."""

from __future__ import annotations

from typing import Any

from rljax.engine.work import Report
from rljax.progress import ProgressSink


class Progress(ProgressSink):
    """A progress bar over all runs; a line now and then where there is no terminal.

    Args:
      description: what runs.
      total: environment steps of all runs; start: of those that were finished before.
    """

    def __init__(self, description: str, total: int, start: int = 0, **options: Any):
        super().__init__(description, total, start, **options)
        self._step = start

    def report(self, report: Report) -> None:
        """Takes a report."""
        self._step += report.steps
        self.write({"step": self._step, "episode_return": report.latest})
