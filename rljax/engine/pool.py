"""Runs shards in one process a core, each with one XLA thread: the fastest way on CPUs, and it cannot hang.

Run as a module it is such a process. A worker is sent `NewData` where there is any, a `NewJob`, a `Shard` at a time and
perhaps a `Stop`; it answers with a `Report` now and then, and with `Finished` after each shard, or with a `Failure`. A
worker hears no signals, for the other end does and tells it to stop; it ends as soon as the other end is gone.
"""

from __future__ import annotations

import os
import pickle
import re
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import jax

from rljax import processes
from rljax.engine.work import Job, Say, Shard, Stopping
from rljax.errors import WorkerError

PATIENCE = 0.2  # seconds between looks at the signals


class NewData(NamedTuple):
    """A message to a worker: data that jobs from now on learn from."""

    fingerprint: str
    packed: bytes  # its arrays, by `pickling.dumps`


class NewJob(NamedTuple):
    """A message to a worker: the job of the shards that follow."""

    packed: bytes  # by `payload.pack`


class Stop(NamedTuple):
    """A message to a worker: it is to keep what it has reached, and to stop."""


class Finished(NamedTuple):
    """A worker's message after the last report of a shard."""


class Failure(NamedTuple):
    """A worker's message of the error that ends it."""

    error: Exception


class Worker:
    """One process, and the shard that it has."""

    def __init__(self, number: int, log: Path):
        self.number, self.log = number, log
        self.job, self.shard = b"", None
        self.data: set[str] = set()  # that it has, by fingerprint
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

    def take(self, job: bytes, shard: Shard, data: Mapping[str, Any] = MappingProxyType({})) -> None:
        """Sends it a shard of a job, and before that the job and its data, unless it has them."""
        from rljax.engine import pickling

        if self.job != job:
            for fingerprint in data.keys() - self.data:
                arrays = data[fingerprint].arrays
                self.tell(NewData(fingerprint, pickling.dumps(arrays, [arrays])))
                self.data.add(fingerprint)
            self.tell(NewJob(job))
        self.job, self.shard = job, shard
        self.tell(shard)

    def death(self) -> WorkerError:
        """Describes how it ended."""
        code = self.process.wait()
        why = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        why += " (out of memory? give less with --memory-limit, or fewer --workers)" if code == -signal.SIGKILL else ""
        last = self.log.read_text(errors="replace").strip().splitlines()[-1:]
        said = f": {last[0][:200]}" if last else ""
        return WorkerError(f"worker {self.number} {why}{said}")


class Pool:
    """A number of processes, which stay from one round of shards to the next and keep what they have compiled.

    Args:
      workers: how many; with one, the shards are run in this process, on all of its devices.
      logs: the folder where their output goes.
      kept: what to say of what was done before, when one of them dies.
    """

    def __init__(self, workers: int, logs: Path, kept: str):
        self._count, self._logs, self._kept = workers, logs, kept
        self._workers: dict[Any, Worker] = {}
        self._packed: tuple[Job | None, bytes] = None, b""

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers.values():
            worker.process.kill()
            worker.process.wait()

    def run(self, job: Job, shards: Sequence[Shard], say: Say, stopping: Stopping) -> None:
        """Runs shards; returns when all are done, or when every process has kept what it had reached.

        Args:
          say: takes the processes' reports.
          stopping: asked now and then.

        Raises:
          ConfigError: the job cannot be sent to other processes.
          WorkerError: a process died.
          RljaxError: what a process raised.
        """
        if self._count == 1:
            _run_here(job, shards, say, stopping)
        elif shards:
            self.run_in_workers(job, shards, say, stopping)

    def run_in_workers(self, job: Job, shards: Sequence[Shard], say: Say, stopping: Stopping) -> None:
        """Runs shards in other processes, however many there are; arguments and errors as for `run`."""
        from rljax.engine import payload

        if self._packed[0] is not job:
            self._packed = job, payload.pack(job)
        try:
            self._deal(job, _by_group(shards), say, stopping)
        except WorkerError as error:
            raise WorkerError(f"{error}; {self._kept}") from None

    def _deal(self, job: Job, pending: dict[int, deque[Shard]], say: Say, stopping: Stopping) -> None:
        from rljax.engine import payload

        self._logs.mkdir(parents=True, exist_ok=True)
        while len(self._workers) < min(self._count, sum(map(len, pending.values()))):
            worker = Worker(len(self._workers), self._logs / f"worker-{len(self._workers)}.log")
            self._workers[worker.connection] = worker
        stopped, busy = False, {}

        def give(worker: Worker) -> None:
            shard = None if stopped else _next(pending, worker.shard)
            if shard is None:
                busy.pop(worker.connection, None)
            else:
                busy[worker.connection] = worker
                worker.take(self._packed[1], job.filled(shard), payload.data_of(job))

        for worker in self._workers.values():
            give(worker)
        while busy:
            for connection in wait(list(busy), PATIENCE):
                message = busy[connection].hear()
                if isinstance(message, Finished):
                    give(busy[connection])
                else:
                    say(message)
            if not stopped and stopping():
                stopped = True
                for worker in busy.values():
                    worker.tell(Stop())


def _run_here(job: Job, shards: Sequence[Shard], say: Say, stopping: Stopping) -> None:
    """Runs the shards in this process, as many at once as there are devices."""
    for number in dict.fromkeys(shard.group for shard in shards):
        mine = [shard for shard in shards if shard.group == number]
        for i in range(0, len(mine), jax.device_count()):
            if not job.run(list(map(job.filled, mine[i : i + jax.device_count()])), say, stopping):
                return


def _by_group(shards: Sequence[Shard]) -> dict[int, deque[Shard]]:
    """The shards of each group, in order."""
    found: dict[int, deque[Shard]] = {}
    for shard in shards:
        found.setdefault(shard.group, deque()).append(shard)
    return found


def _next(pending: dict[int, deque[Shard]], last: Shard | None) -> Shard | None:
    """Takes a shard of the group a worker has compiled, else of the group with most left: so few compile each."""
    if not any(pending.values()):
        return None
    compiled = last and pending.get(last.group)
    return (compiled or max(pending.values(), key=len)).popleft()


def _serve(connection: Connection) -> None:
    """Runs what is sent to this process, for ever."""
    from rljax.engine import payload, pickling

    def stopping():  # while a shard runs, the only message is the one to stop
        return connection.poll() and isinstance(connection.recv(), Stop)

    job: Any = None
    data: dict[str, Any] = {}
    while True:
        message = connection.recv()
        if isinstance(message, NewData):
            data[message.fingerprint] = payload.arrived(pickling.loads(message.packed), message.fingerprint)
        elif isinstance(message, NewJob):
            before, job = job, pickling.loads(message.packed)(data)
            if before is not None:
                job.programs.made.update(before.programs.made)
                job.programs.placed.update(before.programs.placed)
        elif not isinstance(message, Stop):  # one that came too late
            job.run([message], connection.send, stopping)
            connection.send(Finished())


def main() -> None:
    """One worker process, from start to end."""
    processes.end_with(int(sys.argv[2]))
    connection = Connection(int(sys.argv[1]))
    try:
        _serve(connection)
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
