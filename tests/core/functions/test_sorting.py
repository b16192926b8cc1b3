"""NumPy's functions of order on tensors: values, gradients, keywords, errors."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom.errors import (
    ArgumentError,
    AxisError,
    DTypeError,
    LostGradientError,
    ShapeError,
    UnsupportedFunctionError,
)
from gradloom.testing.checks import forward_jacobian, reverse_jacobian
from gradloom.testing.functions import check_like_numpy, value_of

#: Distances far above the steps of the difference stencil.
X = np.array([[0.5, -1.0, 2.0, 1.0], [1.5, 3.0, -0.25, 0.0], [4.0, -2.0, 2.5, 3.5]])
INTEGERS = np.array([[3, -1, 2, 2], [5, 0, 5, 1]], np.int16)
CUBE = np.random.default_rng(1).permutation(24).reshape(2, 3, 4) / 4.0
AXES: list[dict[str, Any]] = [{}, {"axis": 0}, {"axis": None}, {"axis": -2, "kind": "stable"}]


@pytest.mark.parametrize("x", [X, INTEGERS, X.astype(np.float32), X + 1j, X > 0], ids=lambda x: str(x.dtype))
@pytest.mark.parametrize("keywords", AXES, ids=str)
def test_sort(keywords: Any, x: Any) -> None:
    check_like_numpy(functools.partial(np.sort, **keywords), x)
    check_like_numpy(functools.partial(np.argsort, **{**keywords, "kind": "stable"}), x)


def test_sort_complex() -> None:
    for x in (X, X[0] + 1j * X[1], INTEGERS):
        check_like_numpy(np.sort_complex, x)
    check_like_numpy(lambda x: np.sort_complex(x * (1 + 2j)).imag, X[0])


def test_array_methods() -> None:
    check_like_numpy(lambda x: x.argsort(axis=1), X)
    check_like_numpy(lambda x: np.sort(x[0]).searchsorted([0.75, 9.0]), X)
    check_like_numpy(lambda x: x[0][x[0].argpartition(1)[1]], X)
    check_like_numpy(lambda x: x.compress([True, False, True], axis=0), X)
    check_like_numpy(lambda x: (x > 0.1).astype(int).choose([x, -x]), X)


@pytest.mark.parametrize("keywords", [{}, {"axis": 0}, {"axis": None}], ids=str)
def test_partition(keywords: Any) -> None:
    """The element at ``kth`` is in its place; on either side the order is not promised."""
    got = value_of(functools.partial(np.partition, kth=1, **keywords), X)
    expected = np.partition(X, kth=1, **keywords)
    axis = keywords.get("axis", -1)
    axis = 0 if axis is None else axis
    np.testing.assert_array_equal(np.take(got, 1, axis), np.take(expected, 1, axis))
    np.testing.assert_array_equal(np.sort(got, axis), np.sort(expected, axis))
    places = value_of(functools.partial(np.argpartition, kth=(1, 2), **keywords), X)
    source = X.ravel() if "axis" in keywords and keywords["axis"] is None else X
    np.testing.assert_array_equal(np.take_along_axis(source, places, axis), got)


def test_ties_keep_their_order() -> None:
    x = np.array([2.0, 1.0, 2.0, 1.0])
    permutation = np.eye(4)[[1, 3, 0, 2]]
    for mode in (reverse_jacobian, forward_jacobian):
        np.testing.assert_array_equal(mode(np.sort, (x,), 0), permutation)
    np.testing.assert_array_equal(gl.grad(lambda t: np.sum(np.sort(t) * np.arange(4.0)))(x), [2, 0, 3, 1])


def test_zero_annihilates() -> None:
    x = np.array([3.0, np.inf, np.nan, -np.inf])
    np.testing.assert_array_equal(gl.grad(lambda t: np.sort(t)[1])(x), [1, 0, 0, 0])
    np.testing.assert_array_equal(gl.grad(lambda t: np.quantile(t[:1], 0.5))(x), [1, 0, 0, 0])


def test_vmap() -> None:
    for function in (np.sort, np.argsort, np.median, lambda x: np.quantile(x, [0.2, 0.6], axis=0)):
        expected = np.stack([function(block) for block in CUBE])
        np.testing.assert_allclose(gl.vmap(function)(CUBE), expected, rtol=1e-15)
    gradients = gl.vmap(gl.grad(lambda x: np.sum(np.sort(x) * np.arange(4))))(CUBE)
    np.testing.assert_array_equal(gradients, np.argsort(np.argsort(CUBE)))
    edges = np.array([0.0, 1.0, 2.0])
    shifts = np.array([0.0, 0.5])
    found = gl.vmap(lambda shift: np.searchsorted(edges + shift, X))(shifts)
    np.testing.assert_array_equal(found, [np.searchsorted(edges + shift, X) for shift in shifts])


# -- searchsorted, digitize ----------------------------------------------------------------


@pytest.mark.parametrize("side", ["left", "right"])
def test_searchsorted(side: str) -> None:
    edges = np.array([-1.0, 0.0, 0.0, 2.0])
    for v in (X, X[0], np.array(0.0)):
        check_like_numpy(lambda v: np.searchsorted(edges, v, side=side), v)
    check_like_numpy(lambda a: np.searchsorted(a, X, side), edges)
    check_like_numpy(lambda a: np.searchsorted(a, 0.5, side), edges)
    check_like_numpy(lambda a: np.searchsorted(a, X, side, sorter=np.array([3, 0, 1, 2])), np.roll(edges, -1))
    assert gl.grad(lambda v: v * np.searchsorted(edges, v))(1.5) == 3.0


@pytest.mark.parametrize("right", [False, True])
def test_digitize(right: bool) -> None:
    for bins in (np.array([-1.0, 0.0, 2.0]), np.array([2.0, 0.5, -1.0])):
        check_like_numpy(lambda x, bins=bins: np.digitize(x, bins, right=right), X)


# -- median, quantile ----------------------------------------------------------------------

REDUCED: list[dict[str, Any]] = [{}, {"axis": 0}, {"axis": 1, "keepdims": True}, {"axis": (0, 1)}, {"keepdims": True}]


@pytest.mark.parametrize("x", [X, INTEGERS, X.astype(np.float32), X.astype(np.float16)], ids=lambda x: str(x.dtype))
@pytest.mark.parametrize("keywords", REDUCED, ids=str)
def test_median(keywords: Any, x: Any) -> None:
    check_like_numpy(functools.partial(np.median, **keywords), x)


def test_median_of_three_axes() -> None:
    for axis in ((0, 2), (2, 1), -1, 1):
        check_like_numpy(functools.partial(np.median, axis=axis), CUBE)
        quantiles = functools.partial(np.quantile, q=[0.1, 0.35], axis=axis, keepdims=True)
        check_like_numpy(quantiles, CUBE, value_rtol=1e-13)


NANS = np.array([[0.5, np.nan, -1.0, 2.0, 4.0], [np.nan, 1.5, np.nan, 3.0, -2.0], [1.0, 7.0, 6.0, 0.0, 5.0]])


@pytest.mark.parametrize("keywords", [{}, {"axis": 0}, {"axis": -1, "keepdims": True}, {"axis": (0, 1)}], ids=str)
def test_order_of_what_is_not_nan(keywords: Any) -> None:
    """The stencil leaves NaN where it is, which has no influence."""
    for x in (NANS, np.nan_to_num(NANS).astype(int), NANS.astype(np.float32)):
        rtol = 1e-6 if x.dtype == np.float32 else 1e-14
        check_without_nan(functools.partial(np.nanmedian, **keywords), x, rtol)
        for method in ("linear", "lower", "higher", "midpoint", "nearest"):
            for q in (0.3, [0.0, 0.25, 1.0]):
                check_without_nan(functools.partial(np.nanquantile, q=q, method=method, **keywords), x, rtol)
        check_without_nan(functools.partial(np.nanpercentile, q=60, **keywords), x, rtol)


def check_without_nan(function: Any, x: Any, rtol: float) -> None:
    present = np.isfinite(x)
    check_like_numpy(
        lambda t: function(np.where(present, t, np.nan) if x.dtype.kind == "f" else t),
        np.where(present, x, 0).astype(x.dtype),
        value_rtol=rtol,
    )


def test_order_of_nothing_but_nan() -> None:
    rows = np.array([[np.nan, np.nan], [1.0, np.nan]])
    np.testing.assert_array_equal(value_of(lambda x: np.nanmedian(x, axis=1), rows), [np.nan, 1.0])
    gradient = gl.grad(lambda x: np.sum(np.where(np.array([False, True]), np.nanmedian(x, axis=1), 0.0)))(rows)
    np.testing.assert_array_equal(gradient, [[0.0, 0.0], [1.0, 0.0]])


@pytest.mark.parametrize("keywords", [{}, {"axis": 0}, {"axis": 1, "keepdims": True}], ids=str)
def test_positions_of_what_is_not_nan(keywords: Any) -> None:
    for function in (np.nanargmax, np.nanargmin):
        for x in (NANS, np.nan_to_num(NANS).astype(int)):
            got = value_of(lambda x, f=function: f(x, **keywords), x)
            np.testing.assert_array_equal(got, function(x, **keywords))


def test_nan_spreads() -> None:
    x = np.array([[1.0, np.nan, 2.0], [3.0, 1.0, 2.0]])
    for function in (np.median, functools.partial(np.quantile, q=0.3)):
        rows = functools.partial(function, axis=1)
        np.testing.assert_array_equal(value_of(rows, x), rows(x))


QUANTILES = [0.0, 0.3, 0.5, 1.0, 1, np.array([0.25, 0.8]), [[0.1, 0.2, 0.9], [0.0, 0.5, 1.0]]]


@pytest.mark.parametrize("x", [X, INTEGERS, X.astype(np.float32)], ids=lambda x: str(x.dtype))
@pytest.mark.parametrize("keywords", REDUCED, ids=str)
@pytest.mark.parametrize("q", QUANTILES, ids=str)
def test_quantile(q: Any, keywords: Any, x: Any) -> None:
    rtol = 1e-6 if x.dtype == np.float32 else 1e-13
    check_like_numpy(functools.partial(np.quantile, q=q, **keywords), x, value_rtol=rtol)
    percent = q * 100 if np.ndim(q) == 0 else np.asarray(q) * 100
    check_like_numpy(functools.partial(np.percentile, q=percent, **keywords), x, value_rtol=rtol)


@pytest.mark.parametrize("method", ["lower", "higher", "midpoint", "nearest"])
def test_methods(method: Any) -> None:
    for q in (0.0, 0.3, 0.5, [0.2, 0.75, 1.0]):
        check_like_numpy(functools.partial(np.quantile, q=q, axis=1, method=method), X)


def test_empty() -> None:
    with np.errstate(invalid="ignore"):
        assert np.isnan(value_of(np.median, np.empty(0)))
    with pytest.raises(ShapeError, match="at least one"):
        value_of(functools.partial(np.quantile, q=0.5), np.empty(0))


# -- what is refused -----------------------------------------------------------------------


@pytest.mark.parametrize("function", [np.sort, np.argsort, np.median, functools.partial(np.quantile, q=0.5)])
def test_bad_axes(function: Any) -> None:
    with pytest.raises(AxisError, match=r"numpy.*axis[\s\S]*2"):
        value_of(functools.partial(function, axis=2), X)


def test_refusals() -> None:
    cases: list[tuple[Any, Any, type[Exception], str]] = [
        (np.sort, {"order": "f"}, UnsupportedFunctionError, "order"),
        (np.sort, {"kind": "bogo"}, ArgumentError, "kind"),
        (np.partition, {"kth": 9}, ShapeError, "kth"),
        (np.median, {"out": np.empty(())}, LostGradientError, "out"),
        (np.quantile, {"q": 0.5, "out": np.empty(())}, LostGradientError, "out"),
        (np.quantile, {"q": 0.5, "method": "hazen"}, UnsupportedFunctionError, "hazen"),
        (np.quantile, {"q": 0.5, "weights": X, "method": "inverted_cdf"}, UnsupportedFunctionError, "weights"),
        (np.quantile, {"q": 1.5}, ArgumentError, "q"),
        (np.percentile, {"q": -1}, ArgumentError, "q"),
    ]
    for function, keywords, error, words in cases:
        with pytest.raises(error, match=words):
            value_of(functools.partial(function, **keywords), X)
    with pytest.raises(DTypeError, match="complex"):
        value_of(functools.partial(np.quantile, q=0.5), X + 1j)
    with pytest.raises(ArgumentError, match="side"):
        value_of(functools.partial(np.searchsorted, v=0.5, side="up"), X[0])
    with pytest.raises(ShapeError, match="1-d"):
        value_of(functools.partial(np.searchsorted, v=0.5), X)
    with pytest.raises(ArgumentError, match="monotonic"):
        value_of(functools.partial(np.digitize, bins=[0.0, 2.0, 1.0]), X)
    with pytest.raises(LostGradientError):
        gl.grad(lambda q: np.quantile(X, q) + np.quantile(X + q, q))(0.5)
