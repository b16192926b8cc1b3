"""Step: one kernel call of a plan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from gradloom.backend import Kernel

#: The kind of the steps that copy outputs.
COPY: Final = -1

#: A kernel and its attrs.
Bound = tuple[Kernel, Mapping[str, Any]]


class Step(NamedTuple):
    """One kernel call: ``out = kernel(*inputs, **attrs)``, after which ``drop`` is freed."""

    kernel: Kernel
    inputs: tuple[int, ...]
    attrs: Mapping[str, Any]
    out: int
    drop: tuple[int, ...]
    quiet: bool


def stretches(steps: Sequence[Step]) -> Iterator[tuple[bool, int, int]]:
    """Yield maximal runs ``(quiet, start, stop)`` of steps with the same ``quiet``."""
    start = 0
    for k in range(1, len(steps) + 1):
        if k == len(steps) or steps[k].quiet != steps[start].quiet:
            yield steps[start].quiet, start, k
            start = k
