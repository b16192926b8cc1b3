"""Random programs: value, both modes, maps and higher orders of code that no one thought of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import gradloom as gl
from gradloom.testing import differences

#: Smooth and bounded, so that differences of high order are exact to many digits.
UNARY: list[Callable[[Any, int], Any]] = [
    lambda a, k: np.sin(a),
    lambda a, k: np.cos(a) * (k + 1) / 2,
    lambda a, k: np.tanh(a - 0.3),
    lambda a, k: np.exp(np.sin(a)),
    lambda a, k: np.log1p(a**2),
    lambda a, k: np.sqrt(1.5 + np.cos(a)),
    lambda a, k: np.arctan(a) ** (k + 1),
    lambda a, k: 1.0 / (2.0 + np.sin(a)),
    lambda a, k: 2.0 ** np.sin(a),
    lambda a, k: -abs(np.cos(a) + 1.5) / (k + 1),
    lambda a, k: np.sum(np.sin(a), axis=k % a.ndim if a.ndim else None),
    lambda a, k: np.mean(a, axis=-1, keepdims=True) if a.ndim else a * 1.0,
    lambda a, k: np.sin(np.cumsum(a, axis=k % a.ndim)) if a.ndim else a,
    lambda a, k: np.var(np.sin(a)),
    lambda a, k: np.prod(np.cos(a) + 0.1, axis=-1) if a.ndim else np.square(a),
    lambda a, k: a.T,
    lambda a, k: a.reshape(-1)[:: k + 1],
    lambda a, k: a[None],
    lambda a, k: a[..., ::-1] if a.ndim else a[None],
    lambda a, k: a[k % len(a)] if a.ndim else a,
    lambda a, k: np.take(a, [0, -1, 0], axis=0) if a.ndim else a,
    lambda a, k: a[..., [0, 0]] if a.ndim else a,
    lambda a, k: np.roll(a, k),
    lambda a, k: np.where(np.arange(a.shape[-1]) % 2 == 0, a, a * k) if a.ndim else a,
    lambda a, k: assigned(a, k) if a.ndim else a,
    lambda a, k: np.broadcast_to(a, (2, *a.shape)) if a.ndim < 3 else np.sum(a),
    lambda a, k: np.repeat(a, 2, axis=-1) if a.ndim else a,
    lambda a, k: np.pad(a, 1) if a.ndim else a,
    lambda a, k: np.linalg.norm(a) / 3.0 + np.sum(a),
    lambda a, k: np.einsum("...i,...i->...", a, np.sin(a)) if a.ndim else a,
]
BINARY: list[Callable[[Any, Any], Any]] = [
    lambda a, b: a + b,
    lambda a, b: a - 2 * b,
    lambda a, b: np.sin(a) * np.cos(b),
    lambda a, b: a / (2.0 + np.sin(b)),
    lambda a, b: np.logaddexp(np.sin(a), b),
    lambda a, b: (1.5 + np.sin(a)) ** np.cos(b),
    lambda a, b: np.arctan2(np.sin(a), 2.0 + np.cos(b)),
    lambda a, b: np.hypot(a, 1.0 + b**2),
]
Instruction = tuple[bool, int, int, int]
INSTRUCTIONS = st.lists(
    st.tuples(st.booleans(), st.integers(0, 30), st.integers(0, 9), st.integers(0, 3)), min_size=1, max_size=9
)
X = np.array([[0.4, -0.7, 1.1], [0.2, 0.9, -0.3]])
Y = np.array([0.6, -0.5, 0.8])
STEP = 2e-4


def assigned(a: Any, k: int) -> Any:
    """Return a copy with an element set and a part added to."""
    b = a * 1.0
    b[0] = np.sin(a[-1]) * k
    b[1:] += a[:-1] * 0.5
    return b


def run(program: list[Instruction], x: Any, y: Any) -> Any:
    """Interpret a program: each instruction takes earlier values and appends one."""
    values = [x, y]
    for unary, code, i, k in program:
        a, b = values[-1 - i % len(values)], values[-1 - k % len(values)]
        if unary:
            out = UNARY[code % len(UNARY)](a, k)
        else:
            try:
                np.broadcast_shapes(a.shape, b.shape)
            except ValueError:
                b = np.sum(b)
            out = BINARY[code % len(BINARY)](a, b)
        values.append(out if out.size <= 60 else np.sum(out, axis=0))
    return np.tanh(sum(np.sum(v) * (0.1 + 0.05 * n) for n, v in enumerate(values[2:]))) + 0.1 * np.sum(values[-1])


@settings(max_examples=120)
@given(INSTRUCTIONS)
def test_first_order(program: list[Instruction]) -> None:
    """Reverse and forward mode against differences in extended precision, and against each other."""
    f = lambda x, y: run(program, x, y)  # noqa: E731
    value, gradients = gl.value_and_grad(f, (0, 1))(X, Y)
    np.testing.assert_allclose(value, f(X, Y), rtol=1e-12, atol=1e-14)
    for k, found in enumerate(gradients):
        expected = differences.jacobian(f, (X, Y), k, STEP).astype(float)
        scale = max(1.0, float(np.max(np.abs(expected))))
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9 * scale)
        for mode in ("rev", "fwd"):
            np.testing.assert_allclose(gl.jacobian(f, k, mode)(X, Y), found, rtol=1e-10, atol=1e-12 * scale)


@settings(max_examples=50)
@given(INSTRUCTIONS)
def test_second_order(program: list[Instruction]) -> None:
    """Hessian products in all orders of modes, against differences of the gradient in extended precision."""
    f = lambda x: run(program, x, Y.astype(x.dtype))  # noqa: E731
    v = np.cos(np.arange(6.0)).reshape(2, 3)
    wide = X.astype(np.longdouble)

    def slope(t: Any) -> Any:
        return gl.grad(f)(wide + t * v)

    expected = differences.jacobian(slope, (np.float64(0.0),), 0, STEP).astype(float)
    scale = max(1.0, float(np.max(np.abs(expected))))
    for found in (
        gl.hvp(f)(X, v),
        np.tensordot(gl.hessian(f)(X), v, 2),
        gl.grad(lambda x: np.sum(gl.grad(f)(x) * v))(X),
        gl.grad(lambda x: gl.jvp(f, (x,), (v,))[1])(X),
        gl.jit(gl.hvp(f))(X, v),
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-8 * scale)


@settings(max_examples=60)
@given(INSTRUCTIONS)
def test_jit_vmap_and_dtypes(program: list[Instruction]) -> None:
    """jit gives the plain gradient, and vmap that of the loop, within rounding; float32 stays."""
    f = lambda x, y: run(program, x, y)  # noqa: E731
    g = gl.grad(f)
    fast = gl.jit(g)
    for x in (X, X + 1.0, X):
        np.testing.assert_allclose(fast(x, Y), g(x, Y), rtol=1e-12, atol=1e-13)
    xs = np.stack([X, X * 0.5, -X])
    np.testing.assert_allclose(gl.vmap(f, in_axes=(0, None))(xs, Y), [f(x, Y) for x in xs], rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(gl.vmap(g, in_axes=(0, None))(xs, Y), [g(x, Y) for x in xs], rtol=1e-10, atol=1e-11)
    x32, y32 = X.astype(np.float32), Y.astype(np.float32)
    value, gradients = gl.value_and_grad(f, (0, 1))(x32, y32)
    assert value.dtype == np.asarray(f(x32, y32)).dtype
    assert [a.dtype for a in gradients] == [np.float32, np.float32]


@settings(max_examples=40)
@given(INSTRUCTIONS)
def test_graphs(program: list[Instruction]) -> None:
    """Text, hash and pickle of whatever comes out; and lazily, the same numbers."""
    import pickle

    f = lambda x, y: run(program, x, y)  # noqa: E731
    graph = gl.make_graph(gl.value_and_grad(f))(X, Y)
    again = pickle.loads(pickle.dumps(graph))
    assert again == graph
    assert again.content_hash() == gl.make_graph(gl.value_and_grad(f))(X, Y).content_hash()
    assert str(again) == str(graph)
    x, y = gl.tensor(X), gl.tensor(Y)
    out = f(x, y)
    value, gx, gy = gl.compute(out, *gl.gradients(out, [x, y]))
    expected, (ex, ey) = gl.value_and_grad(f, (0, 1))(X, Y)
    np.testing.assert_allclose(value, expected, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(gx, ex, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(gy, ey, rtol=1e-10, atol=1e-12)
