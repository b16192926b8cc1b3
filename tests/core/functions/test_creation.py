"""NumPy's functions that create arrays like another, on tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom.errors import GradloomError, UnsupportedFunctionError
from gradloom.testing.functions import check_like_numpy, value_of

X = np.array([[0.5, -1.5, 2.5], [1.0, 3.0, -2.0]])
I = np.arange(6).reshape(2, 3)

CASES: dict[str, Callable[[Any], Any]] = {
    "zeros_like": np.zeros_like,
    "zeros_like dtype": lambda x: np.zeros_like(x, dtype=np.float32),
    "zeros_like bool": lambda x: np.zeros_like(x, bool),
    "zeros_like shape": lambda x: np.zeros_like(x, shape=(4,)),
    "zeros_like int shape": lambda x: np.zeros_like(x, shape=5, dtype=np.complex64),
    "zeros_like order": lambda x: np.zeros_like(x, order="F"),
    "ones_like": np.ones_like,
    "ones_like dtype": lambda x: np.ones_like(x, np.int16),
    "ones_like shape": lambda x: np.ones_like(x, shape=()),
    "full_like": lambda x: np.full_like(x, 2.5),
    "full_like dtype": lambda x: np.full_like(x, 2, dtype=np.float32),
    "full_like shape": lambda x: np.full_like(x, 3, shape=(2, 2)),
    "full_like array": lambda x: np.full_like(x, np.array([1.0, 2.0, 3.0])),
    "full_like list": lambda x: np.full_like(x, [1.0, 2.0, 3.0]),
    "copy": np.copy,
    "copy method": lambda x: x.copy(),
}


@pytest.mark.parametrize("x", [X, I, X.astype(np.float32), X + 1j], ids=["float64", "int", "float32", "complex"])
@pytest.mark.parametrize("name", CASES)
def test_like_numpy(name: str, x: Any) -> None:
    expected = CASES[name](x)
    got = gl.jit(CASES[name])(x)
    assert got.dtype == expected.dtype
    assert np.shape(got) == np.shape(expected)
    np.testing.assert_array_equal(got, expected)


def test_empty_like_has_shape_and_dtype() -> None:
    got = gl.jit(lambda x: np.empty_like(x, dtype=np.float32, shape=(3, 2)))(X)
    assert got.dtype == np.float32
    assert got.shape == (3, 2)


def test_created_arrays_carry_no_gradient() -> None:
    gradient = gl.grad(lambda x: np.sum(x * np.ones_like(x)) + np.sum(np.zeros_like(x)))(X)
    np.testing.assert_array_equal(gradient, np.ones((2, 3)))


def test_full_like_a_tensor_keeps_its_gradient() -> None:
    weights = np.arange(6.0).reshape(2, 3)
    gradient = gl.grad(lambda x: np.sum(np.full_like(x, x[0, 1] ** 2) * weights))(X)
    expected = np.zeros((2, 3))
    expected[0, 1] = 2 * X[0, 1] * weights.sum()
    np.testing.assert_allclose(gradient, expected)


def test_copy_has_the_gradient_of_the_original() -> None:
    np.testing.assert_array_equal(gl.grad(lambda x: np.sum(np.copy(x) ** 2))(X), 2 * X)


LIKE: dict[str, Callable[[Any], Any]] = {
    "zeros": lambda x: np.zeros((2, 2), like=x),
    "zeros dtype": lambda x: np.zeros(3, dtype=int, like=x),
    "ones": lambda x: np.ones((2, 2), np.float32, like=x),
    "full": lambda x: np.full((2, 2), 7, like=x),
    "full dtype": lambda x: np.full(3, 7, dtype=float, like=x),
    "arange": lambda x: np.arange(1, 4, like=x),
    "eye": lambda x: np.eye(2, 3, like=x),
    "identity": lambda x: np.identity(2, like=x),
    "array": lambda x: np.array([1.0, 2.0], like=x),
    "array of array": lambda x: np.array(X, np.float32, ndmin=3, like=x),
    "asarray": lambda x: np.asarray([1, 2], dtype=float, like=x),
}


@pytest.mark.parametrize("name", LIKE)
def test_like_a_tensor(name: str) -> None:
    expected = LIKE[name](X)
    kinds = []

    def f(x: Any) -> Any:
        out = LIKE[name](x)
        kinds.append(type(out))
        return out

    got = gl.jit(f)(X)
    assert kinds[0].__name__ == "Tensor"
    assert got.dtype == expected.dtype
    np.testing.assert_array_equal(got, expected)


def test_array_of_tensors_like_a_tensor() -> None:
    gradient = gl.grad(lambda x: np.sum(np.array([[x[0, 0], 1.0], [x[0, 1], x[1, 2]]], like=x) ** 2))(X)
    np.testing.assert_array_equal(gradient, 2 * X * [[1, 1, 0], [0, 0, 1]])


def test_array_copies() -> None:
    def f(x: Any) -> Any:
        y = np.array(x, like=x)
        y[0, 0] = 7.0
        return np.sum(x * y)

    expected = X.copy()
    expected[0, 0] = 7.0
    np.testing.assert_array_equal(gl.jit(f)(X), np.sum(X * expected))


def test_copyto() -> None:
    with pytest.raises(UnsupportedFunctionError, match=r"(?s)numpy.copyto: .*\n  remedy: assign \(dst\[...\] = src\)"):
        gl.grad(lambda x: np.copyto(np.zeros((2, 3)), x))(X)


def test_device() -> None:
    with pytest.raises(UnsupportedFunctionError, match="argument: device"):
        gl.jit(lambda x: np.zeros_like(x, device="gpu"))(X)
    np.testing.assert_array_equal(gl.jit(lambda x: np.zeros_like(x, device="cpu"))(X), np.zeros((2, 3)))


# -- ranges between tensors ------------------------------------------------------------------


ENDS = np.array([[0.5, 2.0, -1.5], [3.0, 0.25, -4.0]])


@pytest.mark.parametrize("keywords", [{"num": 4}, {"num": 3, "endpoint": False}, {"num": 1}, {"num": 0}], ids=str)
@pytest.mark.parametrize("function", [np.linspace, np.logspace, np.geomspace])
def test_ranges(function: Any, keywords: Any) -> None:
    """NumPy reaches tensors through either end."""
    for f in (
        lambda ends: function(ends[0], ends[1], **keywords),
        lambda ends: function(ends[0], ENDS[1], axis=1, **keywords),
        lambda ends: function(2, ends[1, 0], **keywords),
    ):
        check_like_numpy(f, ENDS, value_rtol=1e-13, step=1e-3)
    single = np.float32(1)
    assert value_of(lambda x: function(x, 3, **keywords), single).dtype == function(single, 3, **keywords).dtype


def test_range_with_its_step_and_dtype() -> None:
    points, step = gl.jit(lambda a, b: np.linspace(a, b, 5, retstep=True))(1.0, 3.0)
    np.testing.assert_array_equal(points, np.linspace(1.0, 3.0, 5))
    assert step == 0.5
    np.testing.assert_array_equal(value_of(lambda a: np.linspace(a, 3.9, 4, dtype=int), 0.5), [0, 1, 2, 3])
    check_like_numpy(lambda b: np.logspace(0.0, ENDS[0], 3, base=b), np.array(2.0), value_rtol=1e-13)
    z = np.array(1.0 + 2.0j)
    np.testing.assert_allclose(value_of(lambda z: np.linspace(z, 3.0, 4), z), np.linspace(z, 3.0, 4), rtol=1e-14)


def test_range_of_negative_length() -> None:
    with pytest.raises(GradloomError, match=r"numpy\.linspace: too few points"):
        gl.grad(lambda x: np.sum(np.linspace(x, 1.0, -1)))(0.0)
