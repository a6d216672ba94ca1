"""Commands as jobs of several processes: supervises one of them, or submits all of them to a cluster."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rljax import plugins
from rljax.engine.cluster import KEPT
from rljax.errors import SIGNALLED, ConfigError, WorkerError, require
from rljax.processes import STOPPING, end_with

INSIDE = "RLJAX_INSIDE_JOB"


def supervise(arguments: Sequence[str]) -> int:
    """Runs the command line in a child process and says how it ended: JAX aborts, it does not raise.

    Raises:
      WorkerError: it was aborted or killed.
    """
    code, received = run([sys.executable, "-m", "rljax", *plugins.options(), *arguments])
    if code < 0 and received:  # before it could stop in order
        return SIGNALLED + received[0]
    if code < 0:
        why = "another process of this job died, or the coordinator cannot be reached"
        raise WorkerError(f"process ended by signal {-code}: {why}; {KEPT}")
    return code


def run(command: Sequence[str]) -> tuple[int, list[int]]:
    """Runs a command and passes SIGINT and SIGTERM on to it; the third signal kills it.

    The command has its own process group, so that a signal of a terminal or a batch system does not reach it twice.

    Returns:
      (its exit code, below 0 where a signal ended it; the signals received)
    """
    process = subprocess.Popen(command, env=os.environ | {INSIDE: str(os.getpid())}, process_group=0)
    received: list[int] = []

    def pass_on(number: int, _: Any) -> None:
        received.append(number)
        process.send_signal(number if len(received) < 3 else signal.SIGKILL)

    before = {number: signal.signal(number, pass_on) for number in STOPPING}
    try:
        return process.wait(), received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def inside() -> bool:
    """Whether this is the supervised process; if so, it ends with the one that supervises it."""
    supervisor = os.environ.pop(INSIDE, "")
    if supervisor != str(os.getppid()):
        return False
    end_with(os.getppid())
    return True


def submit(arguments: Sequence[str], cluster: str, processes: int, folder: Path, parameters: Mapping[str, Any]) -> int:
    """Submits the command line to Slurm, or to processes on this machine, by submitit; waits for the latter.

    Args:
      arguments: of `rljax`.
      cluster: "slurm" or "local".
      processes: how many are to run it together.
      folder: for scripts and logs.
      parameters: of submitit's executor, e.g. `timeout_min=60`, `nodes=2`, `slurm_partition="gpu"`.

    Raises:
      ConfigError: submitit is not installed, or refuses the parameters.
      WorkerError: the job failed.
    """
    try:
        import submitit  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ConfigError("submitting needs submitit: pip install submitit") from None
    executor = submitit.AutoExecutor(folder=folder, cluster=cluster)
    nodes = int(parameters.get("nodes", 1))
    require(processes % nodes == 0, "num_processes", processes, f"must be a multiple of the {nodes} nodes")
    try:
        executor.update_parameters(**{"name": "rljax", **parameters, "tasks_per_node": processes // nodes})
    except (NameError, TypeError, ValueError) as error:
        raise ConfigError(f"submit_with: {str(error).splitlines()[0]}") from None
    job = executor.submit(_task, [*plugins.options(), *arguments])
    print(f"submitted job {job.job_id}; logs in {folder}", flush=True)
    if cluster != "local":
        return 0
    try:
        return max(job.results())
    except submitit.core.utils.UncompletedJobError as error:  # pyright: ignore[reportAttributeAccessIssue]
        raise WorkerError(f"job {job.job_id} failed; logs in {folder}: {str(error).splitlines()[0]}") from None


def _task(arguments: list[str]) -> int:
    """Runs the command in one process of a submitted job."""
    import submitit  # pyright: ignore[reportMissingImports]

    from rljax import cli

    job = submitit.JobEnvironment()
    number = int("".join(filter(str.isdigit, job.job_id))[-6:])
    port = 49152 + number % 16000  # the same in all processes, another for each job
    host = "127.0.0.1" if job.num_nodes == 1 else job.hostnames[0]
    options = [
        "--coordinator",
        f"{host}:{port}",
        "--num-processes",
        str(job.num_tasks),
        "--process-id",
        str(job.global_rank),
    ]
    code = cli.main([*arguments, *options])
    if code >= SIGNALLED:
        raise SystemExit(code)
    return code
