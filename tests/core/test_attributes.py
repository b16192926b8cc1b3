"""Assignments to attributes: parts of complex numbers, `flat`; and those that a tensor keeps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom.errors import AliasError, DTypeError, GradloomError, MissingAttributeError, ShapeError
from gradloom.testing.differences import jacobian

X = np.array([0.3, -1.2, 0.7, 2.1, -0.4, 1.6])
W = np.array([[1.5, -0.5, 2.5], [0.25, 3.5, -1.25]])


def real(z: Any, v: Any) -> None:
    z.real = v


def row_of_real(z: Any, v: Any) -> None:
    z.real = v[0]


def number_as_imag(z: Any, v: Any) -> None:
    z.imag = 2


def imag_of_a_column(z: Any, v: Any) -> None:
    z[:, 1].imag = v[:, 0] * v[:, 2]


def real_augmented(z: Any, v: Any) -> None:
    z.real += v * z.imag


def imag_augmented(z: Any, v: Any) -> None:
    z.imag *= v


def elements_of_parts(z: Any, v: Any) -> None:
    z.real[0] = v[1]
    z.imag[:, ::2] -= v[:, :2]


def view_of_a_part(z: Any, v: Any) -> None:
    turned = z.T
    part = turned.real
    part[1] = v[:, 0]
    part *= 2.0


def parts_of_an_empty_array(z: Any, v: Any) -> None:
    out = np.zeros_like(z)
    out.real, out.imag = v * 2.0, -v
    z += out


def flat(z: Any, v: Any) -> None:
    z.flat = v.T


def flat_of_few(z: Any, v: Any) -> None:
    z.flat = v[0, :2] * z[0, 0]


def flat_of_nothing(z: Any, v: Any) -> None:
    z.flat = []


def flat_of_a_number(z: Any, v: Any) -> None:
    z[1].flat = 3.0


def element_of_flat(z: Any, v: Any) -> None:
    turned = z.T
    turned.flat[3] = v[1, 1]


def real_of_reals(z: Any, v: Any) -> None:
    v = v * 3.0
    v.real = v.T[2, 0]
    v.real += z.imag
    z[...] = v


CHANGES = [
    *(real, row_of_real, number_as_imag, imag_of_a_column, real_augmented, imag_augmented, elements_of_parts),
    *(
        view_of_a_part,
        parts_of_an_empty_array,
        flat,
        flat_of_few,
        flat_of_nothing,
        flat_of_a_number,
        element_of_flat,
        real_of_reals,
    ),
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_assigned_as_in_numpy(change: Callable[[Any, Any], None]) -> None:
    def f(x: Any) -> Any:
        v = x.reshape(2, 3)
        z = np.sin(v) * (1.0 + 2.0j)
        change(z, v)
        return np.sum(np.abs(z * (0.3 - 0.1j) + 1.0) ** 2 * W)

    expected, difference = f(X.copy()), jacobian(lambda x: f(x.copy()), (X,), 0)
    for transformed in (gl.value_and_grad(f), gl.jit(gl.value_and_grad(f))):
        value, gradient = transformed(X)
        np.testing.assert_allclose(value, expected, rtol=1e-14)
        np.testing.assert_allclose(gradient, difference, rtol=1e-9, atol=1e-11)


def test_infinite_parts_leave_each_other_alone() -> None:
    """As they do not in ``x + 1j * y``."""

    def f(z: Any) -> Any:
        z.imag = np.array([np.inf, np.nan])
        z.real += 1.0
        return z

    z = np.array([1.0 + 1.0j, -np.inf])
    np.testing.assert_array_equal(gl.jit(f)(z), f(z.copy()))


def test_a_view_in_use_is_refused() -> None:
    def f(z: Any) -> Any:
        row = z[0]
        z.real = 1.0
        return np.sum(row)

    with pytest.raises(AliasError, match=r"an assignment to \.real changes an array that a view shares"):
        gl.jit(f)(X.reshape(2, 3) * 1j)


def assign(name: str, value: Any) -> Callable[[Any], Any]:
    return lambda x: setattr(x, name, value)


@pytest.mark.parametrize(
    ("f", "error", "words"),
    [
        (assign("imag", 1.0), DTypeError, ["no imaginary part", "float64", "astype(complex)"]),
        (assign("real", 1j), DTypeError, ["lose part of the values", "complex128"]),
        (assign("flat", 1j), DTypeError, ["lose part of the values", "complex128"]),
        (assign("real", np.ones(5)), ShapeError, ["broadcast", "(5,)", "(6,)"]),
        (assign("shape", (2, 3)), MissingAttributeError, ["shape of a tensor", "(6,)", "x.reshape"]),
        (assign("dtype", np.float32), MissingAttributeError, ["dtype of a tensor", "float64", "x.astype"]),
    ],
)
def test_refused(f: Callable[[Any], Any], error: type[GradloomError], words: list[str]) -> None:
    with pytest.raises(error) as caught:
        gl.jit(f)(X)
    for word in [*words, f"{__file__}:{assign.__code__.co_firstlineno + 1}"]:
        assert word in str(caught.value)
    assert caught.value.expected
    assert caught.value.got
    assert caught.value.remedy
