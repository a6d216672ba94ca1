"""Several processes on one or more hosts as one job, on JAX's own multi-controller runtime.

Every process is started with the same command and sees all devices; it runs the lots of its own devices and stores them
in a folder that all of them share. They wait for each other at the start and at the end alone, and agree first on what
is to be run. While they wait, and between chunks, they look whether another was stopped, failed or has ended: then they
end too, in a line and within seconds. When one dies, JAX ends the others; what is stored stays, and the same command
goes on.
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
LOOK = 0.2  # seconds between looks at the others while there is nothing else to do
ATTENTION = 1.0  # seconds between looks while there is
SHOWN = 80  # characters of a value, in a message

KEPT = "what is finished is kept: start all processes again with the same command to go on"
ENDED, STOPPED = "rljax/ended/", "rljax/stopped/"  # where a process says so, for the others
_places = itertools.count()  # all processes come to the same places in the same order


def join(coordinator: str | None = None, processes: int | None = None, number: int | None = None) -> None:
    """Makes this process one of a job, before the first computation; returns when all have arrived.

    Args:
      coordinator: HOST:PORT of process 0; without it everything is read from the environment (Slurm, Open MPI, TPU).
      processes: how many there are.
      number: which of them this is, from 0.

    Raises:
      ConfigError: arguments that do not fit together, here or between processes, or an environment that says nothing.
      WorkerError: some have not come in time.
    """
    if coordinator is not None:
        check(coordinator, processes, number)
        rendezvous.meet(coordinator, processes or 1, number or 0)
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


def wait(place: str, stopping: Callable[[], bool] = lambda: False) -> None:
    """Waits for all processes to come to this place, or until this one is stopped. Raises as `gather`."""
    gather(place, stopping=stopping)


def gather(place: str, value: str = "", stopping: Callable[[], bool] = lambda: False) -> list[str]:
    """What each process brings to this place, by their numbers; fewer if this one is stopped while it waits.

    Raises:
      ConfigError, WorkerError: another process was refused, failed, or has ended without coming here.
    """
    client, here, count = _job()
    if client is None:
        return [value]
    folder = f"rljax/{next(_places)}-{place}/"
    client.key_value_set(f"{folder}{here}", value)
    there: dict[int, str] = {}
    while len(there) < count and not stopping():
        there = _entries(client, folder)
        if len(there) < count:
            _refuse_to_go_on_alone(client, there)
            time.sleep(LOOK)
    return [text for _, text in sorted(there.items())]


def agree(arguments: Callable[[], Mapping[str, Any]]) -> None:
    """Compares what all processes were asked for. Raises ConfigError in each of them, with the first difference."""
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
    """Whether this process is to stop: a signal came, here or to another process, whose signal is then added.

    Args:
      received: the signals of this process, so far.
      asked: what else to ask.

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
        elif client is not None and not received and time.monotonic() - looked > ATTENTION:
            looked = time.monotonic()
            received.extend(signal.Signals(int(number)) for number in _entries(client, STOPPED).values())
            if not received:
                _refuse_to_go_on_alone(client)
        return (asked is not None and asked()) or bool(received)

    return stop


@contextlib.contextmanager
def one_fate(last: bool = False) -> Iterator[None]:
    """The other processes hear of an error in this block; and, if it is the `last` of this one, of its end."""
    try:
        yield
    except BaseException as error:
        _announce(_first_line(error), isinstance(error, ConfigError | CheckpointError))
        raise
    if last:
        _announce("", False)


def _announce(error: str, usage: bool) -> None:
    """Says that this process has ended, and why, unless another has said why before: then this one only heard of it."""
    client, here, _ = _job()
    if client is None:
        return
    with contextlib.suppress(Exception):  # this process is ending already, of something else
        ended = _entries(client, ENDED)
        if here not in ended:
            heard = any(json.loads(text)["error"] for text in ended.values())
            client.key_value_set(f"{ENDED}{here}", json.dumps({"error": "" if heard else error, "usage": usage}))


def _refuse_to_go_on_alone(client: Any, there: Mapping[int, str] | None = None) -> None:
    """Raises if another process has failed, or has ended and is not among those that have come."""
    ended = {number: json.loads(text) for number, text in _entries(client, ENDED).items()}
    for number, why in ended.items():
        if why["error"]:
            raise (ConfigError if why["usage"] else WorkerError)(f"process {number}: {why['error']}")
    for number in ended:
        if there is not None and number not in there:
            raise ConfigError(f"process {number} has come to its end; start all processes with the same arguments")


def _first_line(error: BaseException) -> str:
    """An error in words."""
    if isinstance(error, KeyboardInterrupt | SystemExit):
        return "was stopped"
    text = str(error) if isinstance(error, RljaxError) else f"{type(error).__name__} {error}"
    return text.strip().partition("\n")[0] or type(error).__name__


def _job() -> tuple[Any, int, int]:
    """(the store that all processes of the job share, this one's number, how many there are); None without others."""
    from jax._src import distributed  # no public way to the store

    state = distributed.global_state
    return (state.client if (state.num_processes or 1) > 1 else None), state.process_id or 0, state.num_processes or 1


def _entries(client: Any, folder: str) -> dict[int, str]:
    """What processes have said in a folder of the store, by their numbers."""
    try:
        found = client.key_value_dir_get(folder)
    except RuntimeError:  # it keeps the store
        raise WorkerError(f"process 0 does not answer any more: it was killed, or its host is gone; {KEPT}") from None
    return {int(name.rpartition("/")[2]): text for name, text in found}


def _short(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 4]} ..."
