"""Posterior of a Gaussian mixture model, as ADBench and GradBench state it.

The precision matrix of component k is Q_k^T Q_k with Q_k lower triangular: its diagonal is given
by logarithms, the rest as it is, both in one row of ``icf``. A Wishart prior rests on the
precisions. Srajer, Kukelova, Fitzgibbon: A benchmark of selected algorithmic differentiation
tools on some problems in computer vision and machine learning (2018), section 4.1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from benchmarks.libraries import Arrays
from benchmarks.workloads._workload import Workload

#: Wishart prior: precision of the scale, and degrees of freedom above the dimension plus one.
GAMMA, EXCESS = 1.0, 0.0


def make(xp: Any, special: Any) -> Callable[..., Any]:
    """Return the logarithm of likelihood times prior."""

    def loss(alphas: Any, means: Any, icf: Any, x: Any, index: Any) -> Any:
        n, d = x.shape
        log_diagonal, lower = icf[:, :d], icf[:, d:]
        diagonal = xp.exp(log_diagonal)
        log_determinant = xp.sum(log_diagonal, 1)
        packed = xp.concatenate((diagonal, lower, xp.zeros_like(diagonal[:, :1])), 1)
        factors = packed[:, index]  # (k, d, d)
        centred = x - means[:, None, :]  # (k, n, d)
        distance = xp.sum((centred @ xp.swapaxes(factors, 1, 2)) ** 2, 2)
        terms = (alphas + log_determinant)[:, None] - 0.5 * distance
        likelihood = xp.sum(special.logsumexp(terms, 0)) - n * special.logsumexp(alphas, 0)
        squares = xp.sum(diagonal**2) + xp.sum(lower**2)
        prior = EXCESS * xp.sum(log_determinant) - 0.5 * GAMMA**2 * squares
        return likelihood + prior + constant(n, d, alphas.shape[0])

    return loss


def constant(n: int, d: int, k: int) -> float:
    """Return the terms that depend on sizes alone."""
    freedom = d + EXCESS + 1
    log_gamma = 0.25 * d * (d - 1) * math.log(math.pi) + sum(math.lgamma(0.5 * (freedom - j)) for j in range(d))
    wishart = freedom * d * (math.log(GAMMA) - 0.5 * math.log(2)) - log_gamma
    return -0.5 * n * d * math.log(2 * math.pi) + k * wishart


def inputs(d: int, n: int, k: int = 25) -> tuple[Arrays, Arrays]:
    """Return weights, means and factors; the points, and where a factor's elements stand in its row."""
    rng = np.random.default_rng(0)
    below = d * (d - 1) // 2
    index = np.full((d, d), d + below)
    index[np.diag_indices(d)] = np.arange(d)
    index[np.tril_indices(d, -1)] = d + np.arange(below)
    params = rng.normal(size=k), rng.normal(size=(k, d)), 0.1 * rng.normal(size=(k, d + below))
    return params, (rng.normal(size=(n, d)), index)


WORKLOADS = [
    Workload("gaussian_mixture_d10", make, partial(inputs, 10), 1000, target=0.60),
    Workload("gaussian_mixture_d64", make, partial(inputs, 64), 1000, target=0.60),
]
