"""``python -m benchmarks``: gradloom beside its peers on this machine, as a table and a plot."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks import executors
from benchmarks.compare import plot, steady_state, table
from benchmarks.fresh import first_calls, peaks
from benchmarks.limits import limits
from benchmarks.shapes import new_shapes
from benchmarks.workloads import WORKLOADS

T = TypeVar("T")

#: The parts of a workload's samples that are measured for the cost against size.
FRACTIONS = (16, 8, 4, 2, 1)


def arguments() -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", nargs="+", metavar="WORKLOAD", choices=WORKLOADS, default=list(WORKLOADS))
    parser.add_argument("--seconds", type=float, default=3.0, help="per workload, all libraries together (default 3)")
    parser.add_argument(
        "--plot", type=Path, default=Path("ratios.svg"), help="where the plot goes (default ratios.svg)"
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--first-call", action="store_true", help="trace, compile and run in fresh processes instead")
    what.add_argument("--memory", action="store_true", help="peak memory in fresh processes instead")
    what.add_argument("--sizes", action="store_true", help="cost against size: n/16, n/8, ... n samples")
    what.add_argument("--new-shapes", action="store_true", help="first calls with a new shape, over the run, instead")
    what.add_argument("--limits", action="store_true", help="bandwidth and flops of this machine instead")
    what.add_argument("--executors", action="store_true", help="branches, tasks and clusters by scheduler instead")
    return parser.parse_args()


def main() -> int:
    """Measure, print, save the plot."""
    options = arguments()
    console = Console(width=None if sys.stdout.isatty() else 130)
    if options.limits:
        console.print(limits_table())
        return 0
    if options.executors:
        total = executors.OTHERS + len(options.only)
        for what, words in progress(executors.measured(options.seconds, options.only), total):
            console.print(f"[bold]{what}[/]\n{words}\n")
        return 0
    workloads = [WORKLOADS[name] for name in options.only]
    if options.new_shapes:
        sized = [w for w in workloads if w.size is not None]
        rows = progress(new_shapes(sized), len(sized))
        console.print(table(rows, "First call with a new shape, over the run, ms", 1e-3, 1))
        return 0
    if options.sizes:
        workloads = [w.at(w.size // part) for w in workloads if w.size is not None for part in FRACTIONS]
    if options.first_call:
        title, unit, digits, rows = "First call, ms", 1e-3, 0, first_calls(workloads)
    elif options.memory:
        title, unit, digits, rows = "Peak memory above the inputs, MB", 1e6, 1, peaks(workloads)
    else:
        title, unit, digits, rows = "Value and gradient, ms", 1e-3, 3, steady_state(workloads, options.seconds)
    found = list(progress(rows, len(workloads)))
    console.print(table(found, title, unit, digits))
    plot(found, options.plot, title.split(",")[0])
    console.print(f"Plot: {options.plot}")
    return 0


def progress(rows: Iterator[T], total: int) -> Iterator[T]:
    """Yield the rows, with a bar on the standard error output meanwhile."""
    return iter(track(rows, "Measuring", total, console=Console(stderr=True), transient=True))


def limits_table() -> Table:
    """Return the limits of this machine."""
    result = Table("limit", title="Limits of this machine")
    for heading in ("1 thread", "all threads"):
        result.add_column(heading, justify="right")
    for name, values in limits().items():
        result.add_row(name, *(f"{value:.1f}" for value in values))
    return result


if __name__ == "__main__":
    sys.exit(main())
