"""Start-up times: of imports, of `--help`, and from the command line to the first sign of progress."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from harness import environment, header, save

RLJAX = Path(sys.executable).with_name("rljax")
COMMANDS = {
    "import jax": [sys.executable, "-c", "import jax"],
    "import rljax": [sys.executable, "-c", "import rljax"],
    "from rljax import train": [sys.executable, "-c", "from rljax import train"],
    "rljax --help": [str(RLJAX), "--help"],
}


def until_progress(cache: Path, steps: int, timeout: float = 120.0) -> float:
    """Seconds from the launch of `rljax train` to its first progress line; the run is then killed.

    Args:
      cache: where the compile cache and all others are looked for; an empty folder makes it a first run ever.
    """
    with tempfile.TemporaryDirectory() as out:
        command = [RLJAX, "train", "ppo", "CartPole-v1", "--steps", str(steps), "--out", f"{out}/run"]
        env = environment(JAX_PLATFORMS="cpu", XDG_CACHE_HOME=str(cache))
        began = time.perf_counter()
        process = subprocess.Popen(
            ["timeout", str(timeout), *command], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=env
        )
        try:
            for line in process.stderr:
                if "steps/s" in line:
                    return time.perf_counter() - began
        finally:
            process.terminate()
            process.communicate()
    raise RuntimeError(f"no progress line from {command}")


def command_seconds(command: list[str]) -> float:
    """The seconds that a command takes."""
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env=environment(JAX_PLATFORMS="cpu"))
    return time.perf_counter() - began


def measure(repeats: int, steps: int = 500_000) -> dict[str, Any]:
    """All start-up times: `{what: {median, min, max, seconds}}`."""
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    seconds |= {"first progress, cold": [], "first progress, warm": []}
    for _ in range(repeats):
        for name, command in COMMANDS.items():
            seconds[name].append(command_seconds(command))
        with tempfile.TemporaryDirectory() as cache:
            seconds["first progress, cold"].append(until_progress(Path(cache), steps))
            seconds["first progress, warm"].append(until_progress(Path(cache), steps))
    return {
        name: {"median": statistics.median(s), "min": min(s), "max": max(s), "seconds": s}
        for name, s in seconds.items()
    }


if __name__ == "__main__":
    result = header("startup") | {"startup": measure(repeats=7)}
    for name, seconds in result["startup"].items():
        print(f"{name:24} {seconds['median']:.2f} s ({seconds['min']:.2f} to {seconds['max']:.2f})")
    print(save(result, None, "cpu"))
