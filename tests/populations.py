"""Shared by the tests of the engine and of sweeps: a finished sweep, one that dies, and a count of compilations."""

from __future__ import annotations

import contextlib

import jax
import pytest
from toys import sweep

import rljax.run
from rljax.checkpoint import Checkpointer
from rljax.engine import work
from rljax.engine.plan import Programs

COMPILED = "/jax/core/compile/backend_compile_duration"
MADE: dict = {}  # every program so far, by what it is for


class Killed(BaseException):
    """Ends a process as SIGKILL does: nothing catches it."""


@contextlib.contextmanager
def dying(saves):
    """Saves after every point, and dies after so many of them."""
    save = Checkpointer.save

    def then_die(self, *arguments):
        save(self, *arguments)
        count.append(1)
        if len(count) == saves:
            raise Killed

    count: list[int] = []
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(rljax.run, "SAVE_SECONDS", 0.0)
        patch.setattr(rljax.run, "SAVE_SHARE", 1e9)
        patch.setattr(work, "CALL_SECONDS", 0.0)
        patch.setattr(Checkpointer, "save", then_die)
        yield


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A sweep of two rows and two seeds in a folder: to be read, not touched."""
    return sweep(out=tmp_path_factory.mktemp("sweeps") / "finished")


@pytest.fixture(scope="session")
def every_compilation():
    names: list[str] = []

    def note(event, _, fun_name="", **about):
        if event == COMPILED:
            names.append(fun_name)

    jax.monitoring.register_event_duration_secs_listener(note)  # for good: there is no public way to take it back
    return names


@pytest.fixture
def compiled(every_compilation):
    """A function that says how many training programs have been compiled since the test began."""
    every_compilation.clear()
    return lambda: every_compilation.count("jit(go)")


@pytest.fixture(autouse=True)
def shared_programs(request, monkeypatch):
    """Shares compiled programs between sweeps, except where compilations are counted."""
    if "compiled" in request.fixturenames:
        return
    of = Programs.of

    def shared(self, group):
        self.made = MADE
        return of(self, group)

    monkeypatch.setattr(Programs, "of", shared)
