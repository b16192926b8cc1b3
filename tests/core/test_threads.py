"""Threads: traces, caches and plans shared by all, results those of one thread, bit for bit."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import gradloom as gl

X = np.array([0.5, -1.25, 2.0])
W = np.linspace(-1.0, 1.0, 4000)  # large enough to be write-protected while traced


def nested(k: int) -> Any:
    """Return a nested derivative that depends on a number, in value, structure and constants."""
    s = 0.01 * (k % 37)

    def inner(x: Any) -> Any:
        y = np.sin(x * s)
        for _ in range(k % 3):
            y = y * np.cos(x) + s
        return np.sum(y * y) + W[k % 4000] * np.sum(x)

    outer = (
        lambda x: np.sum(gl.grad(inner)(x) ** 2),
        lambda x: gl.jvp(inner, (x,), (x,))[1],
        lambda x: np.sum(gl.vjp(inner, x)[1](1.0)[0]),
    )[k % 3 - 1]
    return gl.grad(outer)(X + s)


def in_threads(count: int, work: Callable[[int], Any]) -> list[Any]:
    """Run work(0), ..., work(count - 1) at the same time, switching often."""
    barrier = threading.Barrier(count)

    def start(k: int) -> Any:
        barrier.wait()
        return work(k)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(count) as pool:
            return list(pool.map(start, range(count)))
    finally:
        sys.setswitchinterval(interval)


@pytest.mark.slow
def test_nested_gradients_equal_serial_ones() -> None:
    """32 threads x 1,000 nested gradients, through one cold program cache."""
    from gradloom.program import programs

    expected = [nested(k) for k in range(1000)]
    programs.clear()

    def work(thread: int) -> int:
        wrong = 0
        for i in range(1000):
            k = (i + 31 * thread) % 1000
            wrong += not np.array_equal(nested(k), expected[k])
        return wrong

    assert in_threads(32, work) == [0] * 32
    assert W.flags.writeable


def test_few_threads_with_changing_literals() -> None:
    """Lifting a literal in one thread while others look up the same structure."""

    def work(thread: int) -> list[Any]:
        return [gl.grad(lambda x, s=s: np.sum(np.sin(x * s) * thread))(X) for s in np.linspace(0, 1, 40).tolist()]

    for thread, found in enumerate(in_threads(8, work)):
        for s, gradient in zip(np.linspace(0, 1, 40).tolist(), found, strict=True):
            np.testing.assert_array_equal(gradient, np.cos(X * s) * thread * s)


def test_captured_array_shared_by_threads() -> None:
    """Write protection by several traces at once ends with the last: the array is writable after."""
    w = np.ones(5000)

    def work(thread: int) -> Any:
        return [gl.grad(lambda x: np.sum(x * w) * thread)(1.0) for _ in range(100)]

    for thread, found in enumerate(in_threads(8, work)):
        assert found == [5000.0 * thread] * 100
    assert w.flags.writeable
    w[0] = 1.0


def test_exceptions_in_one_thread_do_not_reach_others() -> None:
    """Half of the threads raise inside their traced functions."""
    w = np.ones(5000)
    wrong: list[Any] = []

    def work(thread: int) -> Any:
        def f(x: Any) -> Any:
            y = np.sum(x * w)
            if thread % 2:
                raise KeyError(thread)
            return y

        total = 0.0
        for _ in range(100):
            try:
                total += gl.grad(f)(1.0)
            except KeyError as error:
                wrong.extend(error.args if error.args != (thread,) else ())
        return total

    assert in_threads(8, work) == [0.0 if k % 2 else 5000.0 * 100 for k in range(8)]
    assert not wrong
    assert w.flags.writeable


def test_contexts_belong_to_their_thread() -> None:
    """A backend chosen in one thread does not show in another."""
    from gradloom.context import current_backend

    def work(thread: int) -> Any:
        if thread % 2:
            with gl.backend("numpy"):
                return [gl.grad(np.sin)(0.1 * thread), current_backend()]
        return [gl.grad(np.sin)(0.1 * thread), current_backend()]

    for thread, (gradient, name) in enumerate(in_threads(8, work)):
        assert gradient == np.cos(0.1 * thread)
        assert name == ("numpy" if thread % 2 else None)


def test_lazy_graph_shared_by_threads() -> None:
    """One graph, built once, computed by all."""
    x = gl.tensor(X)
    p = gl.tensor(shape=())
    y = np.sum(np.exp(x * p))

    def work(thread: int) -> Any:
        return [gl.compute(*gl.gradients(y, [x]), feed={p: 0.1 * (thread + i)})[0] for i in range(30)]

    for thread, found in enumerate(in_threads(8, work)):
        for i, gradient in enumerate(found):
            p_value = 0.1 * (thread + i)
            np.testing.assert_allclose(gradient, p_value * np.exp(X * p_value), rtol=1e-14)


def test_a_tensor_handed_to_another_thread() -> None:
    """A traced value may be used by a helper thread while its trace runs."""

    def f(x: Any) -> Any:
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(lambda: np.sum(np.sin(x) * 2.0)).result()

    np.testing.assert_allclose(gl.grad(f)(X), 2 * np.cos(X), rtol=1e-15)
