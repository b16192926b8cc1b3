"""Native products of matrices: against exact sums, NumPy's special values, and themselves cut in pieces."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom.backend import backends
from gradloom.blas import can_limit
from gradloom.compiler import compilers
from gradloom.decision import decide
from gradloom.op import ops
from gradloom.plan import Plan
from gradloom.spec import Spec
from gradloom.testing.compilers import threads_of_kernels
from gradloom.testing.sample import rng
from gradloom_llvm import products
from gradloom_llvm.engine import Host, assembly, host_vector_bytes
from gradloom_llvm.entry import prelude
from gradloom_llvm.product_code import entry_source, multiply, tile_sources
from gradloom_llvm.product_tiles import Tiles, tiles
from gradloom_llvm.products import product_kernel

#: Rows, summed, columns: tiles and panels, what they leave over, more than one stretch, and several blocks of rows.
SIZES = [
    *[(487, 6, 31), (731, 9, 70)],
    *[(1, 1, 1), (3, 5, 7), (13, 40, 70), (6, 64, 64), (70, 33, 130), (25, 1030, 33), (7, 2100, 15)],
    *[(40, 300, 49), (45, 600, 1)],
]
LAYOUTS = ["C", "F", "strided", "reversed"]


def laid_out(x: Any, layout: str) -> Any:
    """Return the same values in another layout."""
    if layout == "F":
        return np.asfortranarray(x)
    if layout == "reversed":
        return x[::-1, ::-1].copy()[::-1, ::-1]
    if layout == "strided":
        wide = np.zeros((2 * x.shape[0], 3 * x.shape[1]), x.dtype)
        wide[::2, ::3] = x
        return wide[::2, ::3]
    return x


def tilings(dtype: np.dtype[Any]) -> list[Tiles]:
    """Return that of this machine and those of narrower registers, as far as it has them."""
    own = tiles(dtype)
    assert own is not None
    narrower = [
        Tiles(own.kind, own.itemsize, size // own.itemsize, *shape)
        for size, *shape in ((16, 4, (6, 2)), (32, 3, (4, 2)))
        if size <= host_vector_bytes()
    ]
    return list(dict.fromkeys([own, *narrower]))


def never(*args: Any, **attrs: Any) -> Any:
    raise AssertionError("this is left to BLAS")


def kernel(a: Any, b: Any, name: str = "matmul", plain: Any = never) -> Any:
    return product_kernel(name, (Spec(a.shape, a.dtype), Spec(b.shape, b.dtype)), plain)


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_product(dtype: str, sizes: tuple[int, int, int]) -> None:
    """Every layout and every width of registers gives the same bits, within the bound of a sum of k terms."""
    m, k, n = sizes
    a, b = rng(1).normal(size=(m, k)).astype(dtype), rng(2).normal(size=(k, n)).astype(dtype)
    exact = a.astype(np.longdouble) @ b.astype(np.longdouble)
    bound = (k + 1) * np.finfo(dtype).eps * (np.abs(a).astype(float) @ np.abs(b).astype(float))
    found = []
    for tiling, left, right in itertools.product(tilings(np.dtype(dtype)), LAYOUTS, LAYOUTS):
        wide = np.full((m, n + 3), 7, dtype)
        workspace = np.empty(tiling.workspace(m, k), np.uint8)
        native = multiply(np.dtype(dtype), tiling)
        assert native(laid_out(a, left), laid_out(b, right), wide[:, :n], workspace) is False
        assert np.all(wide[:, n:] == 7)
        found.append(wide[:, :n])
    assert np.all(np.abs(found[0] - exact) <= bound)
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layouts", [("C", "C"), ("F", "C"), ("C", "F")])
@pytest.mark.parametrize("sizes", [(250, 400, 300), (251, 397, 301)])
def test_any_number_of_threads_gives_the_same_bits(
    dtype: str, layouts: tuple[str, str], sizes: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of odd sizes, whose packed panels must start on whole lines of the cache for each thread."""
    monkeypatch.setattr("gradloom.sharing.cores", lambda: 4)
    m, k, n = sizes
    a, b = rng(1).normal(size=(m, k)).astype(dtype), rng(2).normal(size=(k, n)).astype(dtype)
    a, b = laid_out(a, layouts[0]), laid_out(b, layouts[1])
    assert a.size * n * a.itemsize >= 8 * products.SHARED
    results = []
    for threads in (1, 2, 4):
        with threads_of_kernels(threads), monkeypatch.context() as at_first:
            results += [kernel(a, b)(a, b) for _ in range(5)]  # helpers come a little later
            at_first.setattr(products, "CODE", SimpleNamespace(done=False, begin=lambda: True))
            results.append(kernel(a, b)(a, b))
    np.testing.assert_allclose(results[0], a @ b, rtol=0, atol=1e-3 if dtype == "float32" else 1e-11)
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0])


def test_threads_of_blas_are_limited_where_blas_multiplies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking for its libraries takes milliseconds, and each run would set their threads."""
    monkeypatch.setattr("gradloom.sharing.cores", lambda: 4)
    monkeypatch.setattr("gradloom.decision.cores", lambda: 4)
    a = np.ones((300, 400))
    graphs = [gl.make_graph(np.matmul)(x, a.T.copy()) for x in (a, np.broadcast_to(a[0], (6000, 400)))]
    plans = [Plan(graph, backends.get("numpy"), compilers.get("llvm")) for graph in graphs]
    assert [plan.leaves_to_backend(plan.steps[0].out) for plan in plans] == [False, True]
    assert [decide(plan).one_thread for plan in plans] == [False, can_limit()]


#: Stacks: of many axes, of one that broadcasts in either factor, and of a column each.
STACKS = [
    *[((7, 33, 14), (7, 14, 35)), ((5, 70, 40), (40, 70)), ((13, 14), (3, 14, 20)), ((4, 20, 30), (4, 30, 1))],
    *[((2, 1, 9, 17), (5, 17, 21)), ((3, 1, 2, 1, 5, 25), (2, 1, 3, 25, 8))],
]


@pytest.mark.parametrize("shapes", STACKS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_stacks_have_the_bits_of_their_products(dtype: str, shapes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """In any layout, on any number of threads, of which each takes parts of some products."""
    monkeypatch.setattr("gradloom.sharing.cores", lambda: 3)
    monkeypatch.setattr(products, "SHARED", 0)
    monkeypatch.setattr(products, "LEAST", 0)
    monkeypatch.setattr(products, "SMALL", 0)
    products._product.cache_clear()
    a, b = [rng(k).normal(size=shape).astype(dtype) for k, shape in enumerate(shapes)]
    lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    want = np.empty((*lead, a.shape[-2], b.shape[-1]), dtype)
    rows, columns = [np.broadcast_to(x, (*lead, *x.shape[-2:])) for x in (a, b)]
    for i in np.ndindex(lead):
        want[i] = kernel(rows[i], columns[i])(rows[i], columns[i])
    np.testing.assert_allclose(want, a @ b, rtol=0, atol=1e-4 if dtype == "float32" else 1e-12)
    layouts = [lambda x: x, lambda x: x.mT.copy().mT, lambda x: np.repeat(x[::-1], 2, 0)[::-2], lambda x: x.T.copy().T]
    for threads, left, right in itertools.product((1, 2, 3), layouts, layouts):
        with threads_of_kernels(threads), monkeypatch.context() as at_first:
            np.testing.assert_array_equal(kernel(a, b)(left(a), right(b)), want)
            at_first.setattr(products, "CODE", SimpleNamespace(done=False, begin=lambda: True))
            np.testing.assert_array_equal(kernel(a, b)(left(a), right(b)), want)
    np.testing.assert_array_equal(kernel(rows, columns)(rows, columns), want)
    products._product.cache_clear()


def test_a_zero_annihilates_in_a_stack() -> None:
    """One NaN, in the last of the products, sends all to the careful kernel."""
    a, b = rng(5).normal(size=(30, 50, 40)), rng(6).normal(size=(30, 40, 20))
    np.testing.assert_allclose(kernel(a, b, "annihilating_matmul")(a, b, zeros=0), a @ b, atol=1e-12)
    a[-1, -1] = 0.0
    b[-1, 0, -1] = np.inf
    with np.errstate(all="ignore"):
        found = gl.jit(lambda x, y: ops["annihilating_matmul"](x, y, zeros=0))(a, b)
    assert np.all(found[-1, -1] == 0.0)
    np.testing.assert_allclose(found[:-1], a[:-1] @ b[:-1], atol=1e-12)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -0.0])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_special_values_are_those_of_numpy(dtype: str, value: float) -> None:
    """Also in what tiles and panels leave over, and where several threads take pieces."""
    for m, k, n in [(3, 4, 5), (13, 9, 70), (40, 9, 49), (13, 9, 2), (400, 300, 330)]:
        a, b = rng(3).normal(size=(m, k)).astype(dtype), rng(4).normal(size=(k, n)).astype(dtype)
        a[[0, -1], [1, -1]] = value
        b[[0, -1], [-2, -1]] = [0, value]
        with np.errstate(all="ignore"):
            got, want = kernel(a, b)(a, b), a @ b
        for kind in (np.isnan, np.isposinf, np.isneginf, np.signbit):
            known = np.ones(want.shape, bool) if kind is not np.signbit else ~np.isnan(want)
            np.testing.assert_array_equal(kind(got)[known], kind(want)[known])
        one = np.ascontiguousarray(b[:, -1:])
        with np.errstate(all="ignore"):
            np.testing.assert_array_equal(kernel(a, one)(a, one), got[:, -1:])
    zeros = np.full((2, 1), -0.0, dtype), np.ones((1, 3), dtype)
    np.testing.assert_array_equal(np.signbit(kernel(*zeros)(*zeros)), np.signbit(zeros[0] @ zeros[1]))


@pytest.mark.parametrize("sizes", [(5, 8, 20), (400, 300, 330)])
def test_a_zero_annihilates(sizes: tuple[int, int, int]) -> None:
    """A NaN in the result sends the product to the careful kernel; without one it is not asked."""
    m, k, n = sizes
    a, b = rng(5).normal(size=(m, k)), rng(6).normal(size=(k, n))
    np.testing.assert_allclose(kernel(a, b, "annihilating_matmul")(a, b, zeros=0), a @ b, atol=1e-11)
    a[-1] = 0.0
    b[0, -1] = np.inf
    plan = gl.jit(lambda x, y: ops["annihilating_matmul"](x, y, zeros=0))
    with np.errstate(all="ignore"):
        found = plan(a, b)
    assert np.all(found[-1] == 0.0)
    assert np.all(np.isinf(found[:-1, -1]))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_lanes_beside_the_result_hold_no_nan(dtype: str) -> None:
    """What vectors compute beyond the last column is not there: an infinity times their zeros is no NaN."""
    for n in (3, 9, 25, 49, 57):
        a, b = np.full((7, 5), np.inf, dtype), np.ones((5, n), dtype)
        plain = kernel(a, b, "annihilating_matmul")
        np.testing.assert_array_equal(plain(a, b, zeros=0), np.full((7, n), np.inf))


def test_what_does_not_fit_is_left_to_blas() -> None:
    a, b = np.ones((4, 6)), np.ones((6, 8))
    unaligned = np.zeros(4 * 6 * 8 + 1, np.uint8)[1:].view(float).reshape(4, 6)
    for left, right in [(unaligned, b), (a.astype(">f8"), b), (a[:2], b), (a, b.astype("f4")), (a, 2.0)]:
        got = kernel(a, b, plain=lambda x, y: "plain")(left, right)
        assert isinstance(got, str)
    for left, right in [((4, 0), (0, 3)), ((4,), (4, 3)), ((0, 3, 4), (4, 3)), ((3000, 3000), (3000, 2))]:
        specs = Spec(left, float), Spec(right, float)
        assert product_kernel("matmul", specs, never) is never
    integers = Spec((4, 4), int), Spec((4, 4), int)
    assert product_kernel("matmul", integers, never) is never


def test_builtin_refuses_what_it_would_overrun() -> None:
    dtype = np.dtype(float)
    tiling = tiles(dtype)
    assert tiling is not None
    native = multiply(dtype, tiling)
    a, b, out = np.ones((9, 5)), np.ones((5, 4)), np.zeros((9, 4))
    workspace = np.empty(tiling.workspace(9, 5), np.uint8)
    assert native(a, b, out, workspace) is False
    read_only = np.zeros((9, 4))
    read_only.flags.writeable = False
    for wrong in [
        (a, b, out, workspace[:-1]),
        (a, b, out[:8], workspace),
        (a, b[:4], out, workspace),
        (a, b, np.zeros((9, 5)), workspace),
        (a, b, np.zeros((9, 8))[:, ::2], workspace),
        (a, b, read_only, workspace),
        (a, b, out),
    ]:
        with pytest.raises(TypeError):
            native(*wrong)
    stack = np.ones((2, 9, 5)), np.ones((2, 5, 4)), np.zeros((2, 9, 4))
    assert native(*stack, workspace) is False
    for k, other in enumerate([np.ones((3, 9, 5)), np.ones((3, 5, 4)), np.zeros((1, 9, 4))]):
        with pytest.raises(TypeError):
            native(*stack[:k], other, *stack[k + 1 :], workspace)
    for unlike in [(a, *stack[1:]), (stack[0], b, stack[2]), (*stack[:2], out)]:
        with pytest.raises(TypeError):
            native(*unlike, workspace)
    deep = [x.reshape((1,) * 9 + x.shape) for x in (a, b, out)]
    with pytest.raises(TypeError):
        native(*deep, workspace)


@pytest.mark.parametrize(
    ("target", "size", "instruction"),
    [(Host("aarch64-linux-gnu", "generic"), 16, "fmla"), (Host("x86_64-linux-gnu", "haswell"), 32, "vfmadd231p")],
)
def test_other_machines(target: Host, size: int, instruction: str) -> None:
    for kind, itemsize in (("float", 4), ("double", 8)):
        width, heights = (4, (6, 2)) if size == 16 else (3, (4, 2))
        tiling = Tiles(kind, itemsize, size // itemsize, width, heights)
        assert instruction in assembly(tile_sources(tiling)[0], target)
        assembly(prelude() + entry_source(tiling, 0), target)


def test_a_product_that_does_not_compile_runs_by_blas(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any) -> Any:
        raise RuntimeError("no code today")

    monkeypatch.setattr(products, "multiply", fail)
    products._product.cache_clear()
    a, b = np.ones((37, 5)), np.ones((5, 41))
    with pytest.warns(RuntimeWarning, match="compiler 'llvm' failed on matmul.*no code today"):
        np.testing.assert_array_equal(gl.jit(np.matmul)(a, b), np.full((37, 41), 5.0))
    products._product.cache_clear()


def test_plans_multiply_natively() -> None:
    """Under `jit` no product of two matrices goes to BLAS."""
    llvm = compilers.get("llvm")
    a, b = np.ones((8, 4)), np.ones((4, 6))
    specs = Spec(a.shape, float), Spec(b.shape, float)
    found = llvm.kernel(ops["matmul"], specs, (), never)
    assert found is not never
    np.testing.assert_array_equal(found(a, b), a @ b)
    assert llvm.kernel(ops["add"], specs, (), never) is never
