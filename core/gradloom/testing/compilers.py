"""CompilerConformance: the laws of `gradloom.compiler.AbstractCompiler` as tests.

A plugin's test file is five lines::

    from gradloom.testing.compilers import CompilerConformance

    class TestMine(CompilerConformance):
        compiler = "mine"
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
import pytest

import gradloom as gl
from gradloom.backend import AbstractBackend, Kernel, backends
from gradloom.compiler import AbstractCompiler, compilers
from gradloom.expansion import expand_calls
from gradloom.graph import INPUT, LITERAL, Graph
from gradloom.op import get_op
from gradloom.plan import Plan
from gradloom.program import prepare
from gradloom.regions import REGION
from gradloom.sharing import kernel_threads
from gradloom.testing.backends import assert_same_bits, assert_same_bits_in_threads, pullback_graph
from gradloom.testing.checks import call, differentiable
from gradloom.testing.executors import random_graph
from gradloom.testing.sample import Sample, layouts, rng
from gradloom.testing.samples import SAMPLES

Array = np.ndarray[Any, Any]

#: What NumPy treats in a way of its own, and what is next to it.
SPECIAL = (
    *(0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 1.5, 2.0, 2.5, -2.5, 3.0, 1e-3, 0.1, 10.0, -700.0, 710.0, 88.0, -104.0),
    *(np.inf, -np.inf, np.nan, -np.nan, 5e-324, -5e-324, 2.2e-308, 1e-40, 1e30, -1e30, 1e300, -1e300, 1.79e308),
    *(np.pi, -np.pi / 2, 1e5, 2.0**53, -(2.0**31), 1.0000000000000002, 0.9999999999999999),
)
#: Lengths around those of vectors, of blocks and of chunks.
LENGTHS = (1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 1000, 2049)

#: Ops that NumPy leaves the sign of a zero of: it depends on the length of the array.
ANY_ZERO = frozenset({"maximum", "minimum", "fmax", "fmin"})
#: Ops whose own kernels of NumPy and SciPy are off by more, where terms cancel or far in a tail.
ROUGH = {"logaddexp": 64.0, "logaddexp2": 64.0, "ndtr": 128.0}

with np.errstate(all="ignore"):
    _DIFFERENTIABLE = [sample for sample in SAMPLES if differentiable(sample)]
_ARITIES = {s.op: len(s.args) for s in SAMPLES if get_op(s.op).elementwise}
ELEMENTWISE: tuple[tuple[str, int], ...] = tuple(sorted(_ARITIES.items()))


class CompilerConformance:
    """What a compiler must satisfy; subclass it and name the compiler.

    Attributes
    ----------
    compiler : str
        Name of the compiler, which must be installed and able to run here.
    deviations : mapping of str to str
        Cases, by op or by the id of the test's case, whose value is known to differ, and the
        reason; strictly expected to fail.
    ulps : float
        Largest distance of elementwise values from the backend's own kernels, in units in the
        last place: the bound of the compiler's function, and that of the backend's.
    """

    compiler: ClassVar[str]
    deviations: ClassVar[Mapping[str, str]] = {}
    ulps: ClassVar[float] = 8.0

    @pytest.fixture
    def this(self) -> AbstractCompiler:
        """Return the compiler under test."""
        compiler = compilers.get(self.compiler)
        reason = compiler.unavailable()
        assert reason is None, f"compiler {self.compiler!r} cannot run here: {reason}"
        return compiler

    def test_names(self, this: AbstractCompiler) -> None:
        """The compiler goes by the name it is registered under, and its backend is there."""
        assert this.name == self.compiler
        assert backends.get(this.backend).name == this.backend

    # -- single ops ----------------------------------------------------------------------------

    @pytest.mark.parametrize("sample", SAMPLES, ids=str)
    def test_sample(self, this: AbstractCompiler, sample: Sample, request: pytest.FixtureRequest) -> None:
        """The kernel of a single op gives what the backend's gives."""
        graph = gl.make_graph(call(sample))(*sample.args)
        if takes(this, graph):
            self.expect_deviation((sample.op, str(sample)), request)
            self.check(this, graph, sample.args, sample.op)

    @pytest.mark.parametrize("sample", _DIFFERENTIABLE, ids=str)
    def test_gradient(self, this: AbstractCompiler, sample: Sample, request: pytest.FixtureRequest) -> None:
        """The compiled gradient of an op is that of the backend's kernels."""
        graph, args = pullback_graph(sample)
        self.expect_deviation((sample.op, str(sample)), request)
        self.check_plan(this, graph, args)

    @pytest.mark.parametrize("dtype", ["float64", "float32", "int64", "int32", "bool"])
    @pytest.mark.parametrize(("op", "arity"), ELEMENTWISE, ids=[op for op, _ in ELEMENTWISE])
    def test_special_values(
        self, this: AbstractCompiler, op: str, arity: int, dtype: str, request: pytest.FixtureRequest
    ) -> None:
        """NaN, inf, zeros of either sign, subnormal, huge: alone and in all pairs."""
        args = special_arguments(arity, dtype)
        try:
            graph = gl.make_graph(get_op(op))(*args)
        except (TypeError, ValueError):
            return  # not an op of this dtype
        if takes(this, graph):
            self.expect_deviation((op, f"{op}-{dtype}"), request)
            self.check(this, graph, args, op)

    def check(self, this: AbstractCompiler, graph: Graph, args: Sequence[Any], op: str) -> None:
        """Check the kernel of a single op."""
        to_host = backends.get(this.backend).to_host
        want, inputs = reference(graph, backends.get(this.backend), args)
        (got,) = outputs_of(this.compile(graph), inputs)
        assert_close(to_host(got), to_host(want[0]), ROUGH.get(op, self.ulps), any_zero=op in ANY_ZERO)

    def check_plan(self, this: AbstractCompiler, graph: Graph, args: Sequence[Any]) -> None:
        """Check a plan with regions, whose every region must compile."""
        backend = backends.get(this.backend)
        want, inputs = reference(graph, backend, args)
        with np.errstate(all="ignore"):
            got = Plan(expand_calls(graph), backend, strict(this)).run(inputs)
        self.compare(this, got, want)

    def compare(self, this: AbstractCompiler, got: Sequence[Any], want: Sequence[Any]) -> None:
        """Compare outputs of programs with those of the backend's own kernels."""
        to_host = backends.get(this.backend).to_host
        assert len(got) == len(want)
        for one, other in zip(got, want, strict=True):
            assert_close(to_host(one), to_host(other), self.ulps, cancelling=True)

    def expect_deviation(self, names: Sequence[str], request: pytest.FixtureRequest) -> None:
        """Mark a test that is known to fail."""
        for name in names:
            if name in self.deviations:
                request.applymarker(pytest.mark.xfail(reason=self.deviations[name], strict=True))

    # -- programs ------------------------------------------------------------------------------

    @pytest.mark.parametrize("seed", range(20))
    def test_random_graph(self, this: AbstractCompiler, seed: int) -> None:
        """A random graph gives what the backend's kernels give; twice, and after pickling."""
        graph, args = random_graph(seed)
        backend = backends.get(this.backend)
        want, inputs = reference(graph, backend, args)
        before = [backend.to_host(x).copy() for x in inputs]
        plan = Plan(graph, backend, strict(this))
        assert any(op is REGION for op, _, _ in plan.graph.nodes) or not takes(this, gl.make_graph(np.tanh)(args[0]))
        for each in (plan, plan, pickle.loads(pickle.dumps(Plan(graph, backend, this)))):
            got = each.run(inputs)
            self.compare(this, got, want)
            for x, y in zip(inputs, before, strict=True):
                assert_same_bits(backend.to_host(x), y)

    @pytest.mark.parametrize("layout", ["Fortran order", "strided", "negative stride", "read-only", "unaligned"])
    def test_layouts(self, this: AbstractCompiler, layout: str) -> None:
        """Every memory layout gives the bits of the C-ordered copy, and stays as it is; so if outputs are given."""
        arrays = [rng(k).normal(size=shape) for k, shape in enumerate([(5, 33), (33,), (5, 1), ()])]
        graph = taken_graph(this, arrays)
        if graph is None:
            return
        kernel: Any = this.compile(graph)
        want = outputs_of(kernel, arrays)
        inputs = [dict(layouts(x)).get(layout, x) for x in arrays]
        before = [x.copy() for x in inputs]
        for _ in range(2):
            for one, other in zip(outputs_of(kernel, inputs), want, strict=True):
                assert_same_bits(one, other)
            if hasattr(kernel, "into"):
                outs = backends.get(this.backend).arena(
                    2**16, [(2**13 * k, s) for k, s in enumerate(graph.output_specs())]
                )
                kernel.into(*inputs, *outs)
                for one, other in zip(outs, want, strict=True):
                    assert_same_bits(one, other)
        for x, y in zip(inputs, before, strict=True):
            assert_same_bits(x, y)

    def test_outputs_are_their_own(self, this: AbstractCompiler) -> None:
        """No output shares memory with an input, with another output, or with the next call's."""

        def views(x: Any) -> Any:
            y = np.sin(x)
            return x, np.transpose(y), y, np.reshape(y, (4, 3, 1))

        x = rng(5).normal(size=(4, 3))
        graph = gl.make_graph(views)(x)
        backend = backends.get(this.backend)
        plan = Plan(graph, backend, strict(this))
        outputs = [out for _ in range(3) for out in plan.run([x])]
        for k, out in enumerate(outputs):
            assert not np.shares_memory(out, x)
            assert not any(np.shares_memory(out, other) for other in outputs[:k])

    @pytest.mark.parametrize("rows", [3, 2049, 70_000])
    def test_same_bits_for_every_number_of_threads(self, this: AbstractCompiler, rows: int) -> None:
        """1, 2, 3 or 8 threads give the same bits."""
        args = [rng(k).normal(size=shape) for k, shape in enumerate([(rows, 7), (7,), (rows, 1), ()])]
        graph = taken_graph(this, args)
        if graph is None:
            return
        kernel = this.compile(graph)
        with threads_of_kernels(1):
            want = outputs_of(kernel, args)
        self.compare(this, want, reference(graph, backends.get(this.backend), args)[0])
        for count in (2, 3, 8):
            with threads_of_kernels(count):
                for one, other in zip(outputs_of(kernel, args), want, strict=True):
                    assert_same_bits(one, other)

    def test_one_kernel_in_many_threads(self, this: AbstractCompiler) -> None:
        """A kernel may run in several threads at once."""
        args = [rng(k).normal(size=shape) for k, shape in enumerate([(20_000, 7), (7,), (20_000, 1), ()])]
        graph = taken_graph(this, args)
        if graph is None:
            return
        kernel = this.compile(graph)
        want = outputs_of(kernel, args)
        assert_same_bits_in_threads(lambda: outputs_of(kernel, args), want)


# -- what the tests are made of --------------------------------------------------------------


def several_outputs(x: Any, y: Any, z: Any, c: Any) -> Any:
    """Return values of several shapes: elementwise, reduced over each axis and over all, and after a reduction."""
    a = np.tanh(x * y + z) * c
    total = np.sum(a, axis=0)
    return a, total, np.max(a, axis=1), np.sum(a * a), (a - total) / np.sqrt(1.0 + np.sum(a * a, axis=1, keepdims=True))


def products(x: Any, y: Any, z: Any, c: Any) -> Any:
    """Return values of sums and products alone."""
    a = x * y + z
    return a, (a - c) * a


def takes(compiler: AbstractCompiler, graph: Graph) -> bool:
    """Return whether a compiler takes a whole graph, and something in it computes."""
    forms = -1
    for i, (op, inputs, attrs) in enumerate(graph.nodes):
        if op is INPUT or op is LITERAL:
            continue
        specs = [graph.specs[j] for j in inputs]
        if not inputs or tuple in map(type, (graph.specs[i], *specs)):
            return False
        forms &= compiler.forms(op, tuple(specs), attrs, graph.specs[i])
    return forms > 0


def taken_graph(compiler: AbstractCompiler, args: Sequence[Any]) -> Graph | None:
    """Return the graph of the first of some functions of four arrays that a compiler takes whole, or None."""
    graphs = [gl.make_graph(function)(*args) for function in (several_outputs, products)]
    return next((graph for graph in graphs if takes(compiler, graph)), None)


@contextmanager
def threads_of_kernels(count: int) -> Iterator[None]:
    """Let kernels take so many threads."""
    token = kernel_threads.set(count)
    try:
        yield
    finally:
        kernel_threads.reset(token)


def strict(compiler: AbstractCompiler) -> AbstractCompiler:
    """Return a compiler that does not let a region that fails run by other kernels."""
    return _Strict(compiler)


class _Failed(BaseException):
    """A region did not compile; no `Exception`, so that nothing falls back."""


class _Strict(AbstractCompiler):
    def __init__(self, inner: AbstractCompiler) -> None:
        self.inner = inner
        self.name, self.backend = inner.name, inner.backend

    def forms(self, *args: Any) -> int:
        return self.inner.forms(*args)

    def compile(self, region: Graph) -> Kernel:
        try:
            return self.inner.compile(region)
        except Exception as error:
            raise _Failed(f"this region does not compile:\n{region}") from error


def reference(graph: Graph, backend: AbstractBackend, args: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """Return what the backend's own kernels give, one after the other, and the inputs that they got."""
    plan = Plan(expand_calls(graph), backend)
    inputs = prepare(plan, args)
    with np.errstate(all="ignore"):
        return plan.run(inputs), inputs


def outputs_of(kernel: Kernel, inputs: Sequence[Any]) -> list[Any]:
    """Return the outputs of a kernel as a list."""
    out = kernel(*inputs)
    return list(out) if isinstance(out, tuple) else [out]


def special_arguments(arity: int, dtype: str) -> tuple[Array, ...]:
    """Return all pairs of special values, of which a third argument takes some."""
    if dtype == "bool":
        values = np.array([True, False])
    elif dtype.startswith("int"):
        values = np.array([0, 1, -1, 2, 3, 7, -8, 100, np.iinfo(dtype).max, np.iinfo(dtype).min], dtype)
    else:
        with np.errstate(over="ignore"):
            values = np.array([*SPECIAL, *rng(1).normal(size=9) * 10.0 ** np.arange(-4, 5)], dtype)
    if arity == 1:
        return (values,)
    first, second = np.repeat(values, values.size), np.tile(values, values.size)
    return (first, second, np.roll(first, 7))[:arity]


def assert_close(got: Any, want: Any, ulps: float, cancelling: bool = False, any_zero: bool = False) -> None:
    """Fail unless two arrays have the same spec, NaN and inf at the same places, and near values.

    Parameters
    ----------
    got, want : array
    ulps : float
        Distance allowed, in units in the last place.
    cancelling : bool, default False
        Whether sums may have cancelled: then the units are those of the largest value, and zeros
        have any sign.
    any_zero : bool, default False
        Whether zeros may have any sign.
    """
    got, want = np.asarray(got), np.asarray(want)
    assert (got.shape, got.dtype) == (want.shape, want.dtype)
    if want.dtype.kind not in "fc":
        np.testing.assert_array_equal(got, want)
        return
    if want.dtype.kind == "c":
        assert_close(got.real, want.real, ulps, cancelling, any_zero)
        assert_close(got.imag, want.imag, ulps, cancelling, any_zero)
        return
    np.testing.assert_array_equal(np.isnan(got), np.isnan(want), "NaN at other places")
    finite = np.isfinite(want)
    np.testing.assert_array_equal(got[~finite], want[~finite], "inf at other places")
    got, want = got[finite], want[finite]
    size = np.abs(want)
    if cancelling:
        ulps, size = 64 * ulps, np.maximum(size, np.max(size, initial=0.0))
    elif not any_zero:
        zeros = (got == 0) & (want == 0)
        np.testing.assert_array_equal(np.signbit(got[zeros]), np.signbit(want[zeros]), "zeros of other signs")
    with np.errstate(all="ignore"):
        distance = np.abs(got - want) / np.spacing(size)
    worst = np.argmax(distance) if distance.size else 0
    assert not distance.size or distance[worst] <= ulps, (
        f"{got[worst]!r} instead of {want[worst]!r}: {distance[worst]:.3g} units in the last place"
    )
