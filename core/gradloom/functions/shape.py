"""Traced counterparts of NumPy's functions that reshape and rearrange, written from ops.

Where NumPy returns a view, the result is noted as one, so that in-place changes that NumPy
would show in both are written through, or raise.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from gradloom.alias import Whole
from gradloom.dispatch import implements, implements_attribute, refuse
from gradloom.errors import ArgumentError, AxisError, ShapeError
from gradloom.functions._arguments import as_array, axis_index, axis_tuple, reshaped, shape_tuple
from gradloom.functions.indexing import np_setitem
from gradloom.ops.shape import broadcast_to, flip, reshape, transpose
from gradloom.spec import broadcast_shapes

Tensor = Any
Shape = tuple[int, ...]


def view(x: Tensor, out: Tensor, restore: Callable[[Tensor], Tensor] | None = None) -> Tensor:
    """Note that ``out`` shows ``x`` in another shape; ``restore`` gives it the shape of ``x`` again."""
    return x._note_view(out, None if restore is None else Whole(lambda base, value: restore(value)))


def _transposed(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    return view(x, transpose(x, axes=axes), partial(_transpose_back, axes))


def _transpose_back(axes: tuple[int, ...], value: Tensor) -> Tensor:
    return transpose(value, axes=tuple(sorted(range(len(axes)), key=axes.__getitem__)))


def _reshaped(x: Tensor, shape: Shape) -> Tensor:
    """Return a view in another shape; NumPy copies where the layout of ``x`` does not allow one."""
    # Whatever the layout, these are views.
    always = x.ndim < 2 or [n for n in x.shape if n != 1] == [n for n in shape if n != 1]
    return view(x, reshape(x, shape=shape), partial(reshape, shape=x.shape) if always else None)


# -- reshape -------------------------------------------------------------------------------


@implements(np.reshape)
def np_reshape(a: Tensor, shape: Any, order: Any = "C", *, copy: Any = None) -> Tensor:
    """Give the elements another shape."""
    refuse("numpy.reshape", order=(order if order in ("A", "K") else "C", "C"))
    wanted = full_shape("numpy.reshape", a.shape, shape)
    if order == "F":
        refuse("numpy.reshape", copy=(None if copy else copy, None))
        out = reversed_axes(reshape(reversed_axes(a), shape=wanted[::-1]))
        return out if copy else view(a, out)
    return reshape(a, shape=wanted) if copy else _reshaped(a, wanted)


def reversed_axes(x: Tensor) -> Tensor:
    """Return ``x`` with its axes in reverse order."""
    return transpose(x, axes=tuple(range(x.ndim))[::-1])


def full_shape(op: str, old: Shape, shape: Any) -> Shape:
    """Return a new shape with a -1 filled in."""
    wanted = shape_tuple(shape)
    size = math.prod(old)
    known = math.prod([n for n in wanted if n != -1])
    unknown = wanted.count(-1)
    fits = size == known if not unknown else unknown == 1 and known > 0 and size % known == 0
    if not fits or any(n < -1 for n in wanted):
        raise ShapeError(
            "cannot reshape",
            op=op,
            argument="shape",
            expected=f"a shape of {size} elements (at most one length -1)",
            got=f"{wanted} for an array of shape {old}",
            remedy="write -1 for one length, which then follows from the others",
        )
    return tuple([size // known if n == -1 else n for n in wanted])


@implements(np.ravel)
def np_ravel(a: Tensor, order: Any = "C") -> Tensor:
    """Return all elements along one axis."""
    return np.reshape(a, (-1,) if a.size else (0,), order=order)


@implements(np.expand_dims)
def np_expand_dims(a: Tensor, axis: Any) -> Tensor:
    """Insert axes of length 1."""
    count = len(axis) if isinstance(axis, (tuple, list)) else 1
    new = axis_tuple("numpy.expand_dims", axis, a.ndim + count)
    lengths = iter(a.shape)
    return _reshaped(a, tuple([1 if k in new else next(lengths) for k in range(a.ndim + count)]))


@implements(np.squeeze)
def np_squeeze(a: Tensor, axis: Any = None) -> Tensor:
    """Drop axes of length 1."""
    gone = axis_tuple("numpy.squeeze", axis, a.ndim)
    if axis is None:
        gone = tuple([k for k in gone if a.shape[k] == 1])
    for k in gone:
        if a.shape[k] != 1:
            raise ShapeError(
                "cannot squeeze an axis that is not of length 1",
                op="numpy.squeeze",
                argument="axis",
                expected="an axis of length 1",
                got=f"axis {k} of length {a.shape[k]}",
                remedy="leave axis out, or take an element: x[0], np.take(x, 0, axis)",
            )
    return _reshaped(a, tuple([n for k, n in enumerate(a.shape) if k not in gone]))


@implements(np.atleast_1d)
def np_atleast_1d(*arys: Any) -> Any:
    """Return arrays with one axis or more."""
    return _each(arys, lambda x: np.reshape(x, (1,)) if x.ndim == 0 else x)


@implements(np.atleast_2d)
def np_atleast_2d(*arys: Any) -> Any:
    """Return arrays with two axes or more."""
    return _each(arys, lambda x: np.reshape(x, (1,) * (2 - x.ndim) + x.shape) if x.ndim < 2 else x)


@implements(np.atleast_3d)
def np_atleast_3d(*arys: Any) -> Any:
    """Return arrays with three axes or more."""
    shapes: dict[int, Any] = {0: lambda s: (1, 1, 1), 1: lambda s: (1, *s, 1), 2: lambda s: (*s, 1)}
    return _each(arys, lambda x: np.reshape(x, shapes[x.ndim](x.shape)) if x.ndim < 3 else x)


def _each(arrays: Any, function: Any) -> Any:
    results = tuple([function(as_array(x)) for x in arrays])
    return results[0] if len(results) == 1 else results


@implements(np.resize)
def np_resize(a: Tensor, new_shape: Any) -> Tensor:
    """Give another number of elements: too few of them come again, in C order."""
    shape = shape_tuple(new_shape)
    if any(n < 0 for n in shape):
        raise ShapeError(
            "lengths of axes cannot be negative",
            op="numpy.resize",
            argument="new_shape",
            expected="lengths of at least 0",
            got=new_shape,
            remedy="use np.reshape, which fills in a -1",
        )
    if not a.size:
        return np.zeros_like(a, shape=shape)
    return reshape(np.take(np.ravel(a), np.arange(math.prod(shape)) % a.size), shape=shape)


# -- broadcast -----------------------------------------------------------------------------


@implements(np.broadcast_to)
def np_broadcast_to(array: Tensor, shape: Any, subok: Any = False) -> Tensor:
    """Repeat along axes of length 1 and new leading axes."""
    refuse("numpy.broadcast_to", subok=(subok, False))
    wanted = shape_tuple(shape)
    return view(array, broadcast_to(array, shape=wanted))


@implements(np.broadcast_arrays)
def np_broadcast_arrays(*args: Any, subok: Any = False) -> tuple[Any, ...]:
    """Broadcast arrays to their common shape."""
    refuse("numpy.broadcast_arrays", subok=(subok, False))
    arrays = [as_array(x) for x in args]
    try:
        shape = broadcast_shapes(*[x.shape for x in arrays])
    except ValueError:
        raise ShapeError(
            "shapes do not broadcast",
            op="numpy.broadcast_arrays",
            argument="args",
            expected="equal lengths, or 1, on every axis from the last",
            got=" and ".join(str(x.shape) for x in arrays),
            remedy="give a missing axis with x[:, None]",
        ) from None
    return tuple([x if x.shape == shape else np.broadcast_to(x, shape) for x in arrays])


@implements(np.meshgrid)
def np_meshgrid(*xi: Any, copy: Any = True, sparse: Any = False, indexing: Any = "xy") -> tuple[Any, ...]:
    """Return coordinate arrays of a grid."""
    if indexing not in ("xy", "ij"):
        raise ArgumentError(
            "no such indexing",
            op="numpy.meshgrid",
            argument="indexing",
            expected="'xy' or 'ij'",
            got=repr(indexing),
            remedy="leave indexing out for 'xy'",
        )
    n = len(xi)
    order = [1, 0, *range(2, n)] if indexing == "xy" and n > 1 else list(range(n))
    flat = [as_array(x) for x in xi]
    arranged = reshaped if copy else np.reshape
    grids = [arranged(x, (1,) * order[k] + (x.size,) + (1,) * (n - 1 - order[k])) for k, x in enumerate(flat)]
    if sparse:
        return tuple(grids)
    return tuple([np.copy(g) if copy else g for g in np.broadcast_arrays(*grids)])


# -- transpose -----------------------------------------------------------------------------


@implements(np.transpose, np.permute_dims)
def np_transpose(a: Tensor, axes: Any = None) -> Tensor:
    """Permute the axes."""
    if axes is None:
        return view(a, reversed_axes(a), reversed_axes)
    order = axis_tuple("numpy.transpose", tuple(axes) if np.iterable(axes) else axes, a.ndim, "axes")
    if len(order) != a.ndim:
        raise AxisError(
            "axes do not match the array",
            op="numpy.transpose",
            argument="axes",
            expected=f"all {a.ndim} axes",
            got=axes,
            remedy="name every axis once, or use np.swapaxes or np.moveaxis",
        )
    return _transposed(a, order)


@implements(np.matrix_transpose)
def np_matrix_transpose(x: Tensor, /) -> Tensor:
    """Swap the last two axes."""
    if x.ndim < 2:
        raise ShapeError(
            "a matrix has 2 or more axes",
            op="numpy.matrix_transpose",
            argument="x",
            expected="shape (..., m, n)",
            got=x.shape,
            remedy="use np.atleast_2d",
        )
    return np.swapaxes(x, -1, -2)


@implements(np.swapaxes)
def np_swapaxes(a: Tensor, axis1: Any, axis2: Any) -> Tensor:
    """Swap two axes."""
    i = axis_index("numpy.swapaxes", axis1, a.ndim, "axis1")
    j = axis_index("numpy.swapaxes", axis2, a.ndim, "axis2")
    axes = list(range(a.ndim))
    axes[i], axes[j] = j, i
    return _transposed(a, tuple(axes))


@implements(np.moveaxis)
def np_moveaxis(a: Tensor, source: Any, destination: Any) -> Tensor:
    """Move axes to other positions."""
    sources = axis_tuple("numpy.moveaxis", source, a.ndim, "source")
    targets = axis_tuple("numpy.moveaxis", destination, a.ndim, "destination")
    if len(sources) != len(targets):
        raise AxisError(
            "as many axes must leave as arrive",
            op="numpy.moveaxis",
            argument="destination",
            expected=f"{len(sources)} axes",
            got=destination,
        )
    axes = [k for k in range(a.ndim) if k not in sources]
    for target, k in sorted(zip(targets, sources, strict=True)):
        axes.insert(target, k)
    return _transposed(a, tuple(axes))


@implements(np.rollaxis)
def np_rollaxis(a: Tensor, axis: Any, start: Any = 0) -> Tensor:
    """Move one axis before another."""
    k = axis_index("numpy.rollaxis", axis, a.ndim)
    start = operator.index(start)
    target = axis_index("numpy.rollaxis", start, a.ndim + (start >= 0), "start")
    return np.moveaxis(a, k, target - 1 if k < target else target)


# -- flip ----------------------------------------------------------------------------------


@implements(np.flip)
def np_flip(m: Tensor, axis: Any = None) -> Tensor:
    """Reverse the order along axes."""
    axes = tuple(sorted(axis_tuple("numpy.flip", axis, m.ndim)))
    return view(m, flip(m, axis=axes), partial(flip, axis=axes))


@implements(np.fliplr)
def np_fliplr(m: Tensor) -> Tensor:
    """Reverse the order along axis 1."""
    _at_least("numpy.fliplr", m, 2)
    return np.flip(m, 1)


@implements(np.flipud)
def np_flipud(m: Tensor) -> Tensor:
    """Reverse the order along axis 0."""
    _at_least("numpy.flipud", m, 1)
    return np.flip(m, 0)


def _at_least(op: str, m: Tensor, ndim: int) -> None:
    if m.ndim < ndim:
        raise ShapeError(
            "too few axes",
            op=op,
            argument="m",
            expected=f"an array of {ndim} or more axes",
            got=m.shape,
            remedy="use np.flip",
        )


@implements(np.rot90)
def np_rot90(m: Tensor, k: Any = 1, axes: Any = (0, 1)) -> Tensor:
    """Rotate by quarter turns in the plane of two axes."""
    first, second = axis_tuple("numpy.rot90", tuple(axes), m.ndim, "axes")
    turns = operator.index(k) % 4
    if turns == 0:
        return m[...]
    if turns == 2:
        return np.flip(m, (first, second))
    turned = np.flip(m, second) if turns == 1 else m
    turned = np.swapaxes(turned, first, second)
    return turned if turns == 1 else view(m, np.flip(turned, second))


# -- x.flat ----------------------------------------------------------------------------------


def _flat(x: Tensor) -> Tensor:
    """Return the elements in C order; unlike a reshaped array this is no copy, whatever the layout."""
    return view(x, reshape(x, shape=(x.size,)), partial(reshape, shape=x.shape))


@implements_attribute("flat", _flat)
def assign_flat(x: Tensor, value: Any) -> Tensor:
    """Return what ``x`` is after ``x.flat = value``: values that are too few come again."""
    if not np.size(value):
        return x
    return np_setitem(x, ..., np.resize(value, x.shape) if np.ndim(value) else value)
