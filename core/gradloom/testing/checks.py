"""What every op must satisfy, checked on its samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import gradloom as gl
from gradloom.op import get_op
from gradloom.program import Program
from gradloom.pytree import flatten
from gradloom.testing import differences
from gradloom.testing.sample import Sample, layouts, rng

Array = np.ndarray[Any, Any]


def call(sample: Sample) -> Callable[..., Any]:
    """Return the op of a sample as a function of tensors."""
    op = get_op(sample.op)

    def function(*args: Any) -> Any:
        return op(*args, **sample.attrs)

    return function


def run(sample: Sample, args: tuple[Any, ...] | None = None) -> list[Any]:
    """Run the op on arrays and return its outputs."""
    args = sample.args if args is None else args
    return Program(gl.make_graph(call(sample))(*args)).run(args)


def differentiable(sample: Sample) -> list[int]:
    """Return the arguments of a sample that carry a derivative."""
    op = get_op(sample.op)
    kinds = ("partials", "transpose", "pushforward", "pullback")
    found = []
    for k, arg in enumerate(sample.args):
        if np.asarray(arg).dtype.kind in "fc" and any(op.rule_for(kind, k) is not None for kind in kinds):
            found.append(k)
    return found


def check_value(sample: Sample) -> None:
    """The output equals the oracle's, and has the dtype and shape of the spec rule."""
    outputs = run(sample)
    expected = sample.oracle(*sample.args, **sample.attrs)
    expected = list(expected) if isinstance(expected, tuple) else [expected]
    assert len(outputs) == len(expected)
    for out, want in zip(outputs, expected, strict=True):
        want = np.asarray(want)
        assert np.shape(out) == want.shape, f"shape {np.shape(out)}, expected {want.shape}"
        assert out.dtype == want.dtype, f"dtype {out.dtype}, expected {want.dtype}"
        np.testing.assert_allclose(out, want, rtol=sample.rtol, atol=0 if sample.rtol == 0 else 1e-300)


def check_layouts(sample: Sample) -> None:
    """Every memory layout of the first argument gives the values of the C-ordered copy."""
    expected = run(sample)
    for name, array in layouts(np.asarray(sample.args[0])):
        for out, want in zip(run(sample, (array, *sample.args[1:])), expected, strict=True):
            np.testing.assert_allclose(out, want, rtol=1e-13, err_msg=name)


def reverse_jacobian(f: Callable[..., Any], args: tuple[Any, ...], argument: int) -> Array:
    """Return the Jacobian of ``f`` with respect to one argument, row by row with `vjp`."""
    x = np.asarray(args[argument])
    out, pullback = gl.vjp(lambda t: f(*args[:argument], t, *args[argument + 1 :]), args[argument])
    out = np.asarray(out)
    rows = np.zeros((out.size, *x.shape), np.result_type(x.dtype, out.dtype))
    for k in range(out.size):
        seed = np.zeros(out.shape, out.dtype)
        seed.flat[k] = 1
        rows[k] = pullback(seed)[0]
    return rows.reshape((*out.shape, *x.shape))


def forward_jacobian(f: Callable[..., Any], args: tuple[Any, ...], argument: int) -> Array:
    """Return the Jacobian of ``f`` with respect to one argument, column by column with `jvp`."""
    x = np.asarray(args[argument])
    columns = []
    for k in range(x.size):
        seed = np.zeros(x.shape, x.dtype)
        seed.flat[k] = 1
        out, tangent = gl.jvp(lambda t: f(*args[:argument], t, *args[argument + 1 :]), (args[argument],), (seed,))
        columns.append(np.asarray(tangent))
    if not columns:
        return np.zeros((*reverse_jacobian(f, args, argument).shape[: -x.ndim or None], *x.shape))
    return np.stack(columns, axis=-1).reshape((*columns[0].shape, *x.shape))


def _single_outputs(sample: Sample) -> list[tuple[Callable[..., Any], Callable[..., Any]]]:
    """Return (traced, oracle) functions, one pair per float output of the op."""
    function = call(sample)
    outputs = sample.oracle(*sample.args, **sample.attrs)
    if not isinstance(outputs, tuple):
        return [(function, lambda *args: sample.oracle(*args, **sample.attrs))]
    return [
        (lambda *args, k=k: function(*args)[k], lambda *args, k=k: sample.oracle(*args, **sample.attrs)[k])
        for k, out in enumerate(outputs)
        if np.asarray(out).dtype.kind in "fc"
    ]


def check_jacobians(sample: Sample, rtol: float = 1e-9) -> None:
    """Both modes give the Jacobian that differences of the oracle give."""
    for traced, oracle in _single_outputs(sample):
        for k in differentiable(sample):
            if sample.smooth:
                expected = differences.jacobian(oracle, sample.args, k, sample.step)
            elif k in sample.expected_partials:
                expected = np.asarray(sample.expected_partials[k])
            else:
                continue
            scale = np.max(np.abs(expected), initial=0.0, where=np.isfinite(expected))
            for mode in (reverse_jacobian, forward_jacobian):
                got = mode(traced, sample.args, k)
                message = f"{mode.__name__} of argument {k}"
                np.testing.assert_allclose(got, expected, rtol=rtol, atol=rtol * max(scale, 1e-3), err_msg=message)


def check_second_order(sample: Sample, rtol: float = 1e-9) -> None:
    """The Jacobian of a gradient, in both modes, is what differences of the gradient give.

    The gradient itself is checked against the oracle by `check_jacobians`.
    """
    for traced, oracle in _single_outputs(sample):
        weights = rng(1).uniform(0.5, 1.5, np.shape(np.asarray(oracle(*sample.args))))
        for k in differentiable(sample):
            def gradient(*args: Any, k: int = k) -> Any:
                return gl.grad(lambda *a: np.sum(_real(traced(*a)) * weights), argnums=k)(*args)

            for j in differentiable(sample) if sample.smooth else ():
                expected = _differences_of_gradient(oracle, sample, weights, k, j)
                scale = np.max(np.abs(expected), initial=0.0)
                for mode in (reverse_jacobian, forward_jacobian):
                    got = mode(gradient, sample.args, j)
                    message = f"{mode.__name__} of argument {j} of the gradient to {k}"
                    np.testing.assert_allclose(got, expected, rtol=rtol, atol=rtol * max(scale, 1.0), err_msg=message)


def _differences_of_gradient(oracle: Any, sample: Sample, weights: Array, k: int, j: int) -> Array:
    def scalar(*args: Any) -> Any:
        return np.sum(np.real(oracle(*args)) * weights)

    def gradient(*args: Any) -> Any:
        return differences.jacobian(scalar, args, k, sample.step)

    return differences.jacobian(gradient, sample.args, j, sample.step)


def _real(x: Any) -> Any:
    return np.real(x) if x.dtype.kind == "c" else x


def check_adjoint(sample: Sample) -> None:
    """``<J v, u>`` equals ``<v, J^T u>``: the modes are each other's transpose."""
    function = call(sample)
    generator = rng(2)
    for k in differentiable(sample):
        x = np.asarray(sample.args[k])
        v = generator.normal(size=x.shape).astype(x.dtype)

        def partial(t: Any, k: int = k) -> Any:
            outs = function(*sample.args[:k], t, *sample.args[k + 1 :])
            return tuple(o for o in outs if o.dtype.kind in "fc") if isinstance(outs, tuple) else outs

        out, tangent = gl.jvp(partial, (sample.args[k],), (v,))
        outs, structure = flatten(out)
        seeds = [generator.normal(size=np.shape(o)).astype(o.dtype) for o in outs]
        seed = tuple(seeds) if isinstance(out, tuple) else seeds[0]
        pulled = gl.vjp(partial, sample.args[k])[1](seed)[0]
        tangents, _ = flatten(tangent)
        left = sum(np.sum(t * u) for t, u in zip(tangents, seeds, strict=True))
        right = np.sum(v * pulled)
        if np.isfinite(left):
            size = sum(np.sum(np.abs(t * u)) for t, u in zip(tangents, seeds, strict=True))
            np.testing.assert_allclose(left, right, rtol=1e-11, atol=1e-13 * max(float(size), 1.0))


def check_float32(sample: Sample) -> None:
    """float32 in, float32 out, float32 gradient."""
    floats = [np.asarray(a).dtype == np.float64 for a in sample.args]
    args = tuple([np.asarray(a, np.float32) if is_float else a for a, is_float in zip(sample.args, floats, strict=True)])
    for out, want in zip(run(sample, args), run(sample), strict=True):
        if want.dtype == np.float64:
            assert out.dtype == np.float32
    for k in differentiable(sample):
        if floats[k]:
            outs, pullback = gl.vjp(lambda t, k=k: call(sample)(*args[:k], t, *args[k + 1 :]), args[k])
            leaves, _ = flatten(outs)
            if all(leaf.dtype.kind in "fc" for leaf in leaves):
                seeds = [np.ones(np.shape(leaf), leaf.dtype) for leaf in leaves]
                pulled = pullback(tuple(seeds) if isinstance(outs, tuple) else seeds[0])[0]
                assert pulled.dtype == np.float32 and np.shape(pulled) == np.shape(args[k])


class OpChecks:
    """All checks as test methods; parametrise a subclass over ``sample``."""

    def test_value(self, sample: Sample) -> None:
        """The output equals the oracle's, in value, shape and dtype."""
        check_value(sample)

    def test_layouts(self, sample: Sample) -> None:
        """Memory layout does not matter."""
        check_layouts(sample)

    def test_jacobians(self, sample: Sample) -> None:
        """Both modes give the Jacobian."""
        check_jacobians(sample)

    def test_second_order(self, sample: Sample) -> None:
        """Both modes give the Jacobian of the gradient."""
        check_second_order(sample)

    def test_adjoint(self, sample: Sample) -> None:
        """The modes are each other's transpose."""
        check_adjoint(sample)

    def test_float32(self, sample: Sample) -> None:
        """float32 stays float32."""
        check_float32(sample)
