"""Processes that do not fit together say so, each in one line and at once; threads stand for them here."""

from __future__ import annotations

import socket
import threading

import pytest

from rljax.engine import rendezvous
from rljax.errors import ConfigError, WorkerError


@pytest.fixture
def port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def job(port, *visits, host="127.0.0.1"):
    """The outcomes of processes that all start at once: each visit is (processes, number), or a function."""
    found = [None] * len(visits)

    def go(i, visit):
        try:
            visit() if callable(visit) else rendezvous.wait_for_all(f"{host}:{port}", *visit, arrival=20.0)
        except Exception as error:
            found[i] = error

    threads = [threading.Thread(target=go, args=pair, daemon=True) for pair in enumerate(visits)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return found


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_all_arrive(port, host):
    assert job(port, (3, 2), (3, 0), (3, 1), host=host) == [None] * 3
    assert job(port, (1, 0), host=host) == [None]  # and leave the port as it was


@pytest.mark.parametrize(
    ("visits", "message"),
    [
        ([(2, 0), (3, 1)], "num_processes is 2 on process 0, 3 on process 1"),
        ([(3, 0), (2, 1)], "num_processes is 3 on process 0, 2 on process 1"),
        ([(3, 0), (3, 1), (3, 1)], "process_id is 1 on two processes; give each its own, from 0 to 2"),
        ([(2, 0), (2, 0)], "process_id is 0 on two processes; give each its own, from 0 to 1"),
    ],
)
def test_what_does_not_fit_is_said_to_all(port, visits, message, monkeypatch):
    monkeypatch.setattr(rendezvous, "LINGER", 1.0)
    for error in job(port, *visits):
        assert type(error) is ConfigError and str(error) == message


@pytest.mark.parametrize("refused", [0, 1])
def test_all_hear_of_one_that_was_refused(port, refused):
    tell = lambda: rendezvous.refuse(f"127.0.0.1:{port}", 2, refused, "lr=-1: must be above 0")  # noqa: E731
    other = (2, 1 - refused)
    error, said = job(port, other, tell)
    assert said is None and type(error) is ConfigError and str(error) == f"process {refused}: lr=-1: must be above 0"


def test_who_waits_says_for_whom(port, monkeypatch, capsys):
    monkeypatch.setattr(rendezvous, "NOTICE", 0.2)
    alone = threading.Thread(target=job, args=(port, (4, 2)), daemon=True)
    alone.start()
    with pytest.raises(WorkerError, match=r"^processes 1, 3 of 4 did not come within 2 s; start all processes$"):
        rendezvous.wait_for_all(f"127.0.0.1:{port}", 4, 0, arrival=2.0)
    assert "waiting for processes 1, " in capsys.readouterr().err
    with pytest.raises(WorkerError, match="process 0 did not answer within 0 s"):
        rendezvous.wait_for_all(f"127.0.0.1:{port}", 2, 1, arrival=0.3)


def test_one_that_left_while_it_waited_may_come_again(port):
    hello, left = b'{"number": 1, "processes": 3}\n', threading.Event()

    def impatient():
        while True:
            try:
                connection = socket.create_connection(("127.0.0.1", port))
                break
            except ConnectionRefusedError:
                continue
        with connection:
            assert connection.makefile("rb").readline() == rendezvous.GREETING
            connection.sendall(hello)
        left.set()
        rendezvous.wait_for_all(f"127.0.0.1:{port}", 3, 1)

    def last():  # so that the job cannot begin while the first visit still counts
        left.wait(20)
        rendezvous.wait_for_all(f"127.0.0.1:{port}", 3, 2)

    assert job(port, (3, 0), impatient, last) == [None] * 3


def test_a_port_in_use_is_said_to_be(port):
    taken = pytest.raises(ConfigError, match=f"port {port} is in use on this host; choose another$")
    with socket.create_server(("127.0.0.1", port)), taken:
        rendezvous.wait_for_all(f"127.0.0.1:{port}", 1, 0)


def test_another_program_that_answers_is_said_to(port):
    with socket.create_server(("127.0.0.1", port)) as listener:

        def answer():
            with listener.accept()[0] as connection:
                connection.sendall(b"220 mail\r\n")

        threading.Thread(target=answer, daemon=True).start()
        with pytest.raises(ConfigError, match="something else answers there"):
            rendezvous.wait_for_all(f"127.0.0.1:{port}", 2, 1)


@pytest.mark.parametrize("text", ["somewhere", "a:b", ":80", "host:", "host:0", "host:65536", "host:-1", ""])
def test_an_address_is_a_host_and_a_port(text):
    with pytest.raises(ConfigError, match="write it as HOST:PORT"):
        rendezvous.address(text)


def test_hosts_are_looked_up_first():
    assert rendezvous.address("127.0.0.1:1234") == ("127.0.0.1", 1234) and rendezvous.address("[::1]:1")[0] == "::1"
    with pytest.raises(ConfigError, match=r"no host is known by the name 'no.such.host.invalid'"):
        rendezvous.address("no.such.host.invalid:1234")
