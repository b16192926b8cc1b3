"""A recurrent network, 100 steps unrolled in Python: a long chain of small matrix products."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.libraries import Arrays
from benchmarks.workloads._workload import Workload

STEPS, FEATURES, HIDDEN = 100, 32, 64


def make(xp: Any, special: Any) -> Callable[..., Any]:
    """Return the mean square error of a linear reading of the last state."""

    def loss(wx: Any, wh: Any, b: Any, out: Any, x: Any, y: Any) -> Any:
        h = xp.zeros_like(x[0] @ wx)
        for t in range(STEPS):
            h = xp.tanh(x[t] @ wx + h @ wh + b)
        return xp.mean((h @ out - y) ** 2)

    return loss


def inputs(batch: int) -> tuple[Arrays, Arrays]:
    """Return the weights; a sequence for each sample, and what to predict."""
    rng = np.random.default_rng(0)
    params = (
        rng.normal(size=(FEATURES, HIDDEN)) / np.sqrt(FEATURES),
        rng.normal(size=(HIDDEN, HIDDEN)) / np.sqrt(HIDDEN),
        0.1 * rng.normal(size=HIDDEN),
        rng.normal(size=HIDDEN) / np.sqrt(HIDDEN),
    )
    return params, (rng.normal(size=(STEPS, batch, FEATURES)), rng.normal(size=batch))


WORKLOADS = [Workload("rnn", make, inputs, 32, target=0.85)]
