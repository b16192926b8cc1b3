"""NumPy's differences, integrals and interpolation on tensors."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom.errors import ArgumentError, AxisError, DTypeError, ShapeError
from gradloom.testing.functions import check_like_numpy, value_of

X = np.random.default_rng(0).uniform(-1, 2, (3, 4))
INTEGERS = np.array([[3, -1, 2, 9], [5, 0, 5, 4]], np.int16)
NODES = np.array([0.0, 0.5, 2.0, 2.25])


def as_float(x: Any) -> Any:
    """Return what np.interp takes: the difference stencil has extended precision."""
    return np.astype(x, np.complex128 if x.dtype.kind == "c" else np.float64)


# -- differences ---------------------------------------------------------------------------


@pytest.mark.parametrize("x", [X, INTEGERS, X > 0, X.astype(np.float32), X + 1j], ids=lambda x: str(x.dtype))
@pytest.mark.parametrize(
    "keywords",
    [
        *[{}, {"n": 2}, {"n": 0}, {"n": 9}, {"axis": 0}, {"prepend": 1}],
        *[{"append": [[7], [8]], "axis": 1}, {"n": 2, "append": 0}],
    ],
    ids=str,
)
def test_diff(keywords: Any, x: Any) -> None:
    if "append" in keywords and np.ndim(keywords["append"]) and x.shape[0] == 3:
        keywords = {**keywords, "append": np.array([[7], [8], [9]])}
    if x.dtype == bool:
        keywords = {k: v if k in ("n", "axis") else np.asarray(v) > 7 for k, v in keywords.items()}
    check_like_numpy(functools.partial(np.diff, **keywords), x)


def test_diff_of_a_traced_end() -> None:
    check_like_numpy(lambda end: np.diff(X, prepend=end, axis=0), X[:1])
    check_like_numpy(lambda end: np.diff(X, append=end), np.array(0.5))


def test_ediff1d() -> None:
    check_like_numpy(np.ediff1d, X)
    check_like_numpy(np.ediff1d, INTEGERS)
    check_like_numpy(lambda x: np.ediff1d(x, to_begin=-99, to_end=[88, 99]), X)
    with pytest.raises(DTypeError, match=r"(?s)to_end.*same_kind.*int64.*astype"):  # as NumPy; it wrapped around
        gl.jit(lambda x: np.ediff1d(x, to_end=300))(np.ones(3, np.uint8))


@pytest.mark.parametrize("edge_order", [1, 2])
@pytest.mark.parametrize(
    "spacing", [(), (0.5,), (NODES,), (np.arange(4.0) * 0.25,)], ids=["", "number", "nodes", "even"]
)
def test_gradient(spacing: Any, edge_order: Any) -> None:
    check_like_numpy(lambda x: np.gradient(x, *spacing, edge_order=edge_order), X[0], value_rtol=1e-13)
    check_like_numpy(lambda x: np.gradient(x, *spacing, axis=1, edge_order=edge_order), X, value_rtol=1e-13)
    check_like_numpy(lambda x: np.gradient(x, *spacing, axis=-1, edge_order=edge_order), INTEGERS, value_rtol=1e-13)


def test_gradient_of_every_axis() -> None:
    for k in range(2):
        check_like_numpy(lambda x, k=k: np.gradient(x)[k], X)
        check_like_numpy(lambda x, k=k: np.gradient(x, 0.5, NODES)[k], X, value_rtol=1e-13)
        check_like_numpy(lambda x, k=k: np.gradient(x, 2.0, axis=(1, 0))[k], X)
    assert isinstance(value_of(np.gradient, X), tuple)
    check_like_numpy(np.gradient, X[0, :2])
    check_like_numpy(np.gradient, X.astype(np.float32)[0], value_rtol=1e-6)


def test_gradient_of_traced_spacing() -> None:
    check_like_numpy(lambda nodes: np.gradient(X, nodes, axis=1, edge_order=2), NODES, value_rtol=1e-13, step=1e-3)
    check_like_numpy(lambda h: np.gradient(X[0], h), np.array(0.5), step=1e-3)


# -- integrals -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "keywords",
    [{}, {"dx": 0.5}, {"x": NODES}, {"x": np.cumsum(X**2, 0), "axis": 0}, {"x": NODES[:3], "axis": 0}],
    ids=str,
)
def test_trapezoid(keywords: Any) -> None:
    check_like_numpy(functools.partial(np.trapezoid, **keywords), X)
    check_like_numpy(lambda x: np.trapezoid(X, x), NODES)
    check_like_numpy(np.trapezoid, INTEGERS)


# -- interpolation -------------------------------------------------------------------------

VALUES = np.array([1.0, -1.0, 0.5, 2.0])
#: Between nodes, far above the steps of the difference stencil, and outside.
POINTS = np.array([[0.25, 1.0, 1.25], [-0.5, 2.125, 3.0]])


@pytest.mark.parametrize("keywords", [{}, {"left": -3.0}, {"left": 1.0, "right": 2.0}, {"period": 4.0}], ids=str)
def test_interp(keywords: Any) -> None:
    check_like_numpy(lambda x: np.interp(as_float(x), NODES, VALUES, **keywords), POINTS, rtol=1e-9)
    check_like_numpy(lambda fp: np.interp(POINTS, NODES, as_float(fp), **keywords), VALUES, rtol=1e-9)
    check_like_numpy(lambda xp: np.interp(POINTS, as_float(xp), VALUES, **keywords), NODES + 0.0625, step=1e-3)


def test_interp_at_nodes_and_outside() -> None:
    x = np.array([0.0, 0.5, 2.25, -1.0, 9.0, np.nan, np.inf])
    np.testing.assert_array_equal(value_of(np.interp, x, NODES, VALUES), np.interp(x, NODES, VALUES))
    slopes = gl.grad(lambda t: np.sum(np.interp(t, NODES, VALUES)))(x[:5])
    np.testing.assert_allclose(slopes, [-4.0, 1.0, 0.0, 0.0, 0.0])
    check_like_numpy(lambda x: np.interp(as_float(x), [0.5], [2.0]), np.array([0.0, 0.5, 1.0]))
    assert value_of(lambda x: np.interp(x, NODES, VALUES), 1.0) == np.interp(1.0, NODES, VALUES)
    complex_values = VALUES + 1j * VALUES**2
    check_like_numpy(lambda x: np.interp(x, NODES, complex_values), POINTS)


def test_interp_of_repeated_nodes_has_a_finite_gradient() -> None:
    nodes, values = np.array([0.0, 1.0, 1.0, 2.0]), np.array([0.0, 1.0, 5.0, 6.0])
    x = np.array([0.5, 1.5])
    np.testing.assert_array_equal(gl.grad(lambda t: np.sum(np.interp(t, nodes, values)))(x), [1.0, 1.0])
    np.testing.assert_array_equal(gl.grad(lambda f: np.sum(np.interp(x, nodes, f)))(values), [0.5, 0.5, 0.5, 0.5])


# -- what is refused -----------------------------------------------------------------------


def test_refusals() -> None:
    cases: list[tuple[Any, type[Exception], str]] = [
        (lambda x: np.diff(x, n=-1), ArgumentError, "n >= 0"),
        (lambda x: np.diff(x, axis=2), AxisError, "axis"),
        (lambda x: np.diff(x[0, 0]), ShapeError, "0-d"),
        (lambda x: np.gradient(x, axis=2), AxisError, "axis"),
        (lambda x: np.gradient(x, edge_order=3), ArgumentError, "edge_order"),
        (lambda x: np.gradient(x, 1.0, 2.0, 3.0), ArgumentError, "spacings"),
        (lambda x: np.gradient(x, np.arange(3.0), axis=1), ShapeError, "coordinates"),
        (lambda x: np.gradient(x[0, :2], edge_order=2), ShapeError, "at least 3"),
        (lambda x: np.trapezoid(x, axis=2), AxisError, "axis"),
        (lambda x: np.interp(x, [0.0, 1.0], [1.0]), ShapeError, "xp and fp"),
        (lambda x: np.interp(x, [0.0, 1.0], [1.0, 2.0], period=0), ArgumentError, "period"),
    ]
    for function, error, words in cases:
        with pytest.raises(error, match=words):
            value_of(function, X)
