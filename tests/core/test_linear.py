"""`vjp`, `jvp`, `linearize`, `hvp`: the derivative as a linear map."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom.errors import ArgumentError, DTypeError, OutputError, ShapeError

A = np.array([[1.0, -2.0, 0.5], [0.25, 3.0, -1.0]])
X = np.array([0.5, -1.25, 2.0])


def f(a: Any, x: Any) -> Any:
    """Return sin(a @ x), with Jacobian cos(a @ x) a."""
    return np.sin(a @ x)


JACOBIAN = np.cos(A @ X)[:, None] * A


@dataclasses.dataclass
class Pair:
    first: Any
    second: Any


def test_jvp_of_several_arguments() -> None:
    """The directional derivative in all arguments together."""
    da, dx = np.ones((2, 3)), np.array([1.0, 0.0, -1.0])
    out, tangent = gl.jvp(f, (A, X), (da, dx))
    np.testing.assert_array_equal(out, np.sin(A @ X))
    np.testing.assert_allclose(tangent, np.cos(A @ X) * (da @ X + A @ dx), rtol=1e-14)
    assert np.array_equal(gl.jvp(f, [A, X], [da, dx])[1], tangent)


def test_vjp_gives_one_result_per_primal() -> None:
    """A tuple, also for one primal."""
    u = np.array([2.0, -1.0])
    out, pullback = gl.vjp(f, A, X)
    np.testing.assert_array_equal(out, np.sin(A @ X))
    ga, gx = pullback(u)
    np.testing.assert_allclose(gx, JACOBIAN.T @ u, rtol=1e-14)
    np.testing.assert_allclose(ga, np.outer(np.cos(A @ X) * u, X), rtol=1e-14)
    assert isinstance(gl.vjp(np.sin, X)[1](X), tuple)


def test_linearize_gives_the_pushforward() -> None:
    """Takes one tangent per primal."""
    out, pushforward = gl.linearize(f, A, X)
    np.testing.assert_array_equal(out, np.sin(A @ X))
    np.testing.assert_allclose(pushforward(np.zeros((2, 3)), X), JACOBIAN @ X, rtol=1e-14)


@pytest.mark.parametrize("size", [3, 5000])
def test_linear_maps_stand_on_their_own(size: int) -> None:
    """They give the same when called again, after inputs, outputs and captured arrays were changed."""
    x, w = np.linspace(0.1, 1.0, size), np.full(size, 2.0)
    g = lambda x: (np.exp(x) * w, x)  # noqa: E731
    expected = 2.0 * np.exp(x)
    out, pullback = gl.vjp(g, x)
    _, pushforward = gl.linearize(g, x)
    ones, zeros = np.ones(size), np.zeros(size)
    for _ in range(4):
        np.testing.assert_allclose(pullback((ones, zeros))[0], expected, rtol=1e-15)
        np.testing.assert_allclose(pushforward(ones)[0], expected, rtol=1e-15)
        for array in (x, w, out[0], out[1]):
            array *= -3.0
        pullback((ones, zeros))[0][:] = np.nan
        pushforward(ones)[0][:] = np.nan
        ones[:] = 1.0
    np.testing.assert_array_equal(zeros, 0.0)
    assert w.flags.writeable


def test_linearity_and_adjoint() -> None:
    """J(2u - v) = 2Ju - Jv, and <Ju, c> = <u, J^T c>."""
    rng = np.random.default_rng(0)
    g = lambda p: {"out": np.cumsum(p.first**2) * p.second, "max": np.max(p.first)}  # noqa: E731
    p = Pair(X, 1.5)
    u, v = Pair(rng.normal(size=3), 0.3), Pair(rng.normal(size=3), -0.7)
    _, pushforward = gl.linearize(g, p)
    ju, jv = pushforward(u), pushforward(v)
    both = pushforward(Pair(2 * u.first - v.first, 2 * u.second - v.second))
    for key in ("out", "max"):
        np.testing.assert_allclose(both[key], 2 * ju[key] - jv[key], rtol=1e-12)
        np.testing.assert_allclose(gl.jvp(g, (p,), (u,))[1][key], ju[key], rtol=1e-14)
    c = {"out": rng.normal(size=3), "max": 0.4}
    _, pullback = gl.vjp(g, p)
    (pulled,) = pullback(c)
    assert type(pulled) is Pair
    left = np.sum(ju["out"] * c["out"]) + ju["max"] * c["max"]
    right = np.sum(u.first * pulled.first) + u.second * pulled.second
    np.testing.assert_allclose(left, right, rtol=1e-13)


def test_dicts_match_by_key_not_by_order() -> None:
    """A dict of tangents may list its keys in another order."""
    g = lambda p: p["a"] ** 2 * p["b"]  # noqa: E731
    _, tangent = gl.jvp(g, ({"a": 3.0, "b": 2.0},), ({"b": 1.0, "a": 0.0},))
    assert tangent == 9.0


def test_python_numbers_and_ints_as_vectors() -> None:
    """Numbers of a fitting kind take the dtype that is needed."""
    assert gl.vjp(np.square, 3.0)[1](1) == (6.0,)
    (pulled,) = gl.vjp(np.square, np.array([1.0, 2.0], np.float32))[1](np.array([1, 1]))
    assert pulled.dtype == np.float32
    out, tangent = gl.jvp(np.square, (np.float32(3.0),), (1.0,))
    assert (out.dtype, tangent.dtype) == (np.float32, np.float32)
    for z in (np.complex64(1j), np.complex128(1j), 1j):
        out, tangent = gl.jvp(np.square, (z,), (1j,))
        assert (out, tangent) == (-1, -2)
        assert tangent.dtype == np.asarray(z).dtype
        assert gl.vjp(np.square, z)[1](2.0) == (4j,)


def test_float32_stays_float32() -> None:
    """Values, tangents and cotangents."""
    x = X.astype(np.float32)
    for value in (*gl.jvp(np.exp, (x,), (x,)), gl.vjp(np.exp, x)[1](x)[0], gl.linearize(np.exp, x)[1](x)):
        assert value.dtype == np.float32


def test_complex_transposition_does_not_conjugate() -> None:
    """For z -> z w the pullback of c is c w."""
    w = 2.0 - 3.0j
    assert gl.vjp(lambda z: z * w, 1.0 + 1.0j)[1](1.0 + 0.5j) == ((1.0 + 0.5j) * w,)
    assert gl.jvp(lambda z: z * w, (1.0 + 1.0j,), (1.0j,))[1] == 1.0j * w


@pytest.mark.parametrize(
    ("vector", "kind", "words"),
    [
        (np.ones(2), ShapeError, r"(?s)wrong shape.*expected: \(3,\).*got: \(2,\)"),
        (1.0, ShapeError, r"(?s)wrong shape.*expected: \(3,\).*got: \(\)"),
        (np.ones((1, 3)), ShapeError, "wrong shape"),
        (X * 1j, DTypeError, r"(?s)wrong kind.*expected: float64\[3\].*got: complex128\[3\]"),
        ("text", DTypeError, "wrong kind"),
        (np.array([None] * 3), DTypeError, "wrong kind"),
        ((X,), ArgumentError, r"(?s)containers differ in structure.*got: "),
        ({"x": X}, ArgumentError, "containers differ in structure"),
        (None, ArgumentError, "containers differ in structure"),
        ([1.0, 2.0, 3.0], ArgumentError, "containers differ in structure"),
    ],
)
def test_vectors_must_fit(vector: Any, kind: type, words: str) -> None:
    """Cotangents like the output, tangents like the primals."""
    _, pullback = gl.vjp(np.sin, X)
    _, pushforward = gl.linearize(np.sin, X)
    for call, name in (
        (lambda: pullback(vector), "cotangent"),
        (lambda: pushforward(vector), "tangents"),
        (lambda: gl.jvp(np.sin, (X,), (vector,)), "tangents"),
    ):
        with pytest.raises(kind, match=words) as caught:
            call()
        assert caught.value.argument.startswith(name)
        assert __file__ in caught.value.location


def test_primals_and_tangents_are_tuples() -> None:
    """As in every library of the field."""
    with pytest.raises(ArgumentError, match="must be a tuple, one entry per argument"):
        gl.jvp(np.sin, X, X)
    with pytest.raises(ArgumentError, match=r"(?s)must be a tuple.*tangents"):
        gl.jvp(np.sin, (X,), X)
    with pytest.raises(ArgumentError, match="containers differ in structure"):
        gl.jvp(np.multiply, (X, X), (X,))


@pytest.mark.parametrize(
    "out", [lambda x: np.argmax(x), lambda x: x > 0, lambda x: (x, 3), lambda x: "a", lambda x: None]
)
def test_outputs_must_be_inexact(out: Any) -> None:
    """Integers, booleans and other things have no derivative."""
    for call in (lambda: gl.vjp(out, X), lambda: gl.jvp(out, (X,), (X,)), lambda: gl.linearize(out, X)):
        with pytest.raises(OutputError, match="the function"):
            call()


@pytest.mark.parametrize("bad", [3, np.arange(3), True])
def test_integer_primals(bad: Any) -> None:
    """Refused, and named."""
    for call in (lambda: gl.vjp(np.multiply, X, bad), lambda: gl.jvp(np.multiply, (X, bad), (X, bad))):
        with pytest.raises(DTypeError, match=r"(?s)integers or booleans.*primals\[1\]"):
            call()


def test_output_independent_of_a_primal() -> None:
    """Zeros in both modes."""
    g = lambda x, y: (x * 2.0, X, 5.0)  # noqa: E731
    out, tangent = gl.jvp(g, (X, A), (X, A))
    np.testing.assert_array_equal(out[1], X)
    np.testing.assert_array_equal(tangent[1], np.zeros(3))
    assert tangent[2] == 0.0
    gx, gy = gl.vjp(g, X, A)[1]((np.ones(3), np.ones(3), 1.0))
    np.testing.assert_array_equal(gx, np.full(3, 2.0))
    np.testing.assert_array_equal(gy, np.zeros((2, 3)))


def test_identity_output_is_a_copy() -> None:
    """Neither value nor tangent nor pulled-back cotangent shares memory with what came in."""
    x, v = X.copy(), np.ones(3)
    out, tangent = gl.jvp(lambda x: x, (x,), (v,))
    assert not np.shares_memory(out, x)
    assert not np.shares_memory(tangent, v)
    out, pullback = gl.vjp(lambda x: x, x)
    assert not np.shares_memory(out, x)
    assert not np.shares_memory(pullback(v)[0], v)


def test_hvp() -> None:
    """Hessian times vector, for arguments of every form."""
    g = lambda x, w, k=1.0: np.sum(x**3) * w * k  # noqa: E731
    v = np.array([1.0, 0.0, -2.0])
    np.testing.assert_allclose(gl.hvp(g)(X, 2.0, v), 12 * X * v, rtol=1e-14)
    np.testing.assert_allclose(gl.hvp(g)(X, 2.0, v, k=3.0), 36 * X * v, rtol=1e-14)
    np.testing.assert_allclose(gl.hvp(g, argnums=-1)(X, 2.0, 1.0), 0.0, atol=1e-15)
    hx, hw = gl.hvp(g, argnums=(0, 1))(X, 2.0, (v, 1.0))
    np.testing.assert_allclose(hx, 12 * X * v + 3 * X**2, rtol=1e-14)
    np.testing.assert_allclose(hw, np.sum(3 * X**2 * v), rtol=1e-14)
    tree = {"a": X, "b": 1.5}
    out = gl.hvp(lambda p: np.sum(p["a"] ** 2) * p["b"])(tree, {"a": v, "b": 0.0})
    np.testing.assert_allclose(out["a"], 3.0 * v, rtol=1e-14)
    np.testing.assert_allclose(out["b"], np.sum(2 * X * v), rtol=1e-14)
    with pytest.raises(ShapeError, match="wrong shape"):
        gl.hvp(g)(X, 2.0, np.ones(4))
    with pytest.raises(ArgumentError, match="then a vector"):
        gl.hvp(g)(X)
