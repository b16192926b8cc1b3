"""Arrays that a traced function finds around it, and what it sees of their changes."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom.errors import ArgumentError

X = np.array([0.5, -1.25, 2.0])
LARGE = 5000  # elements: more than 16 KB, so write-protected instead of copied


def grad_at(f: Any, x: Any = 2.0) -> Any:
    """Return the gradient of a function at a point."""
    return gl.grad(f)(x)


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
