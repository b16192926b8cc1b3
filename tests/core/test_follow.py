"""Traces that follow what the latest one of their function recorded: the same bits, whatever changes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom.follow import FollowingTrace
from gradloom.program import programs
from gradloom.trace import Trace

X = np.array([0.5, -1.25, 2.0])


def nodes_made(call: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> int:
    """Return how many nodes are made rather than followed while a call traces."""
    made = []
    append = Trace.append

    def counting(self: Trace, *args: Any) -> int:
        made.append(args)
        return append(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Trace, "append", counting)
        call()
    return len(made)


def test_the_second_call_makes_no_node(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inputs, captured arrays, numbers, several outputs and nested gradients are all followed."""
    closed_over = np.array([1.0, 2.0, 3.0])

    def f(x: Any, y: Any) -> Any:
        u, _, v = np.linalg.svd(np.stack([x * 2.0, closed_over * x, x - y]))
        inner = gl.grad(lambda z: np.sum(np.sin(z) * y))
        return np.sum((u @ v) ** 2) / 34 + np.sum(np.where(x > 0, x, 0.0) * 1.5) + np.sum(inner(x))

    gradient = gl.value_and_grad(f, (0, 1))
    first = gradient(X, X + 1)
    assert nodes_made(lambda: gradient(X, X + 1), monkeypatch) > 0  # `inner` is a new function each time
    second = gradient(X, X + 1)
    assert first[0] == second[0]
    np.testing.assert_array_equal(first[1], second[1])

    plain = gl.grad(lambda x: np.sum(np.sin(x) * 2.0 + closed_over * x) / 34)
    plain(X)
    assert nodes_made(lambda: plain(X * 3), monkeypatch) == 0
    np.testing.assert_allclose(plain(X * 3), (np.cos(X * 3) * 2.0 + closed_over) / 34)


@pytest.mark.parametrize(
    "variants",
    [
        pytest.param([lambda x: x + 1.0, lambda x: x * 1.0, lambda x: x - x], id="another op"),
        pytest.param([lambda x: x * x, lambda x: x * x * x, lambda x: x], id="longer and shorter"),
        pytest.param(
            [lambda x: x * 2.0 * 2.0, lambda x: x * 2.0 * 3.0, lambda x: x * 2 * 2.0], id="numbers that differ"
        ),
        pytest.param([lambda x: x * 2, lambda x: x * True, lambda x: x * 2.0, lambda x: x * 2j], id="kinds of number"),
        pytest.param([lambda x: np.sum(x, 0), lambda x: np.sum(x, 0, keepdims=True)], id="attrs"),
        pytest.param([lambda x: x * X, lambda x: x * np.float32(2), lambda x: x * X.astype("f4")], id="arrays"),
        pytest.param([lambda x: x * 0.0, lambda x: x * -0.0, lambda x: x * float("nan")], id="zeros and NaN"),
        pytest.param([lambda x: np.exp(x), lambda x: [np.exp(x), np.cos(x)][0]], id="unused nodes"),
        pytest.param([lambda x: np.exp(x) + np.cos(x), lambda x: [np.exp(x), np.cos(x)][0]], id="another output"),
    ],
)
@pytest.mark.parametrize("x", [X, X.astype("f4"), 0.75, np.float64(0.75), np.array(0.75)], ids=repr)
def test_changing_its_mind(variants: list[Callable[[Any], Any]], x: Any) -> None:
    """A function that does something else at each call has the value and gradient of a fresh one."""
    current = variants[0]

    def real_sum(f: Callable[[Any], Any], x: Any) -> Any:
        return np.sum(np.real(f(x)))

    gradient = gl.value_and_grad(lambda x: real_sum(current, x))
    for k in (0, 0, 1, 1, 0, -1, -1, 1, 0, -1):
        current = variants[k]
        if k == 1:
            programs.clear()
        value, slope = gradient(x)
        fresh_value, fresh_slope = gl.value_and_grad(lambda x, f=current: real_sum(f, x))(x)
        for got, expected in ((value, fresh_value), (slope, fresh_slope)):
            assert got.dtype == expected.dtype
            np.testing.assert_array_equal(np.copysign(1, got), np.copysign(1, expected))
            np.testing.assert_array_equal(got, expected)


def test_arguments_of_another_kind() -> None:
    """A recording of float64 serves no float32, and none of another shape."""
    gradient = gl.grad(lambda x: np.sum(np.sin(x) * 2.0))
    for x in (X, X.astype("f4"), X[:2], 0.5, X, np.float32(0.5), np.zeros((0, 3)), X):
        found = gradient(x)
        assert np.shape(found) == np.shape(x)
        assert found.dtype == np.result_type(x)
        np.testing.assert_allclose(found, np.cos(x) * 2.0, rtol=1e-6)


def test_weak_and_strong_scalars_are_told_apart() -> None:
    """The same ops by operators (weak) and by NumPy functions (strong) promote float32 differently."""
    single = np.ones(3, "f4")
    functions = [lambda x: x * 2.0 * single, lambda x: np.multiply(x, 2.0) * single]
    for order in ([0, 1, 0, 0, 1, 1], [1, 0, 1, 1, 0]):
        seen: list[Any] = []
        chosen = [0]

        def f(x: Any, seen: list[Any] = seen, chosen: list[int] = chosen) -> Any:
            out = functions[chosen[0]](x)
            seen.append(out.dtype)
            return np.sum(out)

        gradient = gl.grad(f)
        for chosen[0] in order:
            gradient(0.5)
        assert seen == [np.dtype("f4") if k == 0 else np.dtype("f8") for k in order]


def test_errors_name_the_line_of_this_call() -> None:
    """Two lines that record the same node are two sources."""
    upper = [True]

    def f(x: Any) -> Any:
        if upper[0]:
            y = np.linalg.inv(x)
        else:
            y = np.linalg.inv(x)  # the same, three lines later
        return np.sum(y)

    gradient = gl.grad(f)
    first = f.__code__.co_firstlineno
    notes = []
    gradient(np.eye(2))
    for upper[0] in (True, False, True, False):
        with pytest.raises(np.linalg.LinAlgError) as caught:
            gradient(np.zeros((2, 2)))
        notes.append(caught.value.__notes__[0].rsplit(":", 1)[1])
    assert notes == [str(first + 2), str(first + 4)] * 2


def test_raising_half_way_leaves_the_recording_as_it_was() -> None:
    """An exception in the function, or a tensor that leaks, does not disturb the next call."""
    leaked: list[Any] = []
    fails = False

    def f(x: Any) -> Any:
        y = np.sin(x) * 2.0
        leaked.append(y)
        if fails:
            raise KeyError("own")
        return np.sum(y * y)

    gradient = gl.grad(f)
    expected = gradient(X)
    for fails in (True, False, True, False, False):
        if fails:
            with pytest.raises(KeyError):
                gradient(X)
        else:
            np.testing.assert_array_equal(gradient(X), expected)
        with pytest.raises(gl.errors.TraceEndedError):
            leaked[-1] + 1.0


def test_changing_numbers_are_read_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """A number that changes at each call becomes an input; the trace is followed all the same."""
    rate = 0.0
    gradient = gl.grad(lambda x: np.sum(np.sin(x) * rate))
    for rate in (0.5, 1.5, 2.5):
        np.testing.assert_array_equal(gradient(X), np.cos(X) * rate)
    rate = 3.5
    assert nodes_made(lambda: gradient(X), monkeypatch) == 0
    np.testing.assert_array_equal(gradient(X), np.cos(X) * rate)


def test_threads_follow_one_recording() -> None:
    """Threads that call one function with different branches get what a serial caller gets."""
    gradient = gl.grad(lambda x, k: np.sum(np.sin(x) * x if k % 2 else np.cos(x) + x * float(k)))
    expected = {k: gradient(X, k) for k in range(8)}
    wrong: list[int] = []

    def work(k: int) -> None:
        wrong.extend(k for _ in range(200) if not np.array_equal(gradient(X, k), expected[k]))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_recordings_live_no_longer_than_their_programs() -> None:
    """What the cache forgets is not followed any more."""
    kinds: list[type] = []

    def f(x: Any) -> Any:
        kinds.append(type(x._trace))
        return np.sum(np.sin(x))

    gradient = gl.grad(f)
    gradient(X)
    gradient(X)
    programs.clear()
    gradient(X)
    gradient(X)
    assert kinds == [Trace, FollowingTrace, Trace, FollowingTrace]
