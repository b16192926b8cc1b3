"""Exponentials, logarithms, trigonometric and hyperbolic ops against NumPy and differences."""

from __future__ import annotations

import numpy as np
import pytest

from gradloom.testing import checks
from gradloom.testing.samples import Sample, rng

X = rng().uniform(-2, 2, (2, 3))

SAMPLES = [
    Sample("sin", (X,), np.sin),
    Sample("cos", (X,), np.cos),
    Sample("sin", (np.float64(0.3),), np.sin),
    Sample("sin", (np.empty((0, 3)),), np.sin, name="size 0"),
]


@pytest.mark.parametrize("sample", SAMPLES, ids=str)
class TestOps:
    def test_value(self, sample: Sample) -> None:
        checks.check_value(sample)

    def test_layouts(self, sample: Sample) -> None:
        checks.check_layouts(sample)

    def test_jacobians(self, sample: Sample) -> None:
        checks.check_jacobians(sample)

    def test_second_order(self, sample: Sample) -> None:
        checks.check_second_order(sample)

    def test_adjoint(self, sample: Sample) -> None:
        checks.check_adjoint(sample)

    def test_float32(self, sample: Sample) -> None:
        checks.check_float32(sample)
