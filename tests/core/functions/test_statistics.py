"""NumPy's statistics on tensors: values, gradients, keywords, errors."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom.errors import ArgumentError, AxisError, DTypeError, LostGradientError, ShapeError
from gradloom.testing import differences
from gradloom.testing.checks import forward_jacobian, reverse_jacobian
from gradloom.testing.functions import check_like_numpy, value_of

X = np.random.default_rng(0).uniform(-1, 2, (2, 3))
CUBE = np.random.default_rng(1).uniform(0.5, 2, (2, 3, 4))
HOLES = np.array([[0.5, np.nan, 2.0], [1.5, 3.0, -0.25]])
MASK = np.array([[True, False, True], [False, True, True]])
INTEGERS = np.array([[3, -1, 2], [5, 0, 5]], np.int16)
DTYPES = [X, INTEGERS, X > 0, X.astype(np.float32), X.astype(np.float16), X + 0.5j * X**2]
AXES: list[dict[str, Any]] = [{}, {"axis": 0}, {"axis": (1, 0)}, {"axis": -1, "keepdims": True}, {"keepdims": True}]
MOMENTS = [np.mean, np.var, np.std]
NAN_MOMENTS = [np.nanmean, np.nanvar, np.nanstd]


def loose(x: Any) -> float:
    """Return the tolerance of values: NumPy's own order of rounding is not promised."""
    return {"e": 2e-3, "f": 1e-6}.get(x.dtype.char, 1e-14)


@pytest.mark.parametrize("x", DTYPES, ids=lambda x: str(x.dtype))
@pytest.mark.parametrize("keywords", AXES, ids=str)
@pytest.mark.parametrize("function", [*MOMENTS, *NAN_MOMENTS])
def test_moments(function: Any, keywords: Any, x: Any) -> None:
    check_like_numpy(functools.partial(function, **keywords), x, value_rtol=loose(x))


@pytest.mark.parametrize("function", MOMENTS)
def test_moments_of_three_axes(function: Any) -> None:
    check_like_numpy(functools.partial(function, axis=(0, 2)), CUBE)


def test_mean_has_the_bits_of_numpy() -> None:
    for dtype in (np.float64, np.float32, np.int32):
        x = (np.random.default_rng(2).uniform(-9, 9, (17, 31))).astype(dtype)
        for keywords in AXES:
            np.testing.assert_array_equal(value_of(functools.partial(np.mean, **keywords), x), np.mean(x, **keywords))


@pytest.mark.parametrize(
    "keywords",
    [
        {"where": MASK},
        {"where": MASK, "axis": 1},
        {"where": np.array([True, True, False]), "axis": 1, "keepdims": True},
        {"dtype": np.float64, "axis": 0},
    ],
    ids=str,
)
@pytest.mark.parametrize("function", [*MOMENTS, *NAN_MOMENTS])
def test_where_and_dtype(function: Any, keywords: Any) -> None:
    check_like_numpy(functools.partial(function, **keywords), X)
    check_like_numpy(functools.partial(function, **keywords), INTEGERS)
    single = functools.partial(function, **{**keywords, "dtype": np.float32})
    check_like_numpy(single, INTEGERS, value_rtol=1e-6)
    check_like_numpy(single, X.astype(np.float32), value_rtol=1e-6)
    assert gl.grad(lambda x: np.sum(single(x)))(X).dtype == np.float64


@pytest.mark.parametrize("function", [np.var, np.std, np.nanvar, np.nanstd])
def test_ddof_correction_mean(function: Any) -> None:
    for keywords in ({"ddof": 1}, {"correction": 1}, {"ddof": 0.5, "axis": 1}, {"ddof": 1, "axis": 1, "where": MASK}):
        check_like_numpy(functools.partial(function, **keywords), X)
    known = np.mean(X, axis=1, keepdims=True) + 0.25
    check_like_numpy(functools.partial(function, axis=1, mean=known), X)
    check_like_numpy(lambda x: function(x, axis=1, mean=np.mean(x, axis=1, keepdims=True)), X)
    with pytest.raises(ArgumentError, match="correction"):
        value_of(functools.partial(function, ddof=1, correction=1), X)


@pytest.mark.parametrize("keywords", AXES, ids=str)
@pytest.mark.parametrize(
    ("function", "plain"), [(np.nanmean, np.mean), (np.nanvar, np.var), (np.nanstd, np.std)], ids=["mean", "var", "std"]
)
def test_nan_is_left_out(function: Any, plain: Any, keywords: Any) -> None:
    nan_aware = functools.partial(function, **keywords)
    np.testing.assert_allclose(value_of(nan_aware, HOLES), nan_aware(HOLES), rtol=1e-14)
    masked = functools.partial(plain, where=~np.isnan(HOLES), **keywords)
    expected = differences.jacobian(masked, (np.nan_to_num(HOLES),), 0)
    for mode in (reverse_jacobian, forward_jacobian):
        got = mode(nan_aware, (HOLES,), 0)
        np.testing.assert_allclose(np.nan_to_num(got), np.nan_to_num(expected), rtol=1e-9, atol=1e-9)
        assert np.isfinite(got).all()


@pytest.mark.filterwarnings("ignore:Degrees of freedom", "ignore:Mean of empty")
@np.errstate(invalid="ignore")
def test_nothing_left() -> None:
    x = np.array([[np.nan, np.nan], [1.0, np.nan], [1.0, 2.0]])
    for function in NAN_MOMENTS:
        rows = functools.partial(function, axis=1)
        np.testing.assert_array_equal(value_of(rows, x), rows(x))
        last = gl.grad(lambda t, f=rows: np.sum(np.where(np.arange(3) == 2, f(t), 0.0)))(x)
        assert not last[:2].any()
        assert np.isfinite(last).all()
    rows = functools.partial(np.nanvar, axis=1, ddof=1)
    np.testing.assert_array_equal(value_of(rows, x), rows(x))


def test_deviation_of_equal_elements_has_zero_gradient() -> None:
    x = np.full((2, 3), 0.75)
    for function in (np.std, np.nanstd):
        np.testing.assert_array_equal(gl.grad(lambda t, f=function: np.sum(f(t, axis=1)))(x), np.zeros((2, 3)))
    hessian = reverse_jacobian(gl.grad(np.std), (x,), 0)
    np.testing.assert_array_equal(hessian, np.zeros((2, 3, 2, 3)))


@pytest.mark.parametrize("function", [np.mean, np.var, np.std])
def test_second_order(function: Any) -> None:
    def gradient(x: Any) -> Any:
        return differences.jacobian(function, (x,), 0)

    expected = differences.jacobian(gradient, (X,), 0)
    for mode in (reverse_jacobian, forward_jacobian):
        np.testing.assert_allclose(mode(gl.grad(function), (X,), 0), expected, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(
    "function", [np.sum, np.prod, np.mean, np.var, np.std, np.cumsum, np.cumprod, np.nanvar, np.ptp]
)
def test_complex_gradient(function: Any) -> None:
    """The gradient of a real loss at x + iy is du/dx - i du/dy."""
    z = X + 1j * X[::-1] ** 2
    if function is not np.ptp:
        z[0, 1] = 0.0

    def loss(z: Any) -> Any:
        out = function(z, axis=1)
        return np.sum(np.real(out) * np.array([[2.0], [0.5]])) + np.sum(np.imag(out) ** 2)

    np.testing.assert_allclose(gl.grad(loss)(z), differences.complex_jacobian(loss, (z,), 0), rtol=1e-9, atol=1e-9)


def test_empty_mean_is_nan_as_in_numpy() -> None:
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(value_of(functools.partial(np.mean, axis=0), np.empty((0, 3))), [np.nan] * 3)
    check_like_numpy(functools.partial(np.mean, axis=1), np.empty((0, 3)))


# -- average -------------------------------------------------------------------------------

WEIGHTS = np.array([[1.0, 2.0, 0.5], [0.25, 1.5, 3.0]])
AVERAGES: list[dict[str, Any]] = [
    {},
    {"axis": 0},
    {"weights": WEIGHTS},
    {"weights": WEIGHTS, "axis": 1, "keepdims": True},
    {"weights": WEIGHTS[0], "axis": -1},
    {"weights": [1, 2], "axis": 0},
    {"weights": WEIGHTS.T, "axis": (1, 0)},
]


@pytest.mark.parametrize("x", [X, INTEGERS, X.astype(np.float32), X + 1j], ids=lambda x: str(x.dtype))
@pytest.mark.parametrize("keywords", AVERAGES, ids=str)
def test_average(keywords: Any, x: Any) -> None:
    check_like_numpy(functools.partial(np.average, **keywords), x, value_rtol=loose(x))
    if x is not INTEGERS:
        for k in range(2):
            check_like_numpy(lambda t, k=k: np.average(t, returned=True, **keywords)[k], x, value_rtol=loose(x))


def test_average_by_traced_weights() -> None:
    check_like_numpy(lambda w: np.average(X, weights=w, axis=1), WEIGHTS)
    check_like_numpy(lambda w: np.average(X, weights=w), WEIGHTS)


def test_average_errors() -> None:
    with pytest.raises(ShapeError, match="weights"):
        value_of(functools.partial(np.average, weights=np.ones(3)), X)
    with pytest.raises(ShapeError, match="weights"):
        value_of(functools.partial(np.average, weights=np.ones(4), axis=1), X)
    with pytest.raises(ZeroDivisionError):
        value_of(functools.partial(np.average, weights=np.zeros((2, 3))), X)


# -- cov, corrcoef -------------------------------------------------------------------------

COVARIANCES: list[dict[str, Any]] = [
    {},
    {"rowvar": False},
    {"bias": True},
    {"ddof": 0},
    {"y": np.array([0.5, -1.0, 2.0])},
    {"fweights": np.array([1, 3, 2])},
    {"aweights": np.array([0.5, 1.5, 2.0])},
    {"fweights": np.array([1, 3, 2]), "aweights": np.array([0.5, 1.5, 2.0]), "ddof": 0},
]


@pytest.mark.parametrize("keywords", COVARIANCES, ids=str)
def test_cov(keywords: Any) -> None:
    x = np.random.default_rng(4).normal(size=(2, 3))
    check_like_numpy(functools.partial(np.cov, **keywords), x, value_rtol=1e-13)
    single = functools.partial(np.cov, dtype=np.float32, **keywords)
    np.testing.assert_allclose(value_of(single, x), single(x), rtol=1e-5)
    assert value_of(single, x).dtype == single(x).dtype


def test_cov_of_other_arrays() -> None:
    check_like_numpy(np.cov, X[0])
    check_like_numpy(np.cov, INTEGERS, value_rtol=1e-13)
    check_like_numpy(np.cov, X + 1j * X**2, value_rtol=1e-13)
    check_like_numpy(lambda y: np.cov(X, y), X[0], value_rtol=1e-13)


@pytest.mark.parametrize("keywords", [{}, {"rowvar": False}, {"y": np.array([0.5, -1.0, 2.0])}], ids=str)
def test_corrcoef(keywords: Any) -> None:
    x = np.random.default_rng(5).normal(size=(2, 3))
    if keywords.get("rowvar", True):
        expected = np.corrcoef(x, **keywords)
        np.testing.assert_allclose(value_of(functools.partial(np.corrcoef, **keywords), x), expected, rtol=1e-14)
        one = functools.partial(lambda t, **k: np.corrcoef(t, **k)[0, 1], **keywords)
        check_like_numpy(one, x)
    else:
        x = np.random.default_rng(6).normal(size=(4, 2))
        check_like_numpy(lambda t: np.corrcoef(t, rowvar=False)[0, 1], x)


def test_cov_errors() -> None:
    for keywords, words in (
        ({"fweights": [1.5, 1, 1]}, "fweights"),
        ({"aweights": [-1.0, 1, 1]}, "aweights"),
        ({"aweights": [1.0, 1]}, "aweights"),
        ({"ddof": 0.5}, "ddof"),
    ):
        with pytest.raises((ArgumentError, ShapeError), match=words):
            value_of(functools.partial(np.cov, **keywords), X)
    with pytest.raises(ShapeError, match="dimensions"):
        value_of(np.cov, CUBE)
    with pytest.raises(DTypeError, match="aweights"):
        value_of(lambda x, w: np.cov(x, aweights=w), X, WEIGHTS[0])


# -- what is refused -----------------------------------------------------------------------


@pytest.mark.parametrize("function", [*MOMENTS, *NAN_MOMENTS, np.average])
def test_bad_axes(function: Any) -> None:
    with pytest.raises(AxisError, match=r"numpy.*axis[\s\S]*2"):
        value_of(functools.partial(function, axis=2), X)


@pytest.mark.parametrize("function", [*MOMENTS, *NAN_MOMENTS])
def test_out_is_refused(function: Any) -> None:
    with pytest.raises(LostGradientError, match="out"):
        value_of(functools.partial(function, out=np.empty(())), X)
