"""The machine that a plan is made for: processes, devices, bytes."""

from __future__ import annotations

from typing import NamedTuple

import jax

from rljax import resources
from rljax.errors import require


class Machine(NamedTuple):
    """Processes, devices and memory."""

    workers: int  # processes, each with one device
    devices: int  # of all processes together, where there is one program for all of them
    memory: int  # bytes that all workers, or each device, may take

    @property
    def slots(self) -> int:
        """The number of shards that run at once."""
        return self.workers * self.devices


def choose(workers: int | None, runs: int, need: int, limit: int | None) -> Machine:
    """Chooses the machine for `runs` runs that need `need` bytes each.

    Args:
      workers: processes; by default one for each core of a CPU, and one where there are other devices.
      limit: the most bytes to use.

    Raises:
      ConfigError: several processes where there is one for all devices.
    """
    require(workers is None or workers >= 1, "workers", workers, "must be at least 1")
    require(
        not (_one_process() and (workers or 1) > 1), "workers", workers, "there is one process for all devices here"
    )
    most = 1 if _one_process() else min(workers or resources.cores(), runs)
    machines = (Machine(n, jax.device_count(), room(n, limit)) for n in range(most, 0, -1))
    return next(m for m in machines if m.workers == 1 or need * m.workers <= m.memory)


def again(workers: int) -> Machine:
    """Adapts a machine that was planned for so many processes to this one."""
    workers = 1 if _one_process() else workers
    return Machine(workers, jax.device_count(), room(workers))


def room(workers: int, limit: int | None = None) -> int:
    """The bytes for arrays: the free ones, less those that processes need before they have any array."""
    free = resources.free() - (workers * resources.resident() if workers > 1 else 0)
    return free if limit is None else min(limit, free)


def _one_process() -> bool:
    """Whether there is one process for all devices; on a CPU that is one device, there is one a core."""
    return jax.device_count() > 1 or jax.default_backend() != "cpu"
