"""What only fresh processes show: first calls, peak memory, the time of imports."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from benchmarks.compare import Row, row
from benchmarks.workloads import Workload

FOLDER = Path(__file__).parents[1]
#: First call of gradloom over that of jax.jit, at most. Peers that compile nothing are no measure for it.
FIRST_CALL_TARGET = 0.3
COMPILING = ("gradloom", "jax")


def in_fresh_process(measure: str, workload: str, library: str) -> float:
    """Return what `benchmarks.alone` finds in a process of its own, with nothing in gradloom's cache."""
    with tempfile.TemporaryDirectory() as cache:
        command = [sys.executable, "-m", "benchmarks.alone", measure, workload, library]
        environment = os.environ | {"GRADLOOM_CACHE_DIR": cache}
        # Python's own cache of what it compiles is allowed: libraries come with theirs when they are installed.
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        done = subprocess.run(command, cwd=FOLDER, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[1:])} failed:\n{done.stderr}")
    return float(done.stdout.split()[-1])


def first_calls(workloads: Iterable[Workload], repeats: int = 3) -> Iterator[Row]:
    """Yield the seconds of first calls, of the libraries that compile."""
    for workload in workloads:
        if workload.jit:
            libraries = [name for name in workload.libraries() if name in COMPILING]
            target = FIRST_CALL_TARGET if len(libraries) > 1 else None
            yield row(workload, measured("first_call", workload, libraries, repeats), target)


def peaks(workloads: Iterable[Workload], repeats: int = 1) -> Iterator[Row]:
    """Yield the peak memory in bytes."""
    for workload in workloads:
        yield row(workload, measured("memory", workload, workload.libraries(), repeats), None)


def measured(measure: str, workload: Workload, libraries: Iterable[str], repeats: int) -> dict[str, list[float]]:
    """Return what ``measure`` finds in several fresh processes, by turns; the first does not count."""
    found: dict[str, list[float]] = {library: [] for library in libraries}
    for turn in range(-1, repeats):
        for library, values in found.items():
            value = in_fresh_process(measure, workload.name, library)
            if turn >= 0:
                values.append(value)
    return found


def import_seconds(module: str, repeats: int = 5) -> float:
    """Return the least seconds that importing a module takes in a fresh interpreter."""
    code = f"import time; start = time.perf_counter(); import {module}; print(time.perf_counter() - start)"
    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(repeats)
    ]
    return min(float(run.stdout) for run in runs)
