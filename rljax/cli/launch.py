"""The launch of a command: in this process, as one of several processes, or submitted to a cluster."""

from __future__ import annotations

import dataclasses
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from rljax.arguments import NUMBER, PROCESSES
from rljax.cli import parser
from rljax.cli.options import Option
from rljax.engine import rendezvous
from rljax.errors import SIGNALLED, RljaxError, require
from rljax.kinds import Maybe
from rljax.settings import literal, pairs

FROM_ENVIRONMENT = "env"
USAGE = 2  # how the option parser leaves


@dataclasses.dataclass(frozen=True)
class Launch:
    """The options of a launch; read before those of the command."""

    coordinator: str | None = None
    num_processes: Annotated[int | None, PROCESSES] = None
    process_id: Annotated[int | None, Maybe(NUMBER)] = None
    submit: Literal["slurm", "local"] | None = None
    submit_with: tuple[str, ...] = ()

    def check(self) -> None:
        """Raises ConfigError for options that are incomplete, or would have no effect."""
        member: dict[str, Any] = {"num_processes": self.num_processes, "process_id": self.process_id}
        if self.submit:
            require(self.num_processes is not None, "num_processes", None, "say how many to start")
            for name, value in {"coordinator": self.coordinator, "process_id": self.process_id}.items():
                require(value is None, name, value, "has no effect with --submit")
        elif self.coordinator in (None, FROM_ENVIRONMENT):
            for name, value in member.items():
                require(value is None, name, value, "has no effect without --coordinator HOST:PORT")
        else:
            rendezvous.address(self.coordinator)
            for name, value in member.items():
                require(value is not None, name, None, "say how many there are, and which of them this is")
            fits = member["process_id"] < member["num_processes"]
            require(fits, "process_id", self.process_id, f"must be below num_processes={self.num_processes}")
        parameters = " ".join(self.submit_with)
        require(not parameters or self.submit is not None, "submit_with", parameters, "has no effect without --submit")

    def carry_out(self, parse: Callable[[], Callable[[], int]], arguments: Sequence[str]) -> int:
        """Launches the command that `parse` finds, which is that of `rljax *arguments`."""
        if self.coordinator is None:
            self.check()
            command = parse()
            return self._submit(arguments) if self.submit else command()
        from rljax.cli import job
        from rljax.engine import cluster

        by_hand = self.coordinator != FROM_ENVIRONMENT
        try:
            self.check()
            command = parse()
        except (RljaxError, SystemExit) as error:  # the other processes would wait for this one
            known = by_hand and self.num_processes is not None and self.process_id is not None
            if known and getattr(error, "code", USAGE):
                why = str(error) if isinstance(error, RljaxError) else "its options cannot be read"
                rendezvous.refuse(self.coordinator, self.num_processes or 1, self.process_id or 0, why)
            raise
        if not job.inside():
            return job.supervise([*arguments, *self._written()])
        if by_hand:
            cluster.join(self.coordinator, self.num_processes, self.process_id)
        else:
            cluster.join()
        signal.signal(signal.SIGTERM, _leave)
        with cluster.one_fate(last=True):
            return command()

    def _submit(self, arguments: Sequence[str]) -> int:
        from rljax.cli import job

        given = pairs(self.submit_with, "VALUE", "submit_with")
        parameters = {name: literal(text) for name, text in given.items()}
        return job.submit(arguments, self.submit or "local", self.num_processes or 1, Path("jobs"), parameters)

    def _written(self) -> list[str]:
        values = {"coordinator": self.coordinator, "num-processes": self.num_processes, "process-id": self.process_id}
        return [part for name, value in values.items() if value is not None for part in (f"--{name}", str(value))]


def _leave(number: int, frame: Any) -> None:
    """Ends this process where nothing else handles the signal, so that the other processes hear of it."""
    if frame is not None:  # None where a run that has stopped in order calls it
        sys.exit(SIGNALLED + number)


def split(arguments: Sequence[str]) -> tuple[Launch, list[str]]:
    """Separates the options of the launch from the other arguments."""
    found = parser.read(Launch, "rljax", arguments, partly=True)
    return found.command, found.rest


OPTIONS = [  # for the help of commands that take them
    Option("coordinator", str | None, None, "be one of several: HOST:PORT of the first; env: ask Slurm's variables"),
    Option("num_processes", PROCESSES, None, "how many there are"),
    Option("process_id", Maybe(NUMBER), None, "which of them this is, from 0"),
    Option("submit", Literal["slurm", "local"] | None, None, "start --num-processes of them by way of submitit"),
    Option("submit_with", tuple[str, ...], (), "submitit's parameters: timeout_min=60 slurm_partition=gpu ..."),
]
