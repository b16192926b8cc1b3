"""NumPy's Fourier transforms on tensors."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom.errors import GradloomError
from gradloom.testing.differences import complex_jacobian, jacobian
from gradloom.testing.functions import check_like_numpy, value_of

X = np.random.default_rng(0).uniform(-1, 2, (3, 4, 5))
Z = X + 1j * np.random.default_rng(1).uniform(-1, 2, X.shape)
WEIGHTS = np.random.default_rng(2).uniform(0.5, 1.5, 1000) * (1 + 0.5j)

COMPLEX: list[Callable[..., Any]] = [np.fft.fft, np.fft.ifft, np.fft.irfft, np.fft.hfft]
REAL: list[Callable[..., Any]] = [np.fft.rfft, np.fft.ihfft]
SEVERAL = {
    np.fft.fft2: Z,
    np.fft.ifft2: Z,
    np.fft.fftn: Z,
    np.fft.ifftn: Z,
    np.fft.rfft2: X,
    np.fft.irfft2: Z,
    np.fft.rfftn: X,
    np.fft.irfftn: Z,
}


def double(x: Any) -> Any:
    """Narrow the stencil's extended precision, in which NumPy's transforms of 3 or 5 points are inexact."""
    return x.astype(np.complex128 if x.dtype.kind == "c" else np.float64)


def check(function: Callable[..., Any], x: Any) -> None:
    """Check that the value is NumPy's, and the gradient of a real function of it that of differences."""
    expected = function(x)
    got = value_of(function, x)
    assert (got.shape, got.dtype) == (expected.shape, expected.dtype)
    np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12 if x.dtype.itemsize > 4 else 1e-5)
    weights = WEIGHTS[: expected.size].reshape(expected.shape)

    def loss(x: Any) -> Any:
        return np.sum(np.real(weights * function(x)) ** 2)

    if x.dtype in (np.float64, np.complex128):
        differences = complex_jacobian if x.dtype.kind == "c" else jacobian
        wanted = differences(lambda x: loss(double(x)), (x,), 0)
        np.testing.assert_allclose(gl.grad(loss)(x), wanted, rtol=1e-9, atol=1e-9 * np.abs(wanted).max())


@pytest.mark.parametrize("function", [*COMPLEX, *REAL], ids=lambda f: f.__name__)
@pytest.mark.parametrize(
    "keywords",
    [{}, {"n": 3, "axis": 0}, {"n": 6, "axis": 1, "norm": "ortho"}, {"n": 2, "norm": "forward"}, {"n": 1}],
    ids=str,
)
def test_one_axis(function: Callable[..., Any], keywords: dict[str, Any]) -> None:
    """``n`` cuts or pads, along any axis, in every norm."""
    check(partial(function, **keywords), (X if function in REAL else Z)[:, :2, :4])


@pytest.mark.parametrize("function", SEVERAL, ids=lambda f: f.__name__)
@pytest.mark.parametrize(
    "keywords",
    [{}, {"axes": (0, 1)}, {"axes": (2, 0), "norm": "ortho"}, {"s": (4, 2), "axes": (0, 2), "norm": "forward"}],
    ids=str,
)
def test_several_axes(function: Callable[..., Any], keywords: dict[str, Any]) -> None:
    """Lengths go with axes; the last axis is the real one."""
    check(partial(function, **keywords), SEVERAL[function][:, :2, :3])


def test_whole_and_repeated_axes() -> None:
    check(partial(np.fft.fftn, s=(-1, 2), axes=(0, 1)), Z[0, :3, :3])
    check(partial(np.fft.fftn, axes=(0, 0)), Z[0, :2, :2])
    check(partial(np.fft.ifftn, axes=(1, 1, 0)), Z[0, :2, :2])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int16, np.bool_, np.complex64])
def test_dtypes(dtype: Any) -> None:
    """Single precision stays single."""
    x = (Z[0] if np.dtype(dtype).kind == "c" else X[0]).astype(dtype)
    for function in [*COMPLEX, *REAL] if x.dtype.kind != "c" else COMPLEX:
        expected = function(x)
        got = value_of(function, x)
        assert got.dtype == expected.dtype
        np.testing.assert_allclose(got, expected, rtol=1e-2 if dtype is np.float16 else 1e-4, atol=1e-2)
    if x.dtype.kind in "fc":
        assert gl.grad(lambda x: np.sum(np.abs(np.fft.fft(x))))(x).dtype == dtype


def test_shifts() -> None:
    for function in (np.fft.fftshift, np.fft.ifftshift):
        check_like_numpy(function, X)
        check_like_numpy(partial(function, axes=1), X)
        check_like_numpy(partial(function, axes=(-1, 0)), X)


def test_transforms_are_inverse_in_both_modes() -> None:
    x = X[0]
    np.testing.assert_allclose(gl.jvp(lambda x: np.fft.irfft(np.fft.rfft(x), 5), (x,), (x,))[1], x, rtol=1e-12)
    np.testing.assert_allclose(gl.vmap(np.fft.fft)(Z), np.fft.fft(Z), rtol=1e-12)
    np.testing.assert_allclose(gl.vmap(np.fft.rfft, in_axes=1, out_axes=1)(X), np.fft.rfft(X), rtol=1e-12)
    gl.check_grads(lambda x: np.abs(np.fft.rfft(x)) ** 2, (x[0],), order=2)


@pytest.mark.parametrize(
    ("f", "text"),
    [
        (lambda x: np.fft.fft(x, norm="other"), "numpy.fft.fft: no such normalisation"),
        (lambda x: np.fft.fft(x, n=0), "Invalid number of FFT data points (0) specified."),
        (lambda x: np.fft.fft(x, axis=3), "axis out of range"),
        (lambda x: np.fft.fftn(x, s=(2,), axes=(0, 1)), "lengths and axes differ in number"),
        (lambda x: np.fft.fft(x, out=np.empty((3, 4, 5), complex)), "argument: out"),
        (lambda x: np.fft.rfft(x * 1j), "remedy: use np.fft.fft"),
        (lambda x: np.fft.irfft(x[..., :1]), "remedy: pass the number of points of the result"),
        (lambda x: np.fft.fft(x[..., :0]), "a Fourier transform of no points"),
    ],
)
def test_refusals(f: Callable[..., Any], text: str) -> None:
    with pytest.raises(GradloomError) as caught:
        gl.make_graph(f)(X)
    assert text in str(caught.value)
