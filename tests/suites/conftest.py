"""Fixtures of this room: those of environments, and one that notices downloads."""

import socket
import subprocess

import pytest
from env_checks import check_rollout, check_types

__all__ = ["check_rollout", "check_types"]


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """Nothing is downloaded: no connection is opened, and no program such as git is started."""

    def refuse(*arguments, **named):
        raise AssertionError("an environment went to the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    started = subprocess.Popen.__init__

    def watched(self, command, *arguments, **named):
        words = command.split() if isinstance(command, str) else [str(word) for word in command]
        assert not {"git", "clone"} <= set(words), "an environment started git"
        started(self, command, *arguments, **named)

    monkeypatch.setattr(subprocess.Popen, "__init__", watched)
