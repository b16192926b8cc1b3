"""Blocked: the kernel of what runs by blocks; see `gradloom.blocks`."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any, final

from gradloom.axes import Combine
from gradloom.backend import AbstractBackend
from gradloom.graph import Graph
from gradloom.locks import new_lock
from gradloom.op import get_op
from gradloom.sharing import kernel_threads, share
from gradloom.split import COMBINE, split

#: Sums and products of blocks are made in the memory of one of them.
_IN_PLACE = {"add": operator.iadd, "multiply": operator.imul}


@final
class Blocked:
    """The kernel of a graph that runs by blocks.

    Parameters
    ----------
    graph : Graph
    axes : tuple of (int or None)
        For each input the axis that is cut, None where each block takes the whole.
    rows : int
        Of a block, about.
    backend : AbstractBackend
    plan : callable
        ``plan(graph)`` returns what runs the graph of a block: ``run(arrays) -> arrays``.

    Notes
    -----
    Blocks are cut by sizes alone, and what they give is combined in a tree of their numbers, so the bits are those of
    any number of threads.
    """

    def __init__(
        self,
        graph: Graph,
        axes: tuple[int | None, ...],
        rows: int,
        backend: AbstractBackend,
        plan: Callable[[Graph], Callable[[Sequence[Any]], list[Any]]],
    ) -> None:
        found = split(graph, {n: axis for n, axis in enumerate(axes) if axis is not None})
        (only,) = found.passes
        specs = graph.input_specs()
        length = next(spec.shape[axis] for spec, axis in zip(specs, axes, strict=True) if axis is not None)
        rows = -(-length // -(-length // rows))  # blocks of even size
        ends = [(start, min(start + rows, length)) for start in range(0, length, rows)]
        runs = {size: plan(only.block(size)) for size in {stop - start for start, stop in ends}}
        #: What runs each block, and what it takes of each input.
        self._blocks = [
            (runs[stop - start], [None if axis is None else _slice(axis, start, stop) for axis in axes])
            for start, stop in ends
        ]
        self._backend = backend
        self._combine = [_combination(kind, backend) for kind in only.partials]
        concatenate = get_op("concatenate")
        self._join = [backend.kernel(concatenate, (axis,)) for axis in only.joined]
        partials = found.after.inputs[len(found.after.inputs) - len(only.partials) :]
        #: Where each output stands among those of a block.
        self._places = [
            len(partials) + k if place == "joined" else partials.index(found.after.outputs[k])
            for place, _, k in found.outputs
        ]

    def __call__(self, *arrays: Any) -> Any:
        """Return the outputs for some inputs."""
        tree = _Tree(len(self._blocks), self._combine)
        joined: list[Any] = [None] * len(self._blocks)

        def run_block(k: int) -> None:
            run, cuts = self._blocks[k]
            given = [a if index is None else a[index] for a, index in zip(arrays, cuts, strict=True)]
            results = run(given)
            joined[k] = results[len(self._combine) :]
            tree.add(k, results[: len(self._combine)])

        with self._backend.quiet():
            if len(self._blocks) > 1:
                share_blocks(len(self._blocks), run_block)
            else:
                run_block(0)
            outs = tree.total()
            for k, (kernel, attrs) in enumerate(self._join):
                outs.append(kernel(*[own[k] for own in joined], **attrs))
        results = [outs[k] for k in self._places]
        return results[0] if len(results) == 1 else tuple(results)


def share_blocks(count: int, run: Callable[[int], None]) -> None:
    """Run blocks in the threads that are allowed here, each in one thread."""

    def alone(k: int) -> None:
        token = kernel_threads.set(1)
        try:
            run(k)
        finally:
            kernel_threads.reset(token)

    share(count, alone)


def _slice(axis: int, start: int, stop: int) -> tuple[slice, ...]:
    return (*[slice(None)] * axis, slice(start, stop))


def _combination(kind: Combine, backend: AbstractBackend) -> Callable[[Any, Any], Any]:
    """Return what combines the values of two blocks."""
    return _IN_PLACE[kind] if kind in _IN_PLACE else backend.kernel(get_op(COMBINE[kind]), ())[0]


@final
class _Tree:
    """Combines the values of blocks in pairs of neighbours, then those of pairs, as soon as both are there."""

    def __init__(self, count: int, combine: Sequence[Callable[[Any, Any], Any]]) -> None:
        self._count = count
        self._combine = combine
        self._lock = new_lock()
        #: What waits for its neighbour, by how many blocks it holds at most and their number.
        self._waiting: dict[tuple[int, int], list[Any]] = {}

    def add(self, k: int, values: list[Any]) -> None:
        """Add the values of a block."""
        width = 1
        while width < self._count:
            neighbour = k ^ 1
            if neighbour * width < self._count:
                with self._lock:
                    other = self._waiting.pop((width, neighbour), None)
                    if other is None:
                        self._waiting[width, k] = values
                        return
                first, second = (other, values) if k & 1 else (values, other)
                values = [combine(a, b) for combine, a, b in zip(self._combine, first, second, strict=True)]
            k, width = k // 2, 2 * width
        self._waiting[width, 0] = values

    def total(self) -> list[Any]:
        """Return the values of all blocks combined."""
        ((_, values),) = self._waiting.items()
        return list(values)
