"""In-place changes: assignments rebind, and whatever NumPy would show through a view raises."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from in_place import W, X, check, weighted

import gradloom as gl
from gradloom.errors import ArgumentError, DTypeError, LostGradientError, ShapeError, TraceEndedError


def set_element(x: Any) -> Any:
    x[2] = x[0] * x[1]
    return weighted(x)


def set_slice(x: Any) -> Any:
    x[1:4] = x[3:] ** 2
    return weighted(x)


def set_reversed(x: Any) -> Any:
    x[::-2] = x[:3] * x[3:]
    return weighted(x)


def set_broadcast(x: Any) -> Any:
    x[2:5] = x[0] * x[5]
    return weighted(x)


def set_leading_ones(x: Any) -> Any:
    x[2:5] = (x[:3] * 2.0).reshape(1, 1, 3)
    return weighted(x)


def set_number(x: Any) -> Any:
    x[1:3] = 2
    return weighted(x)


def set_array(x: Any) -> Any:
    x[[0, 5]] = np.array([0.5, 0.25], np.float32)
    return weighted(x)


def set_everything(x: Any) -> Any:
    x[...] = x * x[::-1]
    return weighted(x)


def set_fancy(x: Any) -> Any:
    x[np.array([4, 1])] = x[:2] * x[2:4]
    return weighted(x)


def set_fancy_twice_the_same(x: Any) -> Any:
    x[np.array([1, 4, 1])] = x[:3] ** 2
    return weighted(x)


def set_mask_number(x: Any) -> Any:
    x[x > 0.5] = 0.25
    return weighted(x)


def set_mask_scalar(x: Any) -> Any:
    x[x > 0.5] = x[0] * x[1]
    return weighted(x)


def set_mask_values(x: Any) -> Any:
    x[x > 0.5] = x[:3] ** 2
    return weighted(x)


def set_numpy_mask(x: Any) -> Any:
    x[X > 0.5] = x[0] * x[1]
    return weighted(x)


def add_element(x: Any) -> Any:
    x[2] += x[0] * x[1]
    return weighted(x)


def add_slice(x: Any) -> Any:
    x[1:4] += x[3:] ** 2
    return weighted(x)


def multiply_slice_of_step(x: Any) -> Any:
    x[::2] *= x[1::2]
    return weighted(x)


def add_fancy(x: Any) -> Any:
    x[np.array([1, 4, 1])] += x[:3] ** 2
    return weighted(x)


def add_mask(x: Any) -> Any:
    x[x > 0.5] += 1.5
    return weighted(x)


def add_row(x: Any) -> Any:
    y = (x * 2.0).reshape(2, 3)
    y[1] -= y[0] ** 2
    y[0, 1:] /= 4.0
    return weighted(y)


def add_whole(x: Any) -> Any:
    x += x[::-1] ** 2
    return weighted(x)


def add_at_tensor(x: Any) -> Any:
    y = (x * 2.0).reshape(2, 3)
    y[np.argmax(x[:2])] += 1.5
    y[np.argmax(x[:2]), 1] = x[3]
    return weighted(y)


def loop(x: Any) -> Any:
    for i in range(1, 6):
        x[i] = x[i] * x[i - 1] + x[i]
    return weighted(x)


def fill(x: Any) -> Any:
    out = np.zeros_like(x)
    for i in range(6):
        out[i] = x[i] ** 2
    return weighted(out)


def fill_like(x: Any) -> Any:
    out = np.zeros((2, 3), like=x)
    out[0] = x[:3] ** 2
    out[1, ::-1] = x[3:]
    return weighted(out)


def disjoint_views(x: Any) -> Any:
    y, z = x[2:5], x[1:1]
    x[0] = 3.0
    x[5:] = x[1:2] * 2.0
    return weighted(x) + np.sum(y**2) + np.sum(z)


def dropped_view(x: Any) -> Any:
    y = x[2:5]
    s = np.sum(y**2)
    del y
    x[3] = s
    return weighted(x)


def copied_view(x: Any) -> Any:
    y = x[2:5].copy()
    z = x.flatten()
    x[3] = 0.5
    y[0] = 2.0
    z[1] = 1.0
    return weighted(x) + np.sum(y**3) + np.sum(z**2)


def view_of_temporary(x: Any) -> Any:
    y = (x * 2.0)[1:4].reshape(3, 1)
    y[0] = 7.0
    return np.sum(y**2)


def sort_method(x: Any) -> Any:
    assert x.sort() is None
    return weighted(x)


def sort_view(x: Any) -> Any:
    x[2:].sort()
    return weighted(x)


def partition_method(x: Any) -> Any:
    x.partition(2)
    return x[2] ** 2


def fill_method(x: Any) -> Any:
    x[1:3].fill(2 * x[5])
    return weighted(x)


def view_of_scalar(x: Any) -> Any:
    total = np.sum(x)
    row = np.expand_dims(total, 0)  # in NumPy a view of a scalar, which cannot change
    row *= 3.0
    return total * row[0]


@pytest.mark.parametrize(
    "f",
    [
        set_element, set_slice, set_reversed, set_broadcast, set_leading_ones, set_number, set_array, set_everything,
        set_fancy, set_fancy_twice_the_same, set_mask_number, set_mask_scalar, set_mask_values, set_numpy_mask,
        add_element, add_slice, multiply_slice_of_step, add_fancy, add_mask, add_row, add_whole, add_at_tensor,
        loop, fill, disjoint_views, dropped_view, copied_view, view_of_temporary, sort_method, sort_view,
        partition_method, fill_method, view_of_scalar,
    ],
)  # fmt: skip
def test_assignment_is_numpys(f: Callable[[Any], Any]) -> None:
    check(f)


def test_creation_like_a_tensor() -> None:
    value, gradient = gl.value_and_grad(fill_like)(X)
    expected = np.concatenate([X[:3] ** 2, X[3:][::-1]])
    np.testing.assert_allclose(value, np.sum(np.sin(expected) * W))
    inner = np.concatenate([2 * X[:3] * np.cos(X[:3] ** 2) * W[:3], np.cos(X[3:]) * W[3:][::-1]])
    np.testing.assert_allclose(gradient, inner)


@pytest.mark.parametrize("f", [set_element, set_slice, set_fancy_twice_the_same, set_mask_scalar, add_slice, add_row])
def test_under_jit(f: Callable[[Any], Any]) -> None:
    given = X.copy()
    np.testing.assert_allclose(gl.jit(gl.grad(f))(given), gl.grad(f)(X), rtol=1e-14)
    np.testing.assert_array_equal(given, X)


@pytest.mark.parametrize("f", [set_element, set_fancy_twice_the_same, add_row])
def test_forward_mode(f: Callable[[Any], Any]) -> None:
    direction = np.cos(np.arange(6.0))
    _, tangent = gl.jvp(f, (X.copy(),), (direction,))
    np.testing.assert_allclose(tangent, gl.grad(f)(X) @ direction, rtol=1e-12)


# -- what cannot be assigned -------------------------------------------------------------------


def test_complex_into_float() -> None:
    def f(x: Any) -> Any:
        x[0] = x[1] * 1j
        return np.sum(x)

    with pytest.raises(DTypeError, match="assigning would lose part of the values"):
        gl.grad(f)(X)


def test_float_into_integer() -> None:
    def f(x: Any) -> Any:
        counts = np.zeros_like(x, dtype=int)
        counts[0] = x[1]
        return np.sum(counts * x)

    with pytest.raises(DTypeError, match="got: float64"):
        gl.grad(f)(X)


def test_values_that_do_not_fit() -> None:
    def f(x: Any) -> Any:
        x[0:2] = x[0:3]
        return np.sum(x)

    with pytest.raises(ShapeError, match=r"a shape that broadcasts to \(2,\)"):
        gl.grad(f)(X)


def test_in_place_operator_that_grows() -> None:
    def f(x: Any) -> Any:
        y = x[:1] * 2.0
        y += x
        return np.sum(y)

    with pytest.raises(ArgumentError, match="cannot change shape"):
        gl.grad(f)(X)


def test_inner_tensor_into_outer() -> None:
    def f(x: Any) -> Any:
        out = x * 2.0

        def inner(y: Any) -> Any:
            out[0] = y[0]
            return np.sum(y)

        return np.sum(gl.grad(inner)(x)) + np.sum(out)

    with pytest.raises(TraceEndedError, match="inner trace was assigned into one of an outer trace"):
        gl.grad(f)(X)


# -- arrays that are no tensors -------------------------------------------------------------------


def lost(f: Callable[[Any], Any], text: str) -> None:
    with pytest.raises(LostGradientError, match=text) as caught:
        gl.grad(f)(X)
    assert caught.value.remedy
    assert __file__ in str(caught.value)


def test_tensor_into_an_array() -> None:
    def f(x: Any) -> Any:
        out = np.zeros(6)
        try:
            out[0] = x[0]
        except ValueError as error:
            # NumPy puts its own error on top of the one that the conversion raised.
            raise error.__cause__ from None
        return np.sum(out)

    lost(f, r"float\(\) of a tensor that is being differentiated would lose its gradient")


def test_tensors_into_a_slice_of_an_array() -> None:
    def f(x: Any) -> Any:
        out = np.zeros(6)
        out[:3] = x[:3]
        return np.sum(out)

    lost(f, "conversion to a NumPy array of a tensor that is being differentiated would lose its gradient")


def test_array_plus_equals_tensor() -> None:
    def f(x: Any) -> Any:
        out = np.zeros(6)
        out += x
        return np.sum(out)

    lost(f, "writing a tensor into an existing array would lose its gradient")


@pytest.mark.parametrize("convert", [np.asarray, np.array, lambda x: np.array([x[0], x[1]]), np.ascontiguousarray])
def test_conversion_to_an_array(convert: Callable[[Any], Any]) -> None:
    lost(lambda x: np.sum(convert(x)), "would lose its gradient")


def test_float_of_a_tensor() -> None:
    lost(lambda x: np.sum(x) * float(x[0]), r"float\(\) of a tensor that is being differentiated")
