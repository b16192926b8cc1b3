"""Alias: which tensors would share memory if they were NumPy arrays.

An in-place change rebinds one tensor. A change of a view is written into its array too, as
NumPy does; where NumPy would show the change in yet another tensor that is in use, it raises.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from functools import partial
from math import gcd
from typing import Any, NamedTuple, final

import numpy as np

from gradloom.symbolic import Symbolic, decide
from gradloom.trace import Handle

Tensor = Any
#: An index into the root of a `Memory`; None for a part that is not known.
Region = Any
#: The region of views that show every element.
_EVERYTHING = (Ellipsis,)


class Whole(NamedTuple):
    """The part that a view in another shape or of another kind shows: something of every element.

    ``restore(base, value)`` returns the base after a value was written into the view.
    """

    restore: Callable[[Tensor, Tensor], Tensor]


@final
class Memory:
    """Tensors that would share the memory of one array, the root.

    Parameters
    ----------
    root : Tensor
        The array the others show parts of.
    """

    __slots__ = ("_limit", "_members", "root", "shape")

    def __init__(self, root: Tensor) -> None:
        self.root = weakref.ref(root)
        self.shape = root.spec.shape
        self._members: list[tuple[weakref.ref[Any], Region]] = [(self.root, ())]
        self._limit = 16

    def add(self, view: Tensor, region: Region) -> None:
        """Remember a view for as long as it lives."""
        if len(self._members) >= self._limit:
            self._members = [entry for entry in self._members if entry[0]() is not None]
            self._limit = 2 * len(self._members) + 16
        self._members.append((weakref.ref(view), region))

    def sharers(self, tensor: Tensor, region: Region) -> list[Tensor]:
        """Return the living tensors, other than one, that show elements of a region."""
        found = []
        for reference, other in self._members:
            member = reference()
            if member is not None and member is not tensor and may_overlap(self.shape, other, region):
                found.append(member)
        return found


def note_view(base: Tensor, view: Tensor, index: Region) -> None:
    """Remember that a tensor shows a part of another."""
    memory: Memory | None = base._memory
    whole = type(index) is Whole
    region = _EVERYTHING if whole else index
    if memory is not None and memory.root() is not base:
        if memory.sharers(base, base._region):
            # The view lies within what its base shows of the root.
            region = base._region
        else:
            memory = None
    if memory is None:
        memory = base._memory = Memory(base)
        base._region = ()
        region = _EVERYTHING if whole else index
    memory.add(view, region)
    view._memory, view._region = memory, region
    # A view between (`x.T` in `x.T.real[0] = v`) lives on, as a change finds its way to the array through it.
    view._base = weakref.ref(base), index, None if memory.root() is base else base


def bases(view: Tensor) -> list[tuple[Tensor, Any]]:
    """Return the array a view shows a part of, what that is a part of, and so on, with the indices.

    The list ends where an array is gone, or where the part is not known.
    """
    found = []
    while hasattr(view, "_base"):
        base, index = view._base[0](), view._base[1]
        if base is None or index is None:
            break
        found.append((base, index))
        view = base
    return found


def part_of(view: Tensor, changed: set[int]) -> tuple[Tensor, Any] | None:
    """Return what a view is an indexed part of, if that is among the tensors with some ids."""
    if not hasattr(view, "_base"):
        return None
    base, index = view._base[0](), view._base[1]
    return (base, index) if id(base) in changed and index is not None and type(index) is not Whole else None


def restores(view: Any, base: Tensor, restore: Callable[[Tensor, Tensor], Tensor]) -> bool:
    """Return whether a value is a view of a tensor that is written into it by ``restore``."""
    part = getattr(view, "_base", None)
    return part is not None and part[0]() is base and type(part[1]) is Whole and part[1].restore is restore


def shows(view: Tensor, base: Tensor, index: Any) -> bool:
    """Return whether a tensor is the view ``base[index]``."""
    memory: Memory | None = base._memory
    if memory is None or memory.root() is not base or view is base or getattr(view, "_memory", None) is not memory:
        return False
    region = view._region
    return region is index or (type(region) is slice and type(index) is slice and region == index)


def may_overlap(shape: tuple[int, ...], first: Region, second: Region) -> bool:
    """Return whether two indices of an array of some shape can touch the same element.

    ``None`` stands for an unknown part of the array.
    """
    if first is None or second is None:
        return True
    if Symbolic in map(type, shape):
        return _may_overlap_for(shape, first, second)
    parts = [index if type(index) is tuple else (index,) for index in (first, second)]
    entries = [entry for part in parts for entry in part]
    if all(entry is Ellipsis or isinstance(entry, (int, np.integer, slice)) for entry in entries):
        pairs = zip(*[_touched(shape, part) for part in parts], strict=True)
        return all(_meet(a, b) for a, b in pairs)
    if any(isinstance(entry, Handle) for entry in entries):
        return True
    marks = np.zeros(shape, np.bool_)
    marks[first] = True
    return bool(np.any(marks[second]))


def _may_overlap_for(shape: tuple[Any, ...], first: Region, second: Region) -> bool:
    """Return `may_overlap` for symbolic lengths, which take note of the answer alone."""
    parts = [index if type(index) is tuple else (index,) for index in (first, second)]
    entries = [entry for part in parts for entry in part]
    if any([isinstance(entry, Handle) for entry in entries]):
        return True
    ends = [end for entry in entries if type(entry) is slice for end in (entry.start, entry.stop)]
    answer: bool = decide(partial(_may_overlap_at, len(shape), parts), *shape, *ends)
    return answer


def _may_overlap_at(ndim: int, parts: Sequence[tuple[Any, ...]], *numbers: Any) -> bool:
    """Return `may_overlap` for plain numbers: the shape, and behind it the ends of all slices in their order."""
    ends = iter(numbers[ndim:])
    first, second = [
        tuple([slice(next(ends), next(ends), e.step) if type(e) is slice else e for e in part]) for part in parts
    ]
    return may_overlap(numbers[:ndim], first, second)


def _touched(shape: tuple[int, ...], index: tuple[Any, ...]) -> list[range]:
    """Return the positions along each axis that an index of ints and slices touches."""
    places = [k for k, entry in enumerate(index) if entry is Ellipsis] or [len(index)]
    fill = (slice(None),) * (len(shape) - len(index) + (places[0] < len(index)))
    index = index[: places[0]] + fill + index[places[0] + 1 :]
    return [
        range(n)[entry] if isinstance(entry, slice) else range(n)[int(entry) :][:1]
        for n, entry in zip(shape, index, strict=True)
    ]


def _meet(a: range, b: range) -> bool:
    if (a.start - b.start) % gcd(a.step, b.step):
        return False
    return any(k in a for k in b) if len(b) < len(a) else any(k in b for k in a)
