"""A short chain of ops on ten elements, traced at each call: what tracing costs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.libraries import Arrays
from benchmarks.workloads._workload import Workload


def make(xp: Any, special: Any) -> Callable[..., Any]:
    """Return the sum after ten times ``sin(x) * 2 + x``; 31 ops."""

    def loss(x: Any) -> Any:
        for _ in range(10):
            x = xp.sin(x) * 2.0 + x
        return xp.sum(x)

    return loss


def inputs() -> tuple[Arrays, Arrays]:
    """Return ten elements."""
    return (np.arange(10.0),), ()


WORKLOADS = [Workload("sine_chain_traced", make, inputs, jit=False, peers=("torch", "autograd"))]
