"""Joining: what merging products of matrices takes: the ops, what they cost, and parts put together."""

from __future__ import annotations

from functools import lru_cache

from gradloom.cost import Cost
from gradloom.op import Op, ops
from gradloom.simplify.builder import Builder


def product_ops() -> frozenset[Op]:
    """Return the ops that multiply matrices."""
    return frozenset([ops["matmul"], ops["annihilating_matmul"]])


@lru_cache(maxsize=1024)
def product_seconds(m: int, k: int, n: int, itemsize: int) -> float:
    """Return what a product of matrices takes, of m rows and n columns, summed over k."""
    return Cost(2.0 * m * k * n, float(itemsize * (m * k + k * n + m * n)), blas=True).seconds()


@lru_cache(maxsize=1024)
def moved_seconds(itemsize: int, *sizes: int) -> float:
    """Return what a kernel takes that reads and writes some numbers of elements."""
    return Cost(0.0, float(itemsize * sum(sizes))).seconds()


def concatenated(g: Builder, parts: list[int], axis: int) -> int:
    """Return a node of parts put together along an axis."""
    return g.emit("concatenate", tuple(parts), axis)
