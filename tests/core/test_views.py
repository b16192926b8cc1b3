"""Views: a change shows where NumPy would show it, or raises."""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from in_place import W, X, check, weighted
from work import steps_of

import gradloom as gl
from gradloom.alias import may_overlap
from gradloom.errors import AliasError
from gradloom.testing.differences import jacobian


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
