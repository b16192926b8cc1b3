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

_NARROW = {np.dtype(np.float64): np.dtype(np.float32), np.dtype(np.complex128): np.dtype(np.complex64)}


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
    outputs = sample.oracle(*sample.args, **sample.attrs)
    if not any(np.asarray(out).dtype.kind in "fc" for out in (outputs if isinstance(outputs, tuple) else (outputs,))):
        return []
    kinds = ("partials", "transpose", "pushforward", "pullback")
    found = []
    for k, arg in enumerate(sample.args):
        if np.asarray(arg).dtype.kind in "fc" and any(op.rule_for(kind, k) is not None for kind in kinds):
            found.append(k)
    return found


@np.errstate(all="ignore")
def check_value(sample: Sample) -> None:
    """Check that the output equals the oracle's, in value, shape and dtype."""
    outputs = run(sample)
    expected = sample.oracle(*sample.args, **sample.attrs)
    expected = list(expected) if isinstance(expected, tuple) else [expected]
    assert len(outputs) == len(expected)
    for out, want in zip(outputs, expected, strict=True):
        want = np.asarray(want)
        assert np.shape(out) == want.shape, f"shape {np.shape(out)}, expected {want.shape}"
        assert out.dtype == want.dtype, f"dtype {out.dtype}, expected {want.dtype}"
        np.testing.assert_allclose(out, want, rtol=sample.rtol, atol=0 if sample.rtol == 0 else 1e-300)


@np.errstate(all="ignore")
def check_layouts(sample: Sample) -> None:
    """Every memory layout of the first argument gives the values of the C-ordered copy."""
    expected = run(sample)
    for name, array in layouts(np.asarray(sample.args[0])):
        for out, want in zip(run(sample, (array, *sample.args[1:])), expected, strict=True):
            np.testing.assert_allclose(out, want, rtol=1e-13, err_msg=name)


def reverse_jacobian(f: Callable[..., Any], args: tuple[Any, ...], argument: int) -> Array:
    """Return the Jacobian of ``f`` with respect to one argument, row by row with `vjp`.

    Over the reals: for a complex argument a last axis of length 2 holds the derivatives with
    respect to real and imaginary part, as in `differences.real_jacobian`.
    """
    x = np.asarray(args[argument])
    out, pullback = gl.vjp(lambda t: f(*args[:argument], t, *args[argument + 1 :]), args[argument])
    out = np.asarray(out)
    # A cotangent c asks for the gradient of Re(c out), du/dx - i du/dy: 1 for the real part of
    # the output, -i for its imaginary part.
    units = (1, -1j) if out.dtype.kind == "c" else (1,)
    rows = np.zeros((out.size, *x.shape, *_parts(x)), out.dtype)
    for k in range(out.size):
        for unit, part in zip(units, (1, 1j), strict=False):
            seed = np.zeros(out.shape, out.dtype)
            seed.flat[k] = unit
            pulled = np.asarray(pullback(seed)[0])
            assert pulled.dtype == x.dtype, f"a gradient of dtype {pulled.dtype} for an argument of {x.dtype}"
            rows[k] += part * (np.stack([pulled.real, -pulled.imag], axis=-1) if _parts(x) else pulled)
    return rows.reshape((*out.shape, *x.shape, *_parts(x)))


def forward_jacobian(f: Callable[..., Any], args: tuple[Any, ...], argument: int) -> Array:
    """Return the Jacobian of ``f`` with respect to one argument, column by column with `jvp`.

    Shaped like that of `reverse_jacobian`.
    """
    x = np.asarray(args[argument])
    columns = []
    for k in range(x.size):
        for unit in (1, 1j) if _parts(x) else (1,):
            seed = np.zeros(x.shape, x.dtype)
            seed.flat[k] = unit
            out, tangent = gl.jvp(lambda t: f(*args[:argument], t, *args[argument + 1 :]), (args[argument],), (seed,))
            assert np.asarray(tangent).dtype == np.asarray(out).dtype, "a tangent of another dtype than its value"
            columns.append(np.asarray(tangent))
    if not columns:
        return np.zeros_like(reverse_jacobian(f, args, argument))
    return np.stack(columns, axis=-1).reshape((*columns[0].shape, *x.shape, *_parts(x)))


def _parts(x: Array) -> tuple[int, ...]:
    """Return the axis that holds derivatives to real and imaginary part, if there is one."""
    return (2,) if x.dtype.kind == "c" else ()


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


@np.errstate(all="ignore")
def check_jacobians(sample: Sample, rtol: float = 1e-9) -> None:
    """Both modes give the Jacobian that differences of the oracle give."""
    for traced, oracle in _single_outputs(sample):
        for k in differentiable(sample):
            if sample.smooth:
                expected = differences.real_jacobian(oracle, sample.args, k, sample.step)
            elif k in sample.expected_partials:
                expected = np.asarray(sample.expected_partials[k])
            else:
                continue
            scale = np.max(np.abs(expected), initial=0.0, where=np.isfinite(expected))
            for mode in (reverse_jacobian, forward_jacobian):
                got = mode(traced, sample.args, k)
                message = f"{mode.__name__} of argument {k}"
                # Differences have an absolute error; stated partials are taken at their word.
                atol = rtol * max(scale, 1e-3) if sample.smooth else 1e-300
                np.testing.assert_allclose(got, expected, rtol=rtol, atol=atol, err_msg=message)


@np.errstate(all="ignore")
def check_second_order(sample: Sample, rtol: float = 1e-9) -> None:
    """Check that both modes give the Jacobian of a gradient that differences of it give.

    The gradient itself is checked against the oracle by `check_jacobians`.
    """
    if not sample.smooth:
        return
    for traced, oracle in _single_outputs(sample):
        weights = _weights(np.asarray(oracle(*sample.args)))
        for k in differentiable(sample):

            def gradient(*args: Any, k: int = k, traced: Any = traced, weights: Array = weights) -> Any:
                return gl.grad(lambda *a: np.sum(_real(traced(*a) * weights)), argnums=k)(*args)

            for j in differentiable(sample):
                expected = _differences_of_gradient(oracle, sample, weights, k, j)
                scale = np.max(np.abs(expected), initial=0.0)
                for mode in (reverse_jacobian, forward_jacobian):
                    got = mode(gradient, sample.args, j)
                    message = f"{mode.__name__} of argument {j} of the gradient to {k}"
                    np.testing.assert_allclose(got, expected, rtol=rtol, atol=rtol * max(scale, 1.0), err_msg=message)


def _weights(out: Array) -> Array:
    weights = rng(1).uniform(0.5, 1.5, out.shape)
    return np.asarray(weights * (1 + 0.5j) if out.dtype.kind == "c" else weights)


def _differences_of_gradient(oracle: Any, sample: Sample, weights: Array, k: int, j: int) -> Array:
    is_complex = np.asarray(sample.args[k]).dtype.kind == "c"

    def scalar(*args: Any) -> Any:
        return np.sum(np.real(oracle(*args) * weights))

    def gradient(*args: Any) -> Any:
        return (differences.complex_jacobian if is_complex else differences.jacobian)(scalar, args, k, sample.step)

    return differences.real_jacobian(gradient, sample.args, j, sample.step)


def _real(x: Any) -> Any:
    return np.real(x) if x.dtype.kind == "c" else x


@np.errstate(all="ignore")
def check_adjoint(sample: Sample) -> None:
    """``Re <J v, u>`` equals ``Re <v, J^T u>``: the modes are each other's transpose."""
    function = call(sample)
    generator = rng(2)
    for k in differentiable(sample):
        x = np.asarray(sample.args[k])
        v = _random(generator, x)

        def smooth_outputs(t: Any, k: int = k) -> Any:
            outs = function(*sample.args[:k], t, *sample.args[k + 1 :])
            return tuple(o for o in outs if o.dtype.kind in "fc") if isinstance(outs, tuple) else outs

        out, tangent = gl.jvp(smooth_outputs, (sample.args[k],), (v,))
        outs, _ = flatten(out)
        seeds = [_random(generator, np.asarray(o)) for o in outs]
        pulled = gl.vjp(smooth_outputs, sample.args[k])[1](tuple(seeds) if isinstance(out, tuple) else seeds[0])[0]
        products = [np.real(t * u) for t, u in zip(flatten(tangent)[0], seeds, strict=True)]
        left = sum(np.sum(p) for p in products)
        if np.isfinite(left):
            size = sum(np.sum(np.abs(p)) for p in products)
            right = np.sum(np.real(v * pulled))
            coarse = 1e6 if any(np.asarray(a).dtype in _NARROW.values() for a in (x, *outs)) else 1.0
            np.testing.assert_allclose(left, right, rtol=1e-11 * coarse, atol=1e-13 * coarse * max(float(size), 1.0))


def _random(generator: np.random.Generator, like: Array) -> Array:
    values = generator.normal(size=like.shape)
    if like.dtype.kind == "c":
        return np.asarray(values + 1j * generator.normal(size=like.shape), like.dtype)
    return np.asarray(values, like.dtype)


@np.errstate(all="ignore")
def check_float32(sample: Sample) -> None:
    """float32 in, float32 out, float32 gradient; and single-precision complex numbers alike."""
    arrays = [np.asarray(a) for a in sample.args]
    args = tuple([a.astype(_NARROW.get(a.dtype, a.dtype)) for a in arrays])
    if get_op(sample.op).promote is not None and any(a.dtype.kind in "iu" for a in arrays):
        return  # float32 and int64 make float64
    for out, want in zip(run(sample, args), run(sample), strict=True):
        if want.dtype in _NARROW and "dtype" not in sample.attrs:
            assert out.dtype == _NARROW[want.dtype]
    for k in differentiable(sample):
        outs, pullback = gl.vjp(lambda t, k=k: call(sample)(*args[:k], t, *args[k + 1 :]), args[k])
        leaves, _ = flatten(outs)
        if all(leaf.dtype.kind in "fc" for leaf in leaves):
            seeds = [np.ones(np.shape(leaf), leaf.dtype) for leaf in leaves]
            pulled = pullback(tuple(seeds) if isinstance(outs, tuple) else seeds[0])[0]
            assert pulled.dtype == args[k].dtype
            assert np.shape(pulled) == np.shape(args[k])


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
