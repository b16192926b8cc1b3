"""Tracing: what user code may do with tensors, and what a trace takes from around it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom.errors import GradloomError
from gradloom.program import ProgramCache

X = np.array([0.5, -1.25, 2.0])
LARGE = 5000  # elements: more than 16 KB, so write-protected instead of copied


def grad_at(f: Any, x: Any = 2.0) -> Any:
    """Return the gradient of a function at a point."""
    return gl.grad(f)(x)


# -- literals ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "values",
    [
        (1.0, 2.0, 3.0),
        (0.0, -0.0, 0.0),
        (1, 2, 2.0, True, 2),
        (np.nan, 1.0, np.nan, np.inf, -np.inf),
        (2**53, 2**53 + 1, float(2**53)),
        (0, 1, 0, -1),
        (1e-300, 0.0),
        (1, 1.0, True, np.float64(1.0), np.float32(1.0), np.int8(1), np.bool_(True)),
        (2**70, 2**71),
    ],
    ids=repr,
)
def test_changing_closure_numbers_are_never_stale(values: tuple[Any, ...]) -> None:
    """A cached program is only used where the numbers say the same."""
    now: Any = None

    def f(x: Any) -> Any:
        return np.sum(np.copysign(x, now) * now + x / (now if now else np.inf))

    for _ in range(2):
        for now in values:
            expected = np.where(np.signbit(np.copysign(1.0, now)), -1, 1) * np.sign(X) * float(now)
            expected = expected + 1 / (float(now) if now else np.inf)
            np.testing.assert_array_equal(gl.grad(f)(X), expected)


def test_bool_and_int_literals_of_integer_code() -> None:
    """Integer arithmetic beside the differentiated value keeps its dtype and value."""
    n: Any = None

    def f(x: Any, k: Any) -> Any:
        return np.sum(x * (k * n)), k * n

    k = np.array([1, 2, 3])
    for n in (2, 3.0, True, 2, 1, False, 0, -1.5):
        gradient, aux = gl.grad(f, has_aux=True)(X, k)
        np.testing.assert_array_equal(gradient, k * n)
        assert aux.dtype == (k * n).dtype


def test_literals_that_differ_by_int_beyond_float_precision() -> None:
    """2**53 and 2**53 + 1 are one float64 and two int64."""
    k = np.array([1])
    for n in (2**53, 2**53 + 1, 2**53):
        _, aux = gl.grad(lambda x, n=n: (x, gl.make_graph and k * n), has_aux=True)(1.0)
        assert aux[0] == n
        _, aux = gl.grad(lambda x, n=n: (x, np.sign(x).astype(int) * n), has_aux=True)(1.0)
        assert aux == n


def test_functions_of_equal_structure_but_different_attrs() -> None:
    """Axis, shape, index and dtype are part of the cache key."""
    x = np.arange(6.0).reshape(2, 3)
    for axis in (0, 1, -1, (0, 1), None):
        found = gl.grad(lambda x, a=axis: np.sum(np.sum(x, axis=a, keepdims=True) ** 2))(x)
        np.testing.assert_array_equal(found, np.broadcast_to(2 * np.sum(x, axis=axis, keepdims=True), x.shape))
    for k in range(3):
        np.testing.assert_array_equal(gl.grad(lambda x, k=k: x[0, k])(x), np.eye(6)[k].reshape(2, 3))
    for index in (slice(0, 2), slice(1, None), slice(None, None, 2), 1, True):
        expected = np.zeros(3)
        expected[index] = 1.0
        np.testing.assert_array_equal(gl.grad(lambda x, i=index: np.sum(x[i]))(X), expected)
    for f in (np.sin, np.cos, np.exp, np.sin):
        np.testing.assert_allclose(gl.grad(f)(0.5), gl.jvp(f, (0.5,), (1.0,))[1], rtol=1e-15)


def test_same_function_with_other_shapes_and_dtypes() -> None:
    """Each call stands on its own."""
    f = gl.grad(lambda x: np.sum(x * x.shape[0] + x**2))
    for x in (np.ones(2), np.ones((3, 2)), np.ones(2, np.float32), np.ones(0), np.ones((3, 1))):
        gradient = f(x)
        assert (gradient.shape, gradient.dtype) == (x.shape, x.dtype)
        np.testing.assert_array_equal(gradient, np.full(x.shape, x.shape[0] + 2, x.dtype))


def test_aliased_arguments_are_two_variables() -> None:
    """The same array given twice is differentiated as two arguments."""
    ga, gb = gl.grad(lambda a, b: np.sum(a**2 * b), (0, 1))(X, X)
    np.testing.assert_allclose(ga, 2 * X * X, rtol=1e-15)
    np.testing.assert_allclose(gb, X**2, rtol=1e-15)


def test_random_numbers_are_drawn_at_each_trace() -> None:
    """Without jit, a function that draws random numbers is traced at each call."""
    rng = np.random.default_rng(0)
    draws = np.random.default_rng(0)
    g = gl.grad(lambda x: np.sum(x * rng.normal(size=3)))
    for _ in range(3):
        assert g(2.0) == np.sum(draws.normal(size=3))


# -- Python control flow -----------------------------------------------------------------------


def test_if_while_for_break_continue() -> None:
    """Comparisons are evaluated where they are asked for."""

    def f(x: Any) -> Any:
        y = x
        while y < 100.0:
            y = y * x
            if y > 50.0:
                break
        for k in range(5):
            if k % 2:
                continue
            y = y + k * x
        return y if y > 0 else -y

    # 2 -> 2^6 = 64 > 50, then + (0 + 2 + 4) x.
    assert gl.value_and_grad(f)(2.0) == (64.0 + 12.0, 6 * 2.0**5 + 6.0)
    assert gl.value_and_grad(f)(10.0) == (100.0 + 60.0, 2 * 10.0 + 6.0)


def test_branches_are_never_mixed_up() -> None:
    """The same function takes another branch on the next call."""
    relu = gl.grad(lambda x: x * 3.0 if x > 0 else x * 0.5)
    assert [relu(x) for x in (1.0, -1.0, 2.0, -0.0)] == [3.0, 0.5, 3.0, 0.5]


def test_recursion() -> None:
    """Python's own recursion."""

    def power(x: Any, n: int) -> Any:
        return 1.0 if n == 0 else x * power(x, n - 1)

    assert grad_at(lambda x: power(x, 5)) == 5 * 16.0


def test_newton_iteration_to_convergence() -> None:
    """The derivative of sqrt by differentiating its Newton iteration."""

    def root(a: Any) -> Any:
        x = a
        while abs(x * x - a) > 1e-12:
            x = (x + a / x) / 2
        return x

    np.testing.assert_allclose(grad_at(root, 2.0), 1 / (2 * np.sqrt(2.0)), rtol=1e-9)


def test_builtins() -> None:
    """sum, min, max, abs, sorted, zip, enumerate, reversed, any, all, divmod, pow, round on tensors."""
    np.testing.assert_array_equal(grad_at(lambda x: sum(x), X), [1, 1, 1])
    np.testing.assert_array_equal(grad_at(lambda x: sum(list(x), 1.0), X), [1, 1, 1])
    np.testing.assert_array_equal(grad_at(lambda x: min(x), X), [0, 1, 0])
    np.testing.assert_array_equal(grad_at(lambda x: max(x[0], x[2], 1.0), X), [0, 0, 1])
    np.testing.assert_array_equal(grad_at(lambda x: max(x[0], 1.0) * x[1], X), [0, 1, 0])
    np.testing.assert_array_equal(grad_at(lambda x: sorted(x)[0] * 5 + sorted(x, reverse=True)[0], X), [0, 5, 1])
    np.testing.assert_array_equal(grad_at(lambda x: sum(k * v for k, v in enumerate(x)), X), [0, 1, 2])
    np.testing.assert_array_equal(grad_at(lambda x: sum(a * b for a, b in zip(x, X, strict=True)), X), X)
    np.testing.assert_array_equal(grad_at(lambda x: next(iter(reversed(list(x)))), X), [0, 0, 1])
    np.testing.assert_array_equal(grad_at(lambda x: x[0] if any(v > 1 for v in x) else x[1], X), [1, 0, 0])
    np.testing.assert_array_equal(grad_at(lambda x: x[0] if all(v > 1 for v in x) else x[1], X), [0, 1, 0])
    assert grad_at(lambda x: abs(-x)) == 1.0
    assert grad_at(lambda x: pow(x, 3)) == 12.0
    assert grad_at(lambda x: divmod(x, 1.5)[1] * 2) == 2.0
    assert grad_at(lambda x: round(x, 1) + round(x * 1.2) * x) == 2.0


def test_unpacking() -> None:
    """Tuple assignment, star arguments and in."""

    def f(x: Any) -> Any:
        a, *rest = x
        b, c = rest
        return (lambda p, q, r: p * q * r)(*x) + a * b + c if 2.0 in x else a

    np.testing.assert_allclose(grad_at(f, X), [X[1] * X[2] + X[1], X[0] * X[2] + X[0], X[0] * X[1] + 1], rtol=1e-15)


def test_integer_tensors_as_indices() -> None:
    """They index tensors, arrays, lists and ranges on the spot."""
    names = [10.0, 20.0, 30.0]

    def f(x: Any) -> Any:
        k = np.argmax(x)
        return x[k] * names[k] + x[0] * X[k] + len(range(k)) * x[1]

    np.testing.assert_array_equal(grad_at(f, X), [X[2], 2.0, 30.0])
    table = np.arange(6.0).reshape(3, 2)
    order = grad_at(lambda x: np.sum(table[np.argsort(x)][:, 0] * x), X)
    np.testing.assert_array_equal(order, table[np.argsort(X)][:, 0])


def test_values_that_carry_no_gradient_can_be_taken_out() -> None:
    """int() of a count, float() of something stopped, np.asarray of a mask."""

    def f(x: Any) -> Any:
        stopped = gl.stop_gradient(x)
        scale = float(stopped[0]) + int(np.sum(x > 0)) + math.sqrt(stopped[2])
        mask = np.asarray(x > 0)
        assert type(mask) is np.ndarray
        assert (x > 0).tolist() == [True, False, True]
        assert np.argmax(x).item() == 2
        return np.sum(x[mask] * scale)

    expected = 0.5 + 2 + math.sqrt(2.0)
    np.testing.assert_allclose(grad_at(f, X), [expected, 0, expected], rtol=1e-15)


# -- the cache ---------------------------------------------------------------------------------


def test_program_cache_is_bounded() -> None:
    """The least recently used programs go first."""
    from gradloom.program import Program
    from gradloom.tensor import Tensor
    from gradloom.trace import Trace

    cache = ProgramCache(max_nodes=50)
    built = []

    def find(n: int) -> None:
        trace = Trace(Tensor)
        x: Any = trace.add_input(np_spec, 1.0)
        for _ in range(n):
            x = x * x
        trace_outputs = (x._index,)
        cache.find(trace, "test", trace_outputs, lambda graph: built.append(n) or Program(graph))
        trace.end()

    np_spec = gl.make_graph(lambda x: x)(1.0).input_specs()[0]
    for n in (5, 6, 5, 6):
        find(n)
    assert built == [5, 6]
    for n in range(7, 30):
        find(n)
        assert cache._nodes <= 50 or len(cache._families) == 1
    find(29)
    assert built[-1] == 29
    assert built.count(29) == 1
    find(5)
    assert built[-1] == 5
    cache.clear()
    assert not cache._families
    assert cache._nodes == 0


def test_unhashable_or_foreign_operands_name_the_op() -> None:
    """Errors of capturing carry op and line."""
    for operand in ([object()], object(), "text", None):
        with pytest.raises((GradloomError, TypeError)):
            grad_at(lambda x, o=operand: np.multiply(x, o))
