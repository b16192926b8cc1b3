"""New shapes: what the first call with arrays of another size costs, which is traced and planned anew."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Iterator

import gradloom as gl
from benchmarks.compare import Row, row
from benchmarks.interleaved import batch
from benchmarks.libraries import LIBRARIES, argnums
from benchmarks.workloads import Workload

#: Shapes that are tried, and runs of each.
SHAPES, RUNS = 8, 9


def over_the_run(workload: Workload) -> list[float]:
    """Return the seconds of first calls less those of later ones, for some shapes; of few samples, as runs vary."""
    assert workload.size is not None
    size = max(workload.size // 64, min(workload.size, 32))
    params, data = workload.at(size).arrays()
    gradient = gl.jit(gl.value_and_grad(workload.loss(LIBRARIES["gradloom"]), argnums(params)))
    gradient(*params, *data)
    over = []
    for more in range(1, SHAPES):
        params, data = workload.at(size + more).arrays()

        def call(arrays: tuple[object, ...] = (*params, *data)) -> None:
            gradient(*arrays)

        start = time.perf_counter()
        call()
        first = time.perf_counter() - start
        over.append(first - statistics.median(batch(call, 1) for _ in range(RUNS)))
    return over


def new_shapes(workloads: Iterable[Workload]) -> Iterator[Row]:
    """Yield the seconds of first calls with a new shape over the run itself."""
    for workload in workloads:
        yield row(workload, {"gradloom": over_the_run(workload)}, None)
