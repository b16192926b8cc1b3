"""NumPy's reductions and cumulative functions on tensors: values, gradients, keywords, errors."""

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
from gradloom.testing import differences
from gradloom.testing.checks import forward_jacobian, reverse_jacobian
from gradloom.testing.functions import check_like_numpy, value_of

X = np.random.default_rng(0).uniform(0.5, 2, (2, 3))
#: Distances far above the steps of the difference stencil.
APART = np.array([[0.5, -1.0, 2.0], [1.5, 3.0, -0.25]])
CUBE = np.random.default_rng(1).permutation(24).reshape(2, 3, 4) / 4.0
HOLES = np.array([[0.5, np.nan, 2.0], [1.5, 3.0, -0.25]])
MASK = np.array([[True, False, True], [False, True, True]])
ROW_MASK = np.array([True, False, True])
INTEGERS = np.array([[3, -1, 2], [5, 0, 5]], np.int16)


def bound(function: Any, **kwargs: Any) -> Any:
    """Return a case: a function with keywords, readable in a test's name."""
    words = "-".join(f"{k}={v if np.ndim(v) == 0 else 'array'}" for k, v in kwargs.items())
    return pytest.param(functools.partial(function, **kwargs), id=f"{function.__name__}-{words}")


AXES: list[dict[str, Any]] = [
    {},
    {"axis": 0},
    {"axis": -1},
    {"axis": (0, -1)},
    {"axis": ()},
    {"axis": 1, "keepdims": True},
    {"keepdims": True},
]
REDUCTIONS = [np.sum, np.prod, np.max, np.min, np.amax, np.amin, np.any, np.all, np.ptp, np.count_nonzero]
WHERE = [np.sum, np.prod, np.nansum, np.nanprod]


@pytest.mark.parametrize("x", [APART, INTEGERS, APART > 0, APART.astype(np.float16), APART + 0.5j], ids=str)
@pytest.mark.parametrize("function", [bound(f, **k) for f in REDUCTIONS for k in AXES])
def test_reductions(function: Any, x: Any) -> None:
    if function.func is np.ptp and x.dtype == bool:
        with pytest.raises(TypeError):
            value_of(function, x)
        return
    check_like_numpy(function, x)


@pytest.mark.parametrize("axis", [0, (0, 2), (1, -1), None])
@pytest.mark.parametrize("function", [np.sum, np.prod, np.max, np.min])
def test_reductions_of_three_axes(function: Any, axis: Any) -> None:
    check_like_numpy(functools.partial(function, axis=axis), CUBE)


@pytest.mark.parametrize(
    "function",
    [
        *[bound(f, where=w, **k) for f in WHERE for w in (MASK, ROW_MASK, False) for k in ({}, {"axis": 1})],
        *[bound(f, where=MASK, axis=0) for f in (np.any, np.all)],
        *[bound(f, initial=1.5) for f in (*WHERE, np.max, np.min, np.nanmax, np.nanmin)],
        *[bound(f, axis=1, initial=0.75, where=MASK) for f in (*WHERE, np.max, np.min, np.nanmax, np.nanmin)],
        *[bound(f, dtype=d, axis=0) for f in WHERE for d in (np.float32, np.float64, complex)],
    ],
)
def test_where_initial_dtype(function: Any) -> None:
    check_like_numpy(function, APART)


@pytest.mark.parametrize("dtype", [np.int8, np.int64, np.float32, bool])
@pytest.mark.parametrize("function", [np.sum, np.prod, np.cumsum, np.cumprod])
def test_dtype_of_integers(function: Any, dtype: Any) -> None:
    check_like_numpy(functools.partial(function, axis=1, dtype=dtype), INTEGERS)


@pytest.mark.parametrize("keywords", [k for k in AXES if k != {"axis": ()}], ids=str)
@pytest.mark.parametrize("function", [np.nansum, np.nanprod, np.nanmax, np.nanmin])
def test_nan_is_left_out(function: Any, keywords: Any) -> None:
    x = HOLES
    expected = function(x, **keywords)
    np.testing.assert_allclose(value_of(functools.partial(function, **keywords), x), expected, rtol=1e-15)

    def without(t: Any) -> Any:
        full = np.where(np.isnan(x), {np.nansum: 0.0, np.nanprod: 1.0}.get(function, -100.0), t)
        if function is np.nanmin:
            full = np.where(np.isnan(x), 100.0, t)
        plain = {np.nansum: np.sum, np.nanprod: np.prod, np.nanmax: np.max, np.nanmin: np.min}[function]
        return plain(full, **keywords)

    jacobian = differences.jacobian(without, (np.nan_to_num(x),), 0)
    np.testing.assert_allclose(
        reverse_jacobian(functools.partial(function, **keywords), (x,), 0), jacobian, rtol=1e-9, atol=1e-12
    )


@pytest.mark.filterwarnings("ignore:All-NaN")
def test_nan_extremum_of_nothing_else_is_nan() -> None:
    x = np.array([[np.nan, np.nan], [1.0, np.nan]])
    for function in (np.nanmax, np.nanmin):
        rows = functools.partial(function, axis=1)
        np.testing.assert_array_equal(value_of(rows, x), rows(x))
        gradient = gl.grad(lambda t, f=rows: np.sum(np.where(np.array([False, True]), f(t), 0.0)))(x)
        np.testing.assert_array_equal(gradient, [[0, 0], [1, 0]])
    np.testing.assert_array_equal(value_of(np.nanmax, INTEGERS), 5)
    np.testing.assert_array_equal(value_of(functools.partial(np.nanmax, initial=0.5), x[0]), 0.5)


@pytest.mark.parametrize("keywords", [{}, {"axis": 0}, {"axis": -1, "keepdims": True}, {"keepdims": True}], ids=str)
@pytest.mark.parametrize("function", [np.argmax, np.argmin])
def test_positions(function: Any, keywords: Any) -> None:
    for x in (APART, INTEGERS, np.array([1.0, np.nan, 3.0]), np.array(2.0)):
        if x.ndim == 0 and keywords.get("axis") == 0:
            continue
        check_like_numpy(functools.partial(function, **keywords), x)


def test_gradient_does_not_pass_positions() -> None:
    np.testing.assert_array_equal(gl.grad(lambda x: np.sum(x) * np.argmax(x))(np.array([1.0, 2.0])), [1, 1])


CUMULATIVE = [
    *[bound(f, **k) for f in (np.cumsum, np.cumprod) for k in ({}, {"axis": 0}, {"axis": -1})],
    *[
        bound(f, axis=1, include_initial=initial)
        for f in (np.cumulative_sum, np.cumulative_prod)
        for initial in (False, True)
    ],
    *[bound(f, axis=1) for f in (np.nancumsum, np.nancumprod)],
]


@pytest.mark.parametrize("x", [X, INTEGERS, X.astype(np.float16), X + 1j], ids=str)
@pytest.mark.parametrize("function", CUMULATIVE)
def test_cumulative(function: Any, x: Any) -> None:
    check_like_numpy(function, x)


def test_cumulative_without_nan() -> None:
    for function, fill in ((np.nancumsum, 0.0), (np.nancumprod, 1.0)):
        np.testing.assert_allclose(value_of(function, HOLES), function(HOLES))
        gradient = gl.grad(lambda x, f=function: np.sum(f(x)))(HOLES)
        filled = np.where(np.isnan(HOLES), fill, HOLES)
        plain = np.cumsum if function is np.nancumsum else np.cumprod
        expected = gl.grad(lambda x, f=plain: np.sum(f(x)))(filled)
        np.testing.assert_array_equal(gradient, np.where(np.isnan(HOLES), 0.0, expected))


def test_ufunc_methods() -> None:
    for ufunc in (np.add, np.multiply, np.maximum, np.minimum):
        check_like_numpy(ufunc.reduce, APART)
        check_like_numpy(functools.partial(ufunc.reduce, axis=None, keepdims=True), APART)
    for ufunc in (np.add, np.multiply):
        check_like_numpy(functools.partial(ufunc.accumulate, axis=1), APART)


def test_array_methods() -> None:
    for name in ("sum", "prod", "max", "min", "cumsum", "cumprod", "any", "all", "argmax", "argmin"):
        check_like_numpy(lambda x, name=name: getattr(x, name)(axis=1), APART)


# -- special points ------------------------------------------------------------------------


@pytest.mark.parametrize("zeros", [(), (1,), (0, 2), (0, 1, 2)])
@pytest.mark.parametrize("function", [np.prod, lambda x: np.sum(np.cumprod(x)[1:] * np.array([0.5, 2.0, -1.0]))])
def test_products_at_zeros_to_third_order(function: Any, zeros: Any) -> None:
    x = np.array([1.5, -2.0, 0.5, 3.0])
    x[list(zeros)] = 0.0
    hessian = functools.partial(differences.jacobian, lambda y: differences.jacobian(function, (y,), 0))
    third = differences.jacobian(lambda y: hessian((y,), 0), (x,), 0)
    gradient = gl.grad(function)
    np.testing.assert_allclose(gradient(x), differences.jacobian(function, (x,), 0), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(reverse_jacobian(gradient, (x,), 0), hessian((x,), 0), rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(
        forward_jacobian(lambda y: gl.jvp(gradient, (y,), (np.ones(4),))[1], (x,), 0),
        third.sum(axis=1),
        rtol=1e-8,
        atol=1e-8,
    )


def test_long_products_do_not_divide() -> None:
    x = np.random.default_rng(3).uniform(0.5, 1.5, (300, 7))
    x[17, :4] = 0.0
    x[40, :2] = 0.0
    expected = np.zeros_like(x)
    expected[17, 2:4] = np.prod(np.delete(x, 17, 0), axis=0)[2:4]
    expected[:, 4:] = np.prod(x, axis=0)[4:] / x[:, 4:]
    gradient = gl.grad(lambda x: np.sum(np.prod(x, axis=0)))(x)
    np.testing.assert_allclose(gradient, expected, rtol=1e-12)
    np.testing.assert_allclose(gl.grad(lambda x: np.sum(np.cumprod(x, axis=0)[-1]))(x), expected, rtol=1e-12)


@pytest.mark.parametrize("function", [np.max, np.min])
def test_ties_share_evenly_at_both_orders(function: Any) -> None:
    x = np.array([2.0, 1.0, 2.0]) * (1 if function is np.max else -1)

    def loss(x: Any) -> Any:
        return function(x) ** 2

    expected = 2 * function(x) * np.array([0.5, 0, 0.5])
    np.testing.assert_allclose(gl.grad(loss)(x), expected)
    np.testing.assert_allclose(forward_jacobian(loss, (x,), 0), expected)
    second = 2 * np.outer([0.5, 0, 0.5], [0.5, 0, 0.5])
    for mode in (reverse_jacobian, forward_jacobian):
        np.testing.assert_allclose(mode(gl.grad(loss), (x,), 0), second)


@np.errstate(invalid="ignore")
def test_zero_annihilates() -> None:
    x = np.array([[0.0, np.inf, 2.0], [1.0, 2.0, 3.0]])
    for function in (np.prod, np.max, np.sum):
        rows = functools.partial(function, axis=1)
        gradient = gl.grad(lambda t, f=rows: np.sum(np.where(np.array([False, True]), f(t), 0.0)))(x)
        np.testing.assert_array_equal(gradient[0], [0, 0, 0])
        assert np.isfinite(gradient[1]).all()
        assert gradient[1].any()
    # Only the first product counts, and no infinite factor stands before it.
    np.testing.assert_array_equal(gl.grad(lambda t: np.cumprod(t)[0])(np.array([2.0, np.inf, 0.0])), [1, 0, 0])
    _, tangent = gl.jvp(np.cumprod, (np.array([2.0, np.inf, 1.0]),), (np.array([0.0, 0.0, 0.0]),))
    np.testing.assert_array_equal(tangent, [0, 0, 0])


def test_nan_in_a_maximum() -> None:
    x = np.array([1.0, np.nan, 3.0])
    assert np.isnan(value_of(np.max, x))
    np.testing.assert_array_equal(gl.grad(np.max)(x), [0, 1, 0])


def test_empty_reductions() -> None:
    empty = np.empty((0, 3))
    for function in (np.sum, np.prod, np.any, np.all):
        check_like_numpy(functools.partial(function, axis=0), empty)
    check_like_numpy(functools.partial(np.max, axis=1), empty)
    check_like_numpy(functools.partial(np.max, axis=0, initial=-2.0), empty)
    for function in (np.max, np.min, np.argmax, np.argmin):
        with pytest.raises(ShapeError, match=rf"{function.__name__}: .*\n.*axis[\s\S]*\(0, 3\)"):
            value_of(functools.partial(function, axis=0), empty)


def test_axis_of_a_numpy_integer() -> None:
    check_like_numpy(functools.partial(np.sum, axis=np.int64(1)), X)


def test_zero_dimensional() -> None:
    for function in (np.sum, np.prod, np.max, np.min, np.cumsum, np.cumprod, np.any):
        for axis in (None, 0, -1):
            check_like_numpy(functools.partial(function, axis=axis), np.array(1.5))


def test_vmap() -> None:
    for function in (np.sum, np.prod, np.max, np.argmin, np.cumsum, np.cumprod, np.any):
        rows = functools.partial(function, axis=-1)
        expected = np.stack([rows(block) for block in CUBE])
        np.testing.assert_array_equal(gl.vmap(rows)(CUBE), expected)
    gradients = gl.vmap(gl.grad(lambda x: np.prod(x) + np.max(x) + np.sum(np.cumprod(x))))(CUBE)
    for block, gradient in zip(CUBE, gradients, strict=True):
        expected = gl.grad(lambda x: np.prod(x) + np.max(x) + np.sum(np.cumprod(x)))(block)
        np.testing.assert_allclose(gradient, expected, rtol=1e-12)


def test_traced_keywords() -> None:
    """``initial`` and ``where`` may be tensors, and ``initial`` has a gradient."""
    np.testing.assert_allclose(gl.grad(lambda t: np.sum(X * t, initial=t * t))(3.0), 6.0 + X.sum())
    np.testing.assert_allclose(gl.grad(lambda t: np.max(APART + 0 * t, initial=t))(5.0), 1.0)
    np.testing.assert_allclose(gl.grad(lambda t: np.prod(t, initial=t[0, 0]))(X), np.prod(X) * _log_slope(X))
    np.testing.assert_allclose(gl.grad(lambda t: np.sum(t, where=t > 0))(APART), APART > 0)


def _log_slope(x: Any) -> Any:
    slope = x[0, 0] / x
    slope[0, 0] = 2.0
    return slope


# -- what is refused -----------------------------------------------------------------------

TAKES_AXIS = [
    np.sum,
    np.prod,
    np.max,
    np.min,
    np.any,
    np.all,
    np.ptp,
    np.argmax,
    np.argmin,
    np.cumsum,
    np.cumprod,
    np.nansum,
    np.nanmax,
    np.count_nonzero,
]


@pytest.mark.parametrize("function", TAKES_AXIS)
def test_bad_axes(function: Any) -> None:
    for axis in (2, -3):
        with pytest.raises(AxisError, match=rf"numpy.*axis[\s\S]*{axis}"):
            value_of(functools.partial(function, axis=axis), X)
    with pytest.raises(ArgumentError, match="axis"):
        value_of(functools.partial(function, axis=1.5), X)


def test_axis_given_twice() -> None:
    with pytest.raises(AxisError, match="twice"):
        value_of(functools.partial(np.sum, axis=(0, -2)), X)


@pytest.mark.parametrize("function", [f for f in TAKES_AXIS if f is not np.count_nonzero])
def test_out_is_refused(function: Any) -> None:
    with pytest.raises(LostGradientError, match="out"):
        value_of(functools.partial(function, out=np.empty(())), X)


def test_other_refusals() -> None:
    with pytest.raises(ShapeError, match="initial"):
        value_of(functools.partial(np.max, where=MASK), X)
    with pytest.raises(ShapeError, match="where"):
        value_of(functools.partial(np.sum, where=np.ones((4, 2, 3), bool)), X)
    with pytest.raises(DTypeError, match="where"):
        value_of(functools.partial(np.sum, where=[1, 0, 1]), X)
    with pytest.raises(ArgumentError, match="axis"):
        value_of(np.cumulative_sum, X)
    for function in (np.packbits, np.array_str):
        with pytest.raises(UnsupportedFunctionError, match=function.__name__):
            value_of(function, X)
