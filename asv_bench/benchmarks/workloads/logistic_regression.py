"""Logistic regression on 100,000 samples of 50 features: bound by reading the data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.libraries import Arrays
from benchmarks.workloads._workload import Workload


def make(xp: Any, special: Any) -> Callable[..., Any]:
    """Return the mean cross-entropy of ``X @ w + b``."""

    def loss(w: Any, b: Any, X: Any, y: Any) -> Any:
        z = X @ w + b
        return xp.mean(xp.logaddexp(0.0, z) - y * z)

    return loss


def make_torch(torch: Any, special: Any) -> Callable[..., Any]:
    """Return the same through the function that PyTorch has for it; its logaddexp takes no number."""
    cross_entropy = torch.nn.functional.binary_cross_entropy_with_logits

    def loss(w: Any, b: Any, X: Any, y: Any) -> Any:
        return cross_entropy(X @ w + b, y)

    return loss


def inputs(samples: int, features: int = 50) -> tuple[Arrays, Arrays]:
    """Return weights and bias; samples and labels."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(samples, features))
    y = (X @ rng.normal(size=features) + rng.normal(size=samples) > 0).astype(np.float64)
    return (0.1 * rng.normal(size=features), np.array(0.1)), (X, y)


WORKLOADS = [Workload("logistic_regression", make, inputs, 100_000, spellings={"torch": make_torch}, target=0.75)]
