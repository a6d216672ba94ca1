"""Several processes on one or more hosts as one job, on JAX's own multi-controller runtime.

Every process is started with the same command and sees all devices; it runs the lots of its own devices and stores them
in a folder that all of them share. They wait for each other at the start and at the end alone. When one dies, JAX ends
the others; what is stored stays, and the same command goes on.
"""

from __future__ import annotations

from rljax.errors import ConfigError, require

ARRIVAL, HEARTBEAT = 120, 30  # seconds to wait for all to arrive, and until a silent process counts as dead


def join(coordinator: str | None = None, processes: int | None = None, number: int | None = None) -> None:
    """Makes this process one of a job, before the first computation; returns when all have arrived.

    Args:
      coordinator: HOST:PORT of process 0; without it everything is read from the environment (Slurm, Open MPI, TPU).
      processes: how many there are.
      number: which of them this is, from 0.

    Raises:
      ConfigError: arguments that do not fit together, or an environment that says nothing.
    """
    import jax

    if coordinator is not None:
        require(processes is not None and processes >= 1, "num_processes", processes, "say how many there are")
        require(number is not None and 0 <= number < (processes or 0), "process_id", number, "must be 0 to one less")
        require(":" in coordinator, "coordinator", coordinator, "write it as HOST:PORT")
    try:
        jax.distributed.initialize(
            coordinator, processes, number, initialization_timeout=ARRIVAL, heartbeat_timeout_seconds=HEARTBEAT
        )
    except (ValueError, RuntimeError) as error:
        raise ConfigError(f"coordinator={coordinator}: cannot join the job: {str(error).splitlines()[0]}") from None


def wait(place: str) -> None:
    """Waits for all processes to come to this place."""
    import jax

    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(place)
