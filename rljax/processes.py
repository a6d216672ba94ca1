"""A process and its children: the parent alone gets signals, and the children end when it does."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

PATIENCE = 0.5  # seconds between looks at the parent
STOPPING = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def deaf() -> Iterator[None]:
    """Blocks SIGINT and SIGTERM for a process that is started meanwhile; its parent gets them and tells it what to do.

    Terminals, Slurm and systemd send these to every process of a job; a child that died of one would end its parent's
    work half done.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)  # inherited, from the first instruction on
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_with(parent: int) -> None:
    """Ends this process as soon as its parent, with process id `parent`, has ended, even in the middle of a program."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(PATIENCE)
        os._exit(1)

    threading.Thread(target=watch, name="parent", daemon=True).start()
