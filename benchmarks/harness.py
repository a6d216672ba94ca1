"""The parent's side: starts contestants, runs them in turn, builds the peer's environment, keeps results."""

from __future__ import annotations

import datetime
import json
import os
import platform
import queue
import shlex
import statistics
import subprocess
import sys
import tempfile
import threading
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from workload import Workload

HERE = Path(__file__).resolve().parent
SETTLED = ("PJRT_NPROC", "XLA_FLAGS", "JAX_COMPILATION_CACHE_DIR", "JAX_PLATFORMS")
PEERS = {  # the last ones that could be had, with what they need
    "rejax": ("rejax==0.1.3", "gymnax==0.0.9", "jax==0.10.2", "jaxlib==0.10.2"),
    "memorax": ("memorax==1.0.1", "gymnax==0.0.9", "jax==0.10.2", "jaxlib==0.10.2"),
}


def environment(**given: str) -> dict[str, str]:
    """The environment variables of this process, without those that a contestant chooses by itself, plus `given`."""
    return {name: value for name, value in os.environ.items() if name not in SETTLED} | given


def peer_python(name: str = "rejax") -> Path:
    """The interpreter of a virtual environment with a peer, made on first use."""
    packages = PEERS[name]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rljax" / "bench"
    folder = cache / "-".join(packages[:3]).replace("==", "-")
    python, complete = folder / "bin" / "python", folder / "complete"
    if not complete.exists():
        print(f"installing {' '.join(packages)} into {folder}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *packages], check=True)
        complete.touch()
    return python


@dataclass
class Contestant:
    """A program in a child process, and its measurements."""

    label: str
    name: str  # in worker.CONTESTANTS
    workload: Workload
    agents: int = 0  # 0: one, not vmapped
    python: Path = Path(sys.executable)
    env: dict[str, str] = field(default_factory=dict)
    timeout: float = 600.0
    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)  # of all threads together
    returns: list[float | None] = field(default_factory=list)  # final ones, of all repeats
    facts: dict[str, Any] = field(default_factory=dict)  # compile_seconds, threads, versions, peak_memory ...
    error: str | None = None

    def start(self) -> None:
        """Starts the process and waits until it has compiled."""
        command = [self.python, HERE / "worker.py", self.name, str(self.agents), json.dumps(asdict(self.workload))]
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed in `stop`
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            bufsize=1,
            env=environment(JAX_ENABLE_COMPILATION_CACHE="false", **self.env),
        )
        self._answers: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        self.facts |= self._answer("compile") or {}

    def go(self) -> None:
        """Trains once."""
        answer = self._ask("go")
        if answer:
            self.seconds.append(answer["seconds"])
            self.cpu_seconds.append(answer["cpu_seconds"])
            score = self._ask("score") or {"returns": []}
            self.returns += score.pop("returns")
            self.facts |= score

    def stop(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.wait()
        self._log.close()

    @property
    def steps(self) -> int:
        """Environment steps of one repeat, all agents together."""
        return self.workload.updates * self.workload.batch * max(1, self.agents)

    def record(self) -> dict[str, Any]:
        """The entry of the JSON; rates are in steps per second over the repeats."""
        rates = [self.steps / s for s in self.seconds]
        summary = {"median": statistics.median(rates), "min": min(rates), "max": max(rates)} if rates else None
        about = {"label": self.label, "agents": self.agents, "env": self.workload.env, "steps": self.steps}
        raw = {"seconds": self.seconds, "cpu_seconds": self.cpu_seconds, "returns": self.returns}
        known = [x for x in self.returns if x is not None]
        summaries = {"steps_per_second": summary, "final_return": statistics.mean(known) if known else None}
        return about | self.facts | raw | summaries | {"error": self.error}

    def _read(self) -> None:
        for line in self._process.stdout:
            self._answers.put(line)
        self._answers.put("")  # it has ended

    def _ask(self, what: str) -> dict[str, Any] | None:
        if self.error:
            return None
        self._process.stdin.write(what + "\n")
        return self._answer(what)

    def _answer(self, what: str) -> dict[str, Any] | None:
        try:
            line = self._answers.get(timeout=self.timeout)
        except queue.Empty:
            self._process.kill()
            self.error = f"no answer to '{what}' in {self.timeout:.0f} s after {len(self.seconds)} repeats: hung"
            return None
        if not line:
            self._log.seek(0)
            self.error = f"ended in '{what}': " + " ".join(self._log.read().splitlines()[-2:])[-500:]
            return None
        return json.loads(line)


def play(contestants: list[Contestant], repeats: int) -> None:
    """Compiles the contestants one after the other, then runs each in turn, in `repeats` rounds."""
    try:
        for contestant in contestants:
            contestant.start()
            say(f"{contestant.label}: {contestant.error or 'compiled'}")
        for i in range(repeats):
            turn = i % len(contestants)
            for contestant in contestants[turn:] + contestants[:turn]:
                contestant.go()
            say(f"round {i + 1} of {repeats} done, load {os.getloadavg()[0]:.1f}")
    finally:
        for contestant in contestants:
            if hasattr(contestant, "_process"):
                contestant.stop()


def say(text: str) -> None:
    """Prints a line of progress."""
    print(text, file=sys.stderr, flush=True)


def machine() -> dict[str, Any]:
    """Describes the host."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    cpu = names[0] if names else platform.processor() or platform.machine()
    return {"cpu": cpu, "cores": os.cpu_count(), "system": platform.system(), "python": platform.python_version()}


def header(suite: str) -> dict[str, Any]:
    """The first entries of a result."""
    return {
        "suite": suite,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["python", *sys.argv]),
        "machine": machine(),
        "load_before": os.getloadavg()[0],
    }


def save(result: dict[str, Any], out: Path | None, platform_name: str) -> Path:
    """Writes a result, by default to results/SUITE-PLATFORM-DATE.json."""
    path = out or HERE / "results" / f"{result['suite']}-{platform_name}-{result['date'][:10]}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n")
    return path


def versions(record: dict[str, Any]) -> str:
    """The packages of a contestant, in a line."""
    return ", ".join(f"{name} {version}" for name, version in record["versions"].items())


def markdown(columns: list[str], rows: list[list[str]]) -> str:
    """Formats a table, first column to the left."""
    rule = ["---"] + ["---:"] * (len(columns) - 1)
    return "\n".join("| " + " | ".join(row) + " |" for row in [columns, rule, *rows])
