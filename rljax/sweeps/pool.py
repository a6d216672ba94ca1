"""Runs the lots of a plan in one process a core, each with one XLA thread: the fastest way on CPUs, and it cannot hang.

Run as a module it is such a process. The two ends exchange pickled objects: first the job, then a lot at a time in one
direction and its news in the other. A worker whose other end is gone stops at the next news.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from typing import Any, NamedTuple

from rljax.errors import WorkerError

PATIENCE = 0.2  # seconds between looks at the signals


class Failure(NamedTuple):
    """What a worker says of an error that ends it."""

    error: Exception


class Worker:
    """One process, and the lot it is at."""

    def __init__(self, number: int, log: Path):
        self.number, self.log = number, log
        self.lot: Any = None
        self.connection, theirs = Pipe()
        flags = re.sub(r"--xla_force_host_platform_device_count=\d+", "", os.environ.get("XLA_FLAGS", ""))
        settled = {"PJRT_NPROC": "1", "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "rljax.sweeps.pool", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                env=os.environ | settled | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
        theirs.close()

    def death(self) -> WorkerError:
        """What to say when it is gone."""
        code = self.process.wait()
        why = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        why += " (out of memory? give less with --memory, or fewer --workers)" if code == -signal.SIGKILL else ""
        last = self.log.read_text(errors="replace").strip().splitlines()[-1:]
        said = f": {last[0][:200]}" if last else ""
        return WorkerError(f"worker {self.number} {why}{said}; what is finished is kept: run the command again")


def run(job: bytes, lots: Sequence[Any], workers: int, folder: Path, say: Callable[[Any], None], stopping: Any) -> bool:
    """Runs lots in so many processes; False if it was told to stop before the end.

    Args:
      job: a pickled function without arguments that gives the `execute.Job`.
      lots: what to run.
      folder: where the processes' output goes.
      say: takes their news.
      stopping: asked now and then; then every process keeps what it has reached.

    Raises:
      WorkerError: a process died.
      RljaxError: what a process raised.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pending, stopped = list(lots), False
    crew = {w.connection: w for w in (Worker(i, folder / f"worker-{i}.log") for i in range(min(workers, len(lots))))}
    try:
        for connection in crew:
            connection.send_bytes(job)
        while crew:
            for connection in wait(list(crew), PATIENCE):
                worker = crew[connection]  # pyright: ignore[reportArgumentType]
                try:
                    message = worker.connection.recv()
                except (EOFError, ConnectionResetError):
                    raise worker.death() from None
                if isinstance(message, Failure):
                    raise message.error
                if message is not None:
                    say(message)
                    continue
                worker.lot = None if stopped else _next(pending, worker.lot)  # it is idle
                with contextlib.suppress(BrokenPipeError):
                    worker.connection.send(worker.lot)
                if worker.lot is None:
                    worker.process.wait()
                    del crew[worker.connection]
            if not stopped and stopping():
                stopped = True
                for worker in crew.values():
                    worker.connection.send(None)
    finally:
        for worker in crew.values():
            worker.process.kill()
            worker.process.wait()
    return not stopped


def _next(pending: list[Any], last: Any) -> Any:
    """A lot of the group the worker has compiled, else of the group with most left: so few compile each."""
    if not pending:
        return None
    left = Counter(lot.group for lot in pending)
    group = last.group if last and last.group in left else left.most_common(1)[0][0]
    return pending.pop(next(i for i, lot in enumerate(pending) if lot.group == group))


def _work(connection: Connection) -> None:
    """The worker's life."""
    import cloudpickle

    from rljax.sweeps import execute

    def stopping():  # the only message that comes while a lot runs is the one to stop, or the end of the other side
        return connection.poll() and connection.recv() is None

    job = cloudpickle.loads(connection.recv_bytes())()
    while True:
        connection.send(None)
        lot = connection.recv()
        if lot is None or not execute.run(job, [lot], connection.send, stopping):
            connection.send(None)
            return


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it also reaches the other end, which says what to do
    connection = Connection(int(sys.argv[1]))
    try:
        _work(connection)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        os._exit(1)
    except Exception as error:
        connection.send(Failure(error))
        raise


if __name__ == "__main__":
    main()
