"""Runs every deliberate error against its tests: `python -m mutants [WORD ...]`, `make test-mutants`.

Words choose the errors whose file or meaning has one of them. Ends with 1 if one survives, is out of date (its old text
does not stand exactly once), or breaks more than a test.
"""

from __future__ import annotations

import importlib.util
import os
import queue
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mutants import MUTANTS
from mutants.mutant import ROOT, Mutant

PROCESSES = int(os.environ.get("MUTANT_PROCESSES", "2"))
SECONDS = 300  # what takes longer hangs, and so is noticed
PASSED, FAILED = 0, 1  # exit codes of pytest; all others mean that no test could fail


def pytest(tests: Iterable[str], package: Path, cache: Path, seconds: int | None = None) -> tuple[int, str]:
    """Tests against the copy of rljax in the folder `package` -> (exit code, end of the output)."""
    command = [sys.executable, "-P", "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--tb=line"]
    env = os.environ | {"PYTHONPATH": str(package), "JAX_COMPILATION_CACHE_DIR": str(cache)}
    env |= {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    try:
        done = subprocess.run(
            [*command, *(f"tests/{test}" for test in tests)],
            cwd=ROOT,
            env=env,
            capture_output=True,
            text=True,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired:
        return FAILED, f"more than {seconds} s"
    return done.returncode, (done.stdout + done.stderr)[-2000:]


def verdict_on(mutant: Mutant, package: Path, cache: Path) -> tuple[str, str]:
    """-> (killed, SURVIVED, OUT OF DATE or BROKEN; the output where it matters)."""
    if mutant.occurrences != 1:
        return "OUT OF DATE", f"'{mutant.old}' stands {mutant.occurrences} times in rljax/{mutant.file}"
    path = package / "rljax" / mutant.file
    text = path.read_text()
    path.write_text(text.replace(mutant.old, mutant.new))
    try:
        code, output = pytest(mutant.tests, package, cache, SECONDS)
    finally:
        path.write_text(text)
        # Of two writes within a second and of one length only one would be compiled.
        Path(importlib.util.cache_from_source(str(path))).unlink(missing_ok=True)
    return {PASSED: ("SURVIVED", ""), FAILED: ("killed", "")}.get(code, ("BROKEN", output))


def main(words: list[str]) -> int:
    chosen = [m for m in MUTANTS if not words or any(word in f"{m.file} {m.meaning}" for word in words)]
    with tempfile.TemporaryDirectory(prefix="rljax-mutants-") as folder, ThreadPoolExecutor(PROCESSES) as pool:
        copies: queue.Queue[Path] = queue.Queue()
        for i in range(PROCESSES):
            ignored = shutil.ignore_patterns("__pycache__")
            copies.put(Path(shutil.copytree(ROOT / "rljax", Path(folder, str(i), "rljax"), ignore=ignored)).parent)

        def borrowed(work, *arguments):
            package = copies.get()
            try:
                return work(*arguments, package, Path(folder, "xla"))
            finally:
                copies.put(package)

        # First without any error: a test that fails anyway notices nothing.
        suites = sorted({test for mutant in chosen for test in mutant.tests})
        parts = [part for i in range(PROCESSES) if (part := suites[i::PROCESSES])]
        for code, output in pool.map(lambda part: borrowed(pytest, part), parts):
            if code != PASSED:
                print(f"the tests do not pass as they are:\n{output}")
                return 1
        counts: Counter[str] = Counter()
        for mutant, (verdict, output) in zip(chosen, pool.map(lambda m: borrowed(verdict_on, m), chosen)):
            counts[verdict] += 1
            print(f"{verdict:11} {mutant.file}: {mutant.meaning}", output, sep="\n" if output else "", flush=True)
    print(", ".join(f"{count} {verdict}" for verdict, count in counts.items()) or "no such error")
    return int(counts["killed"] != len(chosen) or not chosen)


sys.exit(main(sys.argv[1:]))
