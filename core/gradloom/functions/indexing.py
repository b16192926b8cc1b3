"""Traced counterparts of NumPy's indexing, written from ops."""

from __future__ import annotations

import operator
from functools import lru_cache
from types import EllipsisType
from typing import Any, NamedTuple

import numpy as np

from gradloom.dispatch import implements, implements_method
from gradloom.errors import DTypeError, IndexRangeError, ShapeError, TraceEndedError
from gradloom.functions._arguments import as_array, as_tensor, reshaped
from gradloom.op import Op
from gradloom.ops.indexing import gather, getitem, index_add, index_set, layout
from gradloom.ops.shape import broadcast_to, reshape
from gradloom.refusals import describe
from gradloom.spec import PYTHON_SCALARS, WHOLE, Spec, broadcast_shapes, sliced
from gradloom.symbolic import Symbolic
from gradloom.symbolic import index as whole_number
from gradloom.trace import Handle, innermost

Tensor = Any
#: What a basic index consists of.
_BASIC = frozenset({int, slice, type(None), EllipsisType})
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
        return not self.arrays and self.scalar

    @property
    def scalar(self) -> bool:
        """Whether the index has no masks and no arrays but 0-d ones; then NumPy gives a view."""
        masks = [e for e in self.entries if type(e) is tuple and e[0] == "mask"]
        return not masks and all([a.ndim == 0 for a in self.arrays])


def parse_index(shape: tuple[int, ...], index: Any) -> ParsedIndex:
    """Return an index of an array of some shape in the form that ops take.

    Boolean masks are evaluated on the spot and become integer arrays.
    """
    basic = _basic_entries(shape, index)
    if basic is not None:
        return ParsedIndex(basic, (), unique=False)
    items = [_item(i) for i in (index if type(index) is tuple else (index,))]
    used = [_axes_used(i) for i in items]
    ellipses = sum(i is Ellipsis for i in items)
    if sum(used) > len(shape):
        raise IndexRangeError(
            "too many indices",
            op="getitem",
            argument="index",
            expected=f"at most {len(shape)} for an array of shape {shape}",
            got=sum(used),
            remedy="leave some out, or add axes first with x[..., None]",
        )
    if ellipses > 1:
        raise IndexRangeError(
            "an index can only have a single ellipsis",
            op="getitem",
            argument="index",
            expected="at most one ...",
            got=f"{ellipses} of them",
            remedy="write : for each axis that one of them stands for",
        )
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
            entries += [WHOLE] * missing
            if not missing and ellipses:
                entries.append("...")
            axis += missing
        elif kind is int:
            entries.append(_position(item, shape, axis))
        elif kind is slice:
            entries.append(sliced(*_bounds(item, shape[axis]), shape[axis]))
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


def _basic_entries(shape: tuple[int, ...], index: Any) -> tuple[Any, ...] | None:
    """Return the entries of an index of integers, slices, None and an ellipsis; None for any other, and bad ones.

    This takes a third of the time that `parse_index` takes for what it finds below, where errors are raised too.
    """
    items = index if type(index) is tuple else (index,)
    kinds = list(map(type, items))
    missing = len(shape) - kinds.count(int) - kinds.count(slice)
    if not _BASIC.issuperset(kinds) or missing < 0 or kinds.count(EllipsisType) > 1:
        return None
    if EllipsisType not in kinds:
        items = (*items, Ellipsis)
    entries: list[Any] = []
    axis = 0
    for item in items:
        if item is Ellipsis:
            entries += [WHOLE] * missing
            axis += missing
        elif item is None:
            entries.append(None)
        else:
            n = shape[axis]
            if type(item) is slice:
                entries.append(sliced(*_bounds(item, n), n))
            elif item < n if item >= 0 else -n <= item:
                entries.append(item if item >= 0 else operator.index(item + n))
            else:
                return None
            axis += 1
    return tuple(entries)


def _bounds(item: slice, n: Any) -> tuple[Any, Any, int]:
    """Return what `slice.indices` does, which would ask for the value of a symbolic length."""
    if type(n) is not Symbolic or item.step == 0:
        return item.indices(n)
    step = 1 if item.step is None else operator.index(item.step)
    if step > 0:
        return _bound(item.start, 0, 0, n, n), _bound(item.stop, n, 0, n, n), step
    return _bound(item.start, n - 1, -1, n - 1, n), _bound(item.stop, -1, -1, n - 1, n), step


def _bound(end: Any, default: Any, low: int, high: Any, n: Any) -> Any:
    if end is None:
        return default
    end = whole_number(end)
    if end < 0:
        return end + n if end + n > low else low
    return end if end < high else high


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
    parts = [None if p is None else whole_number(p) for p in (item.start, item.stop, item.step)]
    return slice(*parts)


def _not_an_index(item: Any) -> IndexRangeError:
    return IndexRangeError(
        "this cannot be an index",
        op="getitem",
        argument="index",
        expected="integers, slices (:), ellipsis (...), None, or integer or boolean arrays",
        got=item.spec if isinstance(item, Handle) else describe(item),
        remedy="make integers of floats, i.astype(int)",
    )


def _axes_used(item: Any) -> int:
    if item is None or item is Ellipsis or type(item) is bool:
        return 0
    if type(item) is int or type(item) is slice or item.dtype.kind != "b":
        return 1
    return int(item.ndim)


def _position(i: int, shape: tuple[int, ...], axis: int) -> int:
    n = shape[axis]
    if not (i < n if i >= 0 else -n <= i):
        raise IndexRangeError(
            f"index {i} is out of bounds for axis {axis} with size {n}",
            op="getitem",
            argument="index",
            expected=f"{-n} to {n - 1}" if n else "no index (the axis is empty)",
            got=i,
        )
    return i if i >= 0 else operator.index(i + n)


def _nonzero_of_mask(mask: Any, shape: tuple[int, ...], axis: int) -> list[Any]:
    wanted = shape[axis : axis + mask.ndim]
    if mask.shape != wanted:
        raise IndexRangeError(
            "boolean index did not match the indexed array",
            op="getitem",
            argument="index",
            expected=f"a mask of shape {wanted}",
            got=mask.shape,
            remedy="write : for the axes before those of the mask, as in x[:, mask]",
        )
    return list(np.nonzero(value_of(mask, "a boolean mask as index")))


def value_of(array: Any, action: str) -> Any:
    """Return the value of a tensor now; an array as it is."""
    return np.asarray(array._trace.demand(array._index, action)) if isinstance(array, Handle) else np.asarray(array)


# -- x[index] and x[index] = value ---------------------------------------------------------------


@lru_cache(maxsize=256)
def _row(spec: Spec) -> Spec:
    """Return the spec of ``x[i]``."""
    return Spec(spec.shape[1:], spec.dtype)


@implements(operator.getitem)
def np_getitem(x: Tensor, index: Any) -> Tensor:
    """Return ``x[index]``."""
    shape = x.spec.shape
    if type(index) is int and shape:
        # The commonest index, and the one that loops use.
        entries = (_position(index, shape, 0), *(WHOLE,) * (len(shape) - 1))
        if len(shape) == 1:
            return gather(x, index=entries, unique=True)
        return x._note_view(x._trace.bind(getitem, (x,), (entries,), _row(x.spec)), index)
    parsed = parse_index(shape, index)
    if parsed.basic:
        if all([type(entry) is int for entry in parsed.entries]):
            return gather(x, index=parsed.entries, unique=True)
        return x._note_view(getitem(x, index=parsed.entries), (None,) if index is None else index)
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
    return _changed(index_set, x, index, value)


def _changed(op: Op, x: Tensor, index: Any, value: Any) -> Tensor:
    """Return ``x`` with a part changed by an op."""
    parsed = parse_index(x.shape, index)
    trace = innermost((x, value, *parsed.arrays))
    if trace is not x._trace:
        raise TraceEndedError(
            "a tensor of an inner trace was assigned into one of an outer trace",
            op="setitem",
            argument="value",
            expected="a value that does not depend on what the inner function is transformed for",
            got=v.spec if isinstance(v := value, Handle) else describe(value),
            remedy="copy the outer tensor in the inner function first (x = x.copy() + 0 * y), or return the value",
        )
    v = _values(x, value, trace)
    try:
        shape = layout(x.shape, parsed.entries, [a.shape for a in parsed.arrays]).shape
    except ValueError:
        raise IndexRangeError(
            "index arrays do not broadcast together",
            op="setitem",
            argument="index",
            expected="index arrays of one shape, or lengths 1",
            got=" and ".join(str(a.shape) for a in parsed.arrays),
            remedy="np.ix_(rows, columns) takes every row with every column",
        ) from None
    if v.shape != shape:
        v = _fitted(v, shape)
    return op(x, v, *parsed.arrays, index=parsed.entries, unique=parsed.unique)


@implements_method("at", np.add)
def np_add_at(x: Tensor, index: Any, value: Any) -> Tensor:
    """Return what ``x`` is after ``np.add.at(x, index, value)``: elements named twice get both."""
    return _changed(index_add, x, index, value)


@implements_method("at", np.subtract)
def np_subtract_at(x: Tensor, index: Any, value: Any) -> Tensor:
    """Return what ``x`` is after ``np.subtract.at(x, index, value)``."""
    return np_add_at(x, index, np.negative(value))


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
        fits = broadcast_shapes(v.shape, shape) == shape
    except ValueError:
        fits = False
    if not fits:
        raise ShapeError(
            "could not broadcast the values into the indexed part",
            op="setitem",
            argument="value",
            expected=f"a shape that broadcasts to {shape}",
            got=v.shape,
            remedy="give a missing axis with v[:, None], or transpose the values",
        )
    return v if v.shape == shape else broadcast_to(v, shape=shape)
