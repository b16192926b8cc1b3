"""Inverses and triangular systems by SciPy's LAPACK and BLAS: the residual is the oracle."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from gradloom_numpy import lapack
from gradloom_numpy.kernels.decompositions import KERNELS as KERNELS_OF_DECOMPOSITIONS
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


@pytest.mark.parametrize("dtype", "fdFD")
@pytest.mark.parametrize("order", ORDERS)
def test_inverse_and_determinant_of_one_factorisation(order: int, dtype: str) -> None:
    """Rows that change places an even and an odd number of times, as a stack."""
    a = matrices(order, order, dtype=dtype)
    stack = np.stack([a[np.roll(np.arange(order), k)] for k in range(4)])
    inverse, sign, logabsdet = KERNELS["inv_slogdet"](stack)
    assert_inverse(inverse, stack)
    wanted = np.linalg.slogdet(stack.astype("D" if dtype in "FD" else "d"))
    assert (sign.dtype, logabsdet.dtype) == (stack.dtype, np.abs(a).dtype)
    np.testing.assert_allclose(sign, wanted.sign, rtol=1e3 * np.finfo(dtype).eps)
    np.testing.assert_allclose(logabsdet, wanted.logabsdet, rtol=1e2 * np.finfo(dtype).eps)
    stack[2, 5] = 0
    with pytest.raises(np.linalg.LinAlgError, match="Singular"):
        KERNELS["inv_slogdet"](stack)


@pytest.mark.parametrize("lower", [True, False])
@pytest.mark.parametrize("dtype", "fdFD")
@pytest.mark.parametrize("order", ORDERS)
def test_eigenvectors(order: int, dtype: str, lower: bool) -> None:
    """Of a stack; what stands in the other triangle is not read."""
    a = matrices(2, order, order, dtype=dtype)
    hermitian = a + a.conj().swapaxes(-1, -2)
    one = (np.tril if lower else np.triu)(hermitian)
    values, vectors = KERNELS_OF_DECOMPOSITIONS["eigh"](np.where(one == 0, np.nan, one).astype(dtype), lower=lower)
    assert (values.dtype, vectors.dtype) == (np.abs(a).dtype, a.dtype)
    assert np.all(np.diff(values) >= 0)
    wide = vectors.astype("D")
    eps = np.finfo(dtype).eps
    residual = hermitian.astype("D") @ wide - wide * values[:, None, :]
    assert np.abs(residual).max() < 100 * eps * np.abs(values).max()
    assert np.abs(wide.conj().swapaxes(-1, -2) @ wide - np.eye(order)).max() < 100 * eps
    assert vectors.flags.c_contiguous
    values, vectors = KERNELS_OF_DECOMPOSITIONS["eigh"](np.full((order, order), np.nan, dtype), lower=lower)
    assert np.isnan(values).all()
    assert np.isnan(vectors).any()


LAYOUTS = {
    "rows": lambda a: a,
    "columns": lambda a: a.swapaxes(-1, -2).copy().swapaxes(-1, -2),
    "neither": lambda a: np.repeat(a, 2, -1)[..., ::2],
    "backwards": lambda a: a[..., ::-1, ::-1].copy()[..., ::-1, ::-1],
    "part of rows": lambda a: np.pad(a, [(0, 0)] * (a.ndim - 1) + [(0, 3)])[..., :-3],
    "rows of one": lambda a: np.broadcast_to(a[..., :1, :], a.shape),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("lower", [True, False])
@pytest.mark.parametrize("dtype", "fdFD")
def test_triangular_systems(dtype: str, lower: bool, layout: str) -> None:
    """Every layout; leading axes broadcast; what stands in the other triangle is not read."""
    order = lapack.LARGE + 3
    for of_a, of_b in (((), ()), ((2,), ()), ((), (3,)), ((2, 1), (3,))):
        a = LAYOUTS[layout](matrices(*of_a, order, order, dtype=dtype))
        b = matrices(*of_b, order, order, dtype=dtype)[..., :7]
        x = KERNELS["solve_triangular"](a, b, lower=lower)
        assert x.dtype == a.dtype
        one = np.tril(a) if lower else np.triu(a)
        residual = np.abs(one.astype("D") @ x.astype("D") - b) / np.abs(x).max()
        assert residual.max() < 1e4 * np.finfo(a.dtype).eps
        other = np.where(one == 0, np.nan, a).astype(dtype)
        np.testing.assert_array_equal(KERNELS["solve_triangular"](other, b, lower=lower), x)


@pytest.mark.parametrize("order", ORDERS)
def test_singular_triangles(order: int) -> None:
    a, b = matrices(order, order), np.ones((order, 1))
    a[4, 4] = 0.0
    with pytest.raises(np.linalg.LinAlgError, match="Singular"):
        KERNELS["solve_triangular"](a, b, lower=True)
    a = matrices(order, order)
    a[-1, 2] = np.nan
    x = KERNELS["solve_triangular"](a, b, lower=True)
    assert np.isnan(x[-1]).all()
    assert order < lapack.LARGE or np.isfinite(x[:-1]).all()


def test_without_scipy_it_is_numpys(monkeypatch: pytest.MonkeyPatch) -> None:
    lapack._routine.cache_clear()
    for name in ("lapack", "blas"):
        monkeypatch.setitem(sys.modules, f"scipy.linalg.cython_{name}", None)
    a, b = matrices(lapack.LARGE, lapack.LARGE), np.ones((lapack.LARGE, 2))
    try:
        np.testing.assert_array_equal(inv(a), np.linalg.inv(a))
        np.testing.assert_array_equal(KERNELS["inv_slogdet"](a)[0], np.linalg.inv(a))
        for lower, triangle in ((True, np.tril(a)), (False, np.triu(a))):
            found = KERNELS["solve_triangular"](a, b, lower=lower)
            np.testing.assert_array_equal(found, np.linalg.solve(triangle, b))
    finally:
        lapack._routine.cache_clear()
