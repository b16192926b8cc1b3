"""``python -m benchmarks``: gradloom beside its peers on this machine, as a table and a plot."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.compare import Row, plot, steady_state, table
from benchmarks.fresh import FIRST_CALL_TARGET, fresh_rows
from benchmarks.limits import limits
from benchmarks.workloads import WORKLOADS


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
    what.add_argument("--limits", action="store_true", help="bandwidth and flops of this machine instead")
    return parser.parse_args()


def main() -> int:
    """Measure, print, save the plot."""
    options = arguments()
    console = Console(width=None if sys.stdout.isatty() else 120)
    if options.limits:
        console.print(limits_table())
        return 0
    if options.first_call:
        rows, title, unit, digits = fresh_rows("first_call", options.only), "First call, ms", 1e-3, 0
    elif options.memory:
        rows, title, unit, digits = fresh_rows("memory", options.only), "Peak memory above the inputs, MB", 1e6, 1
    else:
        rows, title, unit, digits = steady_state(options.only, options.seconds), "Value and gradient, ms", 1e-3, 3
    found = list(progress(rows, len(options.only)))
    if options.first_call:
        found = [row._replace(target=FIRST_CALL_TARGET) if "jax" in row.amounts else row for row in found]
    console.print(table(found, title, unit, digits))
    plot(found, options.plot, title.split(",")[0])
    console.print(f"Plot: {options.plot}")
    return 0


def progress(rows: Iterator[Row], total: int) -> Iterator[Row]:
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
