"""NumPy's indexing on tensors: values, gradients, keywords, errors."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gradloom as gl
from gradloom.backend import backends
from gradloom.errors import (
    ConcreteValueError,
    DTypeError,
    IndexRangeError,
    LostGradientError,
    ShapeError,
    UnsupportedFunctionError,
)
from gradloom.plan import Plan
from gradloom.testing import differences
from gradloom.testing.checks import forward_jacobian, reverse_jacobian
from gradloom.testing.functions import check_like_numpy

RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 2, 4))
V = RNG.normal(size=5)
M = RNG.normal(size=(3, 4))
I = np.array([2, 0, 2])
J = np.array([[1], [0]])
MASK = np.array([[True, False, False, True], [False, False, False, False], [True, True, False, False]])

INDICES: list[Any] = [
    0, -1, slice(None), slice(2, 0, -1), slice(5, 9), ..., None, (), (1, 1), (1, 1, 3), (..., 2), (0, ...),
    (slice(None), 1), (slice(None, None, -2), slice(None), slice(1, 4, 2)), (None, 1, None, ..., None),
    (0, slice(None), None, slice(0, 0)), np.int64(1), np.uint8(2), np.array(1), (np.array(1), ...),
    I, [2, 0], [], (I, ...), (..., I), (slice(None), J), (I, J), (I, slice(None), J), (I, 1), (I, slice(None), 3),
    (0, slice(None), I), (slice(None), 0, I), (0, 1, I), (None, I, J), (I, None, J), (I, ..., J, 1), (I, J, ..., I),
    (..., J, I), (slice(1, None), [0, 1], [3, 3]), (-1 - I, [[1], [-2]]), np.array([], int), np.empty((2, 0), int),
    (np.array([[0, 1], [2, 2]]), [0, 1]), (I, slice(None), slice(None, None, -1)), np.uint8([2, 1]),
    np.array([True, False, True]), [True, False, True], (slice(None), np.array([False, True])),
    (np.array([True, False, True]), 1), (np.array([True, False, True]), slice(None), [0, 3]), X > 0, X[:, :, 0] > 0,
    (..., MASK[0]), (0, X[0] > 0), np.zeros(3, bool), True, False, (True, 0), (None, True, I), (slice(None), True, 0),
    (X[:, 0, 0] > 9, ..., 0),
]  # fmt: skip


@pytest.mark.parametrize("index", INDICES, ids=repr)
def test_getitem_is_numpys(index: Any) -> None:
    expected = X[index]
    got = gl.jit(lambda x: x[index])(X)
    assert np.shape(got) == expected.shape
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("index", INDICES, ids=repr)
def test_gradient_of_getitem(index: Any) -> None:
    weights = np.cos(np.arange(X[index].size)).reshape(X[index].shape)
    gradient = gl.grad(lambda x: np.sum(x[index] * weights))(X)
    expected = np.zeros_like(X)
    np.add.at(expected, index, weights)
    np.testing.assert_allclose(gradient, expected, rtol=1e-14)


@pytest.mark.parametrize("index", INDICES, ids=repr)
def test_setitem_is_numpys(index: Any) -> None:
    values = np.cos(np.arange(X[index].size)).reshape(X[index].shape)
    expected = X.copy()
    expected[index] = values

    def f(x: Any, v: Any) -> Any:
        x = x.copy()
        x[index] = v
        return x

    np.testing.assert_array_equal(gl.jit(f)(X, values), expected)
    if values.size:
        weights = np.sin(np.arange(X.size) + 1.0).reshape(X.shape)
        kept, written = gl.grad(lambda x, v: np.sum(f(x, v) * weights), argnums=(0, 1))(X, values)
        marks = np.full(X.shape, -1)
        marks[index] = np.arange(values.size).reshape(values.shape)
        np.testing.assert_allclose(kept, weights * (marks == -1), rtol=1e-14)
        sent = np.zeros(values.size)
        sent[marks[marks >= 0]] = weights[marks >= 0]
        np.testing.assert_allclose(written, sent.reshape(values.shape), rtol=1e-14)


#: Indices by the tensors that stand in them.
DYNAMIC: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "scalar": (lambda x, i: x[i], (np.int64(2),)),
    "two scalars": (lambda x, i, j: x[i, :, j], (np.int64(2), np.int64(1))),
    "scalar and slice": (lambda x, i: x[:, 1, i], (np.int64(-1),)),
    "array": (lambda x, i: x[i], (I,)),
    "apart": (lambda x, i, j: x[i, :, j], (I, J)),
    "array and int": (lambda x, i: x[i, :, 1], (I,)),
    "array and scalar": (lambda x, i, j: x[:, i, j], (J, np.int64(1))),
    "list of tensors": (lambda x, i, j: x[[i, j]], (np.int64(2), np.int64(0))),
    "argmax": (lambda x, i: x[np.argmax(x[:, 0, 0]) * 1, 0, i], (np.int64(1),)),
    "after a new axis": (lambda x, i: x[None, ..., i], (I,)),
}


@pytest.mark.parametrize("name", DYNAMIC)
def test_tensors_as_indices(name: str) -> None:
    f, indices = DYNAMIC[name]
    expected = f(X, *indices)
    np.testing.assert_array_equal(gl.jit(f)(X, *indices), expected)
    gradient = gl.grad(lambda x: np.sum(f(x, *indices) ** 2))(X)
    traced = gl.jit(gl.grad(lambda x, *i: np.sum(f(x, *i) ** 2)))(X, *indices)
    np.testing.assert_array_equal(gradient, traced)
    np.testing.assert_allclose(np.sum(gradient), 2 * np.sum(expected), rtol=1e-12)


def with_tensor(f: Callable[..., Any]) -> Callable[..., Any]:
    """Make the first argument a tensor: NumPy's own arrays cannot be indexed with one."""

    def g(x: Any, *args: Any) -> Any:
        like = next(a for a in (x, *args) if not isinstance(a, np.ndarray))
        return f(np.asarray(x, like=like), *args)

    return g


@pytest.mark.parametrize("mapped", [p for p in itertools.product((0, None), repeat=3) if 0 in p], ids=str)
@pytest.mark.parametrize(
    "f",
    [
        lambda x, i, j: x[i],
        lambda x, i, j: x[i, j],
        lambda x, i, j: x[:, i, j],
        lambda x, i, j: x[i, :, j],
        lambda x, i, j: x[None, i, :, 0],
        lambda x, i, j: x[i[0], :, j[0, 0]],
        lambda x, i, j: x[..., i[1]],
        lambda x, i, j: x[1, ::-1] * j,
    ],
)  # fmt: skip
def test_vmap(f: Callable[..., Any], mapped: tuple[int | None, ...]) -> None:
    size = 5
    arrays = [RNG.normal(size=(size, 3, 3, 4)), RNG.integers(0, 3, (size, 2)), RNG.integers(0, 3, (size, 3, 1))]
    args = [a if m == 0 else a[0] for a, m in zip(arrays, mapped, strict=True)]
    expected = np.stack([f(*[a[k] if m == 0 else a for a, m in zip(args, mapped, strict=True)]) for k in range(size)])
    np.testing.assert_array_equal(gl.vmap(with_tensor(f), in_axes=mapped)(*args), expected)


@pytest.mark.parametrize("mapped", [p for p in itertools.product((0, None), repeat=3) if 0 in p], ids=str)
@pytest.mark.parametrize(
    ("index", "shape"),
    [
        (lambda i: i, (2, 3, 4)),
        (lambda i: (slice(None), i), (3, 2, 4)),
        (lambda i: (i, slice(None), 1), (2, 3)),
        (lambda i: (i[0], slice(None), 2), (3,)),
        (lambda i: (slice(1, None), 0), (2, 4)),
    ],
)
def test_vmap_of_setitem(index: Callable[[Any], Any], shape: tuple[int, ...], mapped: tuple[int | None, ...]) -> None:
    size = 5
    arrays = [RNG.normal(size=(size, 3, 3, 4)), RNG.normal(size=(size, *shape)), RNG.integers(0, 3, (size, 2))]
    args = [a if m == 0 else a[0] for a, m in zip(arrays, mapped, strict=True)]

    def f(x: Any, v: Any, i: Any) -> Any:
        x = x.copy()
        x[index(i)] = v
        x[index(i)] += v
        return x * 2.0 + 0.0 * v.ravel()[0] + i[0] * 0.0

    expected = np.stack([f(*[a[k] if m == 0 else a for a, m in zip(args, mapped, strict=True)]) for k in range(size)])
    np.testing.assert_allclose(gl.vmap(with_tensor(f), in_axes=mapped)(*args), expected)


# -- ufunc.at --------------------------------------------------------------------------------


@pytest.mark.parametrize("ufunc", [np.add, np.subtract])
@pytest.mark.parametrize(
    "index", [np.array([0, 2, 0]), (slice(None), np.array([1, 1])), 1, np.array([True, False, True])], ids=str
)
def test_ufunc_at(ufunc: Any, index: Any) -> None:
    """Elements that are named twice are changed twice, and so are their cotangents read."""
    x = X[:, 0]
    v = x[index] * 2 + 1

    def changed(x: Any, v: Any) -> Any:
        x = x + 0.0 * np.sum(v)
        ufunc.at(x, index, v)
        return x**2

    np.testing.assert_allclose(gl.jit(changed)(x, v), changed(x, v), rtol=1e-14)
    for k in range(2):
        expected = differences.jacobian(changed, (x, v), k)
        np.testing.assert_allclose(reverse_jacobian(changed, (x, v), k), expected, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(forward_jacobian(changed, (x, v), k), expected, rtol=1e-9, atol=1e-9)


def test_ufunc_at_of_a_scalar_and_refusals() -> None:
    def raised(x: Any) -> Any:
        x = x * 1.0
        np.add.at(x, [0, 0], 2.0)
        return x

    np.testing.assert_array_equal(gl.jit(raised)(np.zeros(2)), [4.0, 0.0])
    with pytest.raises(UnsupportedFunctionError, match=r"numpy\.multiply\.at: only add and subtract"):
        gl.grad(lambda x: np.multiply.at(x, [0], 2.0))(np.ones(2))
    with pytest.raises(LostGradientError, match=r"numpy\.add\.at: writing a tensor into an existing array"):
        gl.grad(lambda x: np.add.at(np.zeros(2), [0], x))(1.0)


# -- cost ------------------------------------------------------------------------------------


def squares(x: Any) -> Any:
    """Sum squares, reading every element twice."""
    total = 0.0
    for i in range(len(x)):
        total = total + x[i] * x[i]
    return total


def test_many_reads_of_one_array() -> None:
    x = np.linspace(0.0, 1.0, 2000)
    np.testing.assert_allclose(gl.grad(squares)(x), 2 * x)


def test_many_reads_of_one_array_add_to_one_buffer() -> None:
    x = np.linspace(0.0, 1.0, 500)
    plan = Plan(gl.make_graph(gl.grad(squares))(x), backends.get("numpy"))
    adds = [step for step in plan.steps if plan.graph.nodes[step.out][0].name == "index_add"]
    assert len(adds) == 1000
    # The first adds to zeros that are no buffer yet.
    assert sum("donate" in step.attrs for step in adds) == 999


def test_a_recurrence_changes_one_buffer() -> None:
    n = 50

    def f(x: Any) -> Any:
        out = np.zeros_like(x)
        for i in range(1, n):
            out[i] = out[i - 1] * 0.5 + x[i]
        return np.sum(out**2)

    plan = Plan(gl.make_graph(gl.grad(f))(np.linspace(0.0, 1.0, n)), backends.get("numpy"))
    changes = [step for step in plan.steps if plan.graph.nodes[step.out][0].name in ("index_set", "index_add")]
    copies = [step for step in changes if "donate" not in step.attrs]
    assert len(changes) > 3 * (n - 2)
    assert len(copies) <= 3


# -- masks -------------------------------------------------------------------------------------


def test_mask_of_a_tensor() -> None:
    gradient = gl.grad(lambda x: np.sum(x[x > 0] ** 3))(M)
    np.testing.assert_allclose(gradient, 3 * M**2 * (M > 0))


def test_mask_needs_a_value() -> None:
    with pytest.raises(ConcreteValueError, match="a boolean mask as index needs a value"):
        gl.jit(lambda x: np.sum(x[x > 0]))(M)


def test_assignment_under_a_mask_needs_none() -> None:
    def f(x: Any, v: Any) -> Any:
        y = x * 1.0 + v * 0.0
        y[x > 0] = v
        y[x[:, 0] > 0] = 2.0
        return y

    np.testing.assert_array_equal(gl.jit(f)(M, 0.5), f(M, 0.5))
    np.testing.assert_array_equal(gl.vmap(f, in_axes=(0, None))(X, 0.5), np.stack([f(x, 0.5) for x in X]))
    gradient = gl.grad(lambda v: np.sum(f(M, v)))(0.5)
    assert gradient == np.sum((M > 0) & ~(M[:, :1] > 0))


# -- functions -----------------------------------------------------------------------------------

FUNCTIONS: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "take": (lambda x: np.take(x, [[1, 0], [3, 3]]), M),
    "take axis": (lambda x: np.take(x, I, axis=0), M),
    "take int": (lambda x: np.take(x, -1, axis=1), M),
    "take wrap": (lambda x: np.take(x, [-5, 7], axis=1, mode="wrap"), M),
    "take clip": (lambda x: np.take(x, [-5, 7], axis=1, mode="clip"), M),
    "take method": (lambda x: x.take(I), V),
    "take_along_axis": (lambda x: np.take_along_axis(x, np.array([[3, 0], [1, 1], [2, 0]]), axis=1), M),
    "take_along_axis last": (lambda x: np.take_along_axis(x, np.array([[3, 0], [1, 1], [2, 0]])), M),
    "take_along_axis broadcast": (lambda x: np.take_along_axis(x, np.array([[2, 0]]), axis=1), M),
    "take_along_axis flat": (lambda x: np.take_along_axis(x, np.array([7, 7, 0]), axis=None), M),
    "compress": (lambda x: np.compress([True, False, True], x, axis=0), M),
    "compress flat": (lambda x: np.compress([0, 1, 1], x), M),
    "extract": (lambda x: np.extract(MASK, x), M),
    "choose": (lambda x: np.choose([[0, 1], [2, 0]], [x[0, 0], x[:2, :2], 3.0]), M),
    "choose wrap": (lambda x: np.choose([3, -1, 1, 0], x, mode="wrap"), M),
    "choose clip": (lambda x: np.choose([3, -1, 1, 0], x, mode="clip"), M),
    "ix_": (lambda x: x[np.ix_([2, 0], [1, 3, 3])], M),
    "iteration": (lambda x: sum(k * row for k, row in enumerate(x)), M),
    "unpacking": (lambda x: np.prod(np.stack([*x])), V),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name: str) -> None:
    check_like_numpy(*FUNCTIONS[name])


def test_indices_of_tensors() -> None:
    def f(x: Any) -> Any:
        order = np.argsort(x, axis=1)
        rows = np.ix_(np.argmax(x, axis=0) * 1, [0, 1])
        return np.take_along_axis(x, order, axis=1) * x[rows][:3, :1] + x[np.unravel_index(np.argmax(x), x.shape)]

    check_like_numpy(f, M)


@pytest.mark.parametrize("order", ["C", "F"])
def test_unravel_index(order: Any) -> None:
    flat = np.array([[0, 5], [23, 11]])
    expected = np.unravel_index(flat, (2, 3, 4), order=order)
    np.testing.assert_array_equal(gl.jit(lambda i: np.unravel_index(i, (2, 3, 4), order=order))(flat), expected)


def test_where_elements_are() -> None:
    found: list[Any] = []

    def f(x: Any) -> Any:
        found.extend([np.nonzero(x > 0), np.flatnonzero(x > 0), np.argwhere(x > 0), np.where(x > 0), (x > 0).nonzero()])
        return np.sum(x[np.nonzero(x > 0)] ** 2)

    np.testing.assert_allclose(gl.grad(f)(M), 2 * M * (M > 0))
    np.testing.assert_array_equal(found[0], np.nonzero(M > 0))
    np.testing.assert_array_equal(found[1], np.flatnonzero(M > 0))
    np.testing.assert_array_equal(found[2], np.argwhere(M > 0))
    np.testing.assert_array_equal(found[3], np.where(M > 0))
    np.testing.assert_array_equal(found[4], np.nonzero(M > 0))


def test_second_order() -> None:
    def f(x: Any) -> Any:
        y = x * 2.0
        y[I] = x[[1, 1, 2]] ** 3
        return np.sum(y[I, [0, 1, 1]] * x[0, 1] ** 2)

    gradient = gl.grad(f)
    np.testing.assert_allclose(
        reverse_jacobian(gradient, (M,), 0), forward_jacobian(gradient, (M,), 0), rtol=1e-12, atol=1e-12
    )
    assert np.abs(reverse_jacobian(gradient, (M,), 0)).max() > 1.0


# -- errors --------------------------------------------------------------------------------

ERRORS: dict[str, tuple[Callable[[Any], Any], type[Exception], str]] = {
    "out of bounds": (lambda x: x[3], IndexRangeError, "index 3 is out of bounds for axis 0 with size 3"),
    "out of bounds later": (lambda x: x[0, -5], IndexRangeError, "index -5 is out of bounds for axis 1 with size 4"),
    "too many": (
        lambda x: x[0, 0, 0],
        IndexRangeError,
        "too many indices\n.*\n  expected: at most 2 for an array of shape .3, 4.\n  got: 3",
    ),
    "two ellipses": (lambda x: x[..., ...], IndexRangeError, "single ellipsis"),
    "float": (lambda x: x[1.0], IndexRangeError, "this cannot be an index"),
    "float array": (lambda x: x[np.array([1.0])], IndexRangeError, "this cannot be an index"),
    "float tensor": (lambda x: x[x[0]], IndexRangeError, r"got: float64\[4\]"),
    "string": (lambda x: x["a"], IndexRangeError, "got: str"),
    "mask shape": (lambda x: x[np.array([True, False])], IndexRangeError, r"a mask of shape \(3,\)"),
    "arrays": (lambda x: x[I, [0, 1]], IndexRangeError, r"do not broadcast together\n.*\n.*\n  got: \(3,\) and \(2,\)"),
    "take float": (lambda x: np.take(x, [0.5]), DTypeError, "indices must be integers"),
    "take out": (lambda x: np.take(x, [0], out=np.empty(1)), TypeError, "argument: out"),
    "take_along_axis": (lambda x: np.take_along_axis(x, I, axis=1), ShapeError, "expected: 2 axes"),
    "put_along_axis": (
        lambda x: np.put_along_axis(x, I[None], 0.0, 1), UnsupportedFunctionError, "changes an array in place"
    ),
    "place": (lambda x: np.place(x, MASK, [0.0]), UnsupportedFunctionError, r"remedy: assign: x\[mask\] = v"),
    "nonzero 0-d": (lambda x: np.nonzero(x[0, 0]), ShapeError, "atleast_1d"),
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name: str) -> None:
    f, kind, text = ERRORS[name]
    with pytest.raises(kind, match=text) as caught:
        gl.grad(lambda x: np.sum(f(x)))(M)
    assert f"{__file__}:" in str(caught.value)


@pytest.mark.parametrize("f", [lambda x, i: x[i], lambda x, i: np.take(x, i, axis=0)])
def test_array_out_of_bounds_raises_when_it_runs(f: Callable[..., Any]) -> None:
    with pytest.raises(IndexError, match="out of bounds"):
        gl.jit(f)(M, np.array([0, 3]))
    with pytest.raises(IndexError, match="out of bounds"):
        gl.grad(lambda x: np.sum(f(x, np.array([0, 3]))))(M)


def test_sequences_end() -> None:
    with pytest.raises(TypeError, match="iteration over a 0-d tensor"):
        gl.grad(lambda x: sum(x[0]))(V)
    assert gl.grad(lambda x: sum(x))(V).tolist() == [1.0] * 5


def read_at(index: Any, shape: tuple[int, ...]) -> Any:
    """Return the attr of the op that reads at an index."""
    return gl.make_graph(lambda x: x[index])(np.zeros(shape)).nodes[-1][2][0]


@pytest.mark.parametrize(
    ("index", "entries"),
    [
        (1, (1, ":", ":")),
        ((slice(None), 1), (":", 1, ":")),
        ((slice(0, 99), slice(-4, None), slice(0, None, 1)), (":", ":", ":")),
        ((slice(1, None), slice(None, None, -1)), (("slice", 1, 3, 1), ("slice", 3, -1, -1), ":")),
        ((slice(0, 2), ..., None), (("slice", 0, 2, 1), ":", ":", None)),
    ],
)
def test_whole_axes_say_nothing_of_their_lengths(index: Any, entries: Any) -> None:
    """However it is written, an axis that is taken whole is the same entry for all lengths."""
    assert read_at(index, (3, 4, 5)) == entries


_BOUNDS = st.none() | st.integers(-6, 6)
_ENTRIES = (
    st.integers(-5, 5)
    | st.builds(slice, _BOUNDS, _BOUNDS, st.none() | st.sampled_from([1, 2, -1, -3]))
    | st.none()
    | st.just(...)
)


@given(st.lists(st.integers(0, 4), max_size=4), st.lists(_ENTRIES, max_size=5))
def test_any_basic_index(shape: list[int], entries: list[Any]) -> None:
    """Integers, slices, None and ellipses in any order: NumPy's elements, or its kind of error."""
    x = np.arange(float(np.prod(shape))).reshape(shape)
    for index in (tuple(entries), *entries[:1]):
        try:
            wanted = x[index]
        except IndexError:
            with pytest.raises(IndexRangeError):
                gl.tensor(x)[index]
        else:
            (found,) = gl.compute(gl.tensor(x)[index])
            np.testing.assert_array_equal(found, wanted)
            assert np.shape(found) == wanted.shape
