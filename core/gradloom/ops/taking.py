"""Reading and adding along one axis: each row at places of its own.

Index arrays that broadcast could say the same, but not that rows keep to themselves: here all axes but one run
together.
"""

from __future__ import annotations

from typing import Any

from gradloom.autodiff import zeros
from gradloom.axes import Axes
from gradloom.errors import ShapeError
from gradloom.op import define
from gradloom.ops.indexing import check_integers, check_values, gather
from gradloom.ops.shape import checked_axes
from gradloom.spec import Spec

Tensor = Any


def take_along_axis_spec(x: Spec, indices: Spec, *, axis: int, unique: bool = False) -> Spec:
    return Spec(_checked_indices(x, indices, axis).shape, x.dtype)


def _checked_indices(x: Spec, indices: Spec, axis: int) -> Spec:
    checked_axes((axis,), x.ndim)
    check_integers(indices, "indices")
    if _others(indices, axis) != _others(x, axis):
        raise ShapeError(
            "indices do not fit the array",
            argument="indices",
            expected=f"the shape {x.shape} except along axis {axis}",
            got=indices.shape,
            remedy="broadcast both with np.broadcast_to",
        )
    return indices


def _others(spec: Spec, axis: int) -> tuple[Any, ...]:
    """Return the number of axes, and the lengths of all but one."""
    return spec.ndim, *spec.shape[:axis], *spec.shape[axis + 1 :]


def take_along_axis_transpose(cotangent: Tensor, x: Tensor, indices: Tensor, *, axis: int, unique: bool) -> Tensor:
    return add_along_axis(zeros(x._trace, x.spec), cotangent, indices, axis=axis, unique=unique)


def take_along_axis_accumulate(
    total: Any, cotangent: Tensor, out: Tensor, x: Tensor, indices: Tensor, *, axis: int, unique: bool
) -> Tensor:
    # Any number of reads of one array adds to one buffer.
    buffer = zeros(x._trace, x.spec) if total is None else total
    return add_along_axis(buffer, cotangent, indices, axis=axis, unique=unique)


def take_along_axis_axes(x: Spec, indices: Spec, *, axis: int, unique: bool) -> Axes:
    # The places may be cut too, as they are read in any order; what they are read from stays whole.
    places = tuple(["places" if k == axis else k for k in range(x.ndim)])
    return Axes((_rows(x, axis), places), places)


def _rows(x: Spec, axis: int) -> tuple[int | None, ...]:
    return tuple([None if k == axis else k for k in range(x.ndim)])


#: ``np.take_along_axis(x, indices, axis)``, with as many axes of the same lengths but along ``axis``. ``unique``
#: promises that no element is taken twice (a permutation).
_take_along_axis = define(
    "take_along_axis",
    spec=take_along_axis_spec,
    transpose=(take_along_axis_transpose,),
    accumulate=take_along_axis_accumulate,
    axes=take_along_axis_axes,
    axis_attrs=("axis",),
)


def take_along_axis(x: Tensor, indices: Tensor, *, axis: int, unique: bool = False) -> Tensor:
    """Return ``x[..., indices, ...]`` along an axis, the other axes in step.

    Parameters
    ----------
    x : tensor
    indices : tensor or array of integers
        As many axes as ``x``, of the same lengths except along ``axis``.
    axis : int
        0 or more.
    unique : bool
        Promise that no element is taken twice (a permutation).
    """
    if x.ndim == 1:  # there are no other axes
        return gather(x, indices, index=("array",), unique=unique)
    return _take_along_axis(x, indices, axis=axis, unique=unique)


def add_along_axis_spec(x: Spec, v: Spec, indices: Spec, *, axis: int, unique: bool = False) -> Spec:
    check_values(x, v, _checked_indices(x, indices, axis).shape)
    return x


def add_along_axis_transpose_x(
    cotangent: Tensor, x: Tensor, v: Tensor, indices: Tensor, *, axis: int, unique: bool
) -> Tensor:
    return cotangent


def add_along_axis_transpose_v(
    cotangent: Tensor, x: Tensor, v: Tensor, indices: Tensor, *, axis: int, unique: bool
) -> Tensor:
    return _take_along_axis(cotangent, indices, axis=axis, unique=unique)


def add_along_axis_axes(x: Spec, v: Spec, indices: Spec, *, axis: int, unique: bool) -> Axes:
    # Of a cut along the axis each piece would change all of ``x``.
    rows = _rows(x, axis)
    return Axes((rows, rows, rows), rows)


#: ``x`` after values ``v`` were added where ``take_along_axis(x, indices, axis)`` reads, as often as it does.
add_along_axis = define(
    "add_along_axis",
    spec=add_along_axis_spec,
    transpose=(add_along_axis_transpose_x, add_along_axis_transpose_v),
    linear="jointly",
    axes=add_along_axis_axes,
    axis_attrs=("axis",),
    donates=True,
)
