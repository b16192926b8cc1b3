"""Packing: arrays that travel to another process keep what their bits depend on.

NumPy sums in the order of memory, and lumps axes together where there is no gap between them. So
an array must arrive with the order of its axes, their directions and gaps, and aligned.
"""

from __future__ import annotations

from typing import Any, NamedTuple, final

import numpy as np

#: Bytes that are hashed at once: few enough for the cache.
BLOCK = 65_536


class Packed(NamedTuple):
    """An array that is not contiguous, as one that is.

    Attributes
    ----------
    data : array
        Its elements, axes in the order of memory, those that repeat one element at length 1.
    order : tuple of int
        Where each axis of ``data`` belongs.
    shape : tuple of int
        Lengths of the axes of ``data``, repeats too.
    gaps, backward : tuple of bool
        Whether memory has a gap after the elements of an axis; whether it runs backward.
    """

    data: np.ndarray[Any, Any]
    order: tuple[int, ...]
    shape: tuple[int, ...]
    gaps: tuple[bool, ...]
    backward: tuple[bool, ...]


@final
class Aligned:
    """A contiguous array that is aligned wherever it arrives.

    Arrays that travel lie in memory behind what came with them; each task would copy one that is not aligned.

    Parameters
    ----------
    data : array
    """

    def __init__(self, data: np.ndarray[Any, Any]) -> None:
        self.data = data if data.flags.aligned else data.copy(order="K")

    def __reduce__(self) -> tuple[Any, ...]:
        return Aligned, (self.data,)

    def __sizeof__(self) -> int:
        return int(self.data.nbytes)


def pack(value: Any) -> Any:
    """Return an array in a form that may travel; anything else as it is."""
    if type(value) is not np.ndarray or value.flags.c_contiguous or value.flags.f_contiguous:
        return value
    strides = value.strides
    order = sorted(range(value.ndim), key=lambda k: -abs(strides[k]))
    extent = value.itemsize
    gaps = [False] * value.ndim
    for n in range(value.ndim - 1, -1, -1):
        k = order[n]
        if strides[k]:
            gaps[n] = abs(strides[k]) != extent and value.shape[k] > 1
            extent = abs(strides[k]) * value.shape[k]
    backward = [strides[k] < 0 for k in order]
    steps = [slice(None, None, -1) if b else slice(None) for b in backward]
    once = [slice(0, 1) if not strides[k] else slice(None) for k in order]
    seen = value.transpose(order)[tuple(steps)][tuple(once)]
    shape = tuple([value.shape[k] for k in order])
    return Packed(np.ascontiguousarray(seen), tuple(order), shape, tuple(gaps), tuple(backward))


def unpack(value: Any) -> Any:
    """Return what `pack` was given: aligned, and with the same order of axes, directions and gaps."""
    if type(value) is np.ndarray:
        return value if value.flags.aligned else value.copy(order="K")
    if type(value) is Aligned:
        return value.data
    if type(value) is not Packed:
        return value
    data = value.data
    # A gap stands between the elements of an axis and the next element of the one before it.
    widths = [n + 1 if gap else n for n, gap in zip(data.shape[1:], value.gaps[:-1], strict=True)]
    last = 2 if value.gaps[-1] else 1
    room = np.empty((data.shape[0], *widths, last), data.dtype)
    inner: tuple[Any, ...] = (*[slice(0, n) for n in data.shape], 0)
    room = room[inner]
    room[...] = data
    room = room[tuple([slice(None, None, -1) if b else slice(None) for b in value.backward])]
    place = [value.order.index(k) for k in range(len(value.order))]
    return np.broadcast_to(room, value.shape).transpose(place)


def writable(value: Any) -> Any:
    """Return an array that its user may write to."""
    if type(value) is np.ndarray and not (value.flags.writeable and value.flags.aligned):
        return value.copy(order="K")
    return value


class _Bytes(np.ndarray[Any, Any]):
    """Bytes whose views Python can hash where they are: it asks that what they are views of can be hashed."""

    __hash__ = object.__hash__  # type: ignore[assignment]  # of arrays it is None


def fingerprint(value: Any) -> tuple[Any, ...]:
    """Return what tells an array, packed or as it is, from others: its layout, and hashes of its blocks.

    In this process alone: Python's own hash takes a third of the time of a cryptographic one, and has a key that
    each process draws anew.
    """
    data, rest = (value.data, value[1:]) if type(value) is Packed else (value, value.flags.c_contiguous)
    elements = memoryview(b"")
    if data.size:
        elements = data.ravel(order="K").view(np.uint8).view(_Bytes).data.toreadonly()
    blocks = [hash(elements[k : k + BLOCK]) for k in range(0, len(elements), BLOCK)]
    return data.shape, data.dtype, rest, tuple(blocks)
