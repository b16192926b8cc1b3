"""SciPy special-function ops against mpmath and differences."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
import scipy.special

import gradloom as gl
from gradloom.testing.checks import OpChecks
from gradloom.testing.samples.special import SAMPLES


@pytest.mark.parametrize("sample", SAMPLES, ids=str)
class TestOps(OpChecks):
    pass


@pytest.mark.parametrize("x", [-1e4, -1000.0, -100.0, -5.0, -1e-3, 0.0, 1e-3, 3.0, 30.0, 100.0])
def test_log_ndtr_far_below_zero(x: float) -> None:
    """The likelihood of a censored observation: its slope and curvature keep their digits in the far tail."""
    with mpmath.workdps(50):
        hazard = mpmath.npdf(x) / (mpmath.erfc(-mpmath.mpf(x) / mpmath.sqrt(2)) / 2)
        slope, curvature = float(hazard), float(-hazard * (hazard + x))
    first = gl.grad(scipy.special.log_ndtr)
    np.testing.assert_allclose([first(x), gl.grad(first)(x)], [slope, curvature], rtol=1e-7, atol=1e-300)
    np.testing.assert_allclose(first(x), slope, rtol=1e-13, atol=1e-300)
    single = first(np.float32(x))
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, slope, rtol=1e-5, atol=1e-37)
