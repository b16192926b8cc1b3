"""Memory: what a gradient holds while it runs, and what is left when it is done."""

from __future__ import annotations

import contextlib
import gc
import time
import tracemalloc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom import ahead
from gradloom.program import programs

X = np.array([0.5, -1.25, 2.0])
LARGE = 200_000  # elements: 1.6 MB


@pytest.fixture(autouse=True)
def _without_collector() -> Iterator[None]:
    """Run each test with the garbage collector off: only reference counts free memory."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def peak(run: Callable[[], Any]) -> int:
    """Return the bytes allocated at the worst moment of a call, beyond those before it."""
    for _ in range(3):  # plans and code are cached now
        run()
    tracemalloc.start()
    try:
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        result = run()
        del result
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("jitted", [False, True], ids=["traced", "jit"])
@pytest.mark.parametrize(
    ("op", "kept"),
    [
        # Per op: what its pullback needs, beside cotangent, next value and one temporary.
        (lambda y: np.tanh(y), 1),  # the output
        (lambda y: np.exp(-y), 1),  # the output of exp; that of negative is dropped
        (lambda y: np.sin(y), 1),  # the input
        (lambda y: y * 1.01 + 0.1, 0),  # nothing
        (lambda y: y * y, 1),  # the input
        (lambda y: np.reshape(np.reshape(y, (-1, 2)).T, -1) * 0.5, 0),  # views and copies of no use later
    ],
    ids=["tanh", "exp", "sin", "affine", "square", "views"],
)
def test_peak_of_a_chain(op: Any, kept: int, jitted: bool) -> None:
    """50 ops on 1.6 MB arrays: at most 1.1 times what the pullbacks need."""

    def f(x: Any) -> Any:
        y = x
        for _ in range(50):
            y = op(y)
        return np.sum(y)

    x = np.linspace(0.0, 0.5, LARGE)
    gradient = gl.grad(f)
    run = gl.jit(gradient) if jitted else gradient
    needed = (50 * kept + 4) * x.nbytes
    assert peak(lambda: run(x)) <= 1.1 * needed


def test_peak_of_forward_mode_does_not_grow_with_length() -> None:
    """A pushforward keeps nothing."""
    x = np.linspace(0.0, 0.5, LARGE)

    def chain(n: int) -> Callable[[], Any]:
        def f(x: Any) -> Any:
            for _ in range(n):
                x = np.tanh(x)
            return x

        return lambda: gl.jvp(f, (x,), (x,))

    assert peak(chain(50)) <= peak(chain(5)) + 0.5 * x.nbytes
    assert peak(chain(50)) <= 7 * x.nbytes


def test_indexing_in_a_loop_adds_into_one_array() -> None:
    """The gradient of reading n elements is one array, not n."""
    x = np.ones(20_000)
    f = lambda x: sum(x[k] * x[k + 1] for k in range(100))  # noqa: E731
    assert peak(lambda: gl.grad(f)(x)) <= 12 * x.nbytes


# -- nothing is left ---------------------------------------------------------------------------


def count(calls: int, run: Callable[[int], Any]) -> int:
    """Return how many more objects there are after some calls (warm before)."""
    for k in (*range(20), *range(20), *range(200)):
        run(k)
    ahead.wait()
    before = len(gc.get_objects())
    for k in range(calls):
        run(k)
    for _ in range(100):
        more = len(gc.get_objects()) - before
        if more <= 50:
            break
        time.sleep(0.05)  # other threads still hold what they were given to compile
    return more


def pullback_of(k: int) -> Any:
    """Run a pullback made elsewhere."""
    _, pullback = gl.vjp(lambda x: np.sin(x) * float(k), X)
    return pullback(X)


def with_branches(x: Any) -> Any:
    """Ask for values on the way."""
    y = x * 2.0
    while np.sum(y) < 10.0:
        y = y * 2.0
    return np.sum(y[: np.argmax(y) + 1])


@gl.custom_gradient
def clipped(x: Any) -> Any:
    """Return a sum with an own gradient."""
    return np.sum(np.sin(x)), lambda g: g * np.minimum(np.cos(x), 0.5)


def failing(k: int) -> Any:
    """Raise inside a traced function."""
    with contextlib.suppress(KeyError):
        gl.grad(lambda x: np.sum(x) * {}[k])(X)


def lazily(k: int) -> Any:
    """Build, differentiate and compute a lazy graph."""
    x = gl.tensor(X)
    y = np.sum(np.sin(x) * float(k))
    return gl.compute(y, *gl.gradients(y, [x]))


JITTED = gl.jit(gl.grad(lambda x, s: np.sum(np.sin(x) * s)))
RUNS: dict[str, Callable[[int], Any]] = {
    "grad": lambda k: gl.grad(lambda x: np.sum(np.sin(x) * 2.0))(X),
    "changing literal": lambda k: gl.grad(lambda x: np.sum(np.sin(x) * float(k)))(X),
    "changing captured array": lambda k: gl.grad(lambda x: np.sum(x * np.full(3, k)))(X),
    "large captured array": lambda k: gl.grad(lambda x: np.sum(x * np.full(5000, k)))(1.0),
    "values on demand": lambda k: gl.grad(with_branches)(X),
    "nested": lambda k: gl.grad(lambda x: np.sum(gl.grad(lambda y: np.sum(y**3 * x))(x)))(X),
    "hessian": lambda k: gl.hessian(lambda x: np.sum(x**3))(X),
    "vjp": pullback_of,
    "jvp": lambda k: gl.jvp(np.sin, (X,), (X,)),
    "vmap": lambda k: gl.vmap(lambda x: x * float(k))(X),
    "jit": lambda k: JITTED(X, float(k)),
    "new jit": lambda k: gl.jit(lambda x: x * float(k))(X),
    "custom_gradient": lambda k: gl.grad(clipped)(X),
    "aux and containers": lambda k: gl.grad(lambda p: (np.sum(p["a"]), {"b": p["a"]}), has_aux=True)({"a": X}),
    "exception": failing,
    "lazy": lazily,
}


@pytest.mark.parametrize("name", RUNS)
def test_object_count_is_flat(name: str) -> None:
    """1,000 calls leave no objects behind, without the collector's help."""
    assert count(1000, RUNS[name]) <= 50


@pytest.mark.slow
@pytest.mark.parametrize("name", ["grad", "changing literal", "values on demand"])
def test_object_count_is_flat_over_10_000_gradients(name: str) -> None:
    """The figure of the target."""
    assert count(10_000, RUNS[name]) <= 50


def test_custom_gradient_with_changing_constants_does_not_grow_without_bound() -> None:
    """Its graphs are attrs of an op, new ones for each constant: what is remembered of them is bounded."""
    from gradloom.op import MAX_KNOWN, get_op

    def run(k: int) -> Any:
        f = gl.custom_gradient(lambda x: (np.sum(x) * k, lambda g: g * k * np.ones(3)))
        return gl.grad(f)(X)

    for k in range(200):
        run(k)
    assert len(get_op("call").known) <= MAX_KNOWN
    assert programs._nodes <= programs._max_nodes


def test_arrays_are_released() -> None:
    """Arguments, captured arrays and results live as long as the user holds them."""
    for size in (3, 5000):
        x, box = np.ones(size), [np.ones(size)]
        refs = [weakref.ref(x), weakref.ref(box[0])]
        f = lambda x, box=box: x * box[0]  # noqa: E731
        value, gradient = gl.value_and_grad(lambda x, f=f: np.sum(f(x)))(x)
        _, pullback = gl.vjp(f, x)
        _, pushforward = gl.linearize(f, x)
        box.clear()
        del x, value, gradient
        assert [r() is None for r in refs] == [True, True]
        del pullback, pushforward


def test_pullback_holds_what_it_needs_and_no_more() -> None:
    """Linear functions keep nothing; exp keeps its output."""
    x = np.ones(LARGE)

    def held(f: Any) -> int:
        gl.vjp(f, x)
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            pullback = gl.vjp(f, x)[1]
            size = tracemalloc.get_traced_memory()[0] - before
            del pullback
            return size
        finally:
            tracemalloc.stop()

    assert held(lambda x: np.sum(x * 2.0 + 1.0)) < 0.1 * x.nbytes
    assert held(lambda x: np.exp(np.sin(np.sum(x)))) < 0.1 * x.nbytes
    assert held(lambda x: np.exp(x)) < 1.1 * x.nbytes
    assert held(lambda x: np.tanh(np.exp(x))) < 2.1 * x.nbytes


def test_lazy_graph_is_released_with_its_last_tensor() -> None:
    """Nothing holds a lazy graph but its tensors."""
    x = gl.tensor(X)
    y = np.sin(np.sin(x))

    def extend(k: int) -> Any:
        z = np.exp(y) * 2.0
        return gl.compute(*gl.gradients(np.sum(z), [x]))

    assert count(1000, extend) <= 50


def test_program_cache_is_bounded_by_nodes() -> None:
    """Structures that never repeat do not pile up beyond the bound."""
    assert programs._max_nodes <= 5_000_000
    programs.clear()
    for n in range(1, 60):
        gl.grad(lambda x, n=n: sum(x * k for k in range(1, n + 1)))(1.0)
    assert programs._nodes == sum(family.size for family in programs._families.values())
    programs.clear()
    assert programs._nodes == 0
