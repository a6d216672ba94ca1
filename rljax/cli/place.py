"""Where a command runs: here, as one of several processes, or submitted to a cluster."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from rljax.arguments import NUMBER, PROCESSES
from rljax.cli import parser
from rljax.cli.options import Option
from rljax.errors import require
from rljax.kinds import Maybe
from rljax.settings import assignment
from rljax.sweeps.space import literal

FROM_ENVIRONMENT = "env"


@dataclasses.dataclass(frozen=True)
class Place:
    """Options that say where; read before the command's own."""

    coordinator: str | None = None
    num_processes: Annotated[int | None, PROCESSES] = None
    process_id: Annotated[int | None, Maybe(NUMBER)] = None
    submit: Literal["slurm", "local"] | None = None
    submit_with: tuple[str, ...] = ()

    def check(self) -> None:
        """Raises ConfigError for what is incomplete, or would have no effect."""
        member: dict[str, Any] = {"num_processes": self.num_processes, "process_id": self.process_id}
        if self.submit:
            require(self.num_processes is not None, "num_processes", None, "say how many to start")
            for name, value in {"coordinator": self.coordinator, "process_id": self.process_id}.items():
                require(value is None, name, value, "has no effect with --submit")
        elif self.coordinator in (None, FROM_ENVIRONMENT):
            for name, value in member.items():
                require(value is None, name, value, "has no effect without --coordinator HOST:PORT")
        else:
            host, _, port = self.coordinator.rpartition(":")
            fits = bool(host) and port.isdigit() and 0 < int(port) < 2**16
            require(fits, "coordinator", self.coordinator, "write it as HOST:PORT, or env")
            for name, value in member.items():
                require(value is not None, name, None, "say how many there are, and which of them this is")
            fits = member["process_id"] < member["num_processes"]
            require(fits, "process_id", self.process_id, f"must be below num_processes={self.num_processes}")
        parameters = " ".join(self.submit_with)
        require(not parameters or self.submit is not None, "submit_with", parameters, "has no effect without --submit")

    def carry_out(self, command: Callable[[], int], arguments: Sequence[str]) -> int:
        """Runs `command`, which is `rljax *arguments`, there."""
        from rljax.cli import job
        from rljax.sweeps import cluster

        if self.submit:
            logs = Path("jobs")
            pairs = (assignment(text, "VALUE", "submit_with") for text in self.submit_with)
            parameters = {name: literal(text) for name, text in pairs}
            return job.submit(arguments, self.submit, self.num_processes or 1, logs, parameters)
        if not self.coordinator:
            return command()
        if not job.inside():
            return job.supervise([*arguments, *self._written()])
        if self.coordinator == FROM_ENVIRONMENT:
            cluster.join()
        else:
            cluster.join(self.coordinator, self.num_processes, self.process_id)
        return command()

    def _written(self) -> list[str]:
        values = {"coordinator": self.coordinator, "num-processes": self.num_processes, "process-id": self.process_id}
        return [part for name, value in values.items() if value is not None for part in (f"--{name}", str(value))]


def split(arguments: Sequence[str]) -> tuple[Place, list[str]]:
    """Where, and the other arguments. Raises ConfigError for what does not go together."""
    found = parser.read(Place, "rljax", arguments, partly=True)
    found.command.check()
    return found.command, found.rest


OPTIONS = [  # for the help of commands that take them
    Option("coordinator", str | None, None, "be one of several: HOST:PORT of the first; env: ask Slurm's variables"),
    Option("num_processes", PROCESSES, None, "how many there are"),
    Option("process_id", Maybe(NUMBER), None, "which of them this is, from 0"),
    Option("submit", Literal["slurm", "local"] | None, None, "start --num-processes of them by way of submitit"),
    Option("submit_with", tuple[str, ...], (), "submitit's parameters: timeout_min=60 slurm_partition=gpu ..."),
]
