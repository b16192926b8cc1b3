"""What only a fresh process shows: the first call, peak memory, the time of imports.

``python -m benchmarks.fresh first_call|memory WORKLOAD LIBRARY`` measures once and prints a number.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from benchmarks.compare import Row, row
from benchmarks.libraries import LIBRARIES
from benchmarks.workloads import WORKLOADS, Workload

FOLDER = Path(__file__).parents[1]
#: First call of gradloom over that of jax.jit, at most. Peers that compile nothing are no measure for it.
FIRST_CALL_TARGET = 0.3
COMPILING = ("gradloom", "jax")


def first_call(workload: str, library: str) -> float:
    """Return the seconds of the first value and gradient: trace, compile, run.

    The library is imported before, and nothing else of it has started: plugins and LLVM start
    within, and so does the runtime of JAX, since both are given NumPy arrays.
    """
    for module in LIBRARIES[library].modules:
        importlib.import_module(module)
    call = WORKLOADS[workload].cold_call(library)
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def memory(workload: str, library: str, calls: int = 3) -> float:
    """Return the bytes by which a few calls raise the peak of resident memory, compilation included."""
    call = WORKLOADS[workload].call(library)
    forget_peak()
    before = peak_bytes()
    for _ in range(calls):
        call()
    return peak_bytes() - before


def forget_peak() -> None:
    """Let the peak start at what is resident now, where the system can."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_bytes() -> float:
    """Return the largest resident memory so far.

    ``ru_maxrss`` includes the peak of the process that started this one, so that Linux is asked otherwise.
    """
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return 1024.0 * int(line.split()[1])
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return float(unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


MEASURES = {"first_call": first_call, "memory": memory}


def in_fresh_process(measure: str, workload: str, library: str) -> float:
    """Return what ``measure`` finds in a process of its own, with nothing in gradloom's cache."""
    with tempfile.TemporaryDirectory() as cache:
        command = [sys.executable, "-m", "benchmarks.fresh", measure, workload, library]
        environment = os.environ | {"GRADLOOM_CACHE_DIR": cache}
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
    """Return what ``measure`` finds in several fresh processes, the libraries taking turns."""
    found: dict[str, list[float]] = {library: [] for library in libraries}
    for _ in range(repeats):
        for library, values in found.items():
            values.append(in_fresh_process(measure, workload.name, library))
    return found


def import_seconds(module: str, repeats: int = 5) -> float:
    """Return the least seconds that importing a module takes in a fresh interpreter."""
    code = f"import time; start = time.perf_counter(); import {module}; print(time.perf_counter() - start)"
    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(repeats)
    ]
    return min(float(run.stdout) for run in runs)


if __name__ == "__main__":
    print(MEASURES[sys.argv[1]](*sys.argv[2:4]))
