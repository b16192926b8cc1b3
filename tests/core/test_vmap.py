"""`vmap`: a function of one example mapped over a batch equals the loop over it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom.errors import ArgumentError, AxisError, ConcreteValueError, ShapeError

RNG = np.random.default_rng(0)
A = RNG.uniform(0.5, 2.0, (4, 2, 3))
B = RNG.uniform(0.5, 2.0, (4, 3))
S = RNG.uniform(0.5, 2.0, 4)

FUNCTIONS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "elementwise": (lambda a: np.sin(a) * 2.0 + a**2, (A,)),
    "broadcast of lower rank": (lambda a, b: a * b, (A, B)),
    "broadcast of scalars": (lambda a, s: a / s - s, (A, S)),
    "row against column": (lambda b, s: b[:, None] * b + s, (B, S)),
    "captured array": (lambda b: b * np.arange(6.0).reshape(2, 3), (B,)),
    "matmul": (lambda a, b: a @ b, (A, B)),
    "matmul of captured": (lambda b: np.ones((2, 3)) @ b, (B,)),
    "captured matmul": (lambda a: a @ np.arange(3.0), (A,)),
    "vector products": (lambda b: np.dot(b, b) + np.vdot(b, b) + np.inner(b, b), (B,)),
    "outer": (lambda b, s: np.outer(b, b[:2]) * s, (B, S)),
    "einsum": (lambda a, b: np.einsum("ij,j->i", a, b), (A, B)),
    "einsum trace": (lambda a: np.einsum("ij,ik->", a, a), (A,)),
    "tensordot": (lambda a, b: np.tensordot(a, b, 1), (A, B)),
    "sum": (lambda a: np.sum(a, axis=0) + np.sum(a), (A,)),
    "negative axis": (lambda a: np.sum(a, axis=-1, keepdims=True), (A,)),
    "max": (lambda a: np.max(a, axis=1) - np.min(a), (A,)),
    "mean and var": (lambda a: np.var(a, axis=0) + np.mean(a), (A,)),
    "argmax": (lambda a: np.argmax(a, axis=1), (A,)),
    "cumsum": (lambda a: np.cumsum(a, axis=1), (A,)),
    "sort": (lambda a: np.sort(a, axis=1), (A,)),
    "reshape": (lambda a: np.reshape(a, (3, 2)) + np.ravel(a)[0], (A,)),
    "transpose": (lambda a: a.T, (A,)),
    "moveaxis": (lambda a: np.moveaxis(a, 0, -1), (A,)),
    "concatenate": (lambda a, b: np.concatenate([a, b[None], np.ones((1, 3))]), (A, B)),
    "stack": (lambda b, s: np.stack([b, b * s, np.zeros(3)], axis=1), (B, S)),
    "split": (lambda b: np.split(b, 3)[1], (B,)),
    "pad": (lambda b: np.pad(b, 2), (B,)),
    "flip and roll": (lambda a: np.roll(np.flip(a, 1), 1, axis=1), (A,)),
    "tile": (lambda b: np.tile(b, (2, 2)), (B,)),
    "repeat": (lambda b: np.repeat(b, 2), (B,)),
    "broadcast_to": (lambda b: np.broadcast_to(b, (5, 3)), (B,)),
    "diag": (lambda b: np.diag(b), (B,)),
    "tril": (lambda a: np.tril(a) + np.triu(a, 1), (A,)),
    "basic index": (lambda a: a[1:, ::-1] * a[0, 2], (A,)),
    "newaxis": (lambda b: b[None, :, None], (B,)),
    "advanced index": (lambda a: a[[0, 1, 0], [2, 1, 0]], (A,)),
    "boolean index": (lambda a: a[np.array([True, False])], (A,)),
    "take": (lambda a: np.take(a, [2, 0], axis=1), (A,)),
    "take_along_axis": (lambda a: np.take_along_axis(a, np.argsort(a, axis=1), axis=1), (A,)),
    "mapped index": (lambda b: b[np.argmin(b)] * b[np.argsort(b)][::2], (B,)),
    "assignment": (lambda b, s: assigned(b, s), (B, S)),
    "where": (lambda b, s: np.where(b > 1, b, s), (B, S)),
    "clip": (lambda b: np.clip(b, 0.8, 1.2), (B,)),
    "select": (lambda b: np.select([b < 0.8, b < 1.2], [b, 2 * b], 0.0), (B,)),
    "casts": (lambda b: b.astype(np.float32), (B,)),
    "complex": (lambda b: np.real(np.exp(1j * b) * b), (B,)),
    "norm": (lambda b: np.linalg.norm(b), (B,)),
    "solve": (lambda a, b: np.linalg.solve(a @ a.T, b[:2]), (A, B)),
    "inv and det": (lambda a: np.linalg.inv(a @ a.T) * np.linalg.det(a @ a.T), (A,)),
    "cholesky": (lambda a: np.linalg.cholesky(a @ a.T), (A,)),
    "constant": (lambda a: np.ones(2), (A,)),
    "zeros_like": (lambda a: np.zeros_like(a) + 1.0, (A,)),
    "container": (lambda a, b: {"sum": np.sum(a) + b, "pair": (a, 1.0)}, (A, B)),
}


def assigned(b: Any, s: Any) -> Any:
    """Return a copy with elements set."""
    c = b * 1.0
    c[0] = s
    c[1:] += 1.0
    return c


def loop(f: Any, args: tuple[Any, ...], out_axis: int = 0) -> Any:
    """Return what a Python loop over the first axis gives, stacked."""
    from gradloom.pytree import tree_map

    results = [f(*[a[i] for a in args]) for i in range(len(args[0]))]
    return tree_map(lambda *rows: np.stack(rows, axis=out_axis), *results)


def equal(found: Any, expected: Any, rtol: float = 1e-13) -> None:
    """Assert that containers hold the same values, shapes and dtypes."""
    from gradloom.pytree import flatten

    leaves, structure = flatten(found)
    wanted, expected_structure = flatten(expected)
    assert structure == expected_structure
    for a, b in zip(leaves, wanted, strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-14)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_equals_the_loop(name: str) -> None:
    """Plain, nested in jit, and of one example only."""
    f, args = FUNCTIONS[name]
    expected = loop(f, args)
    equal(gl.vmap(f)(*args), expected)
    equal(gl.jit(gl.vmap(f))(*args), expected)
    equal(gl.vmap(gl.jit(f))(*args), expected)
    ones = tuple(a[:1] for a in args)
    equal(gl.vmap(f)(*ones), loop(f, ones))


@pytest.mark.parametrize("name", [n for n in FUNCTIONS if n not in ("argmax", "constant", "container", "casts")])
def test_gradients_equal_the_loop(name: str) -> None:
    """vmap of grad, and grad of vmap, against a gradient per example."""
    f, args = FUNCTIONS[name]
    scalar = lambda *a: np.sum(f(*a) ** 2)  # noqa: E731
    each = [gl.grad(scalar)(*[a[i] for a in args]) for i in range(len(args[0]))]
    np.testing.assert_allclose(gl.vmap(gl.grad(scalar))(*args), np.stack(each), rtol=1e-11, atol=1e-12)
    total = gl.grad(lambda *a: np.sum(gl.vmap(scalar)(*a)))(*args)
    np.testing.assert_allclose(total, np.stack(each), rtol=1e-11, atol=1e-12)
    forward = gl.vmap(lambda *a: gl.jvp(scalar, a, a)[1])(*args)
    serial = [gl.jvp(scalar, tuple(a[i] for a in args), tuple(a[i] for a in args))[1] for i in range(len(args[0]))]
    np.testing.assert_allclose(forward, serial, rtol=1e-11)


# -- axes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -3])
@pytest.mark.parametrize("out_axis", [0, 1, -1])
def test_in_axes_and_out_axes(axis: int, out_axis: int) -> None:
    """Any axis in, any axis out."""
    f = lambda a: a * np.arange(1.0, a.shape[1] + 1)  # noqa: E731
    found = gl.vmap(f, in_axes=axis, out_axes=out_axis)(A)
    expected = np.stack([f(a) for a in np.moveaxis(A, axis, 0)], axis=out_axis)
    np.testing.assert_array_equal(found, expected)


def test_axes_of_containers() -> None:
    """A prefix stands for a container; None leaves an argument whole."""
    f = lambda p, s, t: {"w": p["w"] * s, "n": (p["b"] + t,)}  # noqa: E731
    p = {"w": A, "b": B}
    expected = loop(lambda a, b, s: {"w": a * s, "n": (b + 2.0,)}, (A, B, S))
    equal(gl.vmap(f, in_axes=(0, 0, None))(p, S, 2.0), expected)
    equal(gl.vmap(f, in_axes=({"w": 0, "b": 0}, 0, None))(p, S, 2.0), expected)
    equal(gl.vmap(f, in_axes=[{"b": 0, "w": 0}, 0, None])(p, S, 2.0), expected)
    out = gl.vmap(f, in_axes=({"w": 0, "b": None}, 0, None), out_axes={"w": 1, "n": None})(p, S, B)
    np.testing.assert_array_equal(out["w"], np.moveaxis(A * S[:, None, None], 0, 1))
    np.testing.assert_array_equal(out["n"][0], B + B)


def test_unmapped_output_is_broadcast() -> None:
    """What does not depend on the batch is repeated, each row its own memory."""
    found = gl.vmap(lambda a, b: b * 2.0, in_axes=(0, None))(S, B)
    np.testing.assert_array_equal(found, np.broadcast_to(B * 2.0, (4, 4, 3)))
    found[0] += 1.0
    np.testing.assert_array_equal(found[1], B * 2.0)


def test_keywords_are_not_mapped() -> None:
    """They are passed whole."""
    np.testing.assert_array_equal(gl.vmap(lambda b, k: np.sum(b) * k)(B, k=2.0), np.sum(B, axis=1) * 2.0)


def test_size_zero_and_one() -> None:
    """Batches of no examples keep shape and dtype."""
    found = gl.vmap(lambda a: np.sum(a, axis=0).astype(np.float32))(np.zeros((0, 2, 3)))
    assert (found.shape, found.dtype) == ((0, 3), np.float32)
    assert gl.vmap(lambda a: np.ones(2))(np.zeros((0, 2))).shape == (0, 2)
    assert gl.vmap(gl.grad(lambda a: np.sum(a**2)))(np.zeros((0, 2))).shape == (0, 2)
    assert gl.vmap(lambda b: b * 2.0)(np.zeros((4, 0))).shape == (4, 0)


def test_integers_and_booleans_can_be_mapped() -> None:
    """vmap is not about derivatives."""
    np.testing.assert_array_equal(gl.vmap(lambda n: n * n)(np.arange(4)), np.arange(4) ** 2)
    np.testing.assert_array_equal(gl.vmap(lambda b: ~b)(np.array([True, False])), [False, True])


def test_nested_maps() -> None:
    """A table by two maps, along different axes."""
    table = gl.vmap(gl.vmap(lambda x, y: x - y, in_axes=(None, 0)), in_axes=(0, None))
    np.testing.assert_array_equal(table(S, B[0]), S[:, None] - B[0])
    swapped = gl.vmap(gl.vmap(lambda a: a * a, in_axes=1, out_axes=1), in_axes=2, out_axes=2)
    np.testing.assert_array_equal(swapped(A), A * A)


def test_results_alias_nothing() -> None:
    """The mapped identity returns a copy."""
    b = B.copy()
    for out in (gl.vmap(lambda b: b)(b), gl.vmap(lambda b: b.T)(b), gl.vmap(lambda a, b: b, in_axes=(0, None))(S, b)):
        assert not np.shares_memory(out, b)
        assert out.flags.writeable


# -- errors ------------------------------------------------------------------------------------


def test_values_of_mapped_tensors_cannot_be_asked_for() -> None:
    """Values of whole arguments can."""
    for f in (lambda x: x if x > 0 else -x, lambda x: x * float(x), lambda x: [1, 2][x.astype(int)] * x):
        with pytest.raises(ConcreteValueError, match="vmap maps over it, so it has many") as caught:
            gl.vmap(f)(S)
        assert "np.where" in caught.value.remedy
    found = gl.vmap(lambda x, k: x if np.sum(k) > 0 else -x, in_axes=(0, None))(S, B)
    np.testing.assert_array_equal(found, S)


@pytest.mark.parametrize(
    ("in_axes", "args", "kind", "words"),
    [
        (0, (S, B[:3]), ShapeError, r"mapped axes differ in length[\s\S]*\[4, 3\]"),
        (1, (S,), AxisError, r"axis out of range[\s\S]*shape \(4,\)"),
        (-2, (S,), AxisError, "axis out of range"),
        (0, (1.0,), AxisError, r"shape \(\)"),
        (None, (S,), ArgumentError, "nothing to map over"),
        ((None, None), (S, S), ArgumentError, "nothing to map over"),
        (0, (), ArgumentError, "nothing to map over"),
        ((0, 0), (S,), ArgumentError, "the axes do not fit the containers"),
        ((0, (0, 0)), (S, S), ArgumentError, "the axes do not fit the containers"),
        (({"a": 0},), ({"b": S},), ArgumentError, "the axes do not fit the containers"),
        ("0", (S,), ArgumentError, "the axes do not fit the containers"),
        (0, ("text",), ArgumentError, "cannot map over a value of this kind"),
        (0.0, (S,), ArgumentError, "the axes do not fit"),
    ],
)
def test_bad_in_axes(in_axes: Any, args: Any, kind: type, words: str) -> None:
    """Each says what fits."""
    with pytest.raises(kind, match=words) as caught:
        gl.vmap(lambda *a: a[0] * 1.0, in_axes=in_axes)(*args)
    assert type(caught.value) is kind
    assert __file__ in caught.value.location


@pytest.mark.parametrize(
    ("out_axes", "kind", "words"),
    [
        (2, AxisError, "axis out of range"),
        (-3, AxisError, "axis out of range"),
        (None, ArgumentError, "an output depends on a mapped argument"),
        ((0, 0), ArgumentError, "the axes do not fit the containers"),
    ],
)
def test_bad_out_axes(out_axes: Any, kind: type, words: str) -> None:
    """Also after a good call with the same structure."""
    gl.vmap(lambda b: b * 3.0)(B)
    with pytest.raises(kind, match=words):
        gl.vmap(lambda b: b * 3.0, out_axes=out_axes)(B)
