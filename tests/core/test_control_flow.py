"""Python control flow on traced values: random programs with branches and loops, and what it costs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gradloom as gl

X = np.array([0.5, -1.25, 2.0])


def collatz(x: Any, limit: int) -> Any:
    """Take a piecewise linear path that depends on every value on the way."""
    n = 0
    while n < limit:
        n += 1
        if x > 2.0:
            x = x / 2.0
        elif x < -1.0:
            x = -x * 3.0
            continue
        else:
            x = 1.5 * x + 0.7
        if abs(x) > 50.0:
            break
    else:
        x = x * 2.0
    return x


@given(st.floats(-5, 5), st.integers(0, 30))
def test_paths_of_branches(x: float, limit: int) -> None:
    """Value equals Python's; the derivative is the product of the slopes on the path, found by a second run."""
    value, gradient = gl.value_and_grad(lambda x: collatz(x, limit) * 1.0)(x)
    assert value == collatz(x, limit)

    class Dual:
        """A number with a derivative: an independent oracle."""

        def __init__(self, value: float, slope: float) -> None:
            self.value, self.slope = value, slope

        def __mul__(self, c: float) -> Any:
            return Dual(self.value * c, self.slope * c)

        __rmul__ = __mul__

        def __truediv__(self, c: float) -> Any:
            return Dual(self.value / c, self.slope / c)

        def __add__(self, c: float) -> Any:
            return Dual(self.value + c, self.slope)

        def __neg__(self) -> Any:
            return self * -1.0

        def __abs__(self) -> Any:
            return abs(self.value)

        def __gt__(self, c: float) -> bool:
            return self.value > c

        def __lt__(self, c: float) -> bool:
            return self.value < c

    np.testing.assert_allclose(gradient, collatz(Dual(x, 1.0), limit).slope, rtol=1e-13)
    np.testing.assert_allclose(gl.jvp(lambda x: collatz(x, limit) * 1.0, (x,), (1.0,))[1], gradient, rtol=1e-13)


def test_loops_whose_length_depends_on_the_value() -> None:
    """Each length is its own program; all give the right gradient, in any order, twice."""

    def f(x: Any) -> Any:
        y = x
        while np.sum(y) < 20.0:
            y = y * 2.0
        return np.sum(y**2)

    for scale in (1.0, 3.0, 0.1, 30.0, 1.0, 0.1):
        x = np.array([1.0, 2.0]) * scale
        factor = 1.0
        while np.sum(x) * factor < 20.0:
            factor *= 2.0
        np.testing.assert_allclose(gl.grad(f)(x), 2 * x * factor**2, rtol=1e-14)


def test_values_are_computed_once() -> None:
    """Asking on every step costs each op once, not once per question."""
    from gradloom.backend import backends

    calls = 0
    kernels = backends.get("numpy").kernels
    sin = kernels["sin"]

    def counted(x: Any) -> Any:
        nonlocal calls
        calls += 1
        return sin(x)  # type: ignore[operator]

    import gradloom_numpy.kernels as numpy_kernels

    def f(x: Any) -> Any:
        for _ in range(50):
            x = np.sin(x)
            if x > 10.0:
                break
        return x

    numpy_kernels.KERNELS["sin"] = counted
    try:
        gl.grad(f)(0.123)
    finally:
        numpy_kernels.KERNELS["sin"] = sin
    assert calls <= 2 * 50  # on demand, and in the run of the program


def test_nested_demand_reaches_the_outer_value() -> None:
    """A branch of an inner gradient on an outer tensor, and the other way round."""

    def f(x: Any) -> Any:
        def g(y: Any) -> Any:
            return y * x if x > 1.0 and y > 0.0 else y * y * x

        return gl.grad(g)(x)

    # x > 1: d/dy (y x) = x, so 1; else: 2 y x at y = x: 2 x^2, so 4 x.
    assert [gl.grad(f)(x) for x in (2.0, 0.5)] == [1.0, 2.0]
    assert gl.hessian(lambda x: x**3 if x > 0 else x**2)(-1.0) == 2.0
    assert gl.hessian(lambda x: x**3 if x > 0 else x**2)(2.0) == 12.0


def test_exceptions_as_control_flow() -> None:
    """try and except around traced code."""

    def f(x: Any) -> Any:
        try:
            if x[0] > 0:
                raise KeyError
            return np.sum(x)
        except KeyError:
            return np.sum(x * x)

    np.testing.assert_array_equal(gl.grad(f)(X), 2 * X)
    np.testing.assert_array_equal(gl.grad(f)(-X), np.ones(3))


def test_a_refused_call_can_be_caught_and_worked_around() -> None:
    """An error of gradloom inside the traced function leaves the trace usable."""

    def f(x: Any) -> Any:
        y = np.sin(x)
        for bad in (
            lambda: float(x),
            lambda: x + np.ones(7),
            lambda: x[9],
            lambda: np.save("f", x),
            lambda: np.sum(x, axis=5),
        ):
            with pytest.raises((TypeError, ValueError, IndexError, NotImplementedError)):
                bad()
        return np.sum(y)

    np.testing.assert_array_equal(gl.grad(f)(X), np.cos(X))


@pytest.mark.parametrize(
    "condition", [lambda x: x == x, lambda x: x != 0.0, lambda x: not x, lambda x: x and True, lambda x: x is x]
)
def test_conditions_of_every_form(condition: Any) -> None:
    """Truth is that of the value."""
    for x in (2.0, 0.0, np.nan):
        expected = 3.0 if condition(np.float64(x)) else 5.0
        assert gl.grad(lambda x: x * 3.0 if condition(x) else x * 5.0)(x) == expected


def test_match_statement() -> None:
    """Structural pattern matching on integer values and sequences."""

    def f(x: Any) -> Any:
        match int(np.argmax(x)):
            case 0:
                return x[0]
            case 2:
                return x[2] ** 2
        return x[1]

    np.testing.assert_array_equal(gl.grad(f)(X), [0.0, 0.0, 4.0])
