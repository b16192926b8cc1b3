"""logsumexp, softmax and log_softmax on arrays and on tensors."""

from __future__ import annotations

import functools
from typing import Any

import mpmath
import numpy as np
import pytest
import scipy.special

import gradloom as gl
from gradloom import special
from gradloom.errors import ArgumentError
from gradloom.testing import differences
from gradloom.testing.checks import forward_jacobian, reverse_jacobian

X = np.random.default_rng(0).uniform(-3, 3, (2, 3))
WEIGHTS = np.array([[0.5, 2.0, 0.0], [1.0, 0.25, 3.0]])
NAMES = ["logsumexp", "softmax", "log_softmax"]
AXES: list[Any] = [None, 0, -1, (0, 1)]


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("name", NAMES)
def test_values(name: str, axis: Any) -> None:
    ours = functools.partial(getattr(special, name), axis=axis)
    scipys = functools.partial(getattr(scipy.special, name), axis=axis)
    for x in (X, 1000 * X, X.astype(np.float32), np.arange(6).reshape(2, 3)):
        expected = scipys(x)
        for got in (ours(x), gl.jit(ours)(x)):
            assert np.shape(got) == np.shape(expected)
            rtol = 1e-6 if x.dtype == np.float32 else 1e-13
            np.testing.assert_allclose(got, expected, rtol=rtol, atol=1e-300)
            assert np.asarray(got).dtype == (np.float32 if x.dtype == np.float32 else np.float64)


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("name", NAMES)
def test_jacobians(name: str, axis: Any) -> None:
    ours = functools.partial(getattr(special, name), axis=axis)
    # Plain arrays keep the extended precision of the stencil.
    expected = differences.jacobian(ours, (X,), 0)
    for mode in (reverse_jacobian, forward_jacobian):
        np.testing.assert_allclose(mode(ours, (X,), 0), expected, rtol=1e-9, atol=1e-10)
    weights = np.random.default_rng(1).uniform(0.5, 1.5, np.shape(ours(X)))

    def gradient_by_differences(x: Any) -> Any:
        return differences.jacobian(lambda x: np.sum(ours(x) * weights), (x,), 0)

    second = differences.jacobian(gradient_by_differences, (X,), 0)
    gradient = gl.grad(lambda x: np.sum(ours(x) * weights))
    for mode in (reverse_jacobian, forward_jacobian):
        np.testing.assert_allclose(mode(gradient, (X,), 0), second, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("axis", AXES)
def test_weights(axis: Any, keepdims: bool) -> None:
    ours = functools.partial(special.logsumexp, axis=axis, keepdims=keepdims)
    expected = scipy.special.logsumexp(X, axis=axis, b=WEIGHTS, keepdims=keepdims)
    np.testing.assert_allclose(ours(X, b=WEIGHTS), expected, rtol=1e-13)
    np.testing.assert_allclose(gl.jit(lambda x, b: ours(x, b=b))(X, WEIGHTS), expected, rtol=1e-13)
    np.testing.assert_allclose(
        reverse_jacobian(lambda x: ours(x, b=WEIGHTS), (X,), 0),
        differences.jacobian(lambda x: ours(x, b=WEIGHTS), (X,), 0),
        rtol=1e-9,
        atol=1e-10,
    )
    np.testing.assert_allclose(
        reverse_jacobian(lambda b: ours(X, b=b), (WEIGHTS,), 0),
        differences.jacobian(lambda b: ours(X, b=b), (WEIGHTS,), 0),
        rtol=1e-9,
        atol=1e-10,
    )


@np.errstate(over="ignore", invalid="ignore")
def test_a_term_without_weight_does_not_count() -> None:
    x, b = np.array([5000.0, 1.0, 2.0]), np.array([0.0, 1.0, 1.0])
    expected = np.logaddexp(1.0, 2.0)
    np.testing.assert_allclose(special.logsumexp(x, b=b), expected, rtol=1e-15)
    value, gradient = gl.value_and_grad(lambda x: special.logsumexp(x, b=b))(x)
    np.testing.assert_allclose(value, expected, rtol=1e-15)
    np.testing.assert_allclose(gradient, [0.0, np.exp(1 - expected), np.exp(2 - expected)], rtol=1e-14)


def test_against_extended_precision() -> None:
    with mpmath.workdps(40):
        terms = [mpmath.mpf(v) for v in (800.0, 801.5, -300.0)]
        expected = mpmath.log(mpmath.fsum([mpmath.exp(t) for t in terms]))
        last = terms[2] - expected
    x = np.array([800.0, 801.5, -300.0])
    np.testing.assert_allclose(special.logsumexp(x), float(expected), rtol=1e-15)
    np.testing.assert_allclose(special.log_softmax(x)[2], float(last), rtol=1e-15)
    small = special.log_softmax(np.array([0.0, -40.0]))[0]
    np.testing.assert_allclose(small, -np.log1p(np.exp(-40.0)), atol=1e-16)


ROWS = np.array([[-np.inf, -np.inf, -np.inf], [0.0, -np.inf, 0.0], [1.0, 2.0, -np.inf]])


def test_rows_of_minus_infinity() -> None:
    with np.errstate(all="raise"):
        value = special.logsumexp(ROWS, axis=1)
    np.testing.assert_allclose(value, [-np.inf, np.log(2.0), np.logaddexp(1.0, 2.0)], rtol=1e-15)
    rows = functools.partial(special.logsumexp, axis=1)
    np.testing.assert_allclose(gl.jit(rows)(ROWS), value, rtol=1e-15)
    some = np.array([0.0, 1.0, 2.0])
    softmax = np.array([[0, 0, 0], [0.5, 0, 0.5], [1 / (1 + np.e), np.e / (1 + np.e), 0]])
    jacobian = softmax[:, None, :] * np.eye(3)[:, :, None]
    for mode in (reverse_jacobian, forward_jacobian):
        np.testing.assert_allclose(mode(rows, (ROWS,), 0), jacobian, rtol=1e-14)
    second = reverse_jacobian(gl.grad(lambda x: np.sum(rows(x))), (ROWS,), 0)
    assert np.isfinite(second).all()
    np.testing.assert_allclose(second[1, 0, 1], [0.25, 0.0, -0.25])
    for function in (special.softmax, special.log_softmax):
        finite = functools.partial(function, axis=1)
        scipys = getattr(scipy.special, function.__name__)
        np.testing.assert_allclose(finite(ROWS[1:]), scipys(ROWS[1:], axis=1), rtol=1e-14)
        gradient = gl.grad(lambda x, f=finite: np.sum(np.where(np.isfinite(x), f(x) * some, 0.0)))(ROWS[1:])
        assert np.isfinite(gradient).all()
        np.testing.assert_array_equal(gradient[np.isinf(ROWS[1:])], 0.0)


def test_infinity_and_nan() -> None:
    for x, expected in (([np.inf, 1.0], np.inf), ([np.nan, 1.0], np.nan)):
        np.testing.assert_array_equal(special.logsumexp(np.array(x)), expected)
        np.testing.assert_array_equal(gl.jit(special.logsumexp)(np.array(x)), expected)


def test_plain_lists_and_numbers() -> None:
    np.testing.assert_allclose(special.logsumexp([0.0, 0.0]), np.log(2.0))
    np.testing.assert_allclose(special.logsumexp(1.5), 1.5)
    assert gl.grad(special.logsumexp)(1.5) == 1.0


def test_vmap() -> None:
    np.testing.assert_allclose(gl.vmap(special.logsumexp)(X), special.logsumexp(X, axis=1), rtol=1e-14)
    np.testing.assert_allclose(gl.vmap(gl.grad(special.logsumexp))(X), special.softmax(X, axis=1), rtol=1e-14)


# -- functions of SciPy that are no ufuncs -----------------------------------------------------


@pytest.mark.parametrize("n", [0, 1, 3])
def test_polygamma(n: int) -> None:
    x = np.array([[0.5, 1.25], [3.0, 7.5]])
    expected = scipy.special.polygamma(n, x)
    for got in (special.polygamma(n, x), gl.jit(lambda x: special.polygamma(n, x))(x)):
        np.testing.assert_allclose(got, expected, rtol=1e-13)
    gradient = gl.grad(lambda x: np.sum(special.polygamma(n, x)))(x)
    np.testing.assert_allclose(gradient, scipy.special.polygamma(n + 1, x), rtol=1e-13)
    assert special.polygamma(n, 3).dtype == np.float64
    assert special.polygamma(n, np.float32(3)).dtype == np.float32


@pytest.mark.parametrize("d", [1, 2, 4])
def test_multigammaln(d: int) -> None:
    a = np.array([2.5, 3.25, 10.0])
    np.testing.assert_allclose(special.multigammaln(a, d), scipy.special.multigammaln(a, d), rtol=1e-13)
    expected = sum(scipy.special.psi(a - j / 2) for j in range(d))
    np.testing.assert_allclose(gl.grad(lambda a: np.sum(special.multigammaln(a, d)))(a), expected, rtol=1e-13)
    gl.check_grads(lambda a: special.multigammaln(a, d), (a,), order=2)


@pytest.mark.parametrize(
    ("f", "argument"),
    [
        (lambda x: special.polygamma(-1, x), "n"),
        (lambda x: special.polygamma(0.5, x), "n"),
        (lambda x: special.multigammaln(x, 0), "d"),
    ],
)
def test_orders_are_known_integers(f: Any, argument: str) -> None:
    with pytest.raises(ArgumentError, match=rf"argument: {argument}\n  expected: an int of"):
        gl.grad(f)(2.0)


def test_ufuncs_that_numpy_has_too() -> None:
    for name in ("log1p", "expm1", "exp2", "cbrt"):
        ufunc = getattr(scipy.special, name)
        np.testing.assert_allclose(gl.jit(lambda x, f=ufunc: f(x))(0.5), ufunc(0.5), rtol=1e-14)
        gl.check_grads(ufunc, (0.5,), order=2)
    np.testing.assert_allclose(gl.grad(lambda x: scipy.special.jn(2, x))(1.5), scipy.special.jvp(2, 1.5), rtol=1e-12)
    np.testing.assert_allclose(gl.grad(lambda x: scipy.special.yn(2, x))(1.5), scipy.special.yvp(2, 1.5), rtol=1e-12)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "?", "i1", "u2", "i4"])
@pytest.mark.parametrize("name", ["cbrt", "exp2", "expit", "expm1", "log1p", "erf"])
def test_precision_of_scipys_ufuncs(name: str, dtype: str) -> None:
    """SciPy has no loops in half precision: where NumPy's function of small integers has, SciPy's is in double."""
    f = getattr(scipy.special, name)
    x = np.arange(2).astype(dtype)
    expected = f(x) if dtype != "f2" else f(x.astype(np.float64))  # the least precision depends on SciPy's version
    for got in (gl.jit(f)(x), gl.compute(f(gl.tensor(x)))[0]):
        np.testing.assert_allclose(got, expected, rtol=1e-6 if expected.dtype == np.float32 else 1e-15)
        assert got.dtype == expected.dtype
