"""Methods of ufuncs on tensors: reduce, accumulate, reduceat."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom.errors import GradloomError
from gradloom.testing.functions import check_like_numpy, value_of

X = np.random.default_rng(0).permutation(15).reshape(3, 5) / 8.0 - 0.9
INTEGERS = np.arange(1, 13).reshape(3, 4) * 6


@pytest.mark.parametrize("keywords", [{}, {"axis": 1}, {"axis": None, "keepdims": True}, {"axis": (0, 1)}], ids=str)
@pytest.mark.parametrize("ufunc", [np.logaddexp, np.logaddexp2, np.hypot, np.fmax, np.fmin])
def test_reduce(ufunc: Any, keywords: Any) -> None:
    check_like_numpy(lambda x: ufunc.reduce(x, **keywords), X)


@pytest.mark.parametrize("ufunc", [np.logaddexp, np.maximum, np.minimum, np.fmax, np.hypot])
@pytest.mark.parametrize("axis", [0, -1])
def test_accumulate(ufunc: Any, axis: int) -> None:
    check_like_numpy(lambda x: ufunc.accumulate(x, axis), X, value_rtol=1e-13)
    check_like_numpy(lambda x: ufunc.accumulate(x[:1], axis), X)


@pytest.mark.parametrize("ufunc", [np.gcd, np.lcm, np.bitwise_xor, np.bitwise_or, np.logical_xor, np.logaddexp])
def test_integers(ufunc: Any) -> None:
    check_like_numpy(lambda x: ufunc.reduce(x, axis=1), INTEGERS)
    check_like_numpy(lambda x: ufunc.accumulate(x, axis=1), INTEGERS)


def test_initial_and_empty() -> None:
    check_like_numpy(lambda x: np.logaddexp.reduce(x, initial=0.5), X)
    assert np.array_equal(value_of(lambda x: np.logaddexp.reduce(x[:, :0], axis=1), X), [-np.inf] * 3)


def test_large_exponents() -> None:
    value, gradient = gl.value_and_grad(np.logaddexp.reduce)(np.array([-np.inf, 1000.0, 1000.0]))
    np.testing.assert_allclose(value, 1000.0 + np.log(2.0), rtol=1e-15)
    np.testing.assert_array_equal(gradient, [0.0, 0.5, 0.5])


@pytest.mark.parametrize("indices", [[0, 2, 3], [0, 3, 1, 4], [4], [2, 2], []], ids=str)
def test_reduceat(indices: list[int]) -> None:
    indices = np.array(indices, int)
    check_like_numpy(lambda x: np.add.reduceat(x, indices, axis=1), X)
    check_like_numpy(lambda x: np.add.reduceat(x, indices), X.T.copy())


@pytest.mark.parametrize("dtype", ["?", "i1", "u1", "i4", "u4", "i8", "f2", "f4"])
def test_reduceat_of_small_numbers(dtype: str) -> None:
    """Small integers are summed as `np.sum` sums them: they do not wrap around."""
    x = np.array([100, 101, 102, 1]).astype(dtype)
    expected = np.add.reduceat(x, [0, 3])
    found = value_of(lambda x: np.add.reduceat(x, [0, 3]), x)
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("f", "text"),
    [
        (lambda x: np.subtract.reduce(x), "numpy.subtract.reduce: this function has no traced counterpart"),
        (lambda x: np.logaddexp.reduce(x, where=x > 0), "argument: where"),
        (lambda x: np.lcm.reduce(x[:0].astype(int)), "at least one element along the axes, or initial="),
        (lambda x: np.add.reduceat(x, [3]), "expected: 0 to 2"),
        (lambda x: np.maximum.reduceat(x, [0]), "numpy.maximum.reduceat"),
    ],
)
def test_refusals(f: Any, text: str) -> None:
    with pytest.raises(GradloomError) as caught:
        gl.make_graph(f)(X)
    assert text in str(caught.value)
