"""Several processes on one or more hosts as one job, on JAX's own multi-controller runtime.

Every process is started with the same command and sees all devices; it runs the shards of its local devices and stores
them in a folder that all of them share. They wait for each other at the start and at the end alone, and first compare
their arguments. While they wait, and between chunks, they poll whether another was stopped, failed or has ended: then
they end too, with one line and within seconds. When one dies, JAX ends the others; stored results stay, and the same
command continues.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from rljax.engine import rendezvous
from rljax.errors import CheckpointError, ConfigError, RljaxError, WorkerError, require

HEARTBEAT = 30  # seconds until a silent process counts as dead
POLL = 0.2  # seconds between polls of the others by a process that waits
POLL_BUSY = 1.0  # seconds between polls by a process that computes
SHOWN = 80  # characters of a value, in a message

KEPT = "what is finished is kept: start all processes again with the same command to go on"
ENDED, STOPPED = "rljax/ended/", "rljax/stopped/"  # the entries by which a process tells the others
_stages = itertools.count()  # all processes pass the same stages in the same order


def join(coordinator: str | None = None, processes: int | None = None, number: int | None = None) -> None:
    """Makes this process one of a job, before the first computation; returns when all have arrived.

    Args:
      coordinator: HOST:PORT of process 0; without it everything is read from the environment (Slurm, Open MPI, TPU).
      processes: the number of processes.
      number: of this process, from 0.

    Raises:
      ConfigError: arguments that do not fit together, here or between processes, or an environment that says nothing.
      WorkerError: some have not come in time.
    """
    if coordinator is not None:
        check(coordinator, processes, number)
        rendezvous.wait_for_all(coordinator, processes or 1, number or 0)
    import jax

    arrival = int(rendezvous.ARRIVAL)
    try:
        jax.distributed.initialize(
            coordinator, processes, number, initialization_timeout=arrival, heartbeat_timeout_seconds=HEARTBEAT
        )
    except (ValueError, RuntimeError) as error:
        raise ConfigError(f"coordinator={coordinator}: cannot join the job: {str(error).splitlines()[0]}") from None


def check(coordinator: str, processes: int | None, number: int | None) -> None:
    """Raises ConfigError for arguments that do not fit together, or a host that is unknown."""
    require(processes is not None and processes >= 1, "num_processes", processes, "say how many there are")
    require(number is not None and 0 <= number < (processes or 0), "process_id", number, "must be 0 to one less")
    rendezvous.address(coordinator)


def wait(stage: str, stopping: Callable[[], bool] = lambda: False) -> None:
    """Waits for all processes to reach this stage, or until this one is stopped. Raises as `gather`."""
    gather(stage, stopping=stopping)


def gather(stage: str, value: str = "", stopping: Callable[[], bool] = lambda: False) -> list[str]:
    """Gathers the values of all processes at this stage, by their numbers; fewer if this one is stopped meanwhile.

    Raises:
      ConfigError, WorkerError: another process was refused, failed, or has ended without reaching this stage.
    """
    client, here, count = _job()
    if client is None:
        return [value]
    folder = f"rljax/{next(_stages)}-{stage}/"
    client.key_value_set(f"{folder}{here}", value)
    arrived: dict[int, str] = {}
    while len(arrived) < count and not stopping():
        arrived = _entries(client, folder)
        if len(arrived) < count:
            _refuse_to_go_on_alone(client, arrived)
            time.sleep(POLL)
    return [text for _, text in sorted(arrived.items())]


def agree(arguments: Callable[[], Mapping[str, Any]]) -> None:
    """Compares the arguments of all processes. Raises ConfigError in each of them, with the first difference."""
    if _job()[0] is None:
        return
    texts = {name: json.dumps(value, default=str) for name, value in arguments().items()}
    marks = {name: [hashlib.sha256(text.encode()).hexdigest(), _short(text)] for name, text in texts.items()}
    first, *others = map(json.loads, gather("arguments", json.dumps(marks)))
    for number, other in enumerate(others, 1):
        for name in {**first, **other}:
            (mark, a), (other_mark, b) = (x.get(name, ["", "not given"]) for x in (first, other))
            if mark != other_mark:
                what = f"{name} is {a} on process 0, {b} on process {number}"
                raise ConfigError(f"{what}; start all processes with the same arguments")


def stopping(received: list[signal.Signals], asked: Callable[[], bool] | None = None) -> Callable[[], bool]:
    """Makes a function that says whether this process must stop: a signal came, here or to another process.

    Args:
      received: the signals of this process so far; those of others are added.
      asked: another reason to stop.

    Raises, when it is called:
      ConfigError, WorkerError: another process was refused, failed or has ended.
    """
    looked, said = time.monotonic(), False

    def stop() -> bool:
        nonlocal looked, said
        client, here, _ = _job()
        if client is not None and received and not said:
            said = True
            client.key_value_set(f"{STOPPED}{here}", str(int(received[0])), allow_overwrite=True)
        elif client is not None and not received and time.monotonic() - looked > POLL_BUSY:
            looked = time.monotonic()
            received.extend(signal.Signals(int(number)) for number in _entries(client, STOPPED).values())
            if not received:
                _refuse_to_go_on_alone(client)
        return (asked is not None and asked()) or bool(received)

    return stop


@contextlib.contextmanager
def one_fate(last: bool = False) -> Iterator[None]:
    """Tells the other processes of an error in this block, and of its end if it is the `last` block of this process."""
    try:
        yield
    except BaseException as error:
        _announce(_first_line(error), isinstance(error, ConfigError | CheckpointError))
        raise
    if last:
        _announce("", False)


def _announce(error: str, usage: bool) -> None:
    """Announces that this process has ended, and its error unless another process has announced one before."""
    client, here, _ = _job()
    if client is None:
        return
    with contextlib.suppress(Exception):  # this process is ending already, of something else
        ended = _entries(client, ENDED)
        if here not in ended:
            heard = any(json.loads(text)["error"] for text in ended.values())
            client.key_value_set(f"{ENDED}{here}", json.dumps({"error": "" if heard else error, "usage": usage}))


def _refuse_to_go_on_alone(client: Any, arrived: Mapping[int, str] | None = None) -> None:
    """Raises if another process has failed, or has ended and is not among those that have arrived."""
    ended = {number: json.loads(text) for number, text in _entries(client, ENDED).items()}
    for number, why in ended.items():
        if why["error"]:
            raise (ConfigError if why["usage"] else WorkerError)(f"process {number}: {why['error']}")
    for number in ended:
        if arrived is not None and number not in arrived:
            raise ConfigError(f"process {number} has come to its end; start all processes with the same arguments")


def _first_line(error: BaseException) -> str:
    """An error in words."""
    if isinstance(error, KeyboardInterrupt | SystemExit):
        return "was stopped"
    text = str(error) if isinstance(error, RljaxError) else f"{type(error).__name__} {error}"
    return text.strip().partition("\n")[0] or type(error).__name__


def _job() -> tuple[Any, int, int]:
    """(the store that all processes of the job share, this one's number, their count); the store is None if alone."""
    from jax._src import distributed  # no public way to the store

    state = distributed.global_state
    return (state.client if (state.num_processes or 1) > 1 else None), state.process_id or 0, state.num_processes or 1


def _entries(client: Any, folder: str) -> dict[int, str]:
    """The entries of processes in a folder of the store, by their numbers."""
    try:
        found = client.key_value_dir_get(folder)
    except RuntimeError:  # process 0 has the store
        raise WorkerError(f"process 0 does not answer any more: it was killed, or its host is gone; {KEPT}") from None
    return {int(name.rpartition("/")[2]): text for name, text in found}


def _short(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 4]} ..."
