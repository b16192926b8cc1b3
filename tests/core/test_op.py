"""Op: rules, attrs, the registry; and laws that hold for the kernels of all ops, on their samples."""

from __future__ import annotations

import importlib
import pickle
import pkgutil
from typing import Any

import numpy as np
import pytest

import gradloom as gl
import gradloom_numpy.kernels as numpy_kernels
from gradloom.backend import backends
from gradloom.errors import ArgumentError, MissingRuleError, ShapeError
from gradloom.op import Op, define, get_op, ops, unregister
from gradloom.spec import Spec
from gradloom.testing import samples as sample_package
from gradloom.testing.sample import Sample

X = np.array([0.5, -1.25, 2.0])
STRUCTURAL = {"input", "literal", "item", "call", "gradient", "region"}


def all_samples() -> list[Sample]:
    """Return the samples of every family."""
    found = []
    for module in pkgutil.iter_modules(sample_package.__path__):
        found += getattr(importlib.import_module(f"{sample_package.__name__}.{module.name}"), "SAMPLES", [])
    return found


SAMPLES = all_samples()


# -- the registry ------------------------------------------------------------------------------


def test_every_op_has_samples_and_a_numpy_kernel() -> None:
    """No op without test data (iota takes none), none that cannot run."""
    sampled = {sample.op for sample in SAMPLES}
    own = {name for name, op in ops.items() if op.spec.__module__.startswith("gradloom.ops.")}
    assert own - sampled - STRUCTURAL - {"stop_gradient", "iota"} == set()
    assert own - set(backends.get("numpy").kernels) - STRUCTURAL == set()


def test_registry_is_read_only() -> None:
    """Ops come in through define and register only."""
    with pytest.raises(TypeError):
        ops["sin"] = None  # type: ignore[index]


@pytest.mark.parametrize("name", sorted(ops))
def test_rules_are_named_functions(name: str) -> None:
    """Profiles and tracebacks read; an op pickles by name."""
    op = ops[name]
    rules: list[Any] = [op.spec]
    for field in ("partials", "transpose", "pushforward", "pullback"):
        value = getattr(op, field)
        rules += [r for r in (value if isinstance(value, tuple) else (value,)) if r is not None]
    assert all("<lambda>" not in getattr(rule, "__qualname__", "") for rule in rules)
    assert pickle.loads(pickle.dumps(op)) is op
    assert repr(op) == f"<op {name}>"


@pytest.mark.parametrize("name", sorted(set(ops) - STRUCTURAL))
def test_every_op_says_how_it_maps_and_differentiates(name: str) -> None:
    """Batching follows from some rule; a derivative exists or is declared zero."""
    op = ops[name]
    if not name.startswith("test_"):
        assert op.elementwise or op.axes is not None or op.batch is not None or op.axis_attrs or op.shape_attrs
        rules = (op.partials, op.transpose, op.pushforward, op.pullback)
        assert op.zero_derivative or any(r is not None for r in rules)


# -- attrs -------------------------------------------------------------------------------------


def test_attrs_are_checked() -> None:
    """Unknown and missing attrs name what is known; defaults are filled in."""

    def spec(x: Spec, *, axis: int, keep: bool = False) -> Spec:
        return x

    op = Op("unregistered", spec=spec)
    assert op.attr_names == ("axis", "keep")
    assert op.attr_values({"axis": 1}) == (1, False)
    assert op.attr_dict((1, True)) == {"axis": 1, "keep": True}
    for attrs in ({}, {"axis": 1, "depth": 2}, {"keep": True}):
        with pytest.raises(ArgumentError, match=r"(?s)wrong attrs.*expected: \('axis', 'keep'\)"):
            op.attr_values(attrs)


def test_ops_run_on_arrays() -> None:
    """Outside of all traces, and inside on what does not depend on a tensor."""
    sin, add, total = get_op("sin"), get_op("add"), get_op("sum")
    np.testing.assert_array_equal(sin(X), np.sin(X))
    np.testing.assert_array_equal(add([1, 2], X[:2]), np.array([1, 2]) + X[:2])
    assert isinstance(sin(2.0), np.float64)
    assert sin(np.float32(2.0)).dtype == add(np.float32(2.0), 1.0).dtype == np.float32
    assert total(X, axis=(0,), keepdims=False) == np.sum(X)
    sign, logarithm = get_op("slogdet")(-np.eye(3))
    assert (sign, logarithm) == (-1.0, 0.0)
    np.testing.assert_array_equal(gl.grad(lambda t: np.sum(t * sin(X)))(X), np.sin(X))
    with pytest.raises(ArgumentError, match=r"(?s)sin: cannot take a value of this kind.*got: NoneType"):
        sin(None)
    with pytest.raises(ShapeError, match=f"(?s)add: shapes do not broadcast.*{__file__}:"):
        add(X, np.ones(X.size + 1))


def test_spec_rule_errors_gain_op_and_line() -> None:
    """A rule raises; the trace says which op, and where."""

    def spec(x: Spec) -> Spec:
        raise ShapeError("never fits", argument="x")

    op = define("test_never_fits", spec=spec)
    try:
        with pytest.raises(ShapeError, match="test_never_fits: never fits") as caught:
            gl.grad(lambda x: op(x))(1.0)
        assert __file__ in caught.value.location
    finally:
        unregister("test_never_fits")
    with pytest.raises(MissingRuleError):
        get_op("test_never_fits")


def test_memory_of_spec_rules_is_bounded() -> None:
    """An op forgets what it inferred beyond a bound."""
    from gradloom import op as module

    calls = []

    def spec(x: Spec, *, n: int) -> Spec:
        calls.append(n)
        return x

    op = Op("unregistered", spec=spec)
    x = Spec((3,), float)
    for n in range(2 * module.MAX_KNOWN):
        op.infer((x,), (n,))
        assert len(op.known) <= module.MAX_KNOWN
    op.infer((x,), (2 * module.MAX_KNOWN - 1,))
    assert len(calls) == 2 * module.MAX_KNOWN


def test_third_party_op() -> None:
    """An op with rules of its own, defined outside: gradient, map, jit."""

    def spec(x: Spec) -> Spec:
        return x

    def partial(out: Any, x: Any) -> Any:
        return 3.0 * x**2

    op = define("test_cube", spec=spec, partials=(partial,), elementwise=True)
    try:
        numpy_kernels.KERNELS["test_cube"] = lambda x: x**3
        np.testing.assert_allclose(gl.grad(lambda x: np.sum(op(x)))(X), 3 * X**2, rtol=1e-15)
        np.testing.assert_allclose(gl.jvp(lambda x: op(x), (X,), (X,))[1], 3 * X**3, rtol=1e-15)
        np.testing.assert_allclose(gl.vmap(gl.grad(lambda x: op(x)))(X), 3 * X**2, rtol=1e-15)
        np.testing.assert_allclose(gl.hessian(lambda x: op(x))(2.0), 12.0, rtol=1e-15)
    finally:
        numpy_kernels.KERNELS.pop("test_cube")
        unregister("test_cube")


# -- kernels -----------------------------------------------------------------------------------


def kernel_call(sample: Sample) -> tuple[Any, list[Any]]:
    """Return a sample's kernel bound to its attrs, and fresh arrays of what it takes."""
    graph = gl.make_graph(lambda *args: get_op(sample.op)(*args, **sample.attrs))(*sample.args)
    (node,) = [n for n in graph if n.op.name == sample.op]
    kernel, keywords = backends.get("numpy").kernel(node.op, graph.nodes[node.id][2])
    args = [np.array(a, graph.specs[i].dtype) for a, i in zip(sample.args, node.inputs, strict=True)]
    return lambda *arrays: kernel(*arrays, **keywords), args


def takes_its_arguments_once(sample: Sample) -> bool:
    """Return whether the sample's graph is one node on its own arguments."""
    graph = gl.make_graph(lambda *args: get_op(sample.op)(*args, **sample.attrs))(*sample.args)
    found = [n for n in graph if n.op.name == sample.op]
    return len(found) == 1 and len(found[0].inputs) == len(sample.args)


CALLABLE = [sample for sample in SAMPLES if sample.args and takes_its_arguments_once(sample)]


@pytest.mark.parametrize("sample", CALLABLE, ids=str)
def test_kernels_keep_the_law(sample: Sample) -> None:
    """Arguments are not changed; outputs have the spec rule's dtype and shape, and share memory only where declared."""
    call, args = kernel_call(sample)
    copies = [a.copy() for a in args]
    for a in args:
        a.flags.writeable = False
    with np.errstate(all="ignore"):
        out = call(*args)
    for a, copy in zip(args, copies, strict=True):
        np.testing.assert_array_equal(a, copy)
    outs = out if isinstance(out, tuple) else (out,)
    specs = get_op(sample.op).infer(
        tuple(Spec(a.shape, a.dtype) for a in args), get_op(sample.op).attr_values(sample.attrs)
    )[0]
    specs = specs if isinstance(specs, tuple) else (specs,)
    view = get_op(sample.op).view
    for o, spec in zip(outs, specs, strict=True):
        assert (np.shape(o), np.asarray(o).dtype) == (spec.shape, spec.dtype)
        for k, a in enumerate(args):
            if not (view and k == 0):
                assert o is not a
                assert not np.shares_memory(np.asarray(o), a)
    for j, first in enumerate(outs):
        for second in outs[j + 1 :]:
            assert not np.shares_memory(np.asarray(first), np.asarray(second))
