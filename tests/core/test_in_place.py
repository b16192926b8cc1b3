"""In-place changes: assignments rebind, and whatever NumPy would show through a view raises."""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from work import steps_of

import gradloom as gl
from gradloom.alias import may_overlap
from gradloom.errors import AliasError, ArgumentError, DTypeError, LostGradientError, ShapeError, TraceEndedError
from gradloom.testing.differences import jacobian

X = np.array([0.3, -1.2, 0.7, 2.1, -0.4, 1.6])
W = np.array([1.5, -0.5, 2.5, 0.25, 3.5, -1.25])


def check(f: Callable[[Any], Any], x: Any = X) -> None:
    """Value and gradient of ``f``, which changes its argument in place, are NumPy's."""
    given = x.copy()
    value, gradient = gl.value_and_grad(f)(given)
    np.testing.assert_array_equal(given, x)
    np.testing.assert_allclose(value, f(x.copy()), rtol=1e-14)
    expected = jacobian(lambda a: f(a.copy()), (x,), 0)
    np.testing.assert_allclose(gradient, expected, rtol=1e-9, atol=1e-11)


def weighted(x: Any) -> Any:
    return np.sum(np.sin(x) * W.reshape(x.shape))


def set_element(x: Any) -> Any:
    x[2] = x[0] * x[1]
    return weighted(x)


def set_slice(x: Any) -> Any:
    x[1:4] = x[3:] ** 2
    return weighted(x)


def set_reversed(x: Any) -> Any:
    x[::-2] = x[:3] * x[3:]
    return weighted(x)


def set_broadcast(x: Any) -> Any:
    x[2:5] = x[0] * x[5]
    return weighted(x)


def set_leading_ones(x: Any) -> Any:
    x[2:5] = (x[:3] * 2.0).reshape(1, 1, 3)
    return weighted(x)


def set_number(x: Any) -> Any:
    x[1:3] = 2
    return weighted(x)


def set_array(x: Any) -> Any:
    x[[0, 5]] = np.array([0.5, 0.25], np.float32)
    return weighted(x)


def set_everything(x: Any) -> Any:
    x[...] = x * x[::-1]
    return weighted(x)


def set_fancy(x: Any) -> Any:
    x[np.array([4, 1])] = x[:2] * x[2:4]
    return weighted(x)


def set_fancy_twice_the_same(x: Any) -> Any:
    x[np.array([1, 4, 1])] = x[:3] ** 2
    return weighted(x)


def set_mask_number(x: Any) -> Any:
    x[x > 0.5] = 0.25
    return weighted(x)


def set_mask_scalar(x: Any) -> Any:
    x[x > 0.5] = x[0] * x[1]
    return weighted(x)


def set_mask_values(x: Any) -> Any:
    x[x > 0.5] = x[:3] ** 2
    return weighted(x)


def set_numpy_mask(x: Any) -> Any:
    x[X > 0.5] = x[0] * x[1]
    return weighted(x)


def add_element(x: Any) -> Any:
    x[2] += x[0] * x[1]
    return weighted(x)


def add_slice(x: Any) -> Any:
    x[1:4] += x[3:] ** 2
    return weighted(x)


def multiply_slice_of_step(x: Any) -> Any:
    x[::2] *= x[1::2]
    return weighted(x)


def add_fancy(x: Any) -> Any:
    x[np.array([1, 4, 1])] += x[:3] ** 2
    return weighted(x)


def add_mask(x: Any) -> Any:
    x[x > 0.5] += 1.5
    return weighted(x)


def add_row(x: Any) -> Any:
    y = (x * 2.0).reshape(2, 3)
    y[1] -= y[0] ** 2
    y[0, 1:] /= 4.0
    return weighted(y)


def add_whole(x: Any) -> Any:
    x += x[::-1] ** 2
    return weighted(x)


def add_at_tensor(x: Any) -> Any:
    y = (x * 2.0).reshape(2, 3)
    y[np.argmax(x[:2])] += 1.5
    y[np.argmax(x[:2]), 1] = x[3]
    return weighted(y)


def loop(x: Any) -> Any:
    for i in range(1, 6):
        x[i] = x[i] * x[i - 1] + x[i]
    return weighted(x)


def fill(x: Any) -> Any:
    out = np.zeros_like(x)
    for i in range(6):
        out[i] = x[i] ** 2
    return weighted(out)


def fill_like(x: Any) -> Any:
    out = np.zeros((2, 3), like=x)
    out[0] = x[:3] ** 2
    out[1, ::-1] = x[3:]
    return weighted(out)


def disjoint_views(x: Any) -> Any:
    y, z = x[2:5], x[1:1]
    x[0] = 3.0
    x[5:] = x[1:2] * 2.0
    return weighted(x) + np.sum(y**2) + np.sum(z)


def dropped_view(x: Any) -> Any:
    y = x[2:5]
    s = np.sum(y**2)
    del y
    x[3] = s
    return weighted(x)


def copied_view(x: Any) -> Any:
    y = x[2:5].copy()
    z = x.flatten()
    x[3] = 0.5
    y[0] = 2.0
    z[1] = 1.0
    return weighted(x) + np.sum(y**3) + np.sum(z**2)


def view_of_temporary(x: Any) -> Any:
    y = (x * 2.0)[1:4].reshape(3, 1)
    y[0] = 7.0
    return np.sum(y**2)


def sort_method(x: Any) -> Any:
    assert x.sort() is None
    return weighted(x)


def sort_view(x: Any) -> Any:
    x[2:].sort()
    return weighted(x)


def partition_method(x: Any) -> Any:
    x.partition(2)
    return x[2] ** 2


def fill_method(x: Any) -> Any:
    x[1:3].fill(2 * x[5])
    return weighted(x)


def view_of_scalar(x: Any) -> Any:
    total = np.sum(x)
    row = np.expand_dims(total, 0)  # in NumPy a view of a scalar, which cannot change
    row *= 3.0
    return total * row[0]


@pytest.mark.parametrize(
    "f",
    [
        set_element, set_slice, set_reversed, set_broadcast, set_leading_ones, set_number, set_array, set_everything,
        set_fancy, set_fancy_twice_the_same, set_mask_number, set_mask_scalar, set_mask_values, set_numpy_mask,
        add_element, add_slice, multiply_slice_of_step, add_fancy, add_mask, add_row, add_whole, add_at_tensor,
        loop, fill, disjoint_views, dropped_view, copied_view, view_of_temporary, sort_method, sort_view,
        partition_method, fill_method, view_of_scalar,
    ],
)  # fmt: skip
def test_assignment_is_numpys(f: Callable[[Any], Any]) -> None:
    check(f)


def test_creation_like_a_tensor() -> None:
    value, gradient = gl.value_and_grad(fill_like)(X)
    expected = np.concatenate([X[:3] ** 2, X[3:][::-1]])
    np.testing.assert_allclose(value, np.sum(np.sin(expected) * W))
    inner = np.concatenate([2 * X[:3] * np.cos(X[:3] ** 2) * W[:3], np.cos(X[3:]) * W[3:][::-1]])
    np.testing.assert_allclose(gradient, inner)


@pytest.mark.parametrize("f", [set_element, set_slice, set_fancy_twice_the_same, set_mask_scalar, add_slice, add_row])
def test_under_jit(f: Callable[[Any], Any]) -> None:
    given = X.copy()
    np.testing.assert_allclose(gl.jit(gl.grad(f))(given), gl.grad(f)(X), rtol=1e-14)
    np.testing.assert_array_equal(given, X)


@pytest.mark.parametrize("f", [set_element, set_fancy_twice_the_same, add_row])
def test_forward_mode(f: Callable[[Any], Any]) -> None:
    direction = np.cos(np.arange(6.0))
    _, tangent = gl.jvp(f, (X.copy(),), (direction,))
    np.testing.assert_allclose(tangent, gl.grad(f)(X) @ direction, rtol=1e-12)


# -- views ---------------------------------------------------------------------------------


def write_base(make_view: Callable[[Any], Any], index: Any = 3) -> Callable[[Any], Any]:
    def f(x: Any) -> Any:
        x = x * 1.0
        y = make_view(x)
        x[index] = 0.0
        return np.sum(x) + np.sum(y)

    return f


def write_view(make_view: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def f(x: Any) -> Any:
        x = x * 1.0
        y = make_view(x)
        y[0] = 1.0
        return np.sum(x) + np.sum(y)

    return f


VIEWS: dict[str, Callable[[Any], Any]] = {
    "slice": lambda x: x[2:5],
    "reversed": lambda x: x[::-1],
    "step": lambda x: x[1::2],
    "ellipsis": lambda x: x[...],
    "new axis": lambda x: x[None],
    "reshape": lambda x: np.reshape(x, (2, 3)),
    "reshape method": lambda x: x.reshape(2, -1),
    "ravel": lambda x: np.ravel(x),
    "T": lambda x: x.T,
    "transpose": lambda x: np.transpose(x),
    "expand_dims": lambda x: np.expand_dims(x, 0),
    "flip": lambda x: np.flip(x),
    "atleast_2d": lambda x: np.atleast_2d(x),
    "split": lambda x: np.split(x, 2)[1],
    "view of a view": lambda x: x[1:5][1:4],
    "view of a reshaped view": lambda x: x.reshape(2, 3)[1],
    "swapaxes": lambda x: np.swapaxes(x[None], 0, 1),
    "squeeze": lambda x: np.squeeze(x[None]),
}


@pytest.mark.parametrize("name", VIEWS)
def test_base_with_a_live_view(name: str) -> None:
    with pytest.raises(AliasError, match="changes an array that a view shares"):
        gl.grad(write_base(VIEWS[name]))(X)


@pytest.mark.parametrize("name", VIEWS)
def test_view_is_written_into_its_array(name: str) -> None:
    check(write_view(VIEWS[name]))


def test_view_of_a_view_beside_one_in_use() -> None:
    def f(x: Any) -> Any:
        y = x[::-1]
        x[1:][1:][0] = 1.0
        return np.sum(x) + np.sum(y)

    with pytest.raises(AliasError, match="an item assignment on a view changes an array that a view shares") as caught:
        gl.grad(f)(X)
    assert "assign to the array itself" in caught.value.remedy


def test_error_names_line_and_remedy() -> None:
    with pytest.raises(AliasError) as caught:
        gl.grad(write_base(VIEWS["slice"]))(X)
    line = write_base.__code__.co_firstlineno + 4
    assert str(caught.value) == (
        "an item assignment changes an array that a view shares\n"
        "  remedy: drop the view before the assignment, or copy it (view = x[...].copy())\n"
        f"  at {__file__}:{line}"
    )


#: Functions of a matrix; of most NumPy returns a view.
MATRIX_FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "real": lambda x: x.real,
    "imag": lambda x: np.imag(x),
    "conj": lambda x: x.conj(),
    "numpy.conj": lambda x: np.conj(x),
    "diagonal": lambda x: x.diagonal(),
    "linalg.diagonal": lambda x: np.linalg.diagonal(x),
    "einsum": lambda x: np.einsum("ij->ji", x),
    "einsum as it is": lambda x: np.einsum("...->...", x),
    "einsum of a diagonal": lambda x: np.einsum("ii->i", x[:, :2]),
    "einsum of a sum": lambda x: np.einsum("ij->i", x),
    "meshgrid": lambda x: np.meshgrid(x[0], x[1])[0],
    "meshgrid of views": lambda x: np.meshgrid(x[0], x[1], copy=False)[0],
    "sparse meshgrid": lambda x: np.meshgrid(x[0], x[1], sparse=True)[0],
    "sparse meshgrid of views": lambda x: np.meshgrid(x[0], x[1], sparse=True, copy=False)[0],
    "ix_": lambda x: np.ix_(x[0], [0, 1])[0],
    "windows": lambda x: np.lib.stride_tricks.sliding_window_view(x, 2, axis=1),
    "Fortran's order": lambda x: x[0].reshape(3, 1, order="F"),
    "broadcast_to": lambda x: np.broadcast_to(x[0], (2, 3)),
    "nan_to_num": lambda x: np.nan_to_num(x),
    "astype": lambda x: x.astype(x.dtype),
    "astype without a copy": lambda x: x.astype(x.dtype, copy=False),
    "rot90": lambda x: np.rot90(x, 2),
    "row": lambda x: list(x)[1],
    "matrix_transpose": lambda x: np.linalg.matrix_transpose(x),
    "real_if_close": lambda x: np.real_if_close(x * 1.0),
}
CHANGES: dict[str, Callable[[Any, Any], None]] = {
    "array": lambda x, y: operator.setitem(x, (0, slice(None)), 7.0),
    "what is returned": lambda x, y: operator.setitem(y, ..., 5.0),
    "both": lambda x, y: (operator.imul(x, 2.0), operator.iadd(y, 1.0))[0],
}


@pytest.mark.filterwarnings("ignore:Numpy has detected:DeprecationWarning")
@pytest.mark.parametrize("factor", [1.0, 1.0 + 2.0j], ids=["real", "complex"])
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", MATRIX_FUNCTIONS)
def test_changes_show_as_in_numpy_or_raise(name: str, change: str, factor: Any) -> None:
    """They raise only where NumPy's arrays share memory."""
    shared = []

    def f(x: Any) -> Any:
        x = x.reshape(2, 3) * factor
        y = MATRIX_FUNCTIONS[name](x)
        if isinstance(x, np.ndarray):
            shared.append(np.shares_memory(x, y))
        CHANGES[change](x, y)
        return np.sum(np.abs(x) ** 2 * W.reshape(2, 3)) + np.sum(np.abs(y) ** 2)

    try:
        expected = f(X.copy())
    except ValueError as error:  # NumPy refuses it too
        assert "read-only" in str(error)  # noqa: PT017
        expected = None
    try:
        value, gradient = gl.value_and_grad(f)(X)
    except AliasError:
        assert shared == [True]
        return
    if expected is not None:
        np.testing.assert_allclose(value, expected, rtol=1e-14)
        difference = jacobian(lambda a: f(a.copy()), (X,), 0)
        np.testing.assert_allclose(gradient, difference, rtol=1e-9, atol=1e-11)


def refused(f: Callable[[Any], Any]) -> None:
    with pytest.raises(AliasError):
        gl.grad(f)(X)


def test_chained_subscripts() -> None:
    def f(x: Any) -> Any:
        x[0:2][0] = 1.0
        return np.sum(x)

    check(f)


def subtract_left_neighbours(x: Any) -> Any:
    x[1:] -= x[:-1]
    return weighted(x)


def shift(x: Any) -> Any:
    x[1:] = x[:-1]
    return weighted(x)


def add_reversed(x: Any) -> Any:
    x += x[::-1]
    x *= x
    return weighted(x)


def operand_in_use(x: Any) -> Any:
    y = x[:-1]
    x[1:] -= y
    x[0] = np.sum(y * y)
    return weighted(x)


def rows_of_rows(x: Any) -> Any:
    y = np.reshape(x * 2.0, (2, 3)) * 1.0
    y[1] -= y[0]
    y[:, 1:] *= y[:, :-1]
    return weighted(y)


@pytest.mark.parametrize("f", [subtract_left_neighbours, shift, add_reversed, rows_of_rows])
def test_operand_shows_what_changes(f: Callable[[Any], Any]) -> None:
    check(f)


def test_operand_that_stays_in_use_shows_the_change() -> None:
    def f(x: Any) -> Any:
        y = x[:-1]
        x[1:] -= y
        z = y * y
        del y
        x[0] = np.sum(z)
        return weighted(x)

    check(f)
    refused(operand_in_use)


def transposed(x: Any) -> Any:
    y = (x * 2.0).reshape(2, 3) * 1.0
    y.T[0] = x[:2] ** 2
    np.swapaxes(y, 0, 1)[1] += 3.0
    y.transpose(1, 0)[2, 1] = x[5]
    np.moveaxis(y, 0, 1)[1:] *= 2.0
    return weighted(y)


def permuted(x: Any) -> Any:
    y = np.broadcast_to(x, (2, 6)).reshape(2, 3, 2) * 1.0
    np.transpose(y, (2, 0, 1))[0] = x[:3]
    np.moveaxis(y, 0, 2)[1, 1, :] = x[1] * x[2]
    return np.sum(np.sin(y) * W.reshape(3, 2))


def one_more_axis(x: Any) -> Any:
    y = (x * 2.0).reshape(2, 3) * 1.0
    y[None][0, 1] = x[:3]
    np.expand_dims(y, 1)[0] *= 2.0
    np.flip(y, 1)[0, 0] = x[1]
    y.reshape(2, 1, 3)[1, 0, 0] = 4.0
    return weighted(y)


def views_of_views(x: Any) -> Any:
    y = (x * 2.0).reshape(2, 3) * 1.0
    y.T[1:][0] = x[:2]
    y[:, 1:].T[0, 0] += x[5]
    y[None].swapaxes(1, 2)[0, 1:, 0] *= x[1]
    np.flip(y.T)[0].reshape(2, 1)[1] = x[3]
    part = y.T[::2]
    part[0][::-1][0] = x[4]
    return weighted(y) + np.sum(part**2)


def parts_of_views(x: Any) -> Any:
    y = x.reshape(2, 3) * (1.0 + 2.0j)
    y.T.real[0] = x[:2]
    y.imag.T[1] *= x[2]
    y[:, 1:].real[0] += x[4]
    y[1].imag[1:][1] = x[5]
    y.T.flat[4] = x[3]
    return np.sum(np.abs(y) ** 2 * W.reshape(2, 3)) + np.sum(np.sin(y.real))


def flat(x: Any) -> Any:
    x.reshape(-1)[0] = x[1] * x[2]
    x.reshape(2, 3)[1] = 2.0
    return weighted(x)


@pytest.mark.parametrize("f", [transposed, permuted, one_more_axis, views_of_views, parts_of_views, flat])
def test_views_in_another_shape_write_through(f: Callable[[Any], Any]) -> None:
    check(f)


def test_reshape_that_may_copy_is_refused() -> None:
    """Whether NumPy shows the change depends on the layout, which a tensor does not have."""

    def f(x: Any) -> Any:
        y = (x * 2.0).reshape(2, 3) * 1.0
        y.reshape(-1)[0] = 1.0
        return np.sum(y)

    refused(f)


def test_chained_augmented_subscripts() -> None:
    def f(x: Any) -> Any:
        x[0:4][1:3] += x[0] * x[5]
        return weighted(x)

    check(f)


def test_view_changed_as_a_whole() -> None:
    def f(x: Any) -> Any:
        y = x[2:5]
        y += 1.0
        return np.sum(x * x)

    check(f)


def test_view_changed_through_a_function() -> None:
    check(lambda x: np.sum(operator.iadd(x[2:5], 1.0)) + np.sum(x))


def test_rows_of_an_iteration() -> None:
    def f(x: Any) -> Any:
        y = (x * 2.0).reshape(2, 3)
        for row in y:
            row += 1.0
        return np.sum(y * y)

    check(f)


def test_sibling_views_of_a_dropped_base() -> None:
    def f(x: Any) -> Any:
        base = x * 2.0
        y, z = base[0:3], base[2:5]
        del base
        y[0] = 1.0
        return np.sum(y) + np.sum(z)

    refused(f)


def test_disjoint_siblings() -> None:
    def f(x: Any) -> Any:
        y, z = np.split(x * 2.0, 2)
        y[0] = 1.0
        z[:] = y * z
        return np.sum(y * y) + np.sum(z * z)

    def expected(x: Any) -> Any:
        y, z = 2.0 * x[:3], 2.0 * x[3:]
        y = y * np.array([0.0, 1.0, 1.0]) + np.array([1.0, 0.0, 0.0])
        return np.sum(y * y) + np.sum((y * z) ** 2)

    np.testing.assert_allclose(gl.grad(f)(X), gl.grad(expected)(X))


def test_augmented_item_of_a_container_changes_the_base_too() -> None:
    def f(x: Any) -> Any:
        x = x * 1.0
        parts = {"head": x[:2]}
        parts["head"] *= 3.0
        return np.sum(x**2) + np.sum(parts["head"] ** 2)

    check(f)


def test_augmented_item_with_another_live_view() -> None:
    def f(x: Any) -> Any:
        y = x[1:3]
        x[0:2] += 1.0
        return np.sum(x) + np.sum(y)

    refused(f)


def test_view_at_a_tensor() -> None:
    def f(x: Any) -> Any:
        y = (x * 2.0).reshape(2, 3)
        row = y[np.argmax(x[:2])]
        y[0, 0] = 1.0
        return np.sum(row) + np.sum(y)

    refused(f)


def test_many_live_views_cost_linear_time() -> None:
    def f(x: Any) -> Any:
        rows = [x[i : i + 1] for i in range(len(x))]
        return np.sum(rows[0]) + np.sum(rows[-1])

    gl.grad(f)(np.ones(4_000))  # what is found out once
    short, long = [steps_of(partial(gl.grad(f), np.ones(n))) for n in (500, 2_000)]
    assert long <= 4.5 * short + 200


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (slice(0, 3), slice(3, 5), False),
        (slice(0, 4), slice(3, 5), True),
        (slice(0, None, 2), slice(1, None, 2), False),
        (slice(None, None, -2), slice(1, None, 4), True),
        (slice(None, None, -2), slice(0, None, 4), False),
        (3, slice(2, 5), True),
        (-1, slice(2, 5), False),
        (-1, 5, True),
        ((slice(None), 0), (slice(None), 1), False),
        ((..., 0), (0, slice(None)), True),
        ((..., 0), (0, slice(1, None)), False),
        ((), 0, True),
        (None, 0, True),
        (np.array([1, 4]), slice(2, 4), False),
        (np.array([1, 3]), slice(2, 4), True),
        ([True, False, False, False, False, False], slice(1, 4), False),
        (slice(2, 2), (), False),
    ],
)
def test_may_overlap(first: Any, second: Any, expected: bool) -> None:
    assert may_overlap((6, 4), first, second) is expected
    assert may_overlap((6, 4), second, first) is expected


# -- what cannot be assigned -------------------------------------------------------------------


def test_complex_into_float() -> None:
    def f(x: Any) -> Any:
        x[0] = x[1] * 1j
        return np.sum(x)

    with pytest.raises(DTypeError, match="assigning would lose part of the values"):
        gl.grad(f)(X)


def test_float_into_integer() -> None:
    def f(x: Any) -> Any:
        counts = np.zeros_like(x, dtype=int)
        counts[0] = x[1]
        return np.sum(counts * x)

    with pytest.raises(DTypeError, match="got: float64"):
        gl.grad(f)(X)


def test_values_that_do_not_fit() -> None:
    def f(x: Any) -> Any:
        x[0:2] = x[0:3]
        return np.sum(x)

    with pytest.raises(ShapeError, match=r"a shape that broadcasts to \(2,\)"):
        gl.grad(f)(X)


def test_in_place_operator_that_grows() -> None:
    def f(x: Any) -> Any:
        y = x[:1] * 2.0
        y += x
        return np.sum(y)

    with pytest.raises(ArgumentError, match="cannot change shape"):
        gl.grad(f)(X)


def test_inner_tensor_into_outer() -> None:
    def f(x: Any) -> Any:
        out = x * 2.0

        def inner(y: Any) -> Any:
            out[0] = y[0]
            return np.sum(y)

        return np.sum(gl.grad(inner)(x)) + np.sum(out)

    with pytest.raises(TraceEndedError, match="inner trace was assigned into one of an outer trace"):
        gl.grad(f)(X)


# -- arrays that are no tensors -------------------------------------------------------------------


def lost(f: Callable[[Any], Any], text: str) -> None:
    with pytest.raises(LostGradientError, match=text) as caught:
        gl.grad(f)(X)
    assert caught.value.remedy
    assert __file__ in str(caught.value)


def test_tensor_into_an_array() -> None:
    def f(x: Any) -> Any:
        out = np.zeros(6)
        try:
            out[0] = x[0]
        except ValueError as error:
            # NumPy puts its own error on top of the one that the conversion raised.
            raise error.__cause__ from None
        return np.sum(out)

    lost(f, r"float\(\) of a tensor that is being differentiated would lose its gradient")


def test_tensors_into_a_slice_of_an_array() -> None:
    def f(x: Any) -> Any:
        out = np.zeros(6)
        out[:3] = x[:3]
        return np.sum(out)

    lost(f, "conversion to a NumPy array of a tensor that is being differentiated would lose its gradient")


def test_array_plus_equals_tensor() -> None:
    def f(x: Any) -> Any:
        out = np.zeros(6)
        out += x
        return np.sum(out)

    lost(f, "writing a tensor into an existing array would lose its gradient")


@pytest.mark.parametrize("convert", [np.asarray, np.array, lambda x: np.array([x[0], x[1]]), np.ascontiguousarray])
def test_conversion_to_an_array(convert: Callable[[Any], Any]) -> None:
    lost(lambda x: np.sum(convert(x)), "would lose its gradient")


def test_float_of_a_tensor() -> None:
    lost(lambda x: np.sum(x) * float(x[0]), r"float\(\) of a tensor that is being differentiated")
