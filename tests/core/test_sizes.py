"""One trace serves all lengths that a function does not ask for; and it is what tracing anew would give."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.core.test_polymorphic import SHAPES, assert_same, gradients
from tests.core.test_random_programs import INSTRUCTIONS

import gradloom as gl
from gradloom import sizes
from gradloom.compiler import compiler_for
from gradloom.errors import ShapeError
from gradloom.polymorphic import Polymorphic
from gradloom.program import _prepare
from gradloom.pytree import flatten
from gradloom.sizes import TRIES, AnySize, General
from gradloom.structure import Structure
from gradloom.symbolic import Symbolic
from gradloom.tracing import Traced, leaf_specs, trace_abstractly

RATE = 0.5
rng = np.random.default_rng(5)


@pytest.fixture(autouse=True)
def small_ones_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let small traces be worth the work."""
    monkeypatch.setattr(sizes, "LARGE", 0)


class Tracing:
    """Traces of a function, and how often it ran."""

    def __init__(self, f: Callable[..., Any]) -> None:
        self.f = f
        self.count = 0
        self.any_size = AnySize()

    def __call__(self, *args: Any) -> Any:
        leaves, structure = flatten((args, {}))

        def trace(specs: Any) -> Traced:
            self.count += 1
            return trace_abstractly("jit", self.f, structure, specs, leaves)

        return self.any_size.trace((), leaf_specs("jit", structure, leaves), trace, lambda: ()).graph


@settings(max_examples=25)
@given(INSTRUCTIONS, st.lists(st.sampled_from(SHAPES), min_size=3, max_size=6, unique=True))
def test_random_programs(program: Any, shapes: list[tuple[int, int]]) -> None:
    """After other shapes comes out what tracing gives."""
    for f in gradients(program):
        tracing = Tracing(f)
        for shape in shapes:
            args = np.zeros(shape), np.zeros(shape[1])
            assert_same(tracing(*args), Tracing(f)(*args))


@pytest.fixture
def traces(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return the shapes for which functions run under jit."""
    found: list[Any] = []

    def noted(transform: str, f: Any, structure: Any, specs: Any, leaves: Any) -> Any:
        found.append([np.shape(leaf) for leaf in leaves])
        return trace_abstractly(transform, f, structure, specs, leaves)

    monkeypatch.setattr(sys.modules["gradloom.jit"], "trace_abstractly", noted)
    return found


def steps(w: Any, xs: Any) -> Any:
    """Return a loss that asks for no length."""
    h = np.zeros_like(xs[0])
    for t in range(4):
        h = np.tanh(xs[t] @ w + h)
    differences = np.mean((h[:, 1:] - h[..., :-1]) ** 2) + np.mean((h[1:] - h[:-1]) ** 2)
    return differences + np.sum(np.max(h, axis=1)) + np.sum(h[0]) + np.sum(h[-3:])


def halves(w: Any, xs: Any) -> Any:
    """Return a loss that asks for the number of samples."""
    n = xs.shape[1]
    return np.sum(xs[:, : n // 2] @ w) + np.mean(xs) * n


def widths(w: Any, xs: Any) -> Any:
    """Return a loss that asks for the number of features alone."""
    return np.sum(np.tanh(xs @ w)) / np.sqrt(w.shape[0])


@pytest.mark.parametrize(("f", "again"), [(steps, 0), (halves, 4 + TRIES), (widths, 0)])
def test_traced_twice(f: Callable[..., Any], again: int, traces: list[Any]) -> None:
    """A function that does not ask for what varies runs for two shapes; values and gradients are right for all."""
    compiled = gl.jit(gl.value_and_grad(f))
    w = rng.normal(size=(3, 3))
    for n in (10, 19, 12, 15, 23, 50):
        xs = rng.normal(size=(4, n, 3))
        expected, slope = gl.value_and_grad(f)(w, xs)
        for _ in range(2):
            value, gradient = compiled(w, xs)
            np.testing.assert_allclose(value, expected, rtol=1e-12)
            np.testing.assert_allclose(gradient, slope, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(value, f(w, xs), rtol=1e-12)
    assert len(traces) == 2 + again


def test_nothing_is_asked_of_it_later() -> None:
    """What decides which graph it is among others is known before there are graphs of other lengths."""

    def f(x: Any) -> Any:
        return np.sum(x[-3:] * 6.0) + np.sum(x[:6] @ x[:3]) + np.mean(x[4:]) + np.sum(x[:-4])

    found = 0
    for sizes_of_x in ((11, 12, 14, 20), (19, 16, 10), (7, 8, 9, 10, 13)):
        tracing = Tracing(gl.value_and_grad(f))
        for n in sizes_of_x:
            graph = tracing(np.zeros((n, 3)))
            if graph.pattern is None:
                continue
            found += 1
            (guards,) = {
                s.guards for spec in graph.pattern.graph.input_specs() for s in spec.shape if type(s) is Symbolic
            }
            asked = len(guards.asked)
            prepared = Polymorphic(_prepare)(graph, "numpy", compiler_for("numpy"))
            assert len(guards.asked) == asked
            plain = Tracing(tracing.f)(np.zeros((n, 3)))
            assert_same(prepared, _prepare(plain, "numpy", compiler_for("numpy")))
    assert found > 2


def test_small_traces(traces: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """What is traced at once is traced for each shape."""

    def f(x: Any, steps: int) -> Any:
        for _ in range(steps):
            x = np.sin(x) + 1.0
        return np.sum(x)

    for large, count in ((40, 2), (60, 5)):
        monkeypatch.setattr(sizes, "LARGE", large)
        traces.clear()
        compiled = gl.jit(f, static_argnums=1)
        for n in (5, 6, 7, 8, 9):
            compiled(np.ones(n), 20)
        assert len(traces) == count


def test_other_axes(traces: list[Any]) -> None:
    """All axes may vary; those that are equal by chance, or 1, are another matter."""

    def f(x: Any, w: Any) -> Any:
        return np.sum(np.tanh(x @ w))

    compiled = gl.jit(f)
    sizes = [(5, 7, 11), (6, 8, 12), (9, 7, 13), (7, 7, 11), (9, 9, 12), (8, 8, 5), (1, 7, 11), (1, 8, 3), (0, 7, 11)]
    for (samples, features, width), count in zip(sizes, [1, 2, 2, 3, 4, 4, 5, 6, 7], strict=True):
        x, w = rng.normal(size=(samples, features)), rng.normal(size=(features, width))
        np.testing.assert_allclose(compiled(x, w), f(x, w), rtol=1e-12)
        assert len(traces) == count


def test_what_it_reads_has_changed(traces: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A new shape sees what the function reads as it is."""
    here = __import__(__name__, fromlist=["RATE"])
    offset = np.zeros(3)
    compiled = gl.jit(lambda x: np.sum(RATE * x + offset))
    for n in (5, 6, 7):
        assert compiled(np.ones((n, 3))) == 1.5 * n
    assert len(traces) == 2
    monkeypatch.setattr(here, "RATE", 2.0)
    for n, count in ((8, 3), (9, 4), (10, 4)):
        assert compiled(np.ones((n, 3))) == 6.0 * n
        assert len(traces) == count
    offset += 1.0
    assert compiled(np.ones((11, 3))) == 99.0
    assert len(traces) == 5


def test_arrays_that_take_the_place_of_others(traces: list[Any]) -> None:
    """An array of the same content is another one: what is written into it later shows."""
    held = [np.ones(3)]
    compiled = gl.jit(lambda x: np.sum(held[0] * x))
    for n in (5, 6, 7):
        assert compiled(np.ones((n, 3))) == 3.0 * n
    held[0] = np.ones(3)
    assert compiled(np.ones((8, 3))) == 24.0
    held[0][:] = 2.0
    assert compiled(np.ones((8, 3))) == 48.0


def test_what_cannot_be_seen(traces: list[Any]) -> None:
    """A function that gives other arrays where it runs again runs for each shape; constants are no such."""
    moments = [1.0]

    def clock() -> Any:
        moments.append(moments[-1] + 1.0)
        return np.array([moments[-1], np.nan])

    # As a class of a library, which nobody looks into.
    hidden: Any = type("Hidden", (), {"__module__": "numpy", "read": staticmethod(clock)})
    compiled = gl.jit(lambda x: np.nansum(x * hidden.read()))
    assert [compiled(np.ones((n, 2))) for n in (3, 4, 5, 6)] == [6.0, 16.0, 25.0, 36.0]
    assert len(traces) == 5
    del traces[:]
    compiled = gl.jit(lambda x: np.sum(x * np.arange(3) * np.float64(2.0)) + np.eye(3)[1] @ x[0])
    assert [compiled(np.ones((n, 3))) for n in (2, 4, 5, 6)] == [13.0, 25.0, 31.0, 37.0]
    assert len(traces) == 2


def test_many_numbers() -> None:
    """What is asked about numbers grows as they do, although none of them may be equal to another one by chance."""

    def questions(count: int) -> int:
        def f(x: Any) -> Any:
            return sum(np.mean(x[k:]) * (k + 0.37) for k in range(count))

        leaves, structure = flatten(((np.zeros((200, 3)),), {}))
        specs = leaf_specs("jit", structure, leaves)
        places = Structure()
        list(map(places.spec, specs))
        trace = partial(trace_abstractly, "jit", f, structure, leaves=leaves)
        return len(General.of(places, specs, trace, ())._result._guards.asked)

    assert questions(80) < 2.5 * questions(40)


def test_equal_by_chance() -> None:
    """Where a number of lengths equals another one, they are one literal."""
    tracing = Tracing(lambda x: np.sum(x) / 7.0 + np.mean(x) * 21.0 + np.mean(x[1:]))
    for n in (10, 11, 7, 8, 21, 22, 12, 13):
        assert_same(tracing(np.zeros(n)), Tracing(tracing.f)(np.zeros(n)))


def test_what_cannot_be_told_is_not_asked_for_again() -> None:
    """Looking at thousands of values takes as long as a small trace."""
    asked: list[int] = []
    any_size = AnySize()
    for n in (3, 4, 5, 6, 7):
        leaves, structure = flatten(((np.zeros(n),), {}))
        trace = partial(trace_abstractly, "jit", np.sin, structure, leaves=leaves)
        any_size.trace((), leaf_specs("jit", structure, leaves), trace, lambda n=n: asked.append(n))  # type: ignore[misc]
    assert asked == [3, 4]


def test_static_arguments(traces: list[Any]) -> None:
    """Each static argument has its own traces."""
    compiled = gl.jit(lambda x, k: np.sum(x) * k, static_argnums=1)
    for n in (3, 4, 5, 6):
        for k in (2, 3):
            assert compiled(np.ones(n), k) == n * k
    assert len(traces) == 4


@dataclass
class Parameters:
    """Parameters with a method, which may read anything."""

    weight: Any

    def scaled(self) -> Any:
        """Return the weight, scaled."""
        return self.weight * RATE


def test_containers_of_the_user(traces: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """What methods of arguments read is not seen: each shape is traced."""
    here = __import__(__name__, fromlist=["RATE"])
    compiled = gl.jit(lambda p: np.sum(p.scaled()))
    for k, n in enumerate((3, 4, 5, 6)):
        monkeypatch.setattr(here, "RATE", k + 1.0)
        assert compiled(Parameters(np.ones(n))) == n * (k + 1.0)
    assert len(traces) == 4


def test_errors_are_those_of_plain_lengths() -> None:
    """What does not fit is refused as at the first call."""

    def f(x: Any, y: Any) -> Any:
        return np.sum(x * y)

    compiled = gl.jit(f)
    for n in (3, 4, 5):
        assert compiled(np.ones(n), np.ones(n)) == n
    for m, n in ((7, 8), (9, 10), (11, 12)):
        messages = []
        for g in (compiled, gl.jit(f)):
            with pytest.raises(ShapeError) as raised:
                g(np.ones(m), np.ones(n))
            messages.append(str(raised.value))
        assert messages[0] == messages[1]
        assert f"{m}" in messages[0]


def test_the_user_sees_plain_lengths() -> None:
    """In whatever a function calls, lengths are ints."""
    kinds: list[Any] = []

    def inner(x: Any) -> Any:
        kinds.extend([type(n) for n in (*x.shape, x.size, x.nbytes, len(x), x.__len__(), *np.shape(x), np.size(x))])
        assert "Symbolic" not in repr(x)
        return np.sum(x * len(x))

    def f(x: Any) -> Any:
        return np.sum(gl.vmap(inner)(x)) + gl.grad(inner)(x)[0, 0] + gl.jit(inner)(x)

    tracing = Tracing(f)
    for shape in ((3, 4), (5, 6), (7, 8), (9, 6)):
        tracing(np.zeros(shape))
    assert set(kinds) == {int}


@pytest.mark.parametrize("wrap", [gl.jit, lambda f: lambda x: gl.jit(f)(x) + 0.0, lambda f: gl.jit(gl.jit(f))])
def test_nested(wrap: Callable[..., Any]) -> None:
    """Under grad, vmap and another jit, with tensors of traces around them, values and gradients are right."""
    for outer in (lambda f: f, gl.jit):
        f = wrap(lambda x: np.sum(np.sin(x) ** 2) / 3.0)
        gradient = outer(gl.grad(lambda x, f=f: f(x * x)))
        rows = outer(gl.vmap(f))
        for n in (3, 4, 5, 6, 7):
            x = rng.normal(size=n)
            np.testing.assert_allclose(gradient(x), 2 * np.sin(x * x) * np.cos(x * x) * 2 * x / 3, rtol=1e-12)
            batch = rng.normal(size=(2, n))
            np.testing.assert_allclose(rows(batch), np.sum(np.sin(batch) ** 2, 1) / 3, rtol=1e-12)


def test_tensors_of_a_trace_around_it() -> None:
    """A function that closes over a tensor is traced for each call."""

    def loss(a: Any, x: Any) -> Any:
        compiled = gl.jit(lambda y: np.sum(a * y * y))
        return sum(compiled(x[:n]) for n in (2, 3, 4, 5))

    x = rng.normal(size=6)
    expected = sum(np.sum(x[:n] ** 2) for n in (2, 3, 4, 5))
    for _ in range(2):
        np.testing.assert_allclose(gl.grad(loss)(2.0, x), expected, rtol=1e-12)


def test_threads() -> None:
    """Threads that come with new shapes at once get their own."""
    compiled = gl.jit(gl.value_and_grad(steps))
    w = rng.normal(size=(3, 3))
    failures: list[Any] = []

    def work(first: int) -> None:
        try:
            for n in range(first, first + 12):
                xs = np.random.default_rng(n).normal(size=(4, n, 3))
                np.testing.assert_allclose(compiled(w, xs)[0], steps(w, xs), rtol=1e-12)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(k,)) for k in (4, 5, 8, 11)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
