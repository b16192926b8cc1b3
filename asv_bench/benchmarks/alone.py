"""What is measured once, in a process of its own that imports nothing else.

``python -m benchmarks.alone first_call|memory WORKLOAD LIBRARY`` prints a number.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
import time
from pathlib import Path

from benchmarks.libraries import LIBRARIES
from benchmarks.workloads import WORKLOADS


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


if __name__ == "__main__":
    print(MEASURES[sys.argv[1]](*sys.argv[2:4]))
