"""Gradloom beside its peers: seconds per call of each workload, as a table and as a plot."""

from __future__ import annotations

import math
import platform
import statistics
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.interleaved import samples
from benchmarks.libraries import LIBRARIES, PEERS
from benchmarks.workloads import Workload


class Row(NamedTuple):
    """What was measured of one workload: an amount per library, the smaller the better."""

    workload: str
    amounts: dict[str, float]
    #: The ratio to the best peer that we are content with.
    target: float | None
    #: The least amount seen per library: what other work on the machine disturbs least.
    least: dict[str, float]

    def ratio(self, library: str = "gradloom") -> float | None:
        """Return a library's amount over that of the best peer; None if either is not known."""
        return _to_best_peer(self.amounts, library)

    def least_ratio(self) -> float | None:
        """Return the same for gradloom, of the least amounts."""
        return _to_best_peer(self.least, "gradloom")


def _to_best_peer(amounts: dict[str, float], library: str) -> float | None:
    best = min((amount for name, amount in amounts.items() if name != "gradloom"), default=None)
    return amounts[library] / best if best and library in amounts else None


def known(ratio: float | None) -> float:
    """Return the ratio; NaN, which asv shows as n/a, where there is none."""
    return math.nan if ratio is None else ratio


def row(workload: Workload, found: dict[str, list[float]], target: float | None) -> Row:
    """Return the medians and the least of several measurements per library."""
    amounts = {name: statistics.median(values) for name, values in found.items()}
    return Row(workload.name, amounts, target, {name: min(values) for name, values in found.items()})


def steady_state(workloads: Iterable[Workload], seconds: float) -> Iterator[Row]:
    """Yield the seconds of value and gradient, interleaved in this process."""
    for workload in workloads:
        yield row(workload, samples(workload.calls(), seconds), workload.target)


def machine() -> str:
    """Return the machine and the versions, on one line."""
    versions = [f"NumPy {version('numpy')}"]
    for name in ("llvmlite", *PEERS):
        try:
            versions.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            versions.append(f"no {name}")
    return f"{platform.system()} {platform.machine()}, Python {platform.python_version()}, {', '.join(versions)}"


def table(rows: Iterable[Row], title: str, unit: float, digits: int) -> Any:
    """Return a rich table: medians over ``unit`` per library, and the ratios to the best peer."""
    from rich.table import Table

    result = Table("workload", title=title, caption=machine())
    for heading in (*LIBRARIES, "ratio to best peer", "of the least", "target"):
        result.add_column(heading, justify="right")
    for row in rows:
        amounts = [f"{row.amounts[name] / unit:,.{digits}f}" if name in row.amounts else "" for name in LIBRARIES]
        ratio = row.ratio()
        style = "" if row.target is None or ratio is None else "[green]" if ratio <= row.target else "[red]"
        result.add_row(row.workload, *amounts, style + number(ratio), number(row.least_ratio()), number(row.target))
    return result


def number(ratio: float | None) -> str:
    """Return a ratio in two digits after the point, or nothing."""
    return "" if ratio is None else f"{ratio:.2f}"


def tick(ratio: float) -> str:
    """Return the text of a tick of the plot: far below 1, where 2 and 5 have no room, of powers of ten alone."""
    return f"{ratio:g}" if ratio > 0.09 or math.log10(ratio).is_integer() else ""


COLOURS = {"gradloom": "#d1495b", "jax": "#30638e", "torch": "#edae49", "autograd": "#8d99ae"}
MARKERS = {"gradloom": "D", "jax": "o", "torch": "s", "autograd": "^"}


def plot(rows: list[Row], path: Path, what: str) -> None:
    """Save the ratios to the best peer, one line per workload, on a logarithmic axis."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import LogLocator, NullFormatter

    rows = [row for row in rows if row.ratio() is not None][::-1]
    figure, axes = plt.subplots(figsize=(8.0, 1.4 + 0.36 * len(rows)), layout="constrained")
    axes.axvline(1.0, color="0.3", linewidth=1.0, zorder=1)
    for line, row in enumerate(rows):
        axes.axhline(line, color="0.92", linewidth=1.0, zorder=0)
        axes.plot(
            [row.ratio() or 1.0, 1.0], [line, line], color=COLOURS["gradloom"], linewidth=2.5, alpha=0.45, zorder=2
        )
        if row.target is not None:
            axes.plot(row.target, line, marker="|", markersize=13, markeredgewidth=2, color="0.2", zorder=3)
    for library, colour in COLOURS.items():
        points = [(ratio, y) for y, row in enumerate(rows) if (ratio := row.ratio(library)) is not None]
        if points:
            x, y = np.transpose(points)
            size = 55 if library == "gradloom" else 28
            axes.scatter(x, y, s=size, c=colour, marker=MARKERS[library], label=library, zorder=4)
    if any(row.target is not None for row in rows):
        axes.plot([], [], marker="|", markersize=11, markeredgewidth=2, color="0.2", linestyle="", label="target")
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=20))
    axes.xaxis.set_major_formatter(lambda x, _: tick(x))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_yticks(range(len(rows)), [row.workload.replace("_", " ") for row in rows])
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.set_xlabel(f"{what}, relative to the best peer (left is better)")
    figure.legend(loc="outside upper center", ncols=5, frameon=False)
    figure.savefig(path, dpi=150)
    plt.close(figure)
