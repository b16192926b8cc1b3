"""A network 784-512-512-10 on a batch of 256, float32: bound by matrix products."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from benchmarks.libraries import Arrays
from benchmarks.workloads._workload import Workload

LAYERS = (784, 512, 512, 10)


def make(xp: Any, special: Any) -> Callable[..., Any]:
    """Return the mean cross-entropy of softmax after two hidden layers of tanh."""

    def loss(w1: Any, b1: Any, w2: Any, b2: Any, w3: Any, b3: Any, x: Any, labels: Any) -> Any:
        hidden = xp.tanh(x @ w1 + b1)
        hidden = xp.tanh(hidden @ w2 + b2)
        z = hidden @ w3 + b3
        return xp.mean(special.logsumexp(z, 1) - z[xp.arange(z.shape[0]), labels])

    return loss


def make_torch(torch: Any, special: Any) -> Callable[..., Any]:
    """Return the same with PyTorch's functions for a layer and for the loss."""

    def loss(w1: Any, b1: Any, w2: Any, b2: Any, w3: Any, b3: Any, x: Any, labels: Any) -> Any:
        hidden = torch.tanh(torch.addmm(b1, x, w1))
        hidden = torch.tanh(torch.addmm(b2, hidden, w2))
        return torch.nn.functional.cross_entropy(torch.addmm(b3, hidden, w3), labels)

    return loss


def inputs(batch: int) -> tuple[Arrays, Arrays]:
    """Return weights and biases by turns; images and labels."""
    rng = np.random.default_rng(0)
    params = []
    for m, n in pairwise(LAYERS):
        params += [rng.normal(0.0, 1.0 / np.sqrt(m), (m, n)), rng.normal(0.0, 0.1, n)]
    x, labels = rng.uniform(0.0, 1.0, (batch, LAYERS[0])), rng.integers(0, LAYERS[-1], batch)
    return [p.astype(np.float32) for p in params], (x.astype(np.float32), labels)


WORKLOADS = [Workload("mlp", make, inputs, 256, spellings={"torch": make_torch}, rtol=1e-4, target=1.00)]
