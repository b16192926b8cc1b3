"""Arguments of kernels: every layout, scalars, wrong shapes; memory, threads and forks."""

from __future__ import annotations

import gc
import os
import sys
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom import sharing
from gradloom.compiler import compilers
from gradloom.testing.backends import assert_same_bits
from gradloom.testing.compilers import outputs_of, several_outputs, threads_of_kernels
from gradloom.testing.sample import layouts, rng
from gradloom_llvm import kernel as kernel_module
from gradloom_llvm.kernel import Kernel

LLVM = compilers.get("llvm")
SHAPES = [
    ((5, 33), (33,), (5, 1), ()),
    ((1, 9), (9,), (1, 1), ()),
    ((7, 1), (1,), (7, 1), ()),
    ((2, 2), (2,), (2, 1), ()),
    ((300, 40), (40,), (300, 1), ()),
]
DTYPES = ["float64", "float32"]


class Sub(np.ndarray):
    """A subclass, whose instances are arrays like others."""


def more_layouts(array: Any) -> Iterator[tuple[str, Any]]:
    """Yield an array of each layout, among them some that hold a part of the values only."""
    yield from layouts(array)
    yield "swapped bytes", array.astype(array.dtype.newbyteorder())
    yield "subclass", array.view(Sub)
    record = np.zeros(array.shape, [("head", "i1"), ("value", array.dtype)])
    record["value"] = array
    yield "field of a record", record["value"]
    padded = np.zeros(array.shape, [("head", "f4"), ("value", array.dtype)])
    padded["value"] = array
    yield "steps of half elements", padded["value"]
    if array.ndim:
        yield "broadcast rows", np.broadcast_to(array[:1], array.shape)
        yield "broadcast columns", np.broadcast_to(array[..., :1], array.shape)
        yield "rows apart", np.repeat(array, 3, axis=0)[::3]
        yield "rows backwards", np.ascontiguousarray(array[::-1])[::-1]
        yield "frame around it", np.pad(array, 2)[tuple([slice(2, -2)] * array.ndim)]
        yield "every second, backwards", np.repeat(array, 2, axis=-1)[..., ::-2][..., ::-1]


NAMES = [name for name, _ in more_layouts(np.ones((2, 2)))]


def arrays_of(shapes: Any, dtype: str) -> list[Any]:
    """Return arrays of normal numbers."""
    return [np.asarray(rng(k).normal(size=shape), dtype) for k, shape in enumerate(shapes)]


@pytest.mark.parametrize("name", [*NAMES, "mixed"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shapes", SHAPES, ids=lambda shapes: "x".join(map(str, shapes[0])))
def test_layouts(name: str, dtype: str, shapes: Any) -> None:
    """A layout gives the bits of the C-ordered copy, and no input is changed."""
    arrays = arrays_of(shapes, dtype)
    graph = gl.make_graph(several_outputs)(*arrays)
    names = [NAMES[(7 * k + len(shapes[0])) % len(NAMES)] if name == "mixed" else name for k in range(4)]
    inputs = [dict(more_layouts(x)).get(n, x) for n, x in zip(names, arrays, strict=True)]
    copies = [np.array(x, dtype, order="C", subok=False) for x in inputs]
    before = [x.tobytes() for x in inputs]
    for kernel in (LLVM.compile(graph), Kernel(graph).function()):
        want = outputs_of(kernel, copies)
        for _ in range(2):
            for one, other in zip(outputs_of(kernel, inputs), want, strict=True):
                assert_same_bits(one, other)
                assert type(one) is type(other)
    assert [x.tobytes() for x in inputs] == before


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shapes", SHAPES[:2], ids=lambda shapes: "x".join(map(str, shapes[0])))
def test_scalars(dtype: str, shapes: Any) -> None:
    """Python's numbers, NumPy scalars and 0-d arrays stand for inputs without axes."""
    arrays = arrays_of(shapes, dtype)
    graph = gl.make_graph(several_outputs)(*arrays)
    for kernel in (LLVM.compile(graph), Kernel(graph).function()):
        for number in (0.5, np.float64(0.5), np.float32(0.5), np.array(0.5, dtype), np.array(0.5), 1, True, np.int8(1)):
            got = outputs_of(kernel, [*arrays[:3], number])
            want = outputs_of(kernel, [*arrays[:3], np.asarray(number, dtype)])
            for one, other in zip(got, want, strict=True):
                assert_same_bits(one, other)


@pytest.mark.parametrize("shape", [(4, 5), (300, 40), (5000, 50)])
def test_wrong_arguments_raise(shape: tuple[int, int]) -> None:
    """No wrong shape, kind or number of arguments reaches native code."""
    arrays = arrays_of((shape, shape[1:], (shape[0], 1), ()), "float64")
    kernel = LLVM.compile(gl.make_graph(several_outputs)(*arrays))
    x = arrays[0]
    for wrong in (x[:-1], x.T, x[:0], x[None], x[..., None], np.zeros(()), 1.0, None, "a", object(), [1.0], x[:, :1]):
        for place in (0, 1):
            if getattr(wrong, "shape", None) != arrays[place].shape:
                with pytest.raises((TypeError, ValueError)):
                    kernel(*arrays[:place], wrong, *arrays[place + 1 :])
    for count in (0, 1, 3):
        with pytest.raises((TypeError, ValueError)):
            kernel(*arrays[:count])
    with pytest.raises((TypeError, ValueError)):
        kernel(*arrays, x)
    kernel(*arrays)


# -- memory ----------------------------------------------------------------------------------


def resident() -> int:
    """Return the bytes of memory that the process holds."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")
@pytest.mark.parametrize("shape", [(2, 3), (300, 40), (4000, 60)], ids=str)
def test_memory_stays_flat(shape: tuple[int, int]) -> None:
    """Thousands of calls leave nothing behind, whatever the layout; nor do calls that raise."""
    arrays = arrays_of((shape, shape[1:], (shape[0], 1), ()), "float64")
    kernel = LLVM.compile(gl.make_graph(several_outputs)(*arrays))
    strided = [np.asarray(x, order="F") for x in arrays]
    wrong = [arrays[0][:-1], *arrays[1:]]
    calls = 30 if shape[0] == 4000 else 1000

    def work() -> None:
        for _ in range(calls):
            kernel(*arrays)
            kernel(*strided)
            with pytest.raises(ValueError, match="shape"):
                kernel(*wrong)

    work()
    gc.collect()
    counts, before = [sys.getrefcount(x) for x in arrays], resident()
    work()
    gc.collect()
    assert [sys.getrefcount(x) for x in arrays] == counts
    assert resident() - before < 4e6 + arrays[0].nbytes


def test_results_have_one_reference() -> None:
    """Who drops a result frees it."""
    arrays = arrays_of(SHAPES[0], "float64")
    kernel = LLVM.compile(gl.make_graph(several_outputs)(*arrays))
    for out in outputs_of(kernel, arrays):
        assert sys.getrefcount(out) == 3  # the list, the loop's name, the argument
        assert isinstance(out, np.generic) or (out.base is None and out.flags.owndata and out.flags.writeable)


# -- threads ---------------------------------------------------------------------------------


@pytest.fixture
def eager_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spread also short kernels over threads, of which there may be eight."""
    monkeypatch.setattr(kernel_module, "THREAD_SECONDS", 0)
    monkeypatch.setattr(kernel_module, "RELEASE_SECONDS", 0)
    monkeypatch.setattr(sharing, "cores", lambda: 8)


@pytest.mark.parametrize("layout", ["C", "Fortran order", "strided"])
@pytest.mark.parametrize("shape", [(3, 5), (2049, 7), (70_000, 3), (7, 20_000), (200_000, 1), (1, 200_000)], ids=str)
@pytest.mark.usefixtures("eager_threads")
def test_same_bits_for_every_number_of_threads(shape: tuple[int, int], layout: str) -> None:
    """1, 2, 3 and 8 threads give the same bits."""
    arrays = arrays_of((shape, shape[1:], (shape[0], 1), ()), "float64")
    kernel = Kernel(gl.make_graph(several_outputs)(*arrays)).function()
    inputs = [dict(layouts(x)).get(layout, x) for x in arrays]
    with threads_of_kernels(1):
        want = outputs_of(kernel, inputs)
    for count in (2, 3, 8):
        with threads_of_kernels(count):
            for one, other in zip(outputs_of(kernel, inputs), want, strict=True):
                assert_same_bits(one, other)


@pytest.mark.usefixtures("eager_threads")
def test_called_from_many_threads_at_once() -> None:
    """Kernels that take several threads each, in several threads, of all layouts."""
    arrays = arrays_of(((20_000, 7), (7,), (20_000, 1), ()), "float64")
    kernel = Kernel(gl.make_graph(several_outputs)(*arrays)).function()
    forms = [arrays, *[[dict(layouts(x)).get(name, x) for x in arrays] for name in ("Fortran order", "strided")]]
    want = outputs_of(kernel, arrays)
    failures: list[BaseException] = []
    barrier = threading.Barrier(6)

    def work(k: int) -> None:
        try:
            barrier.wait()
            for n in range(8):
                with threads_of_kernels(1 + (k + n) % 4):
                    for one, other in zip(outputs_of(kernel, forms[(k + n) % 3]), want, strict=True):
                        assert_same_bits(one, other)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.usefixtures("eager_threads")
def test_after_a_fork() -> None:
    """A child makes threads of its own, and gives the same bits."""
    arrays = arrays_of(((20_000, 7), (7,), (20_000, 1), ()), "float64")
    kernel = Kernel(gl.make_graph(several_outputs)(*arrays)).function()
    with threads_of_kernels(3):
        want = outputs_of(kernel, arrays)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                for one, other in zip(outputs_of(kernel, arrays), want, strict=True):
                    assert_same_bits(one, other)
                status = 0
            finally:
                os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
