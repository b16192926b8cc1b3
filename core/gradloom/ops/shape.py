"""Ops that change shape, and those that create arrays from nothing but a shape."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom.autodiff import unbroadcast
from gradloom.axes import Axes
from gradloom.errors import ArgumentError, AxisError, ShapeError
from gradloom.op import define, ops
from gradloom.spec import WHOLE, Spec, broadcast_shapes, sliced
from gradloom.symbolic import total

Tensor = Any
Shape = tuple[int, ...]


def checked_axes(axis: Shape, ndim: int) -> None:
    """Raise unless axes are those of an array of some rank, each once."""
    if len(set(axis)) < len(axis) or not set(axis) <= set(range(ndim)):
        raise AxisError("axis out of range", argument="axis", expected=f"distinct axes of a {ndim}-d array", got=axis)


# -- reshape -------------------------------------------------------------------------------


def reshape_spec(x: Spec, *, shape: Shape) -> Spec:
    out = Spec(shape, x.dtype)
    if out.size != x.size:
        raise ShapeError(
            "cannot reshape",
            argument="shape",
            expected=f"a shape of {x.size} elements",
            got=shape,
            remedy="write -1 for the length that follows from the others",
        )
    return out


def reshape_transpose(cotangent: Tensor, x: Tensor, *, shape: Shape) -> Tensor:
    return reshape(cotangent, shape=x.shape)


def reshape_axes(x: Spec, *, shape: Shape) -> Axes:
    # In C order an axis survives a reshape if as many elements stand before it as after.
    lengths = dict(zip(_extents(x.shape), range(x.ndim), strict=True))
    labels = tuple([lengths.get(extent) for extent in _extents(shape)])
    return Axes((tuple([k if k in labels else None for k in range(x.ndim)]),), labels)


def _extents(shape: Shape) -> list[tuple[Any, ...]]:
    """Return (elements before, length) of each axis, with a position where that is not unique."""
    extents: list[tuple[Any, ...]] = []
    before = 1
    for k, n in enumerate(shape):
        extents.append((before, n) if n > 1 else (before, n, k, shape))
        before *= n
    return extents


reshape = define(
    "reshape",
    spec=reshape_spec,
    transpose=(reshape_transpose,),
    axes=reshape_axes,
    shape_attrs=("shape",),
    view=True,
)


# -- broadcast_to --------------------------------------------------------------------------


def broadcast_to_spec(x: Spec, *, shape: Shape) -> Spec:
    try:
        fits = broadcast_shapes(x.shape, shape) == shape
    except ValueError:
        fits = False
    if not fits:
        raise ShapeError(
            "cannot broadcast",
            argument="shape",
            expected=f"a shape that {x.shape} broadcasts to",
            got=shape,
            remedy="give a missing axis with x[:, None]",
        )
    return Spec(shape, x.dtype)


def broadcast_to_transpose(cotangent: Tensor, x: Tensor, *, shape: Shape) -> Tensor:
    return unbroadcast(cotangent, x.spec)


def broadcast_to_axes(x: Spec, *, shape: Shape) -> Axes:
    extra = len(shape) - x.ndim
    return Axes((tuple([None if n == 1 else extra + k for k, n in enumerate(x.shape)]),), tuple(range(len(shape))))


def broadcast_to_batch(size: int, batched: tuple[bool, ...], x: Tensor, *, shape: Shape) -> Tensor:
    extra = len(shape) - (x.ndim - 1)
    if extra:
        x = reshape(x, shape=(size, *(1,) * extra, *x.shape[1:]))
    return broadcast_to(x, shape=(size, *shape))


broadcast_to = define(
    "broadcast_to",
    spec=broadcast_to_spec,
    transpose=(broadcast_to_transpose,),
    axes=broadcast_to_axes,
    shape_attrs=("shape",),
    batch=broadcast_to_batch,
    view=True,
)


# -- transpose -----------------------------------------------------------------------------


def transpose_spec(x: Spec, *, axes: Shape) -> Spec:
    if sorted(axes) != list(range(x.ndim)):
        raise AxisError(
            "axes do not match the array", argument="axes", expected=f"a permutation of {x.ndim} axes", got=axes
        )
    return x.with_shape(tuple([x.shape[k] for k in axes]))


def transpose_transpose(cotangent: Tensor, x: Tensor, *, axes: Shape) -> Tensor:
    return transpose(cotangent, axes=inverse_permutation(axes))


def inverse_permutation(axes: Shape) -> Shape:
    """Return the axes that undo a transposition."""
    inverse = [0] * len(axes)
    for k, axis in enumerate(axes):
        inverse[axis] = k
    return tuple(inverse)


def transpose_axes(x: Spec, *, axes: Shape) -> Axes:
    return Axes((tuple(range(x.ndim)),), axes)


def transpose_batch(size: int, batched: tuple[bool, ...], x: Tensor, *, axes: Shape) -> Tensor:
    return transpose(x, axes=(0, *[k + 1 for k in axes]))


transpose = define(
    "transpose",
    spec=transpose_spec,
    transpose=(transpose_transpose,),
    axes=transpose_axes,
    batch=transpose_batch,
    view=True,
)


# -- concatenate ---------------------------------------------------------------------------


def concatenate_promote(*specs: Spec) -> tuple[np.dtype[Any], ...]:
    return (np.result_type(*[s.dtype for s in specs]),) * len(specs)


def concatenate_spec(*specs: Spec, axis: int) -> Spec:
    first = specs[0]
    checked_axes((axis,), first.ndim)
    for k, spec in enumerate(specs):
        if spec.shape[:axis] + spec.shape[axis + 1 :] != first.shape[:axis] + first.shape[axis + 1 :] or (
            spec.ndim != first.ndim
        ):
            raise ShapeError(
                "arrays do not fit together",
                argument=f"array {k}",
                expected=f"the shape {first.shape} except along axis {axis}",
                got=spec.shape,
                remedy="add a missing axis with x[None]; np.stack joins arrays of one shape along a new one",
            )
    length = total([s.shape[axis] for s in specs])
    return first.with_shape((*first.shape[:axis], length, *first.shape[axis + 1 :]))


def concatenate_transpose(argument: int, cotangent: Tensor, *inputs: Tensor, axis: int) -> Tensor:
    start = sum([x.spec.shape[axis] for x in inputs[:argument]])
    stop = start + inputs[argument].shape[axis]
    index = [WHOLE] * cotangent.ndim
    index[axis] = sliced(start, stop, 1, cotangent.shape[axis])
    return ops["getitem"](cotangent, index=tuple(index))


def concatenate_axes(*specs: Spec, axis: int) -> Axes:
    labels = tuple([None if k == axis else k for k in range(specs[0].ndim)])
    return Axes((labels,) * len(specs), labels)


def concatenate_batch(size: int, batched: tuple[bool, ...], *inputs: Tensor, axis: int) -> Tensor:
    return concatenate(*with_batch(size, batched, inputs), axis=axis + 1)


def with_batch(size: int, batched: tuple[bool, ...], inputs: Any) -> list[Tensor]:
    """Return inputs with a batch axis at 0, broadcast where there was none."""
    return [
        x if is_batched else broadcast_to(x, shape=(size, *x.shape))
        for x, is_batched in zip(inputs, batched, strict=True)
    ]


#: Joins any number of arrays along an axis; they are cast to their common dtype.
concatenate = define(
    "concatenate",
    spec=concatenate_spec,
    promote=concatenate_promote,
    transpose=concatenate_transpose,
    linear="jointly",
    axes=concatenate_axes,
    batch=concatenate_batch,
)


# -- flip ----------------------------------------------------------------------------------


def flip_spec(x: Spec, *, axis: Shape) -> Spec:
    checked_axes(axis, x.ndim)
    return x


def flip_transpose(cotangent: Tensor, x: Tensor, *, axis: Shape) -> Tensor:
    return flip(cotangent, axis=axis)


def flip_axes(x: Spec, *, axis: Shape) -> Axes:
    labels = tuple([None if k in axis else k for k in range(x.ndim)])
    return Axes((labels,), labels)


flip = define("flip", spec=flip_spec, transpose=(flip_transpose,), axes=flip_axes, axis_attrs=("axis",), view=True)


# -- iota ----------------------------------------------------------------------------------


def iota_spec(*, length: int, dtype: Any) -> Spec:
    if length < 0:
        raise ArgumentError("negative length", argument="length", expected="a length of 0 or more", got=length)
    return Spec((length,), dtype)


def iota_axes(*, length: int, dtype: Any) -> Axes:
    return Axes((), (None,))


#: ``0, 1, ..., length - 1``.
iota = define("iota", spec=iota_spec, zero_derivative=True, axes=iota_axes)


def arange(length: int, *, like: Tensor, dtype: Any = np.int64) -> Tensor:
    """Return ``0, 1, ..., length - 1`` as a tensor of the trace of another."""
    return like._trace.bind(iota, (), (length, np.dtype(dtype)))
