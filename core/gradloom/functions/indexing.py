"""Traced counterparts of NumPy's indexing, written from ops."""

from __future__ import annotations

import operator
from typing import Any, NamedTuple, NoReturn

import numpy as np

from gradloom.dispatch import implements, refuse
from gradloom.errors import DTypeError, IndexRangeError, ShapeError, TraceEndedError, UnsupportedFunctionError
from gradloom.functions._arguments import as_array, as_tensor, axis_index, reshaped
from gradloom.ops.indexing import gather, getitem, index_set, layout, take_along_axis
from gradloom.ops.shape import broadcast_to, reshape
from gradloom.refusals import describe
from gradloom.spec import PYTHON_SCALARS
from gradloom.trace import Handle, innermost

Tensor = Any
_KIND_ORDER = {"b": 0, "u": 1, "i": 1, "f": 2, "c": 3}


# -- indices -------------------------------------------------------------------------------


class ParsedIndex(NamedTuple):
    """An index as ops take it: the attr ``index``, the arrays, and whether they are unique."""

    entries: tuple[Any, ...]
    arrays: tuple[Any, ...]
    unique: bool

    @property
    def basic(self) -> bool:
        """Whether the index has neither arrays nor masks."""
        return self.scalar and not self.arrays

    @property
    def scalar(self) -> bool:
        """Whether the index has no masks and no arrays but 0-d ones; then NumPy gives a view."""
        masks = any(type(e) is tuple and e[0] == "mask" for e in self.entries)
        return not masks and all(a.ndim == 0 for a in self.arrays)


def parse_index(shape: tuple[int, ...], index: Any) -> ParsedIndex:
    """Return an index of an array of some shape in the form that ops take.

    Boolean masks are evaluated on the spot and become integer arrays.
    """
    items = [_item(i) for i in (index if type(index) is tuple else (index,))]
    used = [_axes_used(i) for i in items]
    ellipses = sum(i is Ellipsis for i in items)
    if sum(used) > len(shape):
        raise IndexRangeError(
            "too many indices", op="getitem", argument="index", expected=f"at most {len(shape)}", got=sum(used)
        )
    if ellipses > 1:
        raise IndexRangeError("an index can only have a single ellipsis", op="getitem", argument="index", got=ellipses)
    if not ellipses:
        items.append(Ellipsis)
        used.append(0)
    entries: list[Any] = []
    arrays: list[Any] = []
    masks = axis = 0
    for item, count in zip(items, used, strict=True):
        kind = type(item)
        if item is Ellipsis:
            missing = len(shape) - sum(used)
            entries += [("slice", 0, n, 1) for n in shape[axis : axis + missing]]
            if not missing and ellipses:
                entries.append("...")
            axis += missing
        elif kind is int:
            entries.append(_position(item, shape, axis))
        elif kind is slice:
            entries.append(("slice", *item.indices(shape[axis])))
        elif item is None:
            entries.append(None)
        elif kind is bool:
            entries.append(("mask", item))
        elif item.dtype.kind == "b":
            masks += 1
            arrays += _nonzero_of_mask(item, shape, axis)
            entries += ["array"] * count
        else:
            arrays.append(item)
            entries.append("array")
        axis += count
    # The positions that one mask selects differ from each other.
    unique = masks == 1 and all(type(i) in (int, slice) or _axes_used(i) == 0 or i.dtype.kind == "b" for i in items)
    if not arrays:
        entries = [e for e in entries if e != "..."]
    return ParsedIndex(tuple(entries), tuple(arrays), unique)


def _item(item: Any) -> Any:
    """Return one entry of an index as int, bool, slice, None, Ellipsis, array or tensor."""
    if type(item) in (int, slice, bool) or item is None or item is Ellipsis:
        return item if type(item) is not slice else _slice(item)
    if isinstance(item, (list, tuple)):
        item = as_array(item) if item else np.empty(0, np.int64)
    elif not hasattr(item, "dtype"):
        try:
            return operator.index(item)
        except TypeError:
            raise _not_an_index(item) from None
    if item.dtype.kind not in "biu":
        raise _not_an_index(item)
    if isinstance(item, Handle):
        return bool(item) if item.dtype.kind == "b" and not item.shape else item  # type: ignore[attr-defined]
    if item.ndim == 0:
        return item.item()
    return item


def _slice(item: slice) -> slice:
    # Bounds may be integer tensors; their values decide the shape.
    parts = [None if p is None else operator.index(p) for p in (item.start, item.stop, item.step)]
    return slice(*parts)


def _not_an_index(item: Any) -> IndexRangeError:
    return IndexRangeError(
        "this cannot be an index",
        op="getitem",
        argument="index",
        expected="integers, slices (:), ellipsis (...), None, or integer or boolean arrays",
        got=item.spec if isinstance(item, Handle) else describe(item),
    )


def _axes_used(item: Any) -> int:
    if item is None or item is Ellipsis or type(item) is bool:
        return 0
    if type(item) is int or type(item) is slice or item.dtype.kind != "b":
        return 1
    return int(item.ndim)


def _position(i: int, shape: tuple[int, ...], axis: int) -> int:
    n = shape[axis]
    if not -n <= i < n:
        raise IndexRangeError(
            f"index {i} is out of bounds for axis {axis} with size {n}", op="getitem", argument="index"
        )
    return i % n


def _nonzero_of_mask(mask: Any, shape: tuple[int, ...], axis: int) -> list[Any]:
    wanted = shape[axis : axis + mask.ndim]
    if mask.shape != wanted:
        raise IndexRangeError(
            "boolean index did not match the indexed array",
            op="getitem",
            argument="index",
            expected=f"a mask of shape {wanted}",
            got=mask.shape,
        )
    return list(np.nonzero(value_of(mask, "a boolean mask as index")))


def value_of(array: Any, action: str) -> Any:
    """Return the value of a tensor now; an array as it is."""
    return np.asarray(array._trace.demand(array._index, action)) if isinstance(array, Handle) else np.asarray(array)


# -- x[index] and x[index] = value ---------------------------------------------------------------


@implements(operator.getitem)
def np_getitem(x: Tensor, index: Any) -> Tensor:
    """Return ``x[index]``."""
    if type(index) is int and x.spec.ndim == 1:
        # The commonest index, and the one that loops use.
        return gather(x, index=(_position(index, x.spec.shape, 0),), unique=True)
    parsed = parse_index(x.shape, index)
    if parsed.basic:
        if all(type(entry) is int for entry in parsed.entries):
            return gather(x, index=parsed.entries, unique=True)
        return x._note_view(getitem(x, index=parsed.entries), index)
    out = gather(x, *parsed.arrays, index=parsed.entries, unique=parsed.unique)
    return x._note_view(out, index) if parsed.scalar else out


@implements(operator.setitem)
def np_setitem(x: Tensor, index: Any, value: Any) -> Tensor:
    """Return what ``x`` is after ``x[index] = value``."""
    if not isinstance(value, Handle) and type(value) not in PYTHON_SCALARS:
        value = as_array(value)
    mask = _whole_mask(x, index, value)
    if mask is not None:
        return np.where(mask, _values(x, value, x._trace), x)
    parsed = parse_index(x.shape, index)
    trace = innermost((x, value, *parsed.arrays))
    if trace is not x._trace:
        raise TraceEndedError(
            "a tensor of an inner trace was assigned into one of an outer trace",
            op="setitem",
            remedy="copy the outer tensor in the inner function first (x = x.copy() + 0 * y), or return the value",
        )
    v = _values(x, value, trace)
    try:
        shape = layout(x.shape, parsed.entries, [a.shape for a in parsed.arrays]).shape
    except ValueError:
        raise IndexRangeError("index arrays do not broadcast together", op="setitem", argument="index") from None
    if v.shape != shape:
        v = _fitted(v, shape)
    return index_set(x, v, *parsed.arrays, index=parsed.entries, unique=parsed.unique)


def _whole_mask(x: Tensor, index: Any, value: Any) -> Any:
    """Return a tensor mask that one value is assigned under: then its value is not needed."""
    if not isinstance(index, Handle) or index.spec.dtype.kind != "b" or np.ndim(value) or not index.spec.shape:
        return None
    if index._trace is not x._trace or index.spec.shape != x.shape[: index.spec.ndim]:
        return None
    if isinstance(value, Handle) and value._trace is not x._trace:
        return None
    return reshaped(index, index.spec.shape + (1,) * (x.ndim - index.spec.ndim))


def _values(x: Tensor, value: Any, trace: Any) -> Tensor:
    """Return the values to assign in the dtype of ``x``."""
    number = type(value) in PYTHON_SCALARS
    dtype = PYTHON_SCALARS[type(value)].dtype if number else value.dtype
    if _KIND_ORDER[dtype.kind] > _KIND_ORDER[x.dtype.kind]:
        raise DTypeError(
            "assigning would lose part of the values",
            op="setitem",
            argument="value",
            expected=f"a dtype that casts to {x.dtype} within its kind",
            got=dtype,
            remedy=f"assign into an array of dtype {dtype}, or convert the values (np.real, astype)",
        )
    if number:
        return trace.tensor(trace.literal(value, x.dtype))
    value = as_tensor(value, trace)
    return value if value.dtype == x.dtype else np.astype(value, x.dtype)


def _fitted(v: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Broadcast values to the shape of the part they are assigned to."""
    extra = v.ndim - len(shape)
    if extra > 0 and v.shape[:extra] == (1,) * extra:
        v = reshape(v, shape=v.shape[extra:])
    try:
        fits = np.broadcast_shapes(v.shape, shape) == shape
    except ValueError:
        fits = False
    if not fits:
        raise ShapeError(
            "could not broadcast the values into the indexed part",
            op="setitem",
            argument="value",
            expected=f"a shape that broadcasts to {shape}",
            got=v.shape,
        )
    return v if v.shape == shape else broadcast_to(v, shape=shape)


# -- take and its relatives --------------------------------------------------------------------


@implements(np.take)
def np_take(a: Any, indices: Any, axis: Any = None, out: Any = None, mode: Any = "raise") -> Tensor:
    """Take positions along an axis."""
    refuse("numpy.take", out=out)
    a, indices = as_array(a), as_array(indices)
    trace = innermost((a, indices))
    a = as_tensor(a, trace)
    if axis is None:
        a, axis = reshape(a, shape=(a.size,)), 0
    axis = axis_index("numpy.take", axis, a.ndim)
    _require_integers("numpy.take", indices)
    n = a.shape[axis]
    if mode == "wrap":
        indices = indices % n
    elif mode == "clip":
        indices = np.clip(indices, 0, max(n - 1, 0))
    elif mode != "raise":
        raise ValueError(f"mode must be 'raise', 'wrap' or 'clip', not {mode!r}")
    index = tuple(["array" if k == axis else ("slice", 0, m, 1) for k, m in enumerate(a.shape)])
    return gather(a, indices, index=index)


def _require_integers(op: str, indices: Any) -> None:
    if indices.dtype.kind not in "iu":
        raise DTypeError(
            "indices must be integers", op=op, argument="indices", expected="an integer dtype", got=indices.dtype
        )


@implements(np.take_along_axis)
def np_take_along_axis(arr: Any, indices: Any, axis: Any = -1) -> Tensor:
    """Take positions along an axis, the other axes in step."""
    arr, indices = as_array(arr), as_array(indices)
    _require_integers("numpy.take_along_axis", indices)
    trace = innermost((arr, indices))
    arr = as_tensor(arr, trace)
    if axis is None:
        if indices.ndim != 1:
            raise ShapeError("with axis=None indices have one axis", op="numpy.take_along_axis", got=indices.shape)
        arr, axis = reshape(arr, shape=(arr.size,)), 0
    axis = axis_index("numpy.take_along_axis", axis, arr.ndim)
    if indices.ndim != arr.ndim:
        raise ShapeError(
            "indices and array must have as many axes",
            op="numpy.take_along_axis",
            argument="indices",
            expected=f"{arr.ndim} axes",
            got=indices.shape,
        )
    if all(k == axis or m == n for k, (m, n) in enumerate(zip(indices.shape, arr.shape, strict=True))):
        return take_along_axis(arr, indices, axis=axis)
    shape = list(np.broadcast_shapes(_without(arr.shape, axis), _without(indices.shape, axis)))
    wide = [(*shape[:axis], x.shape[axis], *shape[axis:]) for x in (arr, indices)]
    return take_along_axis(np.broadcast_to(arr, wide[0]), np.broadcast_to(indices, wide[1]), axis=axis)


def _without(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return shape[:axis] + shape[axis + 1 :]


@implements(np.compress)
def np_compress(condition: Any, a: Any, axis: Any = None, out: Any = None) -> Tensor:
    """Take the positions along an axis where a condition holds."""
    refuse("numpy.compress", out=out)
    condition = value_of(as_array(condition), "numpy.compress").astype(bool)
    return np.take(a, np.flatnonzero(condition), axis=axis)


@implements(np.extract)
def np_extract(condition: Any, arr: Any) -> Tensor:
    """Take the elements where a condition holds."""
    condition = value_of(as_array(condition), "numpy.extract").astype(bool)
    return np.take(arr, np.flatnonzero(condition))


@implements(np.choose)
def np_choose(a: Any, choices: Any, out: Any = None, mode: Any = "raise") -> Tensor:
    """Choose elements from several arrays by number."""
    refuse("numpy.choose", out=out)
    table = np.stack(np.broadcast_arrays(*[as_array(c) for c in choices]))
    picks = as_array(a)
    shape = np.broadcast_shapes(picks.shape, table.shape[1:])
    table, picks = np.broadcast_to(table, (len(table), *shape)), np.broadcast_to(picks, shape)
    n = len(table)
    if mode == "wrap":
        picks = picks % n
    elif mode == "clip":
        picks = np.clip(picks, 0, n - 1)
    return np.take_along_axis(table, picks[None], axis=0)[0]


# -- where elements are -------------------------------------------------------------------------


@implements(np.nonzero)
def np_nonzero(a: Tensor) -> tuple[Any, ...]:
    """Return the positions of nonzero elements, evaluated on the spot."""
    if a.ndim == 0:
        raise ShapeError("nonzero of a 0-d array", op="numpy.nonzero", remedy="use np.atleast_1d(x).nonzero()")
    return np.nonzero(value_of(a, "numpy.nonzero"))


@implements(np.flatnonzero)
def np_flatnonzero(a: Tensor) -> Any:
    """Return the flat positions of nonzero elements, evaluated on the spot."""
    return np.flatnonzero(value_of(a, "numpy.flatnonzero"))


@implements(np.argwhere)
def np_argwhere(a: Tensor) -> Any:
    """Return the positions of nonzero elements as rows, evaluated on the spot."""
    return np.argwhere(value_of(a, "numpy.argwhere"))


@implements(np.ix_)
def np_ix_(*args: Any) -> tuple[Any, ...]:
    """Return index arrays that select a grid."""
    grids = []
    for k, sequence in enumerate(args):
        x = as_array(sequence)
        if x.ndim != 1:
            raise ShapeError("index sequences have one axis", op="numpy.ix_", argument=f"argument {k}", got=x.shape)
        if x.dtype.kind == "b":
            x = np.flatnonzero(x)
        grids.append(reshaped(x, (1,) * k + x.shape + (1,) * (len(args) - 1 - k)))
    return tuple(grids)


@implements(np.unravel_index)
def np_unravel_index(indices: Tensor, shape: Any, order: Any = "C") -> tuple[Tensor, ...]:
    """Return flat positions as one position per axis."""
    _require_integers("numpy.unravel_index", indices)
    lengths = [operator.index(n) for n in shape] if np.iterable(shape) else [operator.index(shape)]
    parts = []
    rest = indices
    for n in lengths if order == "F" else reversed(lengths):
        parts.append(rest % n)
        rest = rest // n
    return tuple(parts if order == "F" else parts[::-1])


# -- what only makes sense in place ----------------------------------------------------------------


def _refused(function: Any, remedy: str) -> None:
    name = f"numpy.{function.__name__}"

    def refused(*args: Any, **kwargs: Any) -> NoReturn:
        raise UnsupportedFunctionError("this function changes an array in place", op=name, remedy=remedy)

    implements(function)(refused)


_refused(np.put_along_axis, "assign (x[tuple(np.indices(...))] = v), or select with np.where")
_refused(np.put, "assign: x[np.unravel_index(i, x.shape)] = v")
_refused(np.place, "assign: x[mask] = v")
_refused(np.putmask, "assign or select: x = np.where(mask, v, x)")
_refused(np.fill_diagonal, "assign: i = np.arange(n); x[i, i] = v")
