"""Prices of a million call options by Black and Scholes (1973): elementwise, exp, log and erf."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from benchmarks.libraries import Arrays
from benchmarks.workloads._workload import Workload

RATE, VOLATILITY = 0.02, 0.3


def make(xp: Any, special: Any) -> Callable[..., Any]:
    """Return the sum of the prices, given spot and strike prices and times to maturity."""
    erf = special.erf

    def normal_cdf(x: Any) -> Any:
        return 0.5 * (1.0 + erf(x / math.sqrt(2.0)))

    def loss(spot: Any, strike: Any, time: Any) -> Any:
        deviation = VOLATILITY * xp.sqrt(time)
        d1 = (xp.log(spot / strike) + (RATE + 0.5 * VOLATILITY**2) * time) / deviation
        d2 = d1 - deviation
        return xp.sum(spot * normal_cdf(d1) - strike * xp.exp(-RATE * time) * normal_cdf(d2))

    return loss


def inputs(dtype: Any, count: int) -> tuple[Arrays, Arrays]:
    """Return spot prices, strike prices and times to maturity."""
    rng = np.random.default_rng(0)
    ranges = ((50.0, 150.0), (50.0, 150.0), (0.1, 2.0))
    return [rng.uniform(low, high, count).astype(dtype) for low, high in ranges], ()


WORKLOADS = [
    Workload("black_scholes", make, partial(inputs, np.float64), 1_000_000, target=0.20),
    Workload("black_scholes_float32", make, partial(inputs, np.float32), 1_000_000, rtol=1e-4, target=0.30),
]
