"""BackendConformance: the laws of `gradloom.backend.AbstractBackend` as tests.

A plugin's test file is five lines::

    from gradloom.testing.backends import BackendConformance

    class TestMine(BackendConformance):
        backend = "mine"
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import numpy as np
import pytest

import gradloom as gl
from gradloom.backend import AbstractBackend, backends
from gradloom.errors import DeviceError, MissingKernelError
from gradloom.graph import Graph, live_nodes
from gradloom.op import Op, get_op, ops
from gradloom.plan import Plan
from gradloom.program import prepare
from gradloom.spec import Spec
from gradloom.testing.checks import call, differentiable
from gradloom.testing.sample import Sample, layouts, rng
from gradloom.testing.samples import SAMPLES

Array = np.ndarray[Any, Any]

with np.errstate(all="ignore"):
    _DIFFERENTIABLE = [sample for sample in SAMPLES if differentiable(sample)]
#: Ops that a plan resolves by itself.
_STRUCTURAL = frozenset({"input", "literal", "item", "call", "gradient", "region", "to_device", "to_worker"})
_DTYPES = ("?", "b", "h", "i", "q", "B", "H", "I", "Q", "f", "d", "F", "D")


class BackendConformance:
    """What a backend must satisfy; subclass it and name the backend.

    Attributes
    ----------
    backend : str
        Name of the backend, which must be installed and able to run here.
    missing : mapping of str to str
        Known gaps: ops without a kernel, and the reason. A test fails when it is not exact.
    deviations : mapping of str to str
        Samples, by name or by op, whose value is known to differ, and the reason; strictly
        expected to fail.
    rtol : float
        Relative tolerance of float64 values, where the sample's own is smaller.
    dtypes : str
        Characters of the NumPy dtypes that the backend's arrays can have.
    """

    backend: ClassVar[str]
    missing: ClassVar[Mapping[str, str]] = {}
    deviations: ClassVar[Mapping[str, str]] = {}
    rtol: ClassVar[float] = 1e-13
    dtypes: ClassVar[str] = "".join(_DTYPES)

    @pytest.fixture
    def this(self) -> AbstractBackend:
        """Return the backend under test."""
        backend = backends.get(self.backend)
        reason = backend.unavailable()
        assert reason is None, f"backend {self.backend!r} cannot run here: {reason}"
        return backend

    # -- the op samples ------------------------------------------------------------------------

    @pytest.mark.parametrize("sample", SAMPLES, ids=str)
    def test_value(self, this: AbstractBackend, sample: Sample, request: pytest.FixtureRequest) -> None:
        """A kernel gives the oracle's value, in the spec that the op's spec rule gives."""
        graph = gl.make_graph(call(sample))(*sample.args)
        if not self.can_run(this, graph):
            return
        self.expect_deviation(sample, request)
        with np.errstate(all="ignore"):
            expected = sample.oracle(*sample.args, **sample.attrs)
        expected = expected if isinstance(expected, tuple) else (expected,)
        for outputs in run_twice(this, graph, sample.args):
            for out, spec, want in zip(outputs, graph.output_specs(), expected, strict=True):
                got = self.host_value(this, out, spec)
                np.testing.assert_allclose(
                    got, want, rtol=self.tolerance(sample, got), atol=self.absolute_tolerance(sample, want)
                )

    @pytest.mark.parametrize("sample", _DIFFERENTIABLE, ids=str)
    def test_gradient(self, this: AbstractBackend, sample: Sample, request: pytest.FixtureRequest) -> None:
        """The gradient of an op runs on the backend, and is that of the NumPy backend."""
        graph, args = pullback_graph(sample)
        if not self.can_run(this, graph):
            return
        self.expect_deviation(sample, request)
        reference = Plan(graph, backends.get("numpy"))
        with np.errstate(all="ignore"):
            expected = reference.run(prepare(reference, args))
        for outputs in run_twice(this, graph, args):
            for out, spec, want in zip(outputs, graph.output_specs(), expected, strict=True):
                got = self.host_value(this, out, spec)
                scale = np.max(np.abs(want), initial=0.0, where=np.isfinite(want))
                rtol = 1e4 * np.finfo(spec.dtype).eps
                np.testing.assert_allclose(got, want, rtol=rtol, atol=rtol * max(float(scale), 1.0))

    @pytest.mark.parametrize("zeros", [0, 1])
    @pytest.mark.parametrize(
        ("op", "attrs"),
        [("annihilating_matmul", {}), ("einsum", {"subscripts": "ab,bc->ac"})],
        ids=["matmul", "einsum"],
    )
    def test_zeros_annihilate(self, this: AbstractBackend, op: str, attrs: dict[str, Any], zeros: int) -> None:
        """A sum of products with special values is that of its terms, of which those of zeros are zero."""
        if op in self.missing:
            return
        pairs = np.array(list(itertools.product([0.0, -0.0, 1.5, -2.0, np.inf, -np.inf, np.nan], repeat=2)))
        operands = (pairs, pairs.T.copy())
        keyword = "zeros" if op == "annihilating_matmul" else "annihilates"
        graph = gl.make_graph(partial(get_op(op), **attrs, **{keyword: zeros}))(*operands)
        with np.errstate(all="ignore"):
            left, right = operands[0][:, None, :], operands[1].T[None, :, :]
            terms = np.where((left, right)[zeros] == 0, 0.0, left * right)
            want = np.sum(terms, axis=2)
        for outputs in run_twice(this, graph, operands):
            np.testing.assert_array_equal(self.host_value(this, outputs[0], Spec(want.shape, "d")), want)

    def can_run(self, this: AbstractBackend, graph: Graph) -> bool:
        """Return whether a graph has kernels; if one is a known gap, check the error and return False."""
        live = live_nodes(graph.nodes, graph.outputs)
        gaps = {node[0].name for node, used in zip(graph.nodes, live, strict=True) if used} & self.missing.keys()
        if not gaps:
            return True
        with pytest.raises(MissingKernelError, match=f"backend {self.backend!r} has no kernel") as raised:
            Plan(graph, this)
        assert raised.value.op in gaps
        return False

    def expect_deviation(self, sample: Sample, request: pytest.FixtureRequest) -> None:
        """Mark a test that is known to fail."""
        reason = self.deviations.get(str(sample)) or self.deviations.get(sample.op)
        if reason is not None:
            request.applymarker(pytest.mark.xfail(reason=reason, strict=True))

    def host_value(self, this: AbstractBackend, array: Any, spec: Spec) -> Array:
        """Return an array as a NumPy array, after checking what it is."""
        assert this.recognises(type(array)), f"a kernel returned a {type(array).__name__}"
        assert this.describe(array) is spec.strong()
        host = this.to_host(array)
        assert (host.shape, host.dtype) == (spec.shape, spec.dtype)
        return host

    def tolerance(self, sample: Sample, got: Array) -> float:
        """Return the relative tolerance of a sample's values."""
        if got.dtype.kind not in "fc" or sample.rtol == 0:
            return 0.0
        return max(sample.rtol, self.rtol, 8 * float(np.finfo(got.dtype).eps))

    def absolute_tolerance(self, sample: Sample, want: Any) -> float:
        """Return the absolute tolerance: what cancellation leaves of the largest element."""
        if np.asarray(want).dtype.kind not in "fc" or sample.rtol == 0:
            return 0.0
        largest = np.max(np.abs(want), initial=0.0, where=np.isfinite(want))
        return max(1e-300, float(largest) * self.rtol)

    # -- the laws ------------------------------------------------------------------------------

    @pytest.mark.parametrize("dtype", _DTYPES)
    def test_round_trip(self, this: AbstractBackend, dtype: str) -> None:
        """`from_host` keeps shape and dtype, and `to_host` gives back the same bits."""
        if dtype not in self.dtypes:
            with pytest.raises((TypeError, ValueError)):
                this.from_host(np.zeros(2, dtype))
            return
        for host in host_arrays(dtype):
            array = this.from_host(host)
            assert this.recognises(type(array))
            assert this.describe(array) is Spec(host.shape, host.dtype)
            assert_same_bits(this.to_host(array), host)
            assert_same_bits(this.to_host(this.copy(array)), host)

    def test_round_trip_of_scalars(self, this: AbstractBackend) -> None:
        """NumPy scalars become 0-d arrays."""
        for scalar in (np.float32(1.5), np.float64(-0.0), np.int64(3), np.bool_(True), np.complex128(1j)):
            array = this.from_host(scalar)
            assert this.describe(array) is Spec((), scalar.dtype)
            assert_same_bits(this.to_host(array), np.asarray(scalar))

    def test_recognises_nothing_else(self, this: AbstractBackend) -> None:
        """Neither Python's types nor the arrays of other backends are this backend's."""
        for kind in (float, int, complex, bool, str, list, tuple, dict, type(None), gl.Tensor, object):
            assert not this.recognises(kind)
        for row in gl.backends():
            if row.status == "ready" and row.name not in (this.name, kind_owner(this)):
                other = backends.get(row.name)
                assert not this.recognises(type(other.from_host(np.ones(2)))), f"arrays of {row.name}"

    def test_the_kind_of_the_inputs_picks_the_backend(self, this: AbstractBackend) -> None:
        """Arrays in, the same kind of arrays out."""
        x = this.from_host(np.array([0.5, 2.0]))
        value, gradient = gl.value_and_grad(lambda t: np.sum(t * t * 3.0))(x)
        np.testing.assert_array_equal(self.host_value(this, value, Spec((), "d")), 12.75)
        np.testing.assert_array_equal(self.host_value(this, gradient, Spec((2,), "d")), [3.0, 12.0])

    def test_choosing_the_backend(self, this: AbstractBackend) -> None:
        """`gl.backend` overrules the kind of the inputs."""
        with gl.backend(self.backend):
            gradient = gl.grad(lambda t: np.sum(t * t * 3.0))(np.array([0.5, 2.0]))
        np.testing.assert_array_equal(self.host_value(this, gradient, Spec((2,), "d")), [3.0, 12.0])

    def test_devices(self, this: AbstractBackend) -> None:
        """On each device, arrays are made and kernels run, with the same bits."""
        x = np.array([0.5, 2.0, -3.0])
        home = this.from_host(x)
        assert this.devices() >= 1
        for k in range(this.devices()):
            with this.on_device(k):
                for array in (this.from_host(x), this.copy(home)):
                    kernel, attrs = this.kernel(ops["multiply"], ())
                    assert_same_bits(this.to_host(kernel(array, array, **attrs)), x * x)

            def function(t: Any, place: str = f"{self.backend}:{k}") -> Any:
                with gl.device(place):
                    return np.sum(t * t * 3.0)

            for transformed in (gl.value_and_grad(function), gl.jit(gl.value_and_grad(function))):
                value, gradient = transformed(x)
                assert float(value) == 39.75
                np.testing.assert_array_equal(gradient, [3.0, 12.0, -18.0])

    def test_there_is_no_further_device(self, this: AbstractBackend) -> None:
        """A device beyond the last raises."""
        with pytest.raises(DeviceError, match="device"), gl.device(f"{self.backend}:{this.devices()}"):
            gl.grad(np.sin)(1.0)

    def test_name(self, this: AbstractBackend) -> None:
        """The backend goes by the name it is registered under."""
        assert this.name == self.backend

    def test_missing_kernel(self, this: AbstractBackend) -> None:
        """An op without a kernel raises, naming backend, op and remedy."""
        unknown = Op("op_of_the_conformance_suite", spec=_same, elementwise=True)
        with pytest.raises(MissingKernelError) as raised:
            this.kernel(unknown, ())
        text = str(raised.value)
        assert f"op_of_the_conformance_suite: backend {self.backend!r} has no kernel for this op" in text
        assert "remedy" in text

    def test_kernel_table(self, this: AbstractBackend) -> None:
        """Every op of gradloom's own has a kernel or stands in ``missing``; every kernel has an op.

        Ops of other plugins may bring their kernels with them, or do without this backend.
        """
        kernels = set(this.kernels)
        assert kernels - set(ops) == set(), "kernels of no op"
        own = {name for name, op in ops.items() if op.spec.__module__.startswith("gradloom.")}
        lacking = own - kernels - _STRUCTURAL
        assert lacking == set(self.missing), "ops without a kernel, and the table of known gaps"


def _same(x: Spec) -> Spec:
    return x


def kind_owner(backend: AbstractBackend) -> str:
    """Return the name of the backend that claims the type of a backend's arrays."""
    for other in backends:
        if other.recognises(type(backend.from_host(np.ones(2)))):
            return other.name
    return backend.name


def host_arrays(dtype: str) -> list[Array]:
    """Return NumPy arrays of one dtype: 0-d, empty, and in every memory layout."""
    array = np.arange(6).reshape(2, 3).astype(dtype)
    if array.dtype.kind in "fc":
        array[0] = [-0.0, np.nan, np.inf]
    return [np.ones((), dtype), np.ones((0, 3), dtype), array, *(view for _, view in layouts(array))]


def assert_same_bits(got: Array, want: Array) -> None:
    """Fail unless two arrays have the same shape, dtype and bits."""
    assert isinstance(got, np.ndarray | np.generic)
    assert (got.shape, got.dtype) == (want.shape, want.dtype)
    assert got.tobytes() == want.tobytes()


def assert_same_bits_in_threads(call: Callable[[], Sequence[Any]], want: Sequence[Any]) -> None:
    """Fail unless each of 20 calls, made by four threads at once, returns certain arrays."""
    results: list[Sequence[Any]] = []
    barrier = threading.Barrier(4)

    def work() -> None:
        barrier.wait()
        for _ in range(5):
            results.append(call())

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 20
    for result in results:
        for one, other in zip(result, want, strict=True):
            assert_same_bits(np.asarray(one), np.asarray(other))


def run_twice(backend: AbstractBackend, graph: Graph, args: tuple[Any, ...]) -> list[list[Any]]:
    """Return the outputs of a plan's interpreted and of its compiled run; inputs must stay as they are."""
    plan = Plan(graph, backend)
    inputs = prepare(plan, args)
    before = [np.array(backend.to_host(x)) for x in inputs]
    with np.errstate(all="ignore"):
        runs = [plan.run(inputs), plan.run(inputs)]
    for array, host in zip(inputs, before, strict=True):
        assert_same_bits(np.asarray(backend.to_host(array)), host)
    return runs


def pullback_graph(sample: Sample) -> tuple[Graph, tuple[Any, ...]]:
    """Return the graph that pulls fixed cotangents back through a sample's op, and its arguments."""
    op = get_op(sample.op)
    with np.errstate(all="ignore"):
        positions = differentiable(sample)
    count = len(sample.args)
    seeds: list[Array] = []

    def outputs(*args: Any) -> tuple[Any, ...]:
        out = op(*args, **sample.attrs)
        return tuple([o for o in (out if isinstance(out, tuple) else (out,)) if o.dtype.kind in "fc"])

    def pulled(*args: Any) -> Any:
        def varied(*primals: Any) -> tuple[Any, ...]:
            everything = list(args[:count])
            for k, primal in zip(positions, primals, strict=True):
                everything[k] = primal
            return outputs(*everything)

        return gl.vjp(varied, *[args[k] for k in positions])[1](tuple(args[count:]))

    generator = rng(3)
    for spec in gl.make_graph(outputs)(*sample.args).output_specs():
        seeds.append(generator.normal(size=spec.shape).astype(spec.dtype))
    args = (*sample.args, *seeds)
    build: Callable[..., Graph] = gl.make_graph(pulled)
    return build(*args), args
