"""The memory and the cores that programs may use."""

from __future__ import annotations

import os
import re
import resource
from pathlib import Path

import jax

from rljax.errors import ConfigError

SHARE = 0.8  # of what is free; the rest is for the host, the compiler and other programs
UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def free() -> int:
    """The bytes that programs may take on each device: those that are free now, less a reserve."""
    device = jax.local_devices()[0]
    if device.platform == "cpu":
        return int(SHARE * host() / jax.local_device_count())
    found = device.memory_stats() or {}
    return int(SHARE * (found.get("bytes_limit", 8 * 10**9) - found.get("bytes_in_use", 0)))


def resident() -> int:
    """The bytes of this process, about what another one like it takes before it computes anything."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 6 * 10**8


def read(text: str | int) -> int:
    """Reads `16GB`, `800MB` or a number of bytes. Raises ConfigError where the text is none of these."""
    found = re.fullmatch(r"(\d+\.?\d*|\.\d+)\s*([kmgt]?)b?", str(text).strip().lower())
    if not found or not float(found[1]):
        raise ConfigError(f"memory_limit={text}: write it as 16GB, 800MB or a number of bytes")
    return int(float(found[1]) * UNITS[found[2]])


def write(count: float) -> str:
    """Writes a number of bytes as `1.2 GB`."""
    for size, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:.0f} bytes"


def host() -> int:
    """The bytes that the system can give: those available, or those that a container's limit leaves."""
    meminfo = Path("/proc/meminfo")
    if not meminfo.exists():
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    found = re.search(r"MemAvailable:\s+(\d+) kB", meminfo.read_text())
    available = int(found[1]) * 1024 if found else os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit, used = (_number(Path("/sys/fs/cgroup") / name) for name in ("memory.max", "memory.current"))
    if limit is not None and used is not None:
        available = min(available, limit - used)
    return max(0, min(available, _allowed()))


def _allowed() -> int:
    """The bytes that this process may still map, by `ulimit -v`."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return 2**63
    return limit - int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # no such limit
        return None
