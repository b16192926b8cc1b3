"""Samples of the transcendental ops."""

from __future__ import annotations

import numpy as np

from gradloom.testing.sample import Sample, rng

X = rng().uniform(-2, 2, (2, 3))

SAMPLES = [
    Sample("sin", (X,), np.sin),
    Sample("cos", (X,), np.cos),
    Sample("sin", (np.float64(0.3),), np.sin),
    Sample("sin", (np.empty((0, 3)),), np.sin, name="size 0"),
]
