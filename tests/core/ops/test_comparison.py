"""Comparison, logic and bit ops against NumPy and differences."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom.testing.checks import OpChecks
from gradloom.testing.samples.comparison import SAMPLES


@pytest.mark.parametrize("sample", SAMPLES, ids=str)
class TestOps(OpChecks):
    pass


@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"])
@pytest.mark.parametrize("compare", [operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne])
def test_integers_beyond_the_dtype(compare: Any, dtype: str) -> None:
    """Comparisons with Python integers are exact, as NumPy's are: also with those that the dtype cannot hold."""
    limits = np.iinfo(dtype)
    x = np.array([limits.min, 3, limits.max], dtype)
    for n in (limits.min - 1, limits.max + 1, -(2**70), 2**70, limits.min, 3, limits.max):
        for f in (lambda x, n=n: compare(x, n), lambda x, n=n: compare(n, x)):
            expected = f(x)
            np.testing.assert_array_equal(gl.jit(f)(x), expected, strict=True)
            np.testing.assert_array_equal(gl.compute(f(gl.tensor(x)))[0], expected, strict=True)
