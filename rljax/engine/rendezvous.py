"""The rendezvous of a job: all processes connect to process 0 before JAX starts, and each reports misfits in one line.

JAX's own start waits for processes that never come, and aborts where a port is taken or two processes have one number.
Process 0 listens at the coordinator's address; every process, process 0 too, connects and sends its number, or why it
was refused; when all have come, or at the first fault, all are told.
"""

from __future__ import annotations

import contextlib
import errno
import json
import socket
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

from rljax.errors import ConfigError, RljaxError, WorkerError, require

ARRIVAL = 120.0  # seconds to wait for all to arrive
NOTICE = 5.0  # seconds after which a process says that it waits
REACH = 10.0  # seconds to connect
LINGER = 5.0  # seconds in which late processes are told of a fault
AGAIN = 0.1  # seconds between tries
PATIENCE = 2.0  # seconds for a line of the other side
GREETING = b"rljax\n"  # process 0 says it first, so that nobody waits for another program to speak
STRANGER = "something else answers there: another program, or a job that has begun already; choose another port"
BACKLOG = 1024  # connections that may wait to be accepted


def wait_for_all(coordinator: str, processes: int, number: int, arrival: float = ARRIVAL) -> None:
    """Waits until all processes have come.

    Args:
      coordinator: HOST:PORT of process 0.
      processes: the number of processes.
      number: of this process, from 0.

    Raises:
      ConfigError: a host that is unknown or cannot be reached, a port that is taken, processes that do not fit
        together, or one that was refused.
      WorkerError: some have not come in time.
    """
    host, port = address(coordinator)
    hello = {"number": number, "processes": processes}
    with _hosting(coordinator, port, processes, arrival) if number == 0 else contextlib.nullcontext():
        said = _visit(coordinator, host, port, hello, arrival)
    if said["fault"]:
        raise (WorkerError if said["late"] else ConfigError)(said["fault"])


def refuse(coordinator: str, processes: int, number: int, why: str) -> None:
    """Tells the other processes that this one was refused, as far as they can be reached within seconds."""
    with contextlib.suppress(RljaxError, OSError):
        host, port = address(coordinator)
        if number == 0:
            with _hosting(coordinator, port, processes, LINGER, fault=f"process 0: {why}"):
                return
        _visit(coordinator, host, port, {"number": number, "processes": processes, "refused": why}, LINGER)


def address(coordinator: str) -> tuple[str, int]:
    """Parses HOST:PORT. Raises ConfigError where it is no such pair, or the host is unknown."""
    host, _, port = coordinator.rpartition(":")
    fits = bool(host) and port.isdecimal() and 0 < int(port) < 2**16
    require(fits, "coordinator", coordinator, "write it as HOST:PORT, the port from 1 to 65535, or env")
    host = host.removeprefix("[").removesuffix("]")
    try:
        socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise ConfigError(f"coordinator={coordinator}: no host is known by the name '{host}' here") from None
    return host, int(port)


@contextlib.contextmanager
def _hosting(coordinator: str, port: int, processes: int, arrival: float, fault: str = "") -> Iterator[None]:
    """Runs process 0's side in a thread, until all processes have been told."""
    with _listener(coordinator, port, processes) as listener:
        host = _Host(listener, processes, arrival, fault)
        listener.settimeout(AGAIN)
        thread = threading.Thread(target=host.run, name="rendezvous", daemon=True)
        thread.start()
        try:
            yield
        except BaseException:
            host.left = True
            raise
        finally:
            thread.join()


def _listener(coordinator: str, port: int, processes: int) -> socket.socket:
    """Opens a socket that listens at a port of every address of this host, by both protocols where there are both."""
    error, fault = None, ""
    for options in ({"family": socket.AF_INET6, "dualstack_ipv6": True}, {"family": socket.AF_INET}):
        try:
            return socket.create_server(("", port), backlog=BACKLOG, **options)  # pyright: ignore[reportArgumentType]
        except ValueError:  # no such protocol
            continue
        except OSError as found:
            error = found
            if found.errno in (errno.EADDRINUSE, errno.EACCES):
                break
    taken = error is not None and error.errno == errno.EADDRINUSE
    if taken:  # by another process 0 of this job?
        with contextlib.suppress(ConfigError):
            said = _ask(coordinator, "localhost", port, {"number": 0, "processes": processes}, REACH, PATIENCE)
            fault = said["fault"] if said else ""
    why = "is in use" if taken else f"cannot be listened at ({error and error.strerror})"
    raise ConfigError(fault or f"coordinator={coordinator}: port {port} {why} on this host; choose another")


class _Host:
    """Process 0's side: it waits for all processes, and tells them the outcome."""

    def __init__(self, listener: socket.socket, processes: int, arrival: float, fault: str):
        self.listener, self.processes, self.arrival, self.fault = listener, processes, arrival, fault
        self.here: dict[int, socket.socket] = {}
        self.told: set[int] = {0} if fault else set()  # process 0 goes to itself, unless it was refused
        self.late = self.left = False
        self.most = processes  # the largest number of processes that any of them was given

    def run(self) -> None:
        """Waits for all, tells those that came, and for a while those that come late."""
        self._gather()
        for number, connection in self.here.items():
            self._tell(number, connection)
        until = time.monotonic() + LINGER
        while self.fault and not self.late and not self.left and self._missing(self.told) and time.monotonic() < until:
            for number, connection, _ in self._arrivals():
                self._tell(number, connection)

    def _gather(self) -> None:
        """Waits until all are here, or one does not fit."""
        began, noticed = time.monotonic(), False
        while self._missing(self.here) and not self.fault and not self.left:
            for number, connection, hello in self._arrivals():
                self._forget_gone()  # one that left may come again
                self.fault = self.fault or self._misfit(number, hello)
                self.here[-1 - len(self.here) if number in self.here else number] = connection
            self._forget_gone()
            waited, missing = time.monotonic() - began, self._missing(self.here)
            if missing and not noticed and waited > NOTICE:
                noticed = True
                print(f"waiting for {missing}, for {self.arrival:.0f} s at most", file=sys.stderr, flush=True)
            if missing and waited > self.arrival:
                self.late, self.fault = True, f"{missing} did not come within {self.arrival:.0f} s; start all processes"

    def _forget_gone(self) -> None:
        for number in [number for number, connection in self.here.items() if _gone(connection)]:
            self.here.pop(number).close()

    def _arrivals(self) -> Iterator[tuple[int, socket.socket, dict[str, Any]]]:
        """Yields the process that has just connected, if one has."""
        try:
            connection = self.listener.accept()[0]
        except OSError:  # nobody, for that long; or one that has hung up already
            return
        connection.settimeout(PATIENCE)
        try:
            connection.sendall(GREETING)
            hello = json.loads(_line(connection))
            number, processes = int(hello["number"]), int(hello["processes"])
        except (OSError, ValueError, KeyError, TypeError):  # a stranger
            connection.close()
            return
        self.most = max(self.most, processes)
        yield number, connection, hello

    def _misfit(self, number: int, hello: dict[str, Any]) -> str:
        if hello.get("refused"):
            return f"process {number}: {hello['refused']}"
        if hello["processes"] != self.processes:
            return f"num_processes is {self.processes} on process 0, {hello['processes']} on process {number}"
        if number in self.here:
            return f"process_id is {number} on two processes; give each its own, from 0 to {self.processes - 1}"
        return ""

    def _missing(self, present: Any) -> str:
        """Names the processes of the job that are not present, in words."""
        numbers = [str(i) for i in range(self.most) if i not in present]
        return f"process{'es' if len(numbers) > 1 else ''} {', '.join(numbers)} of {self.processes}" if numbers else ""

    def _tell(self, number: int, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            if self.left and not self.fault:  # interrupted: they will try again
                return
            connection.settimeout(PATIENCE)
            connection.sendall(json.dumps({"fault": self.fault, "late": self.late}).encode() + b"\n")
        self.told.add(number)


def _visit(coordinator: str, host: str, port: int, hello: dict[str, Any], arrival: float) -> dict[str, Any]:
    """Connects to process 0, sends who this is, and returns its answer, which comes when all have come."""
    began, noticed = time.monotonic(), False
    while time.monotonic() - began < arrival:
        said = _ask(coordinator, host, port, hello, arrival)
        if said:
            return said
        if hello["number"] == 0:  # it listens, but not there
            raise ConfigError(f"coordinator={coordinator}: does not lead to process 0; give the host that it runs on")
        if not noticed and time.monotonic() - began > NOTICE:
            noticed = True
            print(f"waiting for process 0 at {coordinator}, for {arrival:.0f} s at most", file=sys.stderr, flush=True)
        time.sleep(AGAIN)
    raise WorkerError(
        f"coordinator={coordinator}: process 0 did not answer within {arrival:.0f} s; start all processes"
    )


def _ask(
    coordinator: str, host: str, port: int, hello: dict[str, Any], arrival: float, patience: float = REACH
) -> dict[str, Any] | None:
    """Asks process 0 once; None where nobody listens yet, or it hung up, for it was interrupted."""
    try:
        connection = socket.create_connection((host, port), timeout=REACH)
    except ConnectionError:
        return None
    except OSError as error:
        why = f"no answer within {REACH:.0f} s" if isinstance(error, TimeoutError) else error.strerror
        raise ConfigError(f"coordinator={coordinator}: this host cannot be reached ({why})") from None
    with connection:
        connection.settimeout(patience)
        if _line(connection) != GREETING:
            raise ConfigError(f"coordinator={coordinator}: {STRANGER}")
        with contextlib.suppress(OSError):
            connection.sendall(json.dumps(hello).encode() + b"\n")
            connection.settimeout(arrival + LINGER)  # process 0 says when it has waited for long enough
            said = _line(connection)
            return json.loads(said) if said else None
    return None


def _line(connection: socket.socket) -> bytes:
    """Reads a line; half of one or nothing where the other side hangs up, or sends nothing in time."""
    with contextlib.suppress(OSError), connection.makefile("rb") as file:
        return file.readline(1 << 16)
    return b""


def _gone(connection: socket.socket) -> bool:
    """Whether the other side, which has nothing more to send, has hung up."""
    connection.setblocking(False)
    try:
        return not connection.recv(1)
    except BlockingIOError:
        return False
    except OSError:
        return True
