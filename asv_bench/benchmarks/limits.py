"""What this machine can do at most: bytes from memory and flops of matrix products, per thread count."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from benchmarks.interleaved import least

#: Larger than the caches.
BYTES = 64 * 2**20
ORDER = 512


def read_bandwidth(threads: int) -> float:
    """Return bytes per second of reading one large array."""
    return _in_threads(threads, lambda x, y: x.sum(), BYTES)


def write_bandwidth(threads: int) -> float:
    """Return bytes per second of ``y = 2 * x``, a byte read and a byte written counting two."""
    return _in_threads(threads, lambda x, y: np.multiply(x, 2.0, out=y), 2 * BYTES)


def _in_threads(threads: int, work: Callable[[Any, Any], Any], count: int) -> float:
    x, y = np.ones(BYTES // 8), np.ones(BYTES // 8)
    parts = list(zip(np.array_split(x, threads), np.array_split(y, threads), strict=True))
    with ThreadPoolExecutor(threads) as pool:
        return count / least(lambda: list(pool.map(lambda part: work(*part), parts)), 100)


def matmul_flops(dtype: Any, threads: int) -> float:
    """Return flops per second of a square matrix product in NumPy's BLAS."""
    from threadpoolctl import threadpool_limits

    a = np.random.default_rng(0).normal(size=(ORDER, ORDER)).astype(dtype)
    out = np.empty_like(a)
    with threadpool_limits(threads):
        return 2 * ORDER**3 / least(lambda: np.matmul(a, a, out=out), 200)


def limits() -> dict[str, list[float]]:
    """Return each limit in units of 1e9 a second, on one thread and on all."""
    counts = (1, os.cpu_count() or 1)
    return {
        "reading memory, GB/s": [read_bandwidth(n) / 1e9 for n in counts],
        "reading and writing memory, GB/s": [write_bandwidth(n) / 1e9 for n in counts],
        "matrix product float64, Gflop/s": [matmul_flops(np.float64, n) / 1e9 for n in counts],
        "matrix product float32, Gflop/s": [matmul_flops(np.float32, n) / 1e9 for n in counts],
    }
