"""Indexing ops: reading parts of an array, and adding to or replacing them.

The attr ``index`` is a tuple of entries that together name every axis:

- an int: one position of an axis,
- ``":"``: a whole axis,
- ``("slice", start, stop, step)``, as `slice.indices` gives them: a part of an axis,
- ``None``: a new axis of length 1,
- ``"array"``: the next of the integer arrays among the inputs,
- ``("mask", bool)``: a boolean scalar, which takes no axis,
- ``"..."``: an ellipsis of no axes, which sets the arrays around it apart.

As in NumPy, arrays broadcast together, also with ints; the axes they broadcast to stand where
the arrays stand, or in front if other entries stand between arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from gradloom.autodiff import zeros
from gradloom.axes import Axes
from gradloom.errors import DTypeError, IndexRangeError, ShapeError
from gradloom.op import define, ops
from gradloom.ops.shape import arange, reshape, transpose, with_batch
from gradloom.spec import WHOLE, Spec, broadcast_shapes, taken_length

Tensor = Any
Shape = tuple[int, ...]
Index = tuple[Any, ...]


class Layout(NamedTuple):
    """Where the axes of an indexed array come from.

    ``others`` lists the lengths of the axes from slices and new axes, with the axis of the
    array that each comes from (None for a new axis); the broadcast axes of the arrays, of
    shape ``joint``, stand before ``others[position]``.
    """

    others: tuple[tuple[int, int | None], ...]
    joint: Shape
    position: int

    @property
    def shape(self) -> Shape:
        """The shape of the indexed array."""
        lengths = tuple([n for n, _ in self.others])
        return lengths[: self.position] + self.joint + lengths[self.position :]

    def labels(self, others: Sequence[Any], joint: Sequence[Any]) -> list[Any]:
        """Return labels of the axes of the indexed array, in order."""
        return [*others[: self.position], *joint, *others[self.position :]]


def layout(shape: Shape, index: Index, arrays: Sequence[Shape]) -> Layout:
    """Return the layout of an array of some shape under an index with arrays of some shapes."""
    advanced = any([len(s) > 0 for s in arrays])
    joint: list[Shape] = list(arrays)
    others: list[tuple[int, int | None]] = []
    places: list[int] = []
    position = axis = 0
    for place, entry in enumerate(index):
        if entry is None:
            others.append((1, None))
        elif entry == WHOLE or (type(entry) is tuple and entry[0] == "slice"):
            others.append((taken_length(entry, shape[axis]), axis))
            axis += 1
        elif entry != "...":
            position = position if places else len(others)
            places.append(place)
            if type(entry) is tuple:
                joint.append((int(entry[1]),))
                advanced = True
            else:
                axis += 1
    apart = advanced and places[-1] - places[0] >= len(places)
    return Layout(tuple(others), broadcast_shapes(*joint) if joint else (), 0 if apart else position)


# -- getitem: ints, slices, new axes --------------------------------------------------------


def getitem_spec(x: Spec, *, index: Index) -> Spec:
    return Spec(layout(x.shape, index, ()).shape, x.dtype)


def getitem_transpose(cotangent: Tensor, x: Tensor, *, index: Index) -> Tensor:
    return index_add(zeros(x._trace, x.spec), cotangent, index=index)


def getitem_accumulate(total: Any, cotangent: Tensor, out: Tensor, x: Tensor, *, index: Index) -> Tensor:
    # Any number of reads of one array adds to one buffer.
    return index_add(zeros(x._trace, x.spec) if total is None else total, cotangent, index=index)


def getitem_axes(x: Spec, *, index: Index) -> Axes:
    kept = _kept_axes(index)
    found = layout(x.shape, index, ())
    return Axes((kept,), tuple([None if k is None else kept[k] for _, k in found.others]))


def _kept_axes(index: Index) -> tuple[int | None, ...]:
    """Return a label for each axis that is taken whole, and so may be cut; None for the others."""
    entries = [e for e in index if type(e) is int or e in (WHOLE, "array") or (type(e) is tuple and e[0] == "slice")]
    return tuple([k if e == WHOLE else None for k, e in enumerate(entries)])


def getitem_batch(size: int, batched: tuple[bool, ...], x: Tensor, *, index: Index) -> Tensor:
    return getitem(x, index=(WHOLE, *index))


#: ``x[index]`` without arrays in the index: a view.
getitem = define(
    "getitem",
    spec=getitem_spec,
    transpose=(getitem_transpose,),
    accumulate=getitem_accumulate,
    axes=getitem_axes,
    batch=getitem_batch,
    view=True,
)


# -- gather: integer arrays too -------------------------------------------------------------


def gather_spec(x: Spec, *indices: Spec, index: Index, unique: bool = False) -> Spec:
    return Spec(_checked_layout(x, indices, index).shape, x.dtype)


def check_integers(indices: Spec, argument: str) -> None:
    """Raise unless an index array holds integers."""
    if indices.dtype.kind not in "iu":
        raise DTypeError(
            "an index must be of integers",
            argument=argument,
            expected="an integer dtype",
            got=indices,
            remedy="make integers of floats, i.astype(int)",
        )


def _checked_layout(x: Spec, indices: Sequence[Spec], index: Index) -> Layout:
    for spec in indices:
        check_integers(spec, "index")
    try:
        return layout(x.shape, index, [spec.shape for spec in indices])
    except ValueError:
        raise IndexRangeError(
            "index arrays do not broadcast together",
            argument="index",
            expected="index arrays of one shape, or lengths 1",
            got=" and ".join(str(spec.shape) for spec in indices),
            remedy="np.ix_(rows, columns) takes every row with every column",
        ) from None


def gather_transpose(cotangent: Tensor, x: Tensor, *indices: Tensor, index: Index, unique: bool) -> Tensor:
    return index_add(zeros(x._trace, x.spec), cotangent, *indices, index=index, unique=unique)


def gather_accumulate(
    total: Any, cotangent: Tensor, out: Tensor, x: Tensor, *indices: Tensor, index: Index, unique: bool
) -> Tensor:
    buffer = zeros(x._trace, x.spec) if total is None else total
    return index_add(buffer, cotangent, *indices, index=index, unique=unique)


def gather_axes(x: Spec, *indices: Spec, index: Index, unique: bool) -> Axes:
    # Axes taken whole may be cut, and so may the axes of the index arrays, which read in any
    # order; those that they read from stay whole.
    found = layout(x.shape, index, [spec.shape for spec in indices])
    kept = _kept_axes(index)
    rank = len(found.joint)
    arrays = [
        tuple([None if n == 1 else ("joint", rank - spec.ndim + j) for j, n in enumerate(spec.shape)])
        for spec in indices
    ]
    cuttable = {label for labels in arrays for label in labels}
    joint = [label if label in cuttable else None for label in [("joint", j) for j in range(rank)]]
    others = [None if k is None else kept[k] for _, k in found.others]
    return Axes((kept, *arrays), tuple(found.labels(others, joint)))


def gather_batch(
    size: int, batched: tuple[bool, ...], x: Tensor, *indices: Tensor, index: Index, unique: bool
) -> Tensor:
    if _in_rows(x, indices, index, batched):
        return ops["take_along_axis"](x, *indices, axis=1, unique=unique)
    plain = _unbatched_layout(x.shape[1:] if batched[0] else x.shape, index, batched[1:], indices)
    indices, index = _batch_index(size, batched[0], batched[1:], x, indices, index, len(plain.joint))
    # Elements of an array that the batch shares may be read once by each.
    unique = unique and batched[0]
    out = gather(x, *indices, index=index, unique=unique)
    return transpose(out, axes=_batch_axes(plain, x, indices, index, any(batched[1:]))[0])


def _in_rows(x: Tensor, indices: Sequence[Tensor], index: Index, batched: Sequence[bool]) -> bool:
    """Return whether a batch of vectors has an index of its own for each."""
    return index == ("array",) and all(batched) and x.ndim == indices[0].ndim == 2


def _unbatched_layout(shape: Shape, index: Index, batched: Sequence[bool], indices: Sequence[Tensor]) -> Layout:
    return layout(shape, index, [i.shape[1:] if b else i.shape for i, b in zip(indices, batched, strict=True)])


def _batch_index(
    size: int, x_batched: bool, batched: Sequence[bool], x: Tensor, indices: Sequence[Tensor], index: Index, rank: int
) -> tuple[tuple[Tensor, ...], Index]:
    """Return the index of a whole batch.

    Where index arrays are batched, the batch is the first of the axes they broadcast to, and a
    batched ``x`` is indexed by its number in the batch; otherwise ``x`` is sliced.
    """
    if not any(batched):
        return tuple(indices), (WHOLE, *index)
    wide = [
        reshape(i, shape=(size, *(1,) * (rank + 1 - i.ndim), *i.shape[1:])) if b else i
        for i, b in zip(indices, batched, strict=True)
    ]
    if not x_batched:
        return tuple(wide), index
    number = reshape(arange(size, like=x), shape=(size, *(1,) * rank))
    return (number, *wide), ("array", *index)


def _batch_axes(
    plain: Layout, x: Tensor, indices: Sequence[Tensor], index: Index, index_batched: bool
) -> tuple[Shape, Shape]:
    """Return the axes that bring the batch of an indexed batch to the front, and their inverse."""
    whole = layout(x.shape, index, [i.shape for i in indices])
    others = [("other", k) for k in range(len(plain.others))]
    joint = [("joint", k) for k in range(len(plain.joint))]
    wanted = ["batch", *plain.labels(others, joint)]
    got = whole.labels(others, ["batch", *joint]) if index_batched else whole.labels(["batch", *others], joint)
    return tuple([got.index(label) for label in wanted]), tuple([wanted.index(label) for label in got])


#: A copy of ``x[index]``, with integer arrays in the index or without. It keeps no hold on
#: ``x``, which a later change can then overwrite. ``unique`` promises that no element is read
#: twice.
gather = define(
    "gather",
    spec=gather_spec,
    transpose=(gather_transpose,),
    accumulate=gather_accumulate,
    axes=gather_axes,
    batch=gather_batch,
)


# -- index_add, index_set: x with a part changed ---------------------------------------------


def index_add_spec(x: Spec, v: Spec, *indices: Spec, index: Index, unique: bool = False) -> Spec:
    check_values(x, v, _checked_layout(x, indices, index).shape)
    return x


def check_values(x: Spec, v: Spec, shape: Shape) -> None:
    """Raise unless values have the dtype of the array that they change, and the shape of the part that changes."""
    if v.shape != shape:
        raise ShapeError("values do not fit the index", argument="v", expected=f"the shape {shape}", got=v.shape)
    if v.dtype != x.dtype:
        raise DTypeError("values of another dtype", argument="v", expected=x.dtype, got=v.dtype)


def index_add_transpose_x(
    cotangent: Tensor, x: Tensor, v: Tensor, *indices: Tensor, index: Index, unique: bool
) -> Tensor:
    return cotangent


def index_add_transpose_v(
    cotangent: Tensor, x: Tensor, v: Tensor, *indices: Tensor, index: Index, unique: bool
) -> Tensor:
    return gather(cotangent, *indices, index=index, unique=unique)


def index_change_axes(x: Spec, v: Spec, *indices: Spec, index: Index, unique: bool) -> Axes:
    # Only axes taken whole may be cut: of the others each piece would change all of ``x``.
    found = layout(x.shape, index, [spec.shape for spec in indices])
    kept = _kept_axes(index)
    others = [None if k is None else kept[k] for _, k in found.others]
    values = tuple(found.labels(others, [None] * len(found.joint)))
    return Axes((kept, values, *[(None,) * spec.ndim for spec in indices]), kept)


def _batch_change(
    size: int, batched: tuple[bool, ...], x: Tensor, v: Tensor, indices: Sequence[Tensor], index: Index
) -> tuple[Tensor, Tensor, tuple[Tensor, ...], Index]:
    """Return the arguments that change a whole batch at once."""
    plain = _unbatched_layout(x.shape[1:] if batched[0] else x.shape, index, batched[2:], indices)
    x, v = with_batch(size, batched[:2], (x, v))
    indices, index = _batch_index(size, True, batched[2:], x, indices, index, len(plain.joint))
    v = transpose(v, axes=_batch_axes(plain, x, indices, index, any(batched[2:]))[1])
    return x, v, indices, index


def index_add_batch(
    size: int, batched: tuple[bool, ...], x: Tensor, v: Tensor, *indices: Tensor, index: Index, unique: bool
) -> Tensor:
    if _in_rows(x, indices, index, batched[2:]):
        x, v = with_batch(size, batched[:2], (x, v))
        return ops["add_along_axis"](x, v, *indices, axis=1, unique=unique)
    x, v, indices, index = _batch_change(size, batched, x, v, indices, index)
    return index_add(x, v, *indices, index=index, unique=unique)


#: ``x`` after ``np.add.at(x, index, v)``; ``v`` has the shape of ``x[index]``.
index_add = define(
    "index_add",
    spec=index_add_spec,
    transpose=(index_add_transpose_x, index_add_transpose_v),
    linear="jointly",
    axes=index_change_axes,
    batch=index_add_batch,
    donates=True,
)


def index_set_transpose_x(
    cotangent: Tensor, x: Tensor, v: Tensor, *indices: Tensor, index: Index, unique: bool
) -> Tensor:
    return index_set(cotangent, zeros(v._trace, v.spec), *indices, index=index, unique=unique)


def index_set_transpose_v(
    cotangent: Tensor, x: Tensor, v: Tensor, *indices: Tensor, index: Index, unique: bool
) -> Tensor:
    # Of several values for one element the last one stays; the others have no influence. The
    # winners are found by storing the number of each value in its place.
    part = gather(cotangent, *indices, index=index, unique=unique)
    if unique or not any(i.ndim for i in indices):
        return part
    number = reshape(arange(v.size, like=v), shape=v.shape)
    places = zeros(x._trace, Spec(x.shape, np.int64))
    winners = gather(index_set(places, number, *indices, index=index), *indices, index=index)
    return np.where(winners == number, part, zeros(v._trace, v.spec))


def index_set_batch(
    size: int, batched: tuple[bool, ...], x: Tensor, v: Tensor, *indices: Tensor, index: Index, unique: bool
) -> Tensor:
    x, v, indices, index = _batch_change(size, batched, x, v, indices, index)
    return index_set(x, v, *indices, index=index, unique=unique)


#: ``x`` after ``x[index] = v``; ``v`` has the shape of ``x[index]``.
index_set = define(
    "index_set",
    spec=index_add_spec,
    transpose=(index_set_transpose_x, index_set_transpose_v),
    linear="jointly",
    axes=index_change_axes,
    batch=index_set_batch,
    donates=True,
)
