"""Axes: index notation for what an op does along each axis.

From an op's axis rule follow its batching rule (`vmap`), the axes that may be cut into
blocks, and its cost.

Notation: one lower-case letter per axis that may be cut, one upper-case letter per axis that
must stay whole, ``...`` for leading axes that broadcast: ``"...ik,...kj->...ij"`` for matmul,
``"...IJ->...IJ"`` for an inverse. A letter missing on the right is summed.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal, NamedTuple

from gradloom.op import Op
from gradloom.spec import Spec

LOWER_CASE = "abcdefghijklmnopqrstuvwxyz"
UPPER_CASE = LOWER_CASE.upper()
#: What axes can be called in index notation.
LETTERS = LOWER_CASE + UPPER_CASE

#: How the pieces of a cut axis that is missing in the output combine.
Combine = Literal["add", "multiply", "max", "min", "any", "all"]


class Axes(NamedTuple):
    """What an op does along each axis, for arguments of given specs.

    Each axis has a label; ``None`` marks one that must stay whole. Axes of one label are cut
    together. A label that is missing in the output is combined with ``combine``.
    """

    inputs: tuple[tuple[Any, ...], ...]
    output: tuple[Any, ...]
    combine: Combine = "add"


class Notation(NamedTuple):
    """Index notation taken apart: the core axes of each argument and of the output."""

    inputs: tuple[str, ...]
    output: str


@lru_cache(maxsize=256)
def parse(notation: str) -> Notation:
    """Take index notation with leading ellipses apart."""
    left, right = notation.split("->")
    return Notation(tuple([term.removeprefix("...") for term in left.split(",")]), right.removeprefix("..."))


def core_ranks(op: Op, count: int) -> tuple[int, ...] | None:
    """Return how many trailing axes of each argument are not broadcast; None without notation."""
    if op.elementwise:
        return (0,) * count
    if isinstance(op.axes, str):
        return tuple([len(term) for term in parse(op.axes).inputs])
    return None


def axes_of(op: Op, specs: tuple[Spec, ...], attrs: dict[str, Any]) -> Axes | None:
    """Return the axes of one use of an op, or None if the op has no axis rule."""
    if op.axes is not None and not isinstance(op.axes, str):
        found: Axes = op.axes(*specs, **attrs)
        return found
    if op.elementwise:
        notation = Notation(("",) * len(specs), "")
    elif op.axes is not None:
        notation = parse(op.axes)
    else:
        return None
    rank = max(s.ndim - len(term) for s, term in zip(specs, notation.inputs, strict=True))
    inputs = []
    for spec, term in zip(specs, notation.inputs, strict=True):
        loops = spec.ndim - len(term)
        labels: list[Any] = [None if spec.shape[k] == 1 else rank - loops + k for k in range(loops)]
        inputs.append(tuple(labels) + _core_labels(term))
    return Axes(tuple(inputs), tuple(range(rank)) + _core_labels(notation.output))


@lru_cache(maxsize=8192)
def known_axes(op: Op, specs: tuple[Spec, ...], attrs: tuple[Any, ...]) -> Axes | None:
    """Return the axes of one use of an op, looked up where they are known; see `axes_of`."""
    return axes_of(op, specs, op.attr_dict(attrs))


def _core_labels(term: str) -> tuple[str | None, ...]:
    return tuple([letter if letter.islower() else None for letter in term])


def reduction_axes(combine: Combine) -> Any:
    """Return the axis rule of an op that reduces the axes named by its attr ``axis``."""

    def axes(x: Spec, *, axis: tuple[int, ...], keepdims: bool = False, **attrs: Any) -> Axes:
        labels = tuple(range(x.ndim))
        kept = tuple([None if k in axis else k for k in labels if keepdims or k not in axis])
        return Axes((labels,), kept, combine)

    return axes


def along_axis(x: Spec, *, axis: int, **attrs: Any) -> Axes:
    """Axis rule of an op that needs one axis whole (cumulative sum, sort)."""
    labels = tuple([None if k == axis else k for k in range(x.ndim)])
    return Axes((labels,), labels)
