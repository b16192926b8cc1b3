"""Inverses by SciPy's LAPACK: the residual is the oracle."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from gradloom_numpy import lapack
from gradloom_numpy.kernels.linalg import KERNELS

inv = KERNELS["inv"]
ORDERS = [lapack.LARGE - 1, lapack.LARGE, lapack.LARGE + 37]


def matrices(*shape: int, dtype: str = "d") -> np.ndarray:
    generator = np.random.default_rng(7)
    values = generator.normal(size=shape)
    if dtype in "FD":
        values = values + 1j * generator.normal(size=shape)
    return (values + 20 * np.eye(shape[-1])).astype(dtype)


def assert_inverse(x: np.ndarray, a: np.ndarray) -> None:
    assert x.dtype == a.dtype
    assert x.shape == a.shape
    residual = np.abs(a.astype("D") @ x.astype("D") - np.eye(a.shape[-1])).max()
    assert residual < 100 * np.finfo(a.dtype).eps


@pytest.mark.parametrize("dtype", "fdFD")
@pytest.mark.parametrize("order", ORDERS)
def test_it_is_the_inverse(order: int, dtype: str) -> None:
    a = matrices(order, order, dtype=dtype)
    before = a.copy()
    assert_inverse(inv(a), a)
    np.testing.assert_array_equal(a, before)


@pytest.mark.parametrize("layout", ["transposed", "strided", "backwards", "read-only", "stacked", "broadcast", "empty"])
def test_every_layout(layout: str) -> None:
    order = lapack.LARGE
    a = matrices(2, 3, 2 * order, 2 * order)
    a = {
        "transposed": lambda: a[0, 0].T,
        "strided": lambda: a[0, 0, ::2, 1::2] + 20 * np.eye(order),
        "backwards": lambda: a[0, 0, ::-1, ::-1],
        "read-only": lambda: np.broadcast_to(a[0, 0], a[0, 0].shape),
        "stacked": lambda: a,
        "broadcast": lambda: np.broadcast_to(a[0, 0], a.shape),
        "empty": lambda: a[:, :0],
    }[layout]()
    x = inv(a)
    if a.size:
        assert_inverse(x, a)
    assert x.shape == a.shape


@pytest.mark.parametrize("order", ORDERS)
def test_singular_and_special(order: int) -> None:
    a = matrices(order, order)
    a[3] = 0
    with pytest.raises(np.linalg.LinAlgError, match="Singular"):
        inv(a)
    a = matrices(order, order)
    a[4, 6] = np.nan
    assert np.isnan(inv(a)).any()


def test_without_scipy_it_is_numpys(monkeypatch: pytest.MonkeyPatch) -> None:
    lapack._routines.cache_clear()
    monkeypatch.setitem(sys.modules, "scipy.linalg", None)
    a = matrices(lapack.LARGE, lapack.LARGE)
    try:
        np.testing.assert_array_equal(inv(a), np.linalg.inv(a))
    finally:
        lapack._routines.cache_clear()
