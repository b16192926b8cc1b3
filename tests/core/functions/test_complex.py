"""NumPy's functions of complex numbers: special values and dtypes; values and gradients are in `test_elementwise`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradloom as gl

PARTS = np.array([0.0, -0.0, 1.5, -2.0, np.inf, -np.inf, np.nan])


def every_pair(dtype: Any) -> Any:
    """Return complex numbers of all pairs of parts."""
    z = np.empty((len(PARTS), len(PARTS)), dtype)
    z.real, z.imag = PARTS[:, None], PARTS
    return z


@pytest.mark.parametrize("dtype", [np.complex128, np.complex64])
@pytest.mark.parametrize("f", [np.sign, np.nan_to_num, np.conjugate, np.real, np.imag, np.angle, np.abs])
@np.errstate(all="ignore")
def test_special_values_are_those_of_numpy(f: Callable[[Any], Any], dtype: Any) -> None:
    z = every_pair(dtype)
    got, want = gl.jit(f)(z), f(z)
    assert got.dtype == want.dtype
    for part in (np.real, np.imag):
        # One NaN makes a whole number undefined; which of its parts is NaN depends on the processor.
        known = ~np.isnan(want)
        np.testing.assert_array_equal(np.isnan(got), ~known)
        np.testing.assert_allclose(part(got)[known], part(want)[known], rtol=1e-6 if dtype is np.complex64 else 1e-15)


def test_conjugates_have_the_dtypes_of_numpy() -> None:
    for x in (np.array([True, False]), np.array([1, 2], np.int8), np.ones(2, np.float32), np.ones(2, np.complex64)):
        for f in (np.conjugate, lambda x: x.conj()):
            got, want = gl.jit(f)(x), f(x)
            np.testing.assert_array_equal(got, want, strict=True)
