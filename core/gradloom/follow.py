"""Following: a trace that does what an earlier one did reads its recording once more.

Most functions do the same at each call. As long as they do, a node costs a comparison: no
spec rule runs, no node is made, and in the end nothing is looked up.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable
from typing import Any, final

from gradloom.graph import LITERAL
from gradloom.handle import Handle, new_handle
from gradloom.op import Op
from gradloom.placement import PLACE, placed
from gradloom.recorder import Recorder
from gradloom.source import RawSource, user_source
from gradloom.trace import Trace

_place = PLACE.get


@final
class Recording:
    """What a trace recorded, for later ones to follow.

    Parameters
    ----------
    trace : Trace
        A trace at its end; it must be `followable`.
    purpose : object
        What was made of it, and from which outputs.
    program : object
        That; None if it depends on more than the literals.
    owner : callable
        Weak reference to what the cache keeps for traces like it.
    """

    __slots__ = ("__weakref__", "literal_keys", "nodes", "owner", "program", "purpose", "sources", "specs", "used")

    def __init__(self, trace: Trace, purpose: Any, program: Any, owner: Callable[[], Any]) -> None:
        #: The nodes, and a last one that no node equals.
        self.nodes: list[Any] = [*trace.nodes, (None, (), ())]
        self.specs = trace.specs
        self.sources = trace.sources
        self.literal_keys = trace.literal_keys
        self.purpose = purpose
        self.program = program
        self.owner = owner
        #: Whether a trace followed it of late.
        self.used = False


@final
class FollowingTrace(Trace):
    """A trace that follows a recording; at the first difference it becomes a trace as any other.

    Parameters
    ----------
    recording : Recording
    handle, evaluate
        As in `Trace`.
    """

    __slots__ = ()

    def __init__(
        self, recording: Recording, handle: type[Handle], evaluate: Callable[[Trace, int, str], Any] | None = None
    ) -> None:
        super().__init__(handle, evaluate)
        self._recording = recording
        self._count = 0
        self.nodes, self.specs, self.sources = recording.nodes, recording.specs, recording.sources

    def bind(self, op: Op, args: Any, attrs: tuple[Any, ...] = (), out: Any = None) -> Any:
        """Record an op on arguments and return its output tensor (or tuple of tensors)."""
        if _place() is not None or self.moves:
            args = placed(self, op, args, attrs)
            if self._recording is None:  # a value was moved
                return Recorder.bind(self, op, args, attrs)
        index = self._count
        expected, ids, expected_attrs = self.nodes[index]
        fresh = -1
        if expected is LITERAL:  # a number among the arguments that was not used before
            fresh = index
            index += 1
            expected, ids, expected_attrs = self.nodes[index]
        if expected is not op or attrs != expected_attrs or len(args) != len(ids):
            return Recorder.bind(self, op, args, attrs)
        handle = self.handle
        for k, arg in enumerate(args):
            if type(arg) is handle:
                if arg._index != ids[k] or arg._trace is not self:
                    return Recorder.bind(self, op, args, attrs)
            elif self.scalars.get(ids[k], self) is not arg and ids[k] != fresh:
                return Recorder.bind(self, op, args, attrs)
        source: Any = self.sources[index]
        frame = sys._getframe(2)
        here = source is not None and frame.f_lasti == source[1] and frame.f_code is source[0]
        if not here and source != user_source(frame):
            return Recorder.bind(self, op, args, attrs)
        spec = self.specs[index]
        if type(spec) is tuple or (fresh >= 0 and not self._takes(args, ids, fresh)):
            return Recorder.bind(self, op, args, attrs)
        self._count = index + 1
        # What `handle(self, index, spec)` does, in half the time.
        tensor = new_handle(handle)
        tensor._trace, tensor._index, tensor.spec, tensor._memory = self, index, spec, None
        return tensor

    def _takes(self, args: Any, ids: tuple[int, ...], fresh: int) -> bool:
        """Record the argument that stands for a new literal; return whether it gives the recorded node."""
        number = args[ids.index(fresh)] if fresh in ids else None
        dtype = self.specs[fresh].dtype
        # With numbers of these types the op would cast as it did.
        if type(number) is not int and (type(number) is not float or dtype.kind not in "fc"):
            return False
        return self.literal(number, dtype) == fresh and self._recording is not None

    def append(
        self, op: Op, inputs: tuple[int, ...], attrs: tuple[Any, ...], spec: Any, source: RawSource | None
    ) -> int:
        """Append a node as it stands, without spec rule or casts, and return its id."""
        index = self._count
        if self.nodes[index] == (op, inputs, attrs) and self.specs[index] == spec and self.sources[index] == source:
            self._count = index + 1
            return index
        self.leave()
        return self.append(op, inputs, attrs, spec, source)

    def leave(self) -> None:
        """Go on with a copy of what was followed."""
        count = self._count
        self.nodes, self.specs, self.sources = self.nodes[:count], self.specs[:count], self.sources[:count]
        self._go_on()

    def _go_on(self) -> None:
        self._recording = None
        self.__class__ = Trace  # type: ignore[assignment]

    def repeated(self, purpose: Any) -> Recording | None:
        """Return the recording, if this trace did the same from first to last, for the same purpose."""
        recording: Recording = self._recording
        if self._count < len(self.specs) or recording.purpose != purpose:
            return None
        recording.used = True
        return recording

    def end(self) -> None:
        """End the trace: its tensors raise from now on, and captured arrays are released."""
        self._go_on()
        self.end()


@final
class Latest:
    """What the latest trace of one function recorded.

    The cache of programs owns the recording: what it forgets is forgotten here too.
    """

    __slots__ = ("_recording",)

    def __init__(self) -> None:
        self._recording: Callable[[], Recording | None] = _nothing

    def trace(self, handle: type[Handle], evaluate: Callable[[Trace, int, str], Any]) -> Trace:
        """Return a new trace, which follows the latest one if it can."""
        recording = self._recording()
        return Trace(handle, evaluate) if recording is None else FollowingTrace(recording, handle, evaluate)

    def remember(self, recording: Recording) -> None:
        """Let the next trace follow a recording."""
        self._recording = weakref.ref(recording)


def _nothing() -> None:
    """Stand for a weak reference to what is gone."""
