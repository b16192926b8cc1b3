"""Loops over arrays of many axes: random programs of reductions, views and broadcasts, in all layouts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom.backend import backends
from gradloom.compiler import AbstractCompiler, compilers
from gradloom.graph import Graph
from gradloom.op import ops
from gradloom.plan import Plan
from gradloom.testing.compilers import assert_close, strict, threads_of_kernels
from gradloom.testing.sample import rng
from gradloom_llvm import kernel as kernel_module
from gradloom_llvm import layout as layout_module
from gradloom_llvm import loops as loops_module
from gradloom_llvm import tiers
from gradloom_llvm.kernel import Kernel, Measures, measured
from gradloom_llvm.loops import Loops as LoopsOfRegion

LLVM = compilers.get("llvm")
NUMPY = backends.get("numpy")


class Loops(AbstractCompiler):
    """The LLVM compiler, but for its tape."""

    name = "loops"
    backend = "numpy"

    def forms(self, *args: Any) -> int:
        """Return the general form only."""
        return LLVM.forms(*args) & 1

    def compile(self, region: Graph) -> Any:
        """Return a kernel of loops."""
        return Kernel(region).function()


def random_array(generator: np.random.Generator, lengths: list[int]) -> Any:
    """Return an array of the last few of some axes, in some dtype and layout."""
    first = int(generator.integers(4))
    shape = tuple([n if generator.integers(5) else 1 for n in lengths[first:]])
    dtype = generator.choice(["float64", "float32", "int64", "int32", "bool"], p=[0.5, 0.2, 0.1, 0.1, 0.1])
    x: Any = generator.normal(size=shape) * 2
    x = x > 0 if dtype == "bool" else x.astype(dtype)
    layouts: list[Callable[[Any], Any]] = [
        lambda x: x,
        lambda x: np.asarray(x, order="F"),
        lambda x: np.repeat(x, 2, axis=-1)[..., ::2],
        lambda x: x[::-1],
        lambda x: np.broadcast_to(x[..., :1], x.shape),
    ]
    return layouts[generator.integers(len(layouts))](x)


def random_function(seed: int) -> Callable[..., Any]:
    """Return a function of arrays: reductions over any axes, views, products with vectors, and what is elementwise."""

    def function(*inputs: Any) -> Any:
        generator = rng(seed)
        values = list(inputs)
        for _ in range(generator.integers(3, 14)):
            u, v = values[-1 - generator.integers(min(len(values), 5))], values[generator.integers(len(values))]
            values.append(step(generator, u, v))
        return tuple(values[-4:])

    return function


def step(generator: np.random.Generator, u: Any, v: Any) -> Any:
    """Return one more value."""
    choice = generator.integers(10)
    if choice < 3 and u.ndim:
        axes = tuple(generator.choice(u.ndim, generator.integers(1, u.ndim + 1), replace=False).tolist())
        reduction = (np.sum, np.max, np.min, np.any, np.all, np.mean)[generator.integers(6)]
        return reduction(u, axis=axes, keepdims=bool(generator.integers(2)))
    if choice == 3 and u.ndim > 1:
        return np.transpose(u, tuple(generator.permutation(u.ndim).tolist()))
    if choice == 4:
        return np.tanh(u) if u.dtype.kind == "f" else u.astype(np.float64) * 0.5
    if choice == 5 and u.ndim < 4:
        return np.broadcast_to(u, (int(generator.integers(1, 4)), *u.shape))
    if choice == 6 and u.ndim == 2 and u.dtype.kind == "f":
        return u @ np.sum(u, axis=0)
    broadcast = all([m == n or 1 in (m, n) for m, n in zip(u.shape[::-1], v.shape[::-1], strict=False)])
    if not broadcast or max(u.size, 1) * max(v.size, 1) > 60_000:
        return np.maximum(u, u)
    if "b" in (u.dtype.kind, v.dtype.kind):
        return (np.logical_and, np.logical_or, np.equal, np.not_equal)[generator.integers(4)](u, v)
    out = (np.add, np.subtract, np.multiply, np.maximum, np.less)[generator.integers(5)](u, v)
    return np.tanh(out) if out.dtype.kind == "f" else np.minimum(np.maximum(out, -50), 50)


def test_sizes_share_what_a_region_lowers_to() -> None:
    """Equal but for sizes, regions have the same statements and code; rows and the order of loops follow the sizes."""

    def f(x: Any, y: Any) -> Any:
        return (np.tanh(x) * np.sum(x * y, axis=0) + np.max(x, axis=1, keepdims=True)) / x.shape[0]

    shared = []
    for shape in [(40, 50), (41, 52), (500, 20), (20, 500), (1, 50), (40, 1), (41, 53)]:
        x, y = rng(3).normal(size=shape), rng(4).normal(size=shape)
        graph = gl.make_graph(f)(x, y)
        np.testing.assert_allclose(Kernel(graph).function()(x, y), f(x, y), rtol=1e-12, atol=1e-12)
        loops = loops_module.Loops(graph)
        shared.append(loops.scheme)
        assert loops.lengths[loops.row] == max(shape)
    first, *others = shared
    assert [own is first for own in others] == [True, False, True, False, False, True]
    assert len(first.codes) == 1


def test_what_a_gradient_scales_last_lies_in_its_array() -> None:
    """A softmax keeps its exponentials in the array of the result: there is no workspace of that size."""
    x = rng(5).normal(size=100_000)
    graph = gl.make_graph(lambda x: np.exp(x) / np.sum(np.exp(x)))(x)
    loops = loops_module.Loops(graph)
    assert loops.overwritten[loops.scheme.statements[0].id] == loops.outputs[0]
    shared, each = Measures(*measured(loops)).workspaces
    assert shared + each < x.nbytes
    np.testing.assert_allclose(Kernel(graph).function()(x), np.exp(x) / np.sum(np.exp(x)), rtol=1e-14)


@pytest.mark.parametrize("chunks", ["few", "many"])
@pytest.mark.parametrize("seed", range(40))
def test_random_programs(seed: int, chunks: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loops give what single kernels give, and the same bits on three threads."""
    monkeypatch.setattr(kernel_module, "THREAD_SECONDS", 0)
    if chunks == "many":
        for name, value in [("CHUNK_POINTS", 1), ("BLOCK_BYTES", 1), ("MAX_BLOCK", 16)]:
            monkeypatch.setattr(layout_module, name, value)
    generator = rng(1000 + seed)
    lengths = generator.choice([1, 2, 3, 5, 17, 33, 40], 4).tolist()
    args = [random_array(generator, lengths) for _ in range(3)]
    graph = gl.make_graph(random_function(seed))(*args)
    plan = Plan(graph, NUMPY, strict(Loops()))
    with threads_of_kernels(1):
        got = plan.run(args)
    with threads_of_kernels(3):
        again = plan.run(args)
    narrow = any(spec.dtype == np.float32 for spec in graph.specs if type(spec) is not tuple)
    for one, same, want in zip(got, again, Plan(graph, NUMPY).run(args), strict=True):
        assert np.asarray(one).tobytes() == np.asarray(same).tobytes()
        assert (np.shape(one), np.asarray(one).dtype) == (np.shape(want), np.asarray(want).dtype)
        if np.asarray(want).dtype.kind == "f":
            scale = max(1.0, float(np.max(np.abs(want), initial=0.0)))
            rounding = 1e-4 if narrow else 1e-10
            np.testing.assert_allclose(one, want, rtol=rounding, atol=rounding * scale)
        else:
            np.testing.assert_array_equal(one, want)


def test_new_shapes_need_little_new_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loops over other sizes are the same code, but for which axis is cut into blocks."""
    texts: set[str] = set()

    def code(text: str, *others: Any) -> Any:
        texts.add(text)
        return original(text, *others)

    original = tiers.code
    monkeypatch.setattr(tiers, "code", code)

    def f(x: Any, y: Any) -> Any:
        a = np.tanh(x * y)
        return np.sum(a * a, axis=0) / np.sqrt(1 + np.sum(a)), np.max(a, axis=1)

    for shape in [(5, 7), (50, 70), (500, 70), (33, 2), (2, 33), (40, 40), (1000, 101), (3, 10_000)]:
        x = rng(1).normal(size=shape)
        Kernel(gl.make_graph(f)(x, x[0])).function()(x, x[0])
    assert len(texts) <= 2


@pytest.mark.parametrize(("shape", "rows"), [((256, 512), 256), ((512, 256), 512), ((4, 5000), 5000), ((40, 30), 40)])
def test_rows_are_whole_where_there_are_many(shape: tuple[int, int], rows: int) -> None:
    """Blocks of an inner axis would be read in short pieces; a few long rows leave nothing to cut."""
    x = rng(1).normal(size=shape).astype(np.float32)
    graph = gl.make_graph(lambda x, b: ((y := np.tanh(x + b)), np.sum(y, 0)))(x, x[0])
    loops = LoopsOfRegion(graph)
    assert loops.row is not None
    assert loops.lengths[loops.row] == rows


def test_small_arrays_need_no_code_for_their_strides(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are copied; large ones are not."""
    monkeypatch.setattr(kernel_module, "COPIED", 100)
    original, loaded = tiers.code, []
    monkeypatch.setattr(tiers, "code", lambda *args: loaded.append(args) or original(*args))
    for shape, count in [((9, 11), 1), ((10, 11), 2)]:
        x = rng(1).normal(size=shape).T
        loaded.clear()
        got = Kernel(gl.make_graph(lambda x: np.sum(np.tanh(x), axis=0))(x)).function()(x)
        np.testing.assert_allclose(got, np.sum(np.tanh(x), axis=0), rtol=1e-14)
        assert len(loaded) == count


def test_adding_at_an_index_of_a_transposed_small_value() -> None:
    """On the tape a transposed value is another order of the same positions."""
    x, v = rng(1).normal(size=(2, 3)), rng(2).normal(size=2)
    add = ops["index_add"]
    graph = gl.make_graph(lambda x, v: add(np.transpose(x), v, index=(0, ":")) * v)(x, v)
    want = x.T.copy()
    want[0] += v
    assert_close(LLVM.compile(graph)(x, v), want * v, 2)
