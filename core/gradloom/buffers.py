"""Buffers: memory for the values that stay within a plan, laid out once and used again by each run.

A value that a kernel writes where it is told (``kernel.into``) has its place in a block, which it shares with values
that are dead before it is born or born after it is dead. Pieces of a concatenation have their places side by side,
so that nothing is copied to join them.
"""

from __future__ import annotations

import weakref
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, Final, final

from gradloom.backend import AbstractBackend, foreign_kernels
from gradloom.graph import ITEM, Graph
from gradloom.locks import new_lock
from gradloom.memory import rounded_up, whole_lines
from gradloom.step import Step
from gradloom.symbolic import lengths

#: Bytes of the largest value that has a place, but for concatenations; `gradloom.memory` keeps that of larger ones.
LARGEST: Final = 256 * 1024
#: Bytes of a plan's block, at most; if they do not suffice, only smaller values have places.
MOST: Final = 32 * 1024 * 1024
#: Bytes that are kept between runs for all plans together, but for the last.
KEPT: Final = 64 * 1024 * 1024


@final
class Places:
    """Which values have places; what there is to know of them without sizes.

    Attributes
    ----------
    written : dict
        For each step that writes where it is told: the ids of what it writes.
    items, joined : set of int
        The steps that take items of what is written, and those that join what lies side by side: nothing runs.
    numbers : dict
        The number of each value's array among those of a block: one for all of a spec that share a place.
    firsts : tuple of int
        A value of each array.
    text : object
        What a plan with these places runs, where it is known; see `gradloom.template`.
    latest : callable
        Returns who keeps the blocks of the last plan of another size that ran; None if it is gone.
    """

    __slots__ = ("firsts", "items", "joined", "latest", "numbers", "text", "written")

    def __init__(self, layout: _Layout) -> None:
        self.written = layout.written
        self.items, self.joined = layout.items(), layout.joined
        self.numbers: dict[int, int] = {}
        firsts: dict[Any, int] = {}
        for i, offset in layout.offsets.items():
            # Symbolic ones that are equal are the same, and to ask would be taken note of.
            where = offset if type(offset) is int else id(offset)
            first = firsts.setdefault((where, layout.graph.specs[i]), i)
            self.numbers[i] = self.numbers.get(first, len(firsts) - 1)
        self.firsts = tuple(firsts.values())
        self.text: Any = None
        self.latest: Callable[[], deque[Any] | None] = _nobody


def _nobody() -> None:
    """Stand for a weak reference to what is gone."""


def places_of(
    graph: Graph, steps: Sequence[Step], outputs: Iterable[int], backend: AbstractBackend
) -> tuple[Places, tuple[int, ...], int]:
    """Return the places of a plan's values: which there are, where in a block they are, and its size."""
    outputs = tuple(outputs)
    largest = LARGEST
    layout = _Layout(graph, steps, outputs, backend, largest)
    while layout.size > MOST:
        largest //= 4
        layout = _Layout(graph, steps, outputs, backend, largest)
    places = Places(layout)
    return places, tuple([layout.offsets[i] for i in places.firsts]), layout.size


@final
class Buffers:
    """Blocks of memory, with arrays at the places of a plan's values.

    Parameters
    ----------
    places : Places
    offsets : sequence of int
        Where in a block those are, by number.
    size : int
        Of a block, in bytes.
    specs : sequence
        Of the plan's values.
    backend : AbstractBackend
    """

    def __init__(
        self, places: Places, offsets: Sequence[int], size: int, specs: Sequence[Any], backend: AbstractBackend
    ) -> None:
        self.places = places
        self._places = [(offset, specs[i]) for i, offset in zip(places.firsts, offsets, strict=True)]
        self._size = _roomy(size)
        self._backend = backend
        self._is_new = True
        self._idle: deque[Sequence[Any]] = deque(maxlen=2)
        #: Takes back the arrays of a block that a run is done with.
        self.give: Callable[[Sequence[Any]], None] = self._idle.append

    def take(self) -> Sequence[Any]:
        """Return the arrays of a block that no other run uses."""
        try:
            return self._idle.pop()
        except IndexError:
            if self._is_new:
                self._let_go_of_latest()
            _KEEPERS.add(self._idle, self._size)
            return self._backend.arena(self._size, self._places)

    def _let_go_of_latest(self) -> None:
        """Free a block of the plan of another size that ran last: a new size is likely to stay in its place.

        Fresh memory would cost more than many a run. If the other one runs again, it makes a block for good.
        """
        self._is_new = False
        other, self.places.latest = self.places.latest(), weakref.ref(self._idle)
        if other is not None:
            with suppress(IndexError):
                other.pop()


def _roomy(size: int) -> int:
    """Return a number of bytes, rounded up by a quarter at most: then a block serves most sizes that are near."""
    return rounded_up(size, 1 << max(size.bit_length() - 3, 0))


@final
class _Keepers:
    """Who keeps blocks: where there are too many bytes, those that made a block first let go of theirs."""

    def __init__(self) -> None:
        self._lock = new_lock()
        self._all: deque[tuple[weakref.ref[deque[Any]], int]] = deque()
        self._bytes = 0

    def add(self, idle: deque[Any], size: int) -> None:
        """Note that one more block will be kept there."""
        with self._lock:
            dropped = self._make_room(size)
            self._all.append((weakref.ref(idle), size))
            self._bytes += size
        for keeper in dropped:
            if keeper is not None:
                keeper.clear()

    def _make_room(self, size: int) -> list[deque[Any] | None]:
        """Forget as many as it takes, the oldest first, and return them."""
        dropped = []
        while self._all and self._bytes + size > KEPT:
            first, its_size = self._all.popleft()
            self._bytes -= its_size
            dropped.append(first())
        return dropped


_KEEPERS: Final = _Keepers()


class _Room:
    """Memory for a value, or for the pieces of a concatenation: offsets in it by value."""

    def __init__(self, size: int, dies: int, offsets: dict[int, int]) -> None:
        self.size = whole_lines(size)
        self.dies = dies
        self.offsets = offsets
        #: Where it begins, -1 until it has a place.
        self.start = -1


class _Layout:
    """Finds places, step by step: first what there is room for, then where."""

    def __init__(
        self, graph: Graph, steps: Sequence[Step], outputs: Iterable[int], backend: AbstractBackend, largest: int
    ) -> None:
        self.graph, self.steps, self.backend = graph, steps, backend
        self.size = 0
        #: Where values lie in a block.
        self.offsets: dict[int, int] = {}
        self._items = self._find_items()
        #: What each step writes that can write where it is told.
        self.written = {k: ids for k in range(len(steps)) if (ids := self._written(k))}
        #: The value whose memory a value shares; its own, where it is none of these.
        self._roots: dict[int, int] = {}
        self._dies: dict[int, int] = {}
        self._changed: set[int] = set()
        self._leaving = self._follow(outputs)
        #: The steps that join what lies side by side.
        self.joined: set[int] = set()
        self._rooms: dict[int, _Room] = {}
        self._free: defaultdict[int, list[int]] = defaultdict(list)
        self._find_rooms(largest)
        self._place()

    def items(self) -> set[int]:
        """Return the steps that take items of what is written."""
        return {k for step in self.written for k in self._items[self.steps[step].out].values()}

    def _find_items(self) -> defaultdict[int, dict[int, int]]:
        """Return, for the results that are tuples, the steps that take their items."""
        items: defaultdict[int, dict[int, int]] = defaultdict(dict)
        nodes = self.graph.nodes
        for k, step in enumerate(self.steps):
            if step.out < len(nodes) and nodes[step.out][0] is ITEM:
                items[step.inputs[0]][nodes[step.out][2][0]] = k
        return items

    def _written(self, k: int) -> tuple[int, ...]:
        """Return what a step could write where it is told."""
        step = self.steps[k]
        if not hasattr(step.kernel, "into"):
            return ()
        spec = self.graph.specs[step.out]
        if type(spec) is not tuple:
            return (step.out,) if spec.shape else ()
        items = self._items[step.out]
        return tuple([self.steps[items[n]].out for n in range(len(spec))]) if len(items) == len(spec) else ()

    def _follow(self, outputs: Iterable[int]) -> set[int]:
        """Find who shares whose memory, when it is used last and who changes it; return that which others may hold."""
        nodes, roots = self.graph.nodes, self._roots
        leaving: set[int] = set()
        for k, step in enumerate(self.steps):
            own = [roots.get(i, i) for i in step.inputs]
            for root in own:
                self._dies[root] = k
            if step.out >= len(nodes):  # a copy
                continue
            op = nodes[step.out][0]
            changes = bool(step.attrs.get("donate"))
            if changes:
                self._changed.add(own[0])
            if changes or (op.view and own):
                roots[step.out] = own[0]
            if foreign_kernels.get(self.backend.name, op) is not None:  # nobody knows what it keeps
                leaving.update(own)
        return leaving | {roots.get(i, i) for i in outputs}

    def _find_rooms(self, largest: int) -> None:
        """Find what has a place: all that a step writes, or nothing of it."""
        specs = self.graph.specs
        for k, ids in list(self.written.items()):
            scalars = [i for i in ids if not specs[i].shape]  # read at once, whoever holds them
            others = [i for i in ids if specs[i].shape]
            if any([i in self._leaving or specs[i].nbytes > largest for i in others]):
                del self.written[k]
                continue
            self._rooms |= {i: _Room(specs[i].nbytes, k, {i: 0}) for i in scalars}
            self._rooms |= {i: _Room(specs[i].nbytes, self._dies.get(i, k), {i: 0}) for i in others}
        for k, step in enumerate(self.steps):
            if step.out < len(self.graph.nodes) and self.graph.nodes[step.out][0].name == "concatenate":
                self._join(k, step)
        for room, size in zip(self._rooms.values(), lengths([room.size for room in self._rooms.values()]), strict=True):
            room.size = size  # symbolic ones are looked up among others that may be equal

    def _join(self, k: int, step: Step) -> None:
        """Give the pieces of a concatenation along the first axis one room, if nothing keeps them from it."""
        out, specs = step.out, self.graph.specs
        whole = specs[out]
        pieces = step.inputs
        shared = {out, *pieces} & (self._leaving | self._changed)
        if self.graph.nodes[out][2] != (0,) or shared or len(set(pieces)) < len(pieces) or whole.nbytes > MOST // 4:
            return
        offsets, offset = {out: 0}, 0
        for i in pieces:
            room = self._rooms.get(i)
            if room is None or len(room.offsets) > 1:
                return
            offsets[i] = offset
            offset += specs[i].nbytes
        room = _Room(whole.nbytes, max(self._dies.get(out, k), *[self._dies[i] for i in pieces]), offsets)
        self._rooms |= dict.fromkeys(pieces, room)
        self.joined.add(k)

    def _place(self) -> None:
        """Give each room a place when its first value is written, until its last one is dead."""
        dying: defaultdict[int, list[_Room]] = defaultdict(list)
        for k in range(len(self.steps)):
            for i in self.written.get(k, ()):
                room = self._rooms[i]
                if room.start < 0:
                    free = self._free[room.size]
                    if free:
                        room.start = free.pop()
                    else:
                        room.start, self.size = self.size, self.size + room.size
                    self.offsets |= {j: room.start + offset for j, offset in room.offsets.items()}
                    dying[room.dies].append(room)
            for room in dying.pop(k, ()):
                self._free[room.size].append(room.start)
