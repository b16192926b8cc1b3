"""Tracing: what user code may do with tensors, and what a trace takes from around it."""

from __future__ import annotations

import asyncio
import copy
import decimal
import json
import math
import pickle
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom.errors import ArgumentError, GradloomError, LostGradientError, MissingAttributeError, TraceEndedError
from gradloom.program import ProgramCache

X = np.array([0.5, -1.25, 2.0])
LARGE = 5000  # elements: more than 16 KB, so write-protected instead of copied


def grad_at(f: Any, x: Any = 2.0) -> Any:
    """Return the gradient of a function at a point."""
    return gl.grad(f)(x)


# -- closures over arrays ----------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 3, LARGE])
def test_array_changed_between_calls(size: int) -> None:
    """Each call sees the content of that moment."""
    w = np.ones(size)
    g = gl.grad(lambda x: np.sum(x * w))
    assert g(2.0) == size
    w[:] = 3.0
    assert g(2.0) == 3.0 * size
    w[0] = np.nan
    assert np.isnan(g(2.0))


def test_small_array_changed_between_two_uses_of_one_trace() -> None:
    """Each use sees the content of its moment, as in NumPy."""
    w = np.ones(3)

    def f(x: Any) -> Any:
        y = np.sum(x * w)
        w[:] = 5.0
        y = y + np.sum(x * w)
        w[:] = 1.0
        return y + np.sum(x * w)

    assert gl.value_and_grad(f)(2.0) == (2 * (3 + 15 + 3), 3 + 15 + 3)


def test_buffer_reused_in_a_loop() -> None:
    """A buffer that is filled anew for each step is captured each time."""
    buffer = np.empty(3)

    def f(x: Any) -> Any:
        total: Any = 0.0
        for k in range(4):
            buffer[:] = k
            total = total + np.sum(x * buffer)
        return total

    np.testing.assert_array_equal(grad_at(f, X), [6.0, 6.0, 6.0])


def test_read_only_view_of_changing_memory() -> None:
    """That an array cannot be written through does not mean that it does not change."""
    base = np.ones(3)
    view = base.view()
    view.flags.writeable = False

    def f(x: Any) -> Any:
        y = np.sum(x * view)
        base[:] = 5.0
        y = y + np.sum(x * view)
        base[:] = 1.0
        return y

    assert grad_at(f) == 18.0
    assert not view.flags.writeable


def test_large_array_changed_within_one_trace_raises() -> None:
    """Large arrays are write-protected while the trace lasts, and writable again after."""
    w = np.ones(LARGE)

    def f(x: Any) -> Any:
        y = np.sum(x * w)
        w[:] = 5.0
        return y

    with pytest.raises(ValueError, match="read-only"):
        grad_at(f)
    assert w.flags.writeable
    assert w[0] == 1.0
    assert grad_at(lambda x: np.sum(x * w)) == LARGE
    assert w.flags.writeable


@pytest.mark.parametrize(
    "transform",
    [
        gl.grad,
        gl.elementwise_grad,
        gl.jit,
        lambda f: lambda x: gl.jvp(f, (x,), (1.0,)),
        lambda f: lambda x: gl.vjp(f, x),
        lambda f: lambda x: gl.linearize(f, x),
        gl.jacobian,
        gl.hessian,
        lambda f: lambda x: gl.vmap(f)(np.ones(2)),
        gl.make_graph,
        lambda f: gl.grad(gl.jit(gl.grad(f))),
    ],
)
def test_write_protection_is_lifted_after_every_transform(transform: Any) -> None:
    """Also when the function raises."""
    w = np.ones(LARGE)
    frozen = np.ones(LARGE)
    frozen.flags.writeable = False
    transform(lambda x: np.sum(x * w * frozen))(2.0)
    assert w.flags.writeable

    def fails(x: Any) -> Any:
        np.sum(x * w * frozen)
        assert not w.flags.writeable
        raise KeyError("user's own")

    with pytest.raises(KeyError, match="user's own"):
        transform(fails)(2.0)
    assert w.flags.writeable
    assert not frozen.flags.writeable


def test_arrays_that_numpy_does_not_make_writeable_again() -> None:
    """Arrays whose memory belongs to another library, such as those of PyTorch, stay as they were."""
    owner = np.ones(LARGE)

    class Foreign:
        __array_interface__ = owner.__array_interface__

    strided = np.lib.stride_tricks.as_strided(owner, (LARGE - 1, 2), (8, 8))
    for x in (np.asarray(Foreign()), np.from_dlpack(owner), strided, strided[1:], np.frombuffer(bytearray(80))):
        assert x.flags.writeable
        assert np.array_equal(gl.grad(lambda t, x=x: np.sum(t * x))(x), x)
        assert x.flags.writeable
    pair = np.broadcast_arrays(np.ones(3), np.ones((2, 3)))  # NumPy warns whoever writes, or asks whether one can
    assert np.array_equal(gl.grad(lambda t: np.sum(t * t))(pair[0]), np.full((2, 3), 2.0))


@pytest.mark.parametrize("base_ends_last", [True, False])
def test_two_traces_protect_an_array_and_a_view_of_it(base_ends_last: bool) -> None:
    """NumPy makes no view writeable while its base is not: whichever trace ends first, all is as before."""
    base = np.ones(LARGE)
    view = base[1:]

    def trace(array: Any, steps: list[Any]) -> Any:
        """Trace a function of an array up to a point, and on when asked."""
        began, go_on = threading.Event(), threading.Event()

        def f(t: Any) -> Any:
            began.set()
            assert go_on.wait(10)
            return np.sum(t * t)

        def run() -> None:
            steps.append(gl.grad(f)(array))

        thread = threading.Thread(target=run)
        thread.start()
        assert began.wait(10)

        def end() -> None:
            go_on.set()
            thread.join(10)

        return end

    results: list[Any] = []
    ends = [trace(view, results), trace(base, results), trace(base, results)]
    assert not view.flags.writeable
    if not base_ends_last:
        ends.reverse()
    ends[0]()
    assert not base.flags.writeable  # another trace counts on it
    for end in ends[1:]:
        end()
    assert len(results) == 3
    assert base.flags.writeable
    assert view.flags.writeable


def test_large_array_changed_through_another_view() -> None:
    """A view made before the trace could still write; NumPy would have used the content of the moment."""
    w = np.ones(LARGE)
    view = w[:]

    def f(x: Any) -> Any:
        y = np.sum(x * w)
        view[:] = 5.0
        return y + np.sum(x * w)

    assert grad_at(f) == 6 * LARGE


def test_argument_changed_through_the_closure() -> None:
    """The differentiated array itself cannot be written to while it is traced, and can be afterwards."""
    x = np.ones(3)

    def f(t: Any) -> Any:
        y = np.sum(t * t)
        x[:] = 7.0
        return y

    with pytest.raises(ValueError, match="read-only") as caught:
        gl.value_and_grad(f)(x)
    assert "write-protected while a function of it is traced" in caught.value.__notes__[0]
    x[:] = 2.0
    assert x[0] == 2.0


def test_same_array_captured_twice_is_one_input() -> None:
    """Captured arrays are found again."""
    w = np.ones(LARGE)
    v = np.ones(4)
    graph = gl.make_graph(lambda x: np.sum(x * w + w) + np.sum(v * x * v))(2.0)
    assert len(graph.inputs) == 3


def test_lists_as_operands() -> None:
    """Lists and tuples of numbers are operands, as in NumPy; those of tensors are not."""
    np.testing.assert_array_equal(grad_at(lambda x: np.sum(x * [1.0, 2.0, 3.0]), X), [1.0, 2.0, 3.0])
    np.testing.assert_array_equal(grad_at(lambda x: np.sum((1, 2, 3) * x), X), [1.0, 2.0, 3.0])
    np.testing.assert_array_equal(grad_at(lambda x: [[1, 0, 2], [3, 0, 0]][1] @ x, X), [3.0, 0.0, 0.0])
    np.testing.assert_array_equal(grad_at(lambda x: np.sum(x * (x > [0, 0, 5])), X), [1.0, 0.0, 0.0])
    for bad in (lambda x: x * [x[0], 1.0, 2.0], lambda x: x * [[1.0], [1.0, 2.0]], lambda x: x * ["a", "b", "c"]):
        with pytest.raises(ArgumentError, match="cannot take a value of this kind"):
            grad_at(bad, X)


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


# -- conversions that would lose a gradient ----------------------------------------------------

CONVERSIONS = {
    "float": float,
    "int": int,
    "complex": complex,
    "np.asarray": np.asarray,
    "np.array": np.array,
    "np.array of a list": lambda t: np.array([t, t]),
    "np.array of nested lists": lambda t: np.array([[t], [1.0]]),
    "np.float64": np.float64,
    "np.float32": np.float32,
    "math.sin": math.sin,
    "math.sqrt": math.sqrt,
    "math.isnan": math.isnan,
    "math.floor": math.floor,
    "math.trunc": math.trunc,
    "math.fsum": lambda t: math.fsum([t, t]),
    "math.hypot": lambda t: math.hypot(t, 1.0),
    "item": lambda t: t.item(),
    "tolist": lambda t: t.tolist(),
    "format": lambda t: f"{t:.3f}",
    "percent": lambda t: "%f" % t,  # noqa: UP031
    "ndarray += t": lambda t: np.zeros(3).__iadd__(t),
    "ndarray[:] = t": lambda t: np.zeros(3).__setitem__(slice(None), t),
    "out": lambda t: np.add(t, 1.0, out=np.zeros(3)),
    "np.full": lambda t: np.full(3, t),
    "pickle": pickle.dumps,
    "random": lambda t: np.random.default_rng(0).normal(t),
    "np.vectorize": lambda t: np.vectorize(lambda v: v)(t),
    "arange": lambda t: np.arange(0.0, t, 1.0),
}


@pytest.mark.parametrize("conversion", CONVERSIONS)
@pytest.mark.parametrize("transform", ["grad", "jvp", "vjp", "jacobian", "nested"])
def test_losing_conversions_raise(conversion: str, transform: str) -> None:
    """Wherever a value is being differentiated, with the user's line and a remedy."""
    convert = CONVERSIONS[conversion]

    def f(x: Any) -> Any:
        convert(x * 2.0)
        return x * 1.0

    runs = {
        "grad": lambda: gl.grad(f)(2.0),
        "jvp": lambda: gl.jvp(f, (2.0,), (1.0,)),
        "vjp": lambda: gl.vjp(f, 2.0),
        "jacobian": lambda: gl.jacobian(f)(2.0),
        "nested": lambda: gl.grad(lambda x: gl.grad(lambda y: y * f(x))(1.0))(2.0),
    }
    with pytest.raises(LostGradientError) as caught:
        runs[transform]()
    assert __file__ in caught.value.location
    assert caught.value.remedy


@pytest.mark.parametrize(
    "store", [lambda t: np.zeros(3).__setitem__(0, t), lambda t: np.zeros(3).fill(t), lambda t: np.fromiter([t], float)]
)
def test_storing_a_scalar_in_an_array(store: Any) -> None:
    """NumPy raises its own error here, caused by ours, which tells the line and the remedy."""
    with pytest.raises((LostGradientError, ValueError)) as caught:
        grad_at(lambda x: (store(x), x)[1])
    error = caught.value if isinstance(caught.value, LostGradientError) else caught.value.__cause__
    assert isinstance(error, LostGradientError)
    assert __file__ in error.location
    assert "np.stack" in error.remedy


@pytest.mark.parametrize("convert", [json.dumps, decimal.Decimal, memoryview, bytes, range, lambda t: [1, 2, 3][t]])
def test_other_conversions_raise_too(convert: Any) -> None:
    """Python's own TypeErrors."""
    with pytest.raises(TypeError):
        grad_at(lambda x: (convert(x), x)[1])


def test_attributes_of_arrays_that_tensors_lack() -> None:
    """The error says what to write instead; what arrays lack too has Python's own error."""

    def f(x: Any) -> Any:
        assert not hasattr(x, "tobytes")
        with pytest.raises(MissingAttributeError) as caught:
            x.view(np.int64)
        assert caught.value.op == "view"
        assert "astype" in str(caught.value.remedy)
        assert caught.value.location.startswith(__file__)
        with pytest.raises(AttributeError, match="'Tensor' object has no attribute 'summ'"):
            x.summ()
        return np.sum(x)

    gl.grad(f)(X)


def test_harmless_protocols() -> None:
    """hash, is, copy, repr and use as a dict key work and cost nothing."""

    def f(x: Any) -> Any:
        y = x * 2.0
        assert hash(y) == hash(y)
        assert {y: 1}[y] == 1
        assert "float64" in repr(y) == str(y)
        assert f"{y}" == str(y)
        z = copy.copy(y)
        w = copy.deepcopy([y])[0]
        z += 1.0
        assert y is not z
        assert z is not None
        assert (y == None) is False  # noqa: E711
        assert (y != "text") is True
        return y + z + w + y.copy()

    assert gl.value_and_grad(f)(3.0) == (25.0, 8.0)


def test_length_and_iteration_of_scalars_raise_as_in_numpy() -> None:
    """0-d tensors have no length."""
    for f in (len, iter, list, lambda t: t[0]):
        with pytest.raises((TypeError, IndexError)):
            grad_at(lambda x, f=f: (f(x), x)[1])


def test_truth_of_an_array_raises_as_in_numpy() -> None:
    """More than one element has no truth."""
    with pytest.raises(ValueError, match="truth value of an array"):
        grad_at(lambda x: np.sum(x) if x > 0 else np.sum(-x), X)


# -- leaks -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "use",
    [
        lambda t: t + 1.0,
        lambda t: -t,
        lambda t: np.sin(t),
        lambda t: X * t,
        lambda t: t[0],
        lambda t: t.reshape(-1),
        lambda t: bool(t),
        lambda t: float(t),
        lambda t: np.asarray(t),
        lambda t: gl.grad(lambda x: x * t)(2.0),
        lambda t: gl.elementwise_grad(lambda x: x * x)(t),
        lambda t: gl.jit(lambda x: x * x)(t),
        lambda t: gl.vmap(lambda x: x * x)(t),
        lambda t: gl.compute(gl.tensor(1.0) * t),
    ],
)
def test_leaked_tensors_raise(use: Any) -> None:
    """A tensor used after its trace says so, in every way of using it."""
    leaked = []
    gl.grad(lambda x: leaked.append(x * 2.0) or np.sum(x))(np.ones(1))
    with pytest.raises(TraceEndedError, match="a tensor was used after the trace that made it had ended") as caught:
        use(leaked[0])
    assert __file__ in caught.value.location


def test_inner_tensor_used_in_the_outer_trace() -> None:
    """A tensor that escapes an inner gradient is refused in the outer one."""

    def f(x: Any) -> Any:
        escaped = []
        gl.grad(lambda y: escaped.append(y * 2.0) or y * x)(1.0)
        return x * escaped[0]

    with pytest.raises(TraceEndedError):
        grad_at(f)


def test_returning_a_leaked_tensor() -> None:
    """As an output of another gradient, too."""
    leaked = []
    grad_at(lambda x: leaked.append(x) or x * 1.0)
    with pytest.raises(TraceEndedError):
        grad_at(lambda x: leaked[0])


def test_exceptions_inside_leave_nothing_behind() -> None:
    """The user's exception comes through as it is, and the next call works."""

    class OwnError(Exception):
        pass

    def f(x: Any, fail: bool) -> Any:
        y = np.sin(x)
        if fail:
            raise OwnError("inside")
        return y

    for transform in (gl.grad(f), gl.jit(f, static_argnums=1), gl.grad(gl.grad(f)), gl.jacobian(f)):
        before = transform(0.5, False)
        with pytest.raises(OwnError, match="inside") as caught:
            transform(0.5, True)
        assert caught.value.__context__ is None
        assert transform(0.5, False) == before


# -- interleaving ------------------------------------------------------------------------------


def test_generators_interleave_traces() -> None:
    """Two traces advance in turn: there is no current trace."""

    def stepwise(scale: float, log: list[Any]) -> Iterator[None]:
        """Run a gradient whose function hands control back in the middle, by a nested generator."""

        def f(x: Any) -> Any:
            log.append(x * scale)
            other = log_other.pop() if log_other else None
            assert other is None
            return np.sin(x) * scale

        log_other: list[Any] = []
        yield
        log.append(gl.grad(f)(0.5))
        yield

    logs: tuple[list[Any], list[Any]] = ([], [])
    for _ in zip(stepwise(2.0, logs[0]), stepwise(3.0, logs[1]), strict=True):
        pass
    np.testing.assert_allclose([logs[0][-1], logs[1][-1]], [2 * np.cos(0.5), 3 * np.cos(0.5)])


def test_generator_inside_a_traced_function_driven_from_two_traces() -> None:
    """A generator that computes with the tensors of one trace while another one runs."""

    def powers(x: Any) -> Iterator[Any]:
        y = x
        while True:
            yield y
            y = y * x

    def outer(x: Any) -> Any:
        stream = powers(x)
        first = next(stream)

        def inner(y: Any) -> Any:
            return y * y * next(stream)  # x^2, made while the inner trace runs

        slope = gl.grad(inner)(first)  # 2 x * x^2
        return slope + next(stream)  # 2 x^3 + x^3

    assert gl.value_and_grad(outer)(2.0) == (24.0, 36.0)


def test_asyncio_tasks_interleave_gradients() -> None:
    """Tasks that switch between gradients, each with its own scheduler context."""

    async def work(k: int) -> Any:
        with gl.scheduler("serial"), gl.backend("numpy"):
            total = 0.0
            for i in range(20):
                await asyncio.sleep(0)
                total += gl.grad(lambda x, i=i: np.sin(x * k) * i)(0.1)
                await asyncio.sleep(0)
            return total

    async def main() -> list[Any]:
        return await asyncio.gather(*[work(k) for k in range(8)])

    found = asyncio.run(main())
    np.testing.assert_allclose(found, [sum(k * np.cos(0.1 * k) * i for i in range(20)) for k in range(8)], rtol=1e-13)


def test_tensors_of_two_running_traces_mix() -> None:
    """The inner trace captures the outer tensor, whatever the order of the operands."""
    assert grad_at(lambda x: gl.grad(lambda y: x * y - y / x)(3.0)) == 1.0 + 1 / 4
    assert grad_at(lambda x: gl.grad(lambda y: np.where(x > y, x * y, y))(1.0)) == 1.0


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
