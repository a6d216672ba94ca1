"""Settings that precede the first computation, CPU threads and the compile cache, and a description of the machine.

`import rljax` calls `settle()`. It only sets environment variables that the user has not set, so it costs nothing and
needs no jax.
"""

from __future__ import annotations

import datetime
import glob
import importlib.metadata
import os
import platform
import re
import shlex
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

from rljax.errors import ConfigError

THREADS = "PJRT_NPROC"
CACHE = "JAX_COMPILATION_CACHE_DIR"
DEVICES = ("/dev/nvidia[0-9]*", "/dev/dxg", "/dev/kfd", "/dev/accel*", "/dev/vfio/[0-9]*")  # of GPUs and TPUs
PLUGINS = ("jax-cuda13-plugin", "jax-cuda12-plugin", "jax-rocm7-plugin", "jax-rocm60-plugin", "libtpu")


def cpu_threads(xla_flags: str, jax_version: tuple[int, int]) -> int:
    """Chooses a size of the CPU client's thread pool that is both safe and fast.

    jax 0.10 can block for ever in a vmapped program when the pool has as many threads as programs wait for each other:
    with one device a pool of one never hangs, with n forced devices a pool of `max(4, 2 n)` does not. Later lines have
    no such limit. Small networks gain nothing from a threaded matmul, so one thread per device is also the fastest.
    """
    found = re.search(r"--xla_force_host_platform_device_count=(\d+)", xla_flags)
    devices = int(found.group(1)) if found else 1
    if devices > 1 and jax_version < (0, 11):
        return max(4, 2 * devices)
    return devices


def accelerated() -> bool:
    """Whether JAX will find an accelerator, as far as can be told without starting it: a device, and what drives it."""
    if os.environ.get("JAX_PLATFORMS") == "cpu" or os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return False
    return any(glob.glob(name) for name in DEVICES) and any(version(name) for name in PLUGINS)


def settle() -> None:
    """Chooses the thread pool and turns on the persistent compile cache; a variable the user has set is left alone.

    With an accelerator the pool stays that of JAX: programs do not run in it, but are compiled in it. With one thread
    a first run of PPO on an H200 with 16 cores took 46 s instead of 15. Warns where the CPU client has already started
    with a pool that can hang.
    """
    version = tuple(int(n) for n in importlib.metadata.version("jax").split(".")[:2])
    if THREADS not in os.environ and not accelerated():
        os.environ[THREADS] = str(cpu_threads(os.environ.get("XLA_FLAGS", ""), (version[0], version[1])))
        if version < (0, 11) and _client_started():
            warnings.warn(
                "jax computed something before rljax was imported, so its CPU thread pool is already running and can "
                f"block for ever on jax {'.'.join(map(str, version))}; import rljax first, or set {THREADS}=1",
                stacklevel=3,
            )
    if CACHE not in os.environ:
        cache = cache_folder("xla")
        if cache is None:
            return
        os.environ[CACHE] = str(cache)
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.3")
        if "jax" in sys.modules:  # it has read its environment already
            import jax

            jax.config.update("jax_compilation_cache_dir", str(cache))
            jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)


def cache_folder(name: str) -> Path | None:
    """A folder for what is kept between processes; None where there is no home directory, or nothing can be written."""
    try:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except (KeyError, RuntimeError):  # a user without a home, as in containers
        return None
    folder = home.absolute() / "rljax" / name
    nearest = next(path for path in (folder, *folder.parents) if os.path.exists(path))
    return folder if nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK) else None


def start() -> None:
    """Starts JAX's devices, unless they have started. Raises ConfigError where the requested ones do not exist."""
    import jax

    try:
        jax.devices()
    except (AssertionError, RuntimeError) as error:  # an assertion where jax was installed without them
        asked = jax.config.values["jax_platforms"]
        why = re.sub(r"\.? \((you may|set JAX).*", "", str(error).partition("\n")[0]) or "jax has no such device here"
        raise ConfigError(f"JAX_PLATFORMS={asked}: {why}; unset it, or set it to cpu") from None


def _client_started() -> bool:
    if "jax" not in sys.modules:
        return False
    from jax._src import xla_bridge  # no public way to ask without starting the client

    return xla_bridge.backends_are_initialized() and xla_bridge.default_backend() == "cpu"


def provenance() -> dict[str, Any]:
    """Describes the origin of a result, for its record: the command, the commit, the time and the machine."""
    return {
        "command": shlex.join([Path(sys.argv[0]).name.replace("__main__.py", "rljax"), *sys.argv[1:]]),
        "commit": commit(),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": report(),
    }


def commit() -> str | None:
    """The git commit of the working folder, with `-dirty` where files differ from it; None outside of a repository."""
    asked = ["git", "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        done = subprocess.run(asked, capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def report() -> dict[str, Any]:
    """Describes device, precision and versions in plain values, for records."""
    import jax

    device = jax.devices()[0]
    packages = ("jax", "jaxlib", "flax", "optax", "gymnax", "brax", "numpy", "rljax")
    return {
        "platform": device.platform,
        "device": device.device_kind if device.platform != "cpu" else _cpu_name(),
        "device_count": jax.device_count(),
        "cpu_count": os.cpu_count(),
        "cpu_threads": os.environ.get(THREADS, "default"),
        "precision": str(jax.numpy.result_type(float)),
        "matmul_precision": str(jax.config.values["jax_default_matmul_precision"] or "default"),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in packages},
    }


def version(package: str) -> str | None:
    """The version of an installed package, or of rljax wherever it was imported from; None if it is not installed."""
    if package == "rljax":
        from rljax import __version__

        return __version__
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpu_name() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    found = re.search(r"model name\s*:\s*(.+)", text)
    return found.group(1) if found else platform.machine()
