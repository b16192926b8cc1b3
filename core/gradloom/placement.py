"""Placement: where the ops of a graph run: on a device of a backend, or on a worker that has a resource.

An op is placed by the block ``with gl.device(...)`` in which it is recorded. The graph says so at the borders
of the block: `TO_DEVICE` and `TO_WORKER` move a value to a place, and any other op runs where its inputs
are. Inputs and outputs of a graph are at home, where the run itself takes place. So a placement
is plain data, and goes wherever a graph goes; the cotangent of a move is a move back, so a gradient
is computed where its value was.

A place is written ``"backend:index"``, ``"resource=amount"``, or ``"a|b"`` for one of several devices;
None is home.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from typing import Any, NamedTuple

from gradloom.backend import AbstractBackend, Kernel, backends
from gradloom.errors import BackendError, DeviceError
from gradloom.graph import INPUT, ITEM, Graph
from gradloom.handle import Handle
from gradloom.op import Op, define
from gradloom.source import RawSource, Source
from gradloom.spec import Spec

#: Where ops are recorded to run, if anywhere in particular.
PLACE: ContextVar[str | None] = ContextVar("gradloom_place", default=None)
#: The place of literals and of what depends on literals alone.
ANYWHERE = "anywhere"

Tensor = Any


def _moved_spec(x: Spec, *, target: str | None, source: str | None) -> Spec:
    return x


# A copy is the identity; its cotangent comes from where the copy went.
def _to_device_transpose(cotangent: Tensor, x: Tensor, *, target: str | None, source: str | None) -> Tensor:
    return TO_DEVICE(cotangent, target=source, source=target)


def _to_worker_transpose(cotangent: Tensor, x: Tensor, *, target: str | None, source: str | None) -> Tensor:
    return TO_WORKER(cotangent, target=source, source=target)


#: A copy from one device to another.
TO_DEVICE = define("to_device", spec=_moved_spec, transpose=(_to_device_transpose,), elementwise=True, view=True)
#: The value itself, for a worker with another resource; it travels as all that tasks hand on.
TO_WORKER = define("to_worker", spec=_moved_spec, transpose=(_to_worker_transpose,), elementwise=True, view=True)
MOVES = frozenset({TO_DEVICE, TO_WORKER})


class Device(NamedTuple):
    """A device of a backend; the number is None for home, the one that is in use there."""

    backend: AbstractBackend
    number: int | None

    def here(self) -> AbstractContextManager[Any]:
        """Return a context in which arrays are made, and kernels run, on this device."""
        return nullcontext() if self.number is None else self.backend.on_device(self.number)

    def bound(self, kernel: Kernel) -> Kernel:
        """Return a kernel that runs on this device."""

        def run(*arrays: Any, **attrs: Any) -> Any:
            with self.here(), self.backend.quiet():
                return kernel(*arrays, **attrs)

        return run


def transfer(source: Device, target: Device) -> Kernel:
    """Return a kernel that copies an array from one device to another."""
    if source == target:
        return _itself

    def copy(array: Any) -> Any:
        if source.backend is target.backend:
            with target.here():
                return target.backend.copy(array)
        with source.here():
            host = source.backend.to_host(array)
        with target.here():
            return target.backend.from_host(host)

    return copy


def _itself(array: Any) -> Any:
    return array


def move(source: str | None, target: str | None) -> tuple[Op, tuple[Any, ...]]:
    """Return the op and the attrs that bring a value from one place to another."""
    op = TO_DEVICE if is_device(source) or is_device(target) else TO_WORKER
    return op, (target, source)


def is_device(place: str | None) -> bool:
    """Return whether a place is a device (or one of several)."""
    return place is not None and ":" in place


def resource_of(place: str | None) -> tuple[str, float] | None:
    """Return name and amount of the resource that a place stands for, None for other places."""
    if place is None or "=" not in place:
        return None
    name, _, amount = place.partition("=")
    return name, float(amount)


def resources_among(places: Sequence[str | None] | None) -> frozenset[str]:
    """Return those of some places that are resources of workers."""
    return frozenset([place for place in places or () if place is not None and resource_of(place) is not None])


def after(op: Op, attrs: tuple[Any, ...], given: Sequence[str | None]) -> str | None:
    """Return the place of a node: where a move goes, else where its inputs are.

    A place goes before home: what was cut out of a larger graph has inputs for values that were elsewhere.
    """
    if op in MOVES:
        place: str | None = attrs[0]
        return place
    found: str | None = ANYWHERE
    for own in given:
        if own is None:
            found = None
        elif own != ANYWHERE:
            return own
    return None if op is INPUT else found


def node_places(graph: Graph) -> list[str | None] | None:
    """Return the place of each node, None if all are at home.

    What holds a graph (a loop, say) runs where there is the resource that its graph needs.
    """
    if graph.pattern is None:
        return _node_places(graph)
    known = graph.pattern.found
    if node_places not in known:
        known[node_places] = _node_places(graph)
    places: list[str | None] | None = known[node_places]
    return places


def _node_places(graph: Graph) -> list[str | None] | None:
    held = {i: held_resources(attrs) for i, (_, _, attrs) in enumerate(graph.nodes) if attrs and _holds_graph(attrs)}
    if not any(held.values()) and MOVES.isdisjoint([op for op, _, _ in graph.nodes]):
        return None
    places: list[str | None] = []
    given: list[str | None] = []  # what holds a graph gives its outputs at home
    for i, (op, inputs, attrs) in enumerate(graph.nodes):
        given.append(after(op, attrs, [given[j] for j in inputs]))
        own = held.get(i)
        places.append(own[0] if own else places[inputs[0]] if op is ITEM else given[i])
    return places


def first_location(
    graph: Graph, places: Collection[str | None], sources: Sequence[RawSource | None] = ()
) -> str | None:
    """Return where the user wrote the first op at some places; ``sources`` are those of the graph by default."""
    for i, own in enumerate(node_places(graph) or ()):
        raw = (sources or graph.sources)[i] if own in places else None
        if raw is not None:
            return str(Source(*raw))
    return None


def _holds_graph(attrs: tuple[Any, ...]) -> bool:
    return Graph in map(type, attrs)


def held_resources(attrs: tuple[Any, ...]) -> list[str]:
    """Return the resources that the graphs among some attrs need."""
    found: set[str] = set()
    for a in attrs:
        if type(a) is Graph:
            found.update(resources_among(node_places(a)))
    return sorted(found)


def find_device(place: str, location: str | None = None) -> Device:
    """Return a device by its name.

    Raises
    ------
    DeviceError
        If the backend cannot run here, or has no such device.
    """
    name, _, number = place.partition(":")
    try:
        backend = backends.get(name)
    except BackendError as error:
        raise DeviceError(
            error.message, op="device", got=repr(place), remedy="run `python -m gradloom doctor`", location=location
        ) from error
    reason = backend.unavailable()
    count = backend.devices() if reason is None else 0
    if int(number) >= count:
        what = f"backend {name!r} has {count} device{'' if count == 1 else 's'} here"
        raise DeviceError(
            what if reason is None else f"no device {place!r}: backend {name!r} cannot run here: {reason}",
            op="device",
            expected=f"a device that there is: {', '.join(present_devices())}",
            got=repr(place),
            remedy="name one of these in gl.device, or see `python -m gradloom doctor`",
            location=location,
        )
    return Device(backend, int(number))


def present_devices() -> list[str]:
    """Return the names of all devices that there are."""
    ready = sorted([backend.name for backend in backends if backend.unavailable() is None])
    return [f"{name}:{k}" for name in ready for k in range(backends.get(name).devices())]


def place_name(names: Sequence[str | None]) -> str | None:
    """Return the place that `gradloom.device` was given: one name, or the names of several devices.

    Raises
    ------
    DeviceError
        If a name is none of a device or resource.
    """
    places = [None if name is None else _one_place(name) for name in names]
    if not places or (len(places) > 1 and not all(map(is_device, places))):
        raise DeviceError(
            "several places must all be devices" if places else "no device was named",
            op="device",
            argument="names",
            expected="a device or a resource, or several devices to share the work",
            got=", ".join(map(repr, names)) or "nothing",
            remedy="name a device, or gl.device(None) for where the run itself takes place",
        )
    return places[0] if len(places) == 1 else "|".join(dict.fromkeys(map(str, places)))


def _one_place(name: str) -> str:
    """Return a name in full: ``"cupy"`` is ``"cupy:0"`` and ``"GPU"`` is ``"GPU=1"``."""
    if not isinstance(name, str):
        raise _no_place(name, "this is not a name")
    known = backends.entries()
    label, equals, amount = name.partition("=")
    if equals:
        try:
            count = float(amount)
        except ValueError:
            raise _no_place(name, "the amount of a resource is not a number") from None
        if not label or not 0 < count < float("inf"):
            raise _no_place(name, "a resource needs a name and a positive amount")
        return f"{label}={count:g}"
    backend, colon, index = name.partition(":")
    if not colon:
        return f"{name}:0" if name in known or name in backends.refused() else f"{name}=1"
    if backend not in known and backend not in backends.refused():
        raise _no_place(name, f"there is no backend {backend!r}")
    if not (index.isascii() and index.isdigit()):
        raise _no_place(name, "the index of a device is not a number")
    return f"{backend}:{int(index)}"


def _no_place(name: object, why: str) -> DeviceError:
    return DeviceError(
        why,
        op="device",
        argument="names",
        expected=f"'backend' or 'backend:index', with one of {sorted(backends.entries())}, "
        "or a resource of workers such as 'GPU' or 'GPU=1'",
        got=repr(name),
        remedy="see what is installed with gl.backends()",
    )


# -- while a trace records -------------------------------------------------------------------


def placed(trace: Any, op: Op, args: Any, attrs: tuple[Any, ...]) -> Any:
    """Return the arguments of an op that is about to be recorded, moved to where it is to run."""
    if op in MOVES:
        return args
    # What holds a graph runs at home, and its graph says what runs elsewhere.
    place = None if _holds_graph(attrs) else PLACE.get()
    found = list(args)
    for k, arg in enumerate(args):
        if type(arg) not in (float, int, complex, bool):
            i = trace.lift(arg, op)
            j = moved(trace, i, place)
            if j != i or not isinstance(arg, Handle):
                found[k] = trace.tensor(j)
    return found


def moved(trace: Any, i: Any, target: str | None) -> Any:
    """Return a node of a trace at a place, copied there unless it is there already."""
    source = trace.place(i)
    if source in (target, ANYWHERE):
        return i
    key = target, i
    known = trace.moves.get(key)
    if known is None:
        op, attrs = move(source, target)
        known = trace.moves[key] = trace.bind(op, (trace.tensor(i),), attrs)._index
    return known
