"""NumPy's functions on sets and counts on tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom.errors import ConcreteValueError, GradloomError
from gradloom.testing.functions import value_of

X = np.array([[2.0, 0.5, 2.0], [-1.0, 0.5, 3.0]])
LABELS = np.array([2, 0, 2, 5])


def test_unique() -> None:
    """Each value has the gradient of the element where it comes first."""
    gradient = gl.grad(lambda x: np.sum(np.unique(x) ** 2))(X)
    np.testing.assert_array_equal(gradient, [[4.0, 1.0, 0.0], [-2.0, 0.0, 6.0]])
    out, _ = gl.vjp(lambda x: np.unique(x), X)
    np.testing.assert_array_equal(out, np.unique(X))
    out, _ = gl.vjp(lambda x: np.unique(x, axis=1), X)
    np.testing.assert_array_equal(out, np.unique(X, axis=1))


def test_unique_tells_more() -> None:
    expected = np.unique(X, True, True, True)
    seen: list[Any] = []

    def f(x: Any) -> Any:
        values, *rest = np.unique(x, True, True, True)
        seen[:] = rest
        everything = np.unique_all(x)
        assert np.array_equal(np.unique_counts(x).counts, rest[2])
        assert np.array_equal(np.unique_inverse(x).inverse_indices, rest[1])
        return np.sum(values) + np.sum(everything.values) + np.sum(np.unique_values(x)) + np.sum(np.union1d(x, [7.0]))

    gl.grad(f)(X)
    for got, want in zip(seen, expected[1:], strict=True):
        np.testing.assert_array_equal(got, want)


def test_set_operations() -> None:
    """Elements have the gradient of where they come from first."""
    first, second = np.array([3.0, 1.0, 2.0, 3.0, 5.0]), np.array([5.0, 3.0, 7.0])
    for function, of_first, of_second in (
        (np.intersect1d, [1, 0, 0, 0, 1], [0, 0, 0]),
        (np.setdiff1d, [0, 1, 1, 0, 0], [0, 0, 0]),
        (np.setxor1d, [0, 1, 1, 0, 0], [0, 0, 1]),
        (np.union1d, [1, 1, 1, 0, 1], [0, 0, 1]),
    ):
        out, pullback = gl.vjp(function, first, second)
        np.testing.assert_array_equal(out, function(first, second))
        for got, expected in zip(pullback(np.ones_like(out)), (of_first, of_second), strict=True):
            np.testing.assert_array_equal(got, expected)
    found = gl.grad(lambda x: (np.sum(x), np.intersect1d(x, second, return_indices=True)[1:]), has_aux=True)(first)[1]
    np.testing.assert_array_equal(found, np.intersect1d(first, second, return_indices=True)[1:])
    out, _ = gl.vjp(lambda x: np.setdiff1d(x, second, assume_unique=True), first)
    np.testing.assert_array_equal(out, [1.0, 2.0])


@pytest.mark.parametrize("function", [np.unique, np.unique_all, lambda x: np.union1d(x, x)])
def test_shapes_that_depend_on_values_are_refused_without_values(function: Any) -> None:
    with pytest.raises(ConcreteValueError, match=r"numpy.unique needs a value"):
        gl.jit(lambda x: function(x))(X)


@pytest.mark.parametrize("minlength", [0, 9])
def test_bincount(minlength: int) -> None:
    """Weights carry the derivative."""
    weights = np.array([0.5, 2.0, 1.5, -1.0])
    expected = np.bincount(LABELS, weights, minlength)
    np.testing.assert_array_equal(value_of(lambda w: np.bincount(LABELS, w, minlength), weights), expected)
    gradient = gl.grad(lambda w: np.sum(np.bincount(LABELS, w, minlength) ** 2))(weights)
    np.testing.assert_array_equal(gradient, 2 * expected[LABELS])
    counts = gl.grad(lambda x: np.sum(x[0] * np.bincount(np.astype(x, int), minlength=minlength)))
    np.testing.assert_array_equal(counts(LABELS.astype(float)), [4.0, 0.0, 0.0, 0.0])


def test_ravel_multi_index() -> None:
    index = np.array([[2, 0, 1], [1, 3, 0]])
    for keywords in ({}, {"order": "F"}):
        got = value_of(lambda i, k=keywords: np.ravel_multi_index((i[0], i[1]), (3, 4), **k), index)
        np.testing.assert_array_equal(got, np.ravel_multi_index(tuple(index), (3, 4), **keywords))
    for mode in ("wrap", "clip", ("wrap", "clip")):
        got = value_of(lambda i, m=mode: np.ravel_multi_index((i[0], i[1]), (2, 3), mode=m), index)
        np.testing.assert_array_equal(got, np.ravel_multi_index(tuple(index), (2, 3), mode=mode))


def test_positions_from_a_shape() -> None:
    square = np.arange(9.0).reshape(3, 3)
    for function in (np.diag_indices_from, np.tril_indices_from, np.triu_indices_from):
        np.testing.assert_array_equal(value_of(lambda x, f=function: x[f(x)], square), square[function(square)])


def test_lexsort() -> None:
    keys = np.array([[3, 1, 3, 2, 1], [2, 2, 1, 1, 2]])
    np.testing.assert_array_equal(value_of(lambda k: np.lexsort((k[0], k[1])), keys), np.lexsort(keys))


@pytest.mark.parametrize(
    ("f", "text"),
    [
        (lambda w: np.bincount(LABELS, w[:2]), "The weights and list don't have the same length."),
        (lambda w: np.bincount(LABELS - 1, w), "negative numbers are not counted"),
        (lambda w: np.bincount(LABELS * 1.0, w), "only integers are counted"),
        (lambda w: np.ravel_multi_index((LABELS, w), (9, 9), mode="other"), "no such mode"),
    ],
)
def test_refusals(f: Any, text: str) -> None:
    with pytest.raises(GradloomError) as caught:
        gl.make_graph(f)(np.ones(4))
    assert text in str(caught.value)
