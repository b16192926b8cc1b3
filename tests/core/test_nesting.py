"""Transforms nested in any order: no perturbation confusion, no lost outer gradient."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradloom as gl

X = np.array([0.5, -1.25, 2.0])
RTOL = 1e-13


def energy(x: Any) -> Any:
    """sum(x^3) + x0 x1; gradient 3x^2 + (x1, x0, 0); Hessian 6 diag(x) + off-diagonal ones."""
    return np.sum(x**3) + x[0] * x[1]


GRADIENT = 3 * X**2 + np.array([X[1], X[0], 0.0])
HESSIAN = np.diag(6 * X) + np.array([[0, 1, 0], [1, 0, 0], [0, 0, 0.0]])

# -- perturbation confusion --------------------------------------------------------------------


def test_inner_derivative_does_not_see_the_outer_variable() -> None:
    """d/dx (x * d/dy (x + y)) = 1, in all four combinations of modes."""

    def forward(f: Any, at: Any) -> Any:
        return gl.jvp(f, (at,), (1.0,))[1]

    def reverse(f: Any, at: Any) -> Any:
        return gl.grad(f)(at)

    for outer, inner in itertools.product((forward, reverse), repeat=2):
        assert outer(lambda x, inner=inner: x * inner(lambda y: x + y, 1.0), 1.0) == 1.0
        assert outer(lambda x, inner=inner: x * inner(lambda y: x * y, 2.0), 3.0) == 6.0
        assert outer(lambda x, inner=inner: x * inner(lambda x: x * x, x), 3.0) == 12.0
        assert outer(lambda x, inner=inner: inner(lambda y: inner(lambda z: x * y * z, 1.0), 1.0), 5.0) == 1.0


def test_amazing_bug_of_curried_functions() -> None:
    """Manzyuk et al. 2019: a derivative that returns a function of the outer variable."""

    def derivative(f: Any) -> Any:
        return lambda x: gl.jvp(f, (x,), (1.0,))[1]

    def shift(offset: Any) -> Any:
        return lambda f: lambda x: f(x + offset)

    # d/dh shift(h)(f)(x) at h = 0 is f'(x); applied twice, f''(x).
    def second(x: Any) -> Any:
        return derivative(lambda h: derivative(lambda k: shift(h)(shift(k)(np.exp))(x))(0.0))(0.0)

    np.testing.assert_allclose(second(1.0), np.exp(1.0), rtol=RTOL)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_towers_of_grad(n: int) -> None:
    """The n-th derivative of exp(2x) is 2^n exp(2x)."""
    f: Any = lambda x: np.exp(2.0 * x)  # noqa: E731
    for _ in range(n):
        f = gl.grad(f)
    np.testing.assert_allclose(f(0.3), 2**n * np.exp(0.6), rtol=RTOL)


# -- every pair --------------------------------------------------------------------------------

WRAPPERS: dict[str, Callable[[Any], Any]] = {
    "plain": lambda f: f,
    "jit": gl.jit,
    "vmap": lambda f: lambda x: gl.vmap(f, in_axes=0)(np.stack([x, x]))[0],
    "vmap of jit": lambda f: lambda x: gl.vmap(gl.jit(f), in_axes=0)(np.stack([x, x]))[1],
    "jvp value": lambda f: lambda x: gl.jvp(f, (x,), (np.ones(3),))[0],
    "vjp value": lambda f: lambda x: gl.vjp(f, x)[0],
    "linearize value": lambda f: lambda x: gl.linearize(f, x)[0],
    "value_and_grad value": lambda f: lambda x: gl.value_and_grad(f)(x)[0],
}
GRADIENTS: dict[str, Callable[[Any], Any]] = {
    "grad": gl.grad,
    "jit grad": lambda f: gl.jit(gl.grad(f)),
    "elementwise_grad": gl.elementwise_grad,
    "jacobian rev": lambda f: gl.jacobian(f, mode="rev"),
    "jacobian fwd": lambda f: gl.jacobian(f, mode="fwd"),
    "vjp": lambda f: lambda x: gl.vjp(f, x)[1](1.0)[0],
    "jvp": lambda f: lambda x: np.stack([gl.jvp(f, (x,), (e,))[1] for e in np.eye(3)]),
    "linearize": lambda f: lambda x: np.stack([gl.linearize(f, x)[1](e) for e in np.eye(3)]),
    "vmap jvp": lambda f: lambda x: gl.vmap(lambda e: gl.jvp(f, (x,), (e,))[1])(np.eye(3)),
    "vmap pushforward": lambda f: lambda x: gl.vmap(gl.linearize(f, x)[1])(np.eye(3)),
    "vmap of grad": lambda f: lambda x: gl.vmap(gl.grad(f))(np.stack([x, x]))[0],
    "grad of vmap": lambda f: lambda x: gl.grad(lambda y: np.sum(gl.vmap(f)(y)))(np.stack([x, x]))[1],
}
JACOBIANS: dict[str, Callable[[Any], Any]] = {
    "jacobian": gl.jacobian,
    "jacobian rev": lambda f: gl.jacobian(f, mode="rev"),
    "jit jacobian fwd": lambda f: gl.jit(gl.jacobian(f, mode="fwd")),
    "grad by element": lambda f: lambda x: np.stack([gl.grad(lambda y, k=k: f(y)[k])(x) for k in range(3)]),
    "jvp": lambda f: lambda x: np.stack([gl.jvp(f, (x,), (e,))[1] for e in np.eye(3)], axis=1),
    "vmap pullback": lambda f: lambda x: gl.vmap(gl.vjp(f, x)[1])(np.eye(3))[0],
    "vmap pushforward": lambda f: lambda x: gl.vmap(gl.linearize(f, x)[1], out_axes=1)(np.eye(3)),
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("gradient", GRADIENTS)
def test_gradient_of_wrapped(gradient: str, wrapper: str) -> None:
    """Every way to a gradient, through every wrapper."""
    np.testing.assert_allclose(GRADIENTS[gradient](WRAPPERS[wrapper](energy))(X), GRADIENT, rtol=RTOL)


@pytest.mark.parametrize("inner", GRADIENTS)
@pytest.mark.parametrize("outer", JACOBIANS)
def test_jacobian_of_gradient(outer: str, inner: str) -> None:
    """Every way to a Hessian: all orders of all modes."""
    np.testing.assert_allclose(JACOBIANS[outer](GRADIENTS[inner](energy))(X), HESSIAN, rtol=RTOL, atol=1e-13)


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_hessian_and_hvp_of_wrapped(wrapper: str) -> None:
    """Second order through every wrapper."""
    f = WRAPPERS[wrapper](energy)
    v = np.array([1.0, -2.0, 0.5])
    np.testing.assert_allclose(gl.hessian(f)(X), HESSIAN, rtol=RTOL, atol=1e-13)
    np.testing.assert_allclose(gl.jit(gl.hessian(f))(X), HESSIAN, rtol=RTOL, atol=1e-13)
    np.testing.assert_allclose(gl.hvp(f)(X, v), HESSIAN @ v, rtol=RTOL)
    np.testing.assert_allclose(gl.jit(gl.hvp(f))(X, v), HESSIAN @ v, rtol=RTOL)
    np.testing.assert_allclose(gl.vmap(gl.hvp(f), in_axes=(None, 0))(X, np.eye(3)), HESSIAN, rtol=RTOL, atol=1e-13)


def test_third_derivative_by_three_modes() -> None:
    """The tensor of third derivatives of sum(x^4)/24 is diagonal, x on it."""
    f = lambda x: np.sum(x**4) / 24  # noqa: E731
    expected = np.zeros((3, 3, 3))
    expected[np.arange(3), np.arange(3), np.arange(3)] = X
    for third in (
        gl.jacobian(gl.hessian(f)),
        gl.jacobian(gl.jacobian(gl.grad(f), mode="rev"), mode="fwd"),
        gl.jit(gl.jacobian(gl.jacobian(gl.jacobian(f)))),
    ):
        np.testing.assert_allclose(third(X), expected, rtol=RTOL, atol=1e-14)


# -- closed-over tensors of an outer trace -----------------------------------------------------


def test_inner_gradient_as_part_of_the_outer_loss() -> None:
    """A gradient penalty: d/dw sum((w x^2 / 2)')^2 = sum(2 w x^2)."""

    def penalty(w: Any) -> Any:
        return np.sum(gl.grad(lambda x: np.sum(w * x**2) / 2)(X) ** 2)

    np.testing.assert_allclose(gl.grad(penalty)(3.0), np.sum(2 * 3.0 * X**2), rtol=RTOL)
    np.testing.assert_allclose(gl.jit(gl.grad(penalty))(3.0), np.sum(2 * 3.0 * X**2), rtol=RTOL)


def test_learning_through_an_optimiser() -> None:
    """The derivative of a result of gradient descent to its learning rate."""

    def descend(rate: Any, gradient: Any) -> Any:
        x: Any = 1.0
        for _ in range(3):
            x = x - rate * gradient(x)
        return x

    # x -> x - rate * 2x, three times: (1 - 2 rate)^3.
    found = gl.grad(lambda rate: descend(rate, gl.grad(lambda x: x * x)))(0.1)
    np.testing.assert_allclose(found, -6 * (1 - 0.2) ** 2, rtol=RTOL)


@pytest.mark.parametrize("inner", ["vjp", "linearize", "jvp", "jacobian", "vmap", "jit", "elementwise_grad"])
def test_outer_tensor_closed_over_by_inner_transform(inner: str) -> None:
    """d/dw of something linear in w, computed by an inner transform that closes over w: the value over w."""
    transforms: dict[str, Callable[[Any, Any], Any]] = {
        "vjp": lambda f, x: np.sum(gl.vjp(f, x)[1](np.ones(3))[0]),
        "linearize": lambda f, x: np.sum(gl.linearize(f, x)[1](x)),
        "jvp": lambda f, x: np.sum(gl.jvp(f, (x,), (x,))[1]),
        "jacobian": lambda f, x: np.sum(gl.jacobian(f)(x)),
        "vmap": lambda f, x: np.sum(gl.vmap(f)(np.stack([x, x]))),
        "jit": lambda f, x: np.sum(gl.jit(f)(x)),
        "elementwise_grad": lambda f, x: np.sum(gl.elementwise_grad(f)(x)),
    }

    def outer(w: Any) -> Any:
        return transforms[inner](lambda x: w * np.sin(x) * X, X)

    value, gradient = gl.value_and_grad(outer)(2.5)
    np.testing.assert_allclose(gradient, value / 2.5, rtol=RTOL)
    _, tangent = gl.jvp(outer, (2.5,), (1.0,))
    np.testing.assert_allclose(tangent, value / 2.5, rtol=RTOL)
    np.testing.assert_allclose(gl.grad(gl.jit(outer))(2.5), value / 2.5, rtol=RTOL)
    np.testing.assert_allclose(gl.vmap(gl.grad(outer))(np.array([2.5, 1.0])), [value / 2.5] * 2, rtol=RTOL)


def test_pullback_kept_from_the_outside_is_used_inside() -> None:
    """A pullback made outside any trace is a linear function of its cotangent."""
    _, pullback = gl.vjp(np.sin, X)
    _, pushforward = gl.linearize(np.sin, X)
    np.testing.assert_allclose(gl.grad(lambda c: np.sum(pullback(c)[0] * X))(X), np.cos(X) * X, rtol=RTOL)
    np.testing.assert_allclose(gl.jacobian(pushforward)(X), np.diag(np.cos(X)), rtol=RTOL, atol=1e-15)


def test_pullback_of_tensors_is_called_in_the_same_trace() -> None:
    """vjp of a traced point: residuals are tensors, and differentiating them again is second order."""

    def f(x: Any) -> Any:
        _, pullback = gl.vjp(np.exp, x)
        return pullback(1.0)[0] + pullback(x)[0]  # exp(x) + x exp(x)

    np.testing.assert_allclose(gl.grad(f)(0.5), np.exp(0.5) * 2.5, rtol=RTOL)


def test_jitted_function_that_reads_an_outer_tensor_is_not_kept() -> None:
    """A trace that captured tensors of an outer trace serves that one call only."""
    outside: dict[str, Any] = {}
    inner = gl.jit(lambda y: outside["x"] * y)

    def f(x: Any) -> Any:
        outside["x"] = x
        return inner(2.0) * x

    assert [gl.grad(f)(x) for x in (3.0, 4.0, 5.0)] == [12.0, 16.0, 20.0]


def test_stop_gradient_inside_nested_gradients() -> None:
    """Stops only what passes through it, at every level."""
    f = lambda x: x * gl.stop_gradient(x) * x  # noqa: E731
    assert gl.grad(f)(3.0) == 18.0
    assert gl.grad(gl.grad(f))(3.0) == 6.0 + 0.0
    assert gl.jvp(gl.stop_gradient, (3.0,), (1.0,)) == (3.0, 0.0)


def test_vmap_in_vmap_in_grad() -> None:
    """An outer product by two maps, and its gradient."""

    def table(a: Any, b: Any) -> Any:
        return gl.vmap(lambda x: gl.vmap(lambda y: np.exp(x * y))(b))(a)

    a, b = np.array([0.1, 0.2]), np.array([1.0, -1.0, 0.5])
    np.testing.assert_allclose(table(a, b), np.exp(np.outer(a, b)), rtol=RTOL)
    found = gl.grad(lambda a, b: np.sum(table(a, b)), (0, 1))(a, b)
    np.testing.assert_allclose(found[0], np.exp(np.outer(a, b)) @ b, rtol=RTOL)
    np.testing.assert_allclose(found[1], a @ np.exp(np.outer(a, b)), rtol=RTOL)


def test_recursion_through_grad() -> None:
    """A function that differentiates itself: f_n(x) = x f_{n-1}'(x), f_0 = x^3; each application keeps 3^n x^3."""

    def f(n: int, x: Any) -> Any:
        return x**3 if n == 0 else x * gl.grad(lambda y: f(n - 1, y))(x)

    np.testing.assert_allclose(f(4, 2.0), 3**4 * 8.0, rtol=RTOL)
    np.testing.assert_allclose(gl.grad(lambda x: f(3, x))(2.0), 3**4 * 4.0, rtol=RTOL)
