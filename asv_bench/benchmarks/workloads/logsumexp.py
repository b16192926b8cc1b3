"""The logarithm of a sum of a million exponentials: a reduction in two passes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.libraries import Arrays
from benchmarks.workloads._workload import Workload


def make(xp: Any, special: Any) -> Callable[..., Any]:
    """Return each library's own function; gradloom's is written in NumPy."""

    def loss(x: Any) -> Any:
        return special.logsumexp(x, 0)

    return loss


def inputs(count: int) -> tuple[Arrays, Arrays]:
    """Return the exponents."""
    return (np.random.default_rng(0).normal(size=count),), ()


WORKLOADS = [Workload("logsumexp", make, inputs, 1_000_000, target=0.60)]
