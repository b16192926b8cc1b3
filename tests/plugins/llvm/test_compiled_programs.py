"""Random programs, compiled and not: values, gradients, products with Hessians, maps; with special values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import gradloom as gl
from gradloom.program import programs
from gradloom.pytree import flatten

#: What falls back to kernels of single ops agrees too, but was not tested.
pytestmark = pytest.mark.filterwarnings("error:compiler 'llvm' failed:RuntimeWarning")

#: Of an array and a small number.
UNARY: list[Callable[[Any, int], Any]] = [
    lambda a, k: np.sin(a),
    lambda a, k: np.cos(a) * (k + 1) / 2,
    lambda a, k: np.tanh(a - 0.3),
    lambda a, k: np.exp(np.sin(a)),
    lambda a, k: np.exp(a),
    lambda a, k: np.log(a),
    lambda a, k: np.log1p(a * a),
    lambda a, k: np.sqrt(a),
    lambda a, k: abs(a) ** 0.7,
    lambda a, k: a ** (k - 1),
    lambda a, k: 1.0 / a,
    lambda a, k: np.arctan(a) + k,
    lambda a, k: np.expm1(a) * 0.1,
    lambda a, k: np.sign(a) * a,
    lambda a, k: np.floor(a) + a,
    lambda a, k: -np.abs(a),
    lambda a, k: np.maximum(a, 0),
    lambda a, k: np.clip(a, -0.5, 0.75),
    lambda a, k: np.where(a > 0, a, 0.1 * a),
    lambda a, k: np.where(np.isnan(a), 0.0, a),
    lambda a, k: np.where((a > -1) & ~(a >= 1), a * a, k),
    lambda a, k: np.sum(a, axis=k % a.ndim if a.ndim else None),
    lambda a, k: np.sum(a * a, axis=-1, keepdims=True) if a.ndim else a,
    lambda a, k: np.mean(a, axis=0) if a.ndim else a,
    lambda a, k: np.max(a, axis=k % a.ndim, keepdims=True) if a.ndim else a,
    lambda a, k: np.min(a),
    lambda a, k: np.prod(np.tanh(a) + 1, axis=-1) if a.ndim else a,
    lambda a, k: np.var(a, axis=k % a.ndim) if a.ndim else a,
    lambda a, k: np.std(a) + k,
    lambda a, k: softmax(a, k % a.ndim) if a.ndim else a,
    lambda a, k: logsumexp(a, k % a.ndim) if a.ndim else a,
    lambda a, k: (a - np.mean(a, -1, keepdims=True)) / np.sqrt(np.var(a, -1, keepdims=True) + 0.1) if a.ndim else a,
    lambda a, k: np.sum(a > 0, axis=k % a.ndim) * a[..., 0].sum() if a.ndim else a,
    lambda a, k: a.T,
    lambda a, k: a.T * 2.0,
    lambda a, k: a[None],
    lambda a, k: a[..., None] if a.ndim < 3 else a,
    lambda a, k: a.reshape(-1),
    lambda a, k: a[..., ::-1] if a.ndim else a,
    lambda a, k: a[k % len(a)] if a.ndim else a,
    lambda a, k: np.concatenate([a, np.sin(a)]) if a.ndim else a,
    lambda a, k: np.cumsum(a, axis=0) if a.ndim else a,
    lambda a, k: a @ a.T if a.ndim == 2 else a,
    lambda a, k: a @ np.sum(a, axis=0) if a.ndim == 2 else a,
    lambda a, k: np.mean(a, axis=-1) @ a if a.ndim == 2 else a,
    lambda a, k: np.broadcast_to(a, (2, *a.shape)) if a.ndim < 3 else a,
    lambda a, k: assigned(a, k) if a.ndim else a,
    lambda a, k: a + np.sin(a).T if a.shape == a.T.shape else a,
    lambda a, k: np.exp(-np.square(a[:, None] - a[None, :])) if a.ndim == 1 else a,
    lambda a, k: a.astype(np.float64) * 0.5,
    lambda a, k: a.astype(np.float32) * 0.5,
]
NARROWED = len(UNARY) - 1
BINARY: list[Callable[[Any, Any], Any]] = [
    lambda a, b: a + b,
    lambda a, b: a - 2 * b,
    lambda a, b: a * b,
    lambda a, b: np.sin(a) * np.cos(b),
    lambda a, b: a / b,
    lambda a, b: np.maximum(a, b),
    lambda a, b: np.fmin(a, b),
    lambda a, b: np.logaddexp(a, b),
    lambda a, b: np.hypot(a, b),
    lambda a, b: np.arctan2(a, b),
    lambda a, b: abs(a) ** np.tanh(b),
    lambda a, b: np.where(a > b, a, b * b),
    lambda a, b: np.copysign(a, b),
    lambda a, b: np.where(a == b, 1.0, a),
]
Instruction = tuple[bool, int, int, int]
Program = list[Instruction]
INSTRUCTIONS = st.lists(
    st.tuples(st.booleans(), st.integers(0, 90), st.integers(0, 9), st.integers(0, 3)), min_size=1, max_size=9
)
SHAPES = st.sampled_from([(2, 3), (3, 1), (1, 7), (5, 17), (33, 9), (40, 70), (65, 65)])
DTYPES = st.sampled_from(["float64", "float64", "float32"])
SPECIAL = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, 1e-40, 1e30, 0.75, -0.5, 2.0])


def softmax(a: Any, axis: int) -> Any:
    """Return what sums to one along an axis."""
    e = np.exp(a - np.max(a, axis=axis, keepdims=True))
    return e / np.sum(e, axis=axis, keepdims=True)


def logsumexp(a: Any, axis: int) -> Any:
    """Return the logarithm of a sum of exponentials."""
    m = np.max(a, axis=axis, keepdims=True)
    return np.log(np.sum(np.exp(a - m), axis=axis, keepdims=True)) + m


def assigned(a: Any, k: int) -> Any:
    """Return a copy with an element set and a part added to."""
    b = a * 1.0
    b[0] = np.sin(a[-1]) * k
    b[1:] += a[:-1] * 0.5
    return b


def run(program: Program, *inputs: Any) -> list[Any]:
    """Interpret a program: each instruction takes earlier values and appends one; return the last few."""
    values = list(inputs)
    for unary, code, i, k in program:
        a, b = values[-1 - i % len(values)], values[-1 - k % len(values)]
        if unary:
            out = UNARY[code % len(UNARY)](a, k)
        else:
            try:
                np.broadcast_shapes(a.shape, b.shape)
            except ValueError:
                b = np.sum(b)
            out = BINARY[code % len(BINARY)](a, b)
        values.append(out if out.size <= 6000 else np.sum(out, axis=0))
    return values[-4:]


def is_narrow(program: Program) -> bool:
    """Return whether some value of a program is a float32."""
    return any(unary and code % len(UNARY) == NARROWED for unary, code, _, _ in program)


def loss(program: Program, *inputs: Any) -> Any:
    """Return a number that depends on all that a program returns."""
    return sum([np.sum(np.tanh(v)) * (0.1 + 0.05 * n) for n, v in enumerate(run(program, *inputs))])


def arguments(shape: tuple[int, ...], dtype: str, special: bool) -> tuple[Any, ...]:
    """Return an array, a row and a number; special values among them."""
    rng = np.random.default_rng(7)
    x, y, c = rng.normal(size=shape), rng.normal(size=shape[-1:]), np.asarray(rng.normal())
    if special:
        where = rng.integers(x.size, size=2)
        x.flat[where] = rng.choice(SPECIAL, 2)
        y[0] = rng.choice(SPECIAL)
    return x.astype(dtype), y.astype(dtype), c.astype(dtype)


def plain(f: Callable[..., Any], args: Sequence[Any]) -> list[Any]:
    """Return what a function gives by single kernels: those of its first run without `jit`."""
    programs.clear()
    return flatten(f(*args))[0]


@np.errstate(all="ignore")
def check(f: Callable[..., Any], args: Sequence[Any], narrow: bool) -> None:
    """Compare a compiled function with single kernels; the tolerance is what rounding of the inputs would change."""
    expected = [np.asarray(v) for v in plain(f, args)]
    rng = np.random.default_rng(3)
    eps = np.finfo(np.float32 if narrow else args[0].dtype).eps
    noisy = []
    for _ in range(3):
        near = [np.asarray(a * (1 + 4 * eps * rng.uniform(-1, 1, a.shape)), a.dtype) for a in args]
        noisy.append(plain(f, near))
    exact = plain(f, [a.astype(np.longdouble) for a in args])
    fast = gl.jit(f)
    before = [a.copy() for a in args]
    results = []
    for _ in range(3):
        got = flatten(fast(*args))[0]
        assert len(got) == len(expected)
        results.append((got, [np.copy(one) for one in got]))
        for k, (one, want) in enumerate(zip(got, expected, strict=True)):
            agree(np.asarray(one), want, np.asarray(exact[k]), [np.asarray(run[k]) for run in noisy], eps)
        for a, b in zip(args, before, strict=True):
            np.testing.assert_array_equal(a, b)
    for got, once in results:  # memory that a run uses again belongs to no result
        for one, then, first in zip(got, once, results[0][1], strict=True):
            assert np.asarray(one).tobytes() == then.tobytes() == first.tobytes()


def agree(got: Any, want: Any, exact: Any, noisy: Sequence[Any], eps: float) -> None:
    """Compare two arrays where rounding of the inputs does not decide between numbers and NaN or inf.

    Allowed is what rounding of the inputs changes, and what the plain run is off from the exact one.
    """
    assert (got.shape, got.dtype) == (want.shape, want.dtype)
    if want.dtype.kind != "f":
        return
    kind = np.isfinite(want) + 2 * np.isnan(want)
    stable = np.all([np.isfinite(n) + 2 * np.isnan(n) == kind for n in noisy], axis=0)
    np.testing.assert_array_equal(np.isnan(got[stable]), np.isnan(want[stable]), "NaN at other places")
    infinite = stable & np.isinf(want)
    np.testing.assert_array_equal(got[infinite], want[infinite], "inf at other places")
    finite = stable & np.isfinite(want)
    if not finite.any():
        return
    spread = np.max([np.abs(n - want)[finite] for n in noisy], axis=0)
    error = np.max(np.abs(want - exact)[finite & np.isfinite(exact)], initial=0.0).astype(float)
    tolerance = 64 * spread + 4 * np.max(spread) + 1e3 * eps * np.abs(want[finite]) + 16 * error
    off = np.abs(got[finite] - want[finite])
    worst = np.argmax(off - tolerance)
    assert off[worst] <= tolerance[worst], f"{got[finite][worst]!r} instead of {want[finite][worst]!r}"


def values(program: Program, shape: tuple[int, ...], dtype: str, special: bool) -> None:
    """Check all values that a program returns."""
    check(lambda *args: tuple(run(program, *args)), arguments(shape, dtype, special), is_narrow(program))


def gradients(program: Program, shape: tuple[int, ...], dtype: str, special: bool) -> None:
    """Check value and gradient of all inputs."""
    f = gl.value_and_grad(lambda *args: loss(program, *args), (0, 1, 2))
    check(f, arguments(shape, dtype, special), is_narrow(program))


def nests(program: Program, shape: tuple[int, ...], dtype: str, special: bool) -> None:
    """Check products with the Hessian, Jacobians and maps of gradients."""
    x, y, c = arguments(shape if np.prod(shape) <= 40 else (3, 5), dtype, special)
    narrow = is_narrow(program)
    check(gl.hvp(lambda t: loss(program, t, y, c)), (x, np.ones_like(x)), narrow)
    check(gl.jacobian(lambda t: loss(program, x, t, c) * np.sin(t)), (y,), narrow)
    mapped = gl.vmap(gl.grad(lambda t, r: loss(program, t, r, c)), in_axes=(0, None))
    check(mapped, (np.stack([x, -x, x * 0.5]), y), narrow)


#: Each try of a smaller program compiles anew: too slow to shrink.
PHASES = (Phase.explicit, Phase.generate)
KINDS = [values, gradients, nests]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@settings(max_examples=20, phases=PHASES)
@given(INSTRUCTIONS, SHAPES, DTYPES, st.booleans())
def test_programs(
    kind: Callable[..., None], program: Program, shape: tuple[int, ...], dtype: str, special: bool
) -> None:
    """Compiled and plain runs agree."""
    kind(program, shape, dtype, special)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@settings(max_examples=500, phases=PHASES)
@given(INSTRUCTIONS, SHAPES, DTYPES, st.booleans())
def test_many_programs(
    kind: Callable[..., None], program: Program, shape: tuple[int, ...], dtype: str, special: bool
) -> None:
    """Compiled and plain runs agree, for a long time."""
    kind(program, shape, dtype, special)
