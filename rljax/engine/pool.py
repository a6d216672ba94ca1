"""Runs lots in one process a core, each with one XLA thread: the fastest way on CPUs, and it cannot hang.

A lot is what a job runs at once; lots of one group share a program. Run as a module it is such a process. The two ends
exchange pickled objects: first the job, then a lot at a time in one direction and its news in the other. A worker hears
no signals, for the other end does and tells it to stop; it ends as soon as the other end is gone.
"""

from __future__ import annotations

import os
import pickle
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import jax

from rljax import processes
from rljax.engine.plan import Programs
from rljax.errors import WorkerError

STOP = "stop"
PATIENCE = 0.2  # seconds between looks at the signals


class Job(Protocol):
    """What processes can be given to do; what it has compiled, the next one takes over."""

    programs: Programs

    def run(self, lots: Sequence[Any], say: Callable[[Any], None], stopping: Callable[[], bool]) -> bool:
        """Runs lots of one group, as many as there are devices at most; returns whether they came to their end."""
        ...


class Failure(NamedTuple):
    """What a worker says of an error that ends it."""

    error: Exception


class Worker:
    """One process, and the lot it is at."""

    def __init__(self, number: int, log: Path):
        self.number, self.log = number, log
        self.job, self.lot = b"", None
        self.connection, theirs = Pipe()
        flags = re.sub(r"--xla_force_host_platform_device_count=\d+", "", os.environ.get("XLA_FLAGS", ""))
        settled = {"PJRT_NPROC": "1", "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}
        with log.open("wb") as file, processes.deaf():
            self.process = subprocess.Popen(
                [sys.executable, "-m", "rljax.engine.pool", str(theirs.fileno()), str(os.getpid())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                env=os.environ | settled | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
        theirs.close()

    def tell(self, message: Any) -> None:
        """Sends it a message. Raises WorkerError if it is gone."""
        try:
            self.connection.send(message)
        except (BrokenPipeError, ConnectionResetError):
            raise self.death() from None

    def hear(self) -> Any:
        """Its next message. Raises what it raised, or WorkerError if it is gone."""
        try:
            message = self.connection.recv()
        except (EOFError, ConnectionResetError):
            raise self.death() from None
        if isinstance(message, Failure):
            raise message.error
        return message

    def take(self, job: bytes, lot: Any) -> None:
        """Sends it a lot of a job, and before that the job, unless it has it."""
        if self.job != job:
            self.tell(job)
        self.job, self.lot = job, lot
        self.tell(lot)

    def death(self) -> WorkerError:
        """What to say when it is gone."""
        code = self.process.wait()
        why = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        why += " (out of memory? give less with --memory, or fewer --workers)" if code == -signal.SIGKILL else ""
        last = self.log.read_text(errors="replace").strip().splitlines()[-1:]
        said = f": {last[0][:200]}" if last else ""
        return WorkerError(f"worker {self.number} {why}{said}")


class Pool:
    """So many processes, which live from one round of lots to the next and keep what they have compiled.

    Args:
      workers: how many.
      logs: the folder where their output goes.
      kept: what to say of what was done before, when one of them dies.
    """

    def __init__(self, workers: int, logs: Path, kept: str):
        self._workers, self._logs, self._kept = workers, logs, kept
        self._crew: dict[Any, Worker] = {}

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._crew.values():
            worker.process.kill()
            worker.process.wait()

    def run(self, job: bytes, lots: Sequence[Any], say: Callable[[Any], None], stopping: Callable[[], bool]) -> None:
        """Runs lots; returns when all are done, or when every process has kept what it had reached.

        Args:
          job: a pickled function without arguments that gives the `Job`.
          lots: what to run.
          say: takes the processes' news.
          stopping: asked now and then.

        Raises:
          WorkerError: a process died.
          RljaxError: what a process raised.
        """
        try:
            self._run(job, list(lots), say, stopping)
        except WorkerError as error:
            raise WorkerError(f"{error}; {self._kept}") from None

    def _run(self, job: bytes, lots: list[Any], say: Callable[[Any], None], stopping: Callable[[], bool]) -> None:
        self._logs.mkdir(parents=True, exist_ok=True)
        while len(self._crew) < min(self._workers, len(lots)):
            worker = Worker(len(self._crew), self._logs / f"worker-{len(self._crew)}.log")
            self._crew[worker.connection] = worker
        pending, stopped, busy = lots, False, {}
        for connection, worker in self._crew.items():
            lot = _next(pending, worker.lot)
            if lot is not None:
                worker.take(job, lot)
                busy[connection] = worker
        while busy:
            for connection in wait(list(busy), PATIENCE):
                worker = busy[connection]
                message = worker.hear()
                if message is not None:
                    say(message)
                    continue
                lot = None if stopped else _next(pending, worker.lot)
                if lot is None:
                    del busy[connection]
                else:
                    worker.take(job, lot)
            if not stopped and stopping():
                stopped = True
                for worker in busy.values():
                    worker.tell(STOP)


def here(job: Job, lots: Sequence[Any], say: Callable[[Any], None], stopping: Callable[[], bool]) -> None:
    """Runs the lots in this process, as many at once as there are devices."""
    for number in dict.fromkeys(lot.group for lot in lots):
        mine = [lot for lot in lots if lot.group == number]
        for i in range(0, len(mine), jax.device_count()):
            if not job.run(mine[i : i + jax.device_count()], say, stopping):
                return


def _next(pending: list[Any], last: Any) -> Any:
    """A lot of the group the worker has compiled, else of the group with most left: so few compile each."""
    if not pending:
        return None
    left = Counter(lot.group for lot in pending)
    group = last.group if last and last.group in left else left.most_common(1)[0][0]
    return pending.pop(next(i for i, lot in enumerate(pending) if lot.group == group))


def _work(connection: Connection) -> None:
    """A process's life: jobs, and lots of the latest of them; None says that it has finished one."""
    from rljax.engine import pickling

    def stopping():  # while a lot runs, the only message is the one to stop
        return connection.poll() and connection.recv() == STOP

    job: Any = None
    while True:
        message = connection.recv()
        if isinstance(message, bytes):
            before, job = job, pickling.loads(message)()
            if before is not None:
                job.programs.made.update(before.programs.made)
        elif message != STOP:  # one that came too late
            job.run([message], connection.send, stopping)
            connection.send(None)


def main() -> None:
    """One worker process, from start to end."""
    processes.end_with(int(sys.argv[2]))
    connection = Connection(int(sys.argv[1]))
    try:
        _work(connection)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        os._exit(1)
    except Exception as error:
        connection.send(Failure(_picklable(error)))
        raise


def _picklable(error: Exception) -> Exception:
    """The error, or what it says where it cannot be sent: of a class that only this process has, say."""
    try:
        return error if isinstance(pickle.loads(pickle.dumps(error)), type(error)) else WorkerError(str(error))
    except Exception:
        return WorkerError(f"a worker raised {type(error).__name__}: {' '.join(str(error).split())[:200]}")


if __name__ == "__main__":
    from rljax.engine import pool  # so that what it sends is of that module, not of __main__

    pool.main()
