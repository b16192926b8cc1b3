"""Print value-and-gradient times of gradloom and its peers as a table.

Run from this folder: ``python compare.py [seconds per workload]``.
"""

from __future__ import annotations

import platform
import sys

import numpy as np
from benchmarks.interleaved import medians
from benchmarks.workloads import WORKLOADS


def main() -> None:
    """Measure every workload and print one row each, in microseconds."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 3.0
    print(f"Python {platform.python_version()}, NumPy {np.__version__}, {platform.machine()}; median us a call")
    print(f"{'workload':24s} {'gradloom':>10s} {'peers':40s} ratio to best")
    for name, build in WORKLOADS.items():
        times = medians(build(), seconds)
        own = times.pop("gradloom")
        peers = ", ".join(f"{peer} {1e6 * t:.1f}" for peer, t in times.items())
        ratio = f"{own / min(times.values()):.2f}" if times else "-"
        print(f"{name:24s} {1e6 * own:10.1f} {peers:40s} {ratio}")


if __name__ == "__main__":
    main()
