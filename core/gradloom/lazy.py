"""The explicit lazy graph: `tensor` and `compute`.

A lazy tensor holds the op and the tensors it comes from, so a graph is released with the
last tensor that needs it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter, itemgetter
from typing import Any, NamedTuple, final

import numpy as np

from gradloom.backend import spec_of
from gradloom.errors import ArgumentError, ConcreteValueError, DTypeError, ShapeError
from gradloom.executor import executors
from gradloom.graph import INPUT, LITERAL, Graph
from gradloom.handle import listed_array
from gradloom.op import Op
from gradloom.placement import after, moved, placed
from gradloom.program import Program, programs
from gradloom.recorder import Recorder
from gradloom.refusals import describe, not_an_array, number_of, trace_ended
from gradloom.source import RawSource
from gradloom.spec import PYTHON_SCALARS, Spec
from gradloom.tensor import Tensor
from gradloom.trace import Abstract, Handle, Trace

_SERIALS = itertools.count()


@final
class LazyNode:
    """One value of a lazy graph."""

    #: Where it runs; see `gradloom.placement`.
    place: str | None

    __slots__ = ("attrs", "derived", "inputs", "op", "place", "serial", "source", "spec", "value")

    def __init__(
        self,
        op: Op,
        inputs: tuple[LazyNode, ...],
        attrs: tuple[Any, ...],
        spec: Any,
        source: RawSource | None,
        value: Any = None,
    ) -> None:
        self.serial = next(_SERIALS)
        self.op = op
        self.inputs = inputs
        self.attrs = attrs
        self.spec = spec
        self.source = source
        #: The array of an input, the scalar of a literal.
        self.value = value
        self.derived: LazyNode | None = None
        self.place = after(op, attrs, [node.place for node in inputs])


@final
class _LazyTrace(Recorder):
    """Takes the place of a trace for lazy tensors: below every real trace, and never ended.

    Node ids are the nodes themselves.
    """

    level = 0
    defers = False
    nodes = ()
    origin = None

    @property
    def handle(self) -> type[LazyTensor]:  # type: ignore[override]
        """The class of the tensors given out."""
        return LazyTensor

    def bind(self, op: Op, args: Any, attrs: tuple[Any, ...] = (), out: Any = None) -> Any:
        """Record an op on arguments and return its lazy output."""
        return super().bind(op, placed(self, op, args, attrs), attrs, out)

    def append(self, op: Op, inputs: tuple[LazyNode, ...], attrs: Any, spec: Any, source: Any) -> LazyNode:
        """Add a node as it stands."""
        node = LazyNode(op, inputs, attrs, spec, source)
        if source is not None and isinstance(source[2], LazyNode):
            node.source = (source[0], source[1], -1)
            node.derived = source[2]
        return node

    def definition(self, index: LazyNode) -> tuple[Op, tuple[LazyNode, ...], tuple[Any, ...]]:
        """Return op, inputs and attrs of a node."""
        return index.op, index.inputs, index.attrs

    def literal(self, value: Any, dtype: Any) -> LazyNode:
        """Return a node for a Python scalar."""
        if type(value) is int:
            number_of(value, dtype)
        return LazyNode(LITERAL, (), (Spec((), dtype),), Spec((), dtype), None, value)

    def tensor(self, node: LazyNode) -> LazyTensor:
        """Return a tensor for a node."""
        return LazyTensor(self, node, node.spec)

    def strong(self, tensor: LazyTensor) -> LazyTensor:
        """Return a tensor of the same node that does not yield to other dtypes."""
        return LazyTensor(self, tensor._index, tensor.spec.strong())

    @property
    def moves(self) -> dict[Any, LazyNode]:
        """What was moved is not kept, as a lazy graph goes with its last tensor."""
        return {}

    def place(self, node: LazyNode) -> str | None:
        """Return where a node runs; see `gradloom.placement`."""
        return node.place

    def home(self, node: LazyNode) -> LazyNode:
        """Return a node that is to be seen from outside, copied home if it is elsewhere."""
        return moved(self, node, None)  # type: ignore[no-any-return]

    def static(self, node: LazyNode) -> Any:
        """Return the value of a literal node, None for any other."""
        return node.value if node.op is LITERAL else None

    def lift(self, value: Any, op: Op | None = None) -> LazyNode:
        """Return the node for a lazy tensor or an array."""
        if isinstance(value, LazyTensor):
            node: LazyNode = value._index
            return node
        if isinstance(value, Handle):
            raise trace_ended()
        listed = listed_array(value)
        value = value if listed is None else listed
        spec = spec_of(value)
        if spec is None:
            raise self._located(not_an_array(value), op)
        if type(value) in PYTHON_SCALARS:
            return self.literal(value, spec.dtype)
        if isinstance(value, np.ndarray):
            value = value.copy()
        return LazyNode(INPUT, (), (spec,), spec, None, value)

    def demand(self, node: LazyNode, action: str) -> Any:
        """Compute a value now."""
        (value,) = compute(self.tensor(node))
        return value

    def carries_gradient(self, node: LazyNode) -> bool:
        """Return False: nothing is being differentiated until `gradients` is called."""
        return False


LAZY = _LazyTrace()


class LazyTensor(Tensor):
    """A tensor of the explicit lazy graph, made by `tensor` and by computing with such."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"Tensor({self.spec!r}, lazy)"

    # -- a dask collection: dask is imported only if the user calls it with a tensor ---------

    def _graph(self) -> tuple[Graph, list[Any]]:
        """Return the graph of this tensor alone, and the values of its inputs."""
        return graph_and_values([self])

    def __dask_tokenize__(self) -> Any:
        return "gradloom", _dask().token(*self._graph())

    def __dask_graph__(self) -> Any:
        graph, values = self._graph()
        return _dask().graph_of(graph, values, _dask().key_of(graph, values))

    def __dask_keys__(self) -> list[Any]:
        return [_dask().key_of(*self._graph())]

    def __dask_postcompute__(self) -> tuple[Any, tuple[Any, ...]]:
        return itemgetter(0), ()

    def __dask_postpersist__(self) -> tuple[Any, tuple[Any, ...]]:
        return _persisted, (self.spec, self.__dask_keys__()[0])

    @staticmethod
    def __dask_optimize__(graph: Any, keys: Any, **options: Any) -> Any:
        return _dask().optimize(graph, keys)

    @property
    def __dask_scheduler__(self) -> Any:
        return _dask().scheduler()

    def compute(self, **options: Any) -> Any:
        """Compute this tensor with dask; see ``dask.compute``."""
        return _dask().compute(self, **options)

    def persist(self, **options: Any) -> LazyTensor:
        """Compute this tensor with dask, and keep the value; see ``dask.persist``.

        Under a scheduler with workers (`gradloom.cluster`) the value stays there.
        """
        persisted: LazyTensor = _dask().persist(self, **options)
        return persisted

    def visualize(
        self, filename: str = "mydask", format: str | None = None, optimize_graph: bool = False, **options: Any
    ) -> Any:
        """Draw the tasks of this tensor; see ``dask.visualize``."""
        return _dask().visualize(self, filename=filename, format=format, optimize_graph=optimize_graph, **options)


def _dask() -> Any:
    """Return the plugin's module on dask collections."""
    return executors.get("threads").collections()


class Kept(NamedTuple):
    """The value of an input that is kept elsewhere, as ``future.result()``."""

    future: Any


def _persisted(graph: Mapping[Any, Any], spec: Spec, key: Any, rename: Mapping[Any, Any] | None = None) -> LazyTensor:
    """Return a tensor of a value that dask has computed, or will have."""
    value = graph[(rename or {}).get(key, key)]
    return persisted(value, spec) if hasattr(value, "result") else LAZY.tensor(_input(spec, value))


def persisted(future: Any, spec: Spec) -> LazyTensor:
    """Return a tensor of a value that is kept elsewhere."""
    return LAZY.tensor(_input(spec, Kept(future)))


def _input(spec: Spec, value: Any) -> LazyNode:
    return LazyNode(INPUT, (), (spec,), spec, None, value)


def graph_of(tensors: Sequence[LazyTensor]) -> Graph:
    """Return the graph of what lazy tensors depend on; its inputs are arrays and placeholders."""
    trace, outputs = _traced(tensors, {})
    return trace.graph(outputs)


def graph_and_values(tensors: Sequence[LazyTensor]) -> tuple[Graph, list[Any]]:
    """Return the graph of what lazy tensors depend on and the values of its inputs, `Kept` ones as they are."""
    trace, outputs = _traced(tensors, {})
    _require_fed(trace)
    return trace.graph(outputs), list(trace.input_values.values())


def _traced(tensors: Sequence[LazyTensor], feed: Mapping[LazyNode, Any]) -> tuple[Trace, tuple[int, ...]]:
    """Return a trace of what lazy tensors depend on, and their ids in it."""
    nodes = [LAZY.home(t._index) for t in tensors]
    trace, ids = to_trace(nodes, feed)
    return trace, tuple([ids[node] for node in nodes])


def _require_fed(trace: Trace) -> None:
    for value in trace.input_values.values():
        if isinstance(value, Abstract):
            raise ConcreteValueError(value.reason, op="compute", remedy="pass feed={placeholder: value}")


def tensor(value: Any = None, *, shape: tuple[int, ...] = (), dtype: Any = None, name: str | None = None) -> Tensor:
    """Return a lazy tensor: the start of an explicit graph.

    Parameters
    ----------
    value : array, number or list of numbers, optional
        The value, copied. Without it the tensor is a placeholder, to be fed to `compute`.
    shape : tuple of int, default ()
        Shape of a placeholder.
    dtype : dtype, optional
        Dtype; by default that of ``value``, float64 for placeholders.
    name : str, optional
        Name of a placeholder in errors.

    Returns
    -------
    Tensor
        Operators and NumPy functions on it build the graph; `compute` runs it.

    Raises
    ------
    ArgumentError
        If ``value`` is neither an array nor a number, or is a tensor of a running trace.

    Examples
    --------
    >>> import gradloom as gl
    >>> a, b, c = gl.tensor(3.0), gl.tensor(2.0), gl.tensor(1.0)
    >>> y = a * b + c
    >>> gl.compute(*gl.gradients(y, [a, b, c]))
    (np.float64(2.0), np.float64(3.0), np.float64(1.0))
    """
    if value is None:
        spec = Spec(tuple(shape), np.float64 if dtype is None else dtype)
        missing = Abstract(f"the placeholder {name!r} was not fed" if name else "a placeholder was not fed")
        return LAZY.tensor(LazyNode(INPUT, (), (spec,), spec, None, missing))
    if isinstance(value, LazyTensor):
        return value if dtype is None else value.astype(dtype)
    listed = listed_array(value)
    value = value if listed is None else listed
    found = spec_of(value)
    if found is None or isinstance(value, Handle):
        raise ArgumentError(
            "cannot take a value of this kind",
            op="tensor",
            argument="value",
            expected="an array or a number",
            got=describe(value),
            remedy="make an array of numbers of it; in a running gradloom function, compute with tensors as they are",
        )
    if dtype is not None or type(value) in PYTHON_SCALARS:
        value = np.asarray(value, dtype)[()]
    return LAZY.tensor(LAZY.lift(value))


def to_trace(nodes: Iterable[LazyNode], feed: Mapping[LazyNode, Any]) -> tuple[Trace, dict[LazyNode, int]]:
    """Return a trace of what some nodes depend on, and the id of each node in it."""
    needed: set[LazyNode] = set()
    stack = list(nodes)
    while stack:
        node = stack.pop()
        if node not in needed:
            needed.add(node)
            if node not in feed:
                stack += node.inputs
    trace = Trace(Tensor)
    ids: dict[LazyNode, int] = {}
    for node in sorted(needed, key=attrgetter("serial")):
        if node in feed or node.op is INPUT:
            ids[node] = trace.add_input(node.spec, feed.get(node, node.value))._index
        elif node.op is LITERAL:
            ids[node] = trace.literal(node.value, node.spec.dtype)
        else:
            source = node.source
            if source is not None and node.derived is not None:
                source = (source[0], source[1], ids.get(node.derived, len(trace.nodes)))
            inputs = tuple([ids[i] for i in node.inputs])
            ids[node] = trace.append(node.op, inputs, node.attrs, node.spec, source)
    return trace, ids


def compute(*tensors: Any, feed: Mapping[Any, Any] | None = None) -> tuple[Any, ...]:
    """Compute lazy tensors together.

    Parameters
    ----------
    *tensors : Tensor
        Lazy tensors; other values are returned as they are.
    feed : mapping, optional
        Values that take the place of tensors (placeholders, usually), of the same shape.

    Returns
    -------
    tuple of arrays
        One per tensor.

    Raises
    ------
    ArgumentError
        If a key of ``feed`` is not a lazy tensor.
    ConcreteValueError
        If a placeholder is not fed.
    ShapeError, DTypeError
        If a fed value does not fit.

    Notes
    -----
    What several tensors need is computed once. A graph of a structure that was computed before finds its plan in a
    cache. Nothing is kept: computing a tensor again runs its graph again.

    Examples
    --------
    >>> import gradloom as gl
    >>> x = gl.tensor(shape=(), name="x")
    >>> gl.compute(x * 2.0, feed={x: 4.0})
    (np.float64(8.0),)
    """
    lazy = [t for t in tensors if isinstance(t, LazyTensor)]
    if not lazy:
        return tensors
    trace, outputs = _traced(lazy, _checked_feed(feed or {}))
    _require_fed(trace)
    program, values = programs.find(trace, "compute", outputs, Program)
    values = [value.future.result() if type(value) is Kept else value for value in values]
    results = iter(program.run(values, trace.sources))
    return tuple([next(results) if isinstance(t, LazyTensor) else t for t in tensors])


def _checked_feed(feed: Mapping[Any, Any]) -> dict[LazyNode, Any]:
    """Return values by node, or raise where one does not fit its tensor."""
    checked = {}
    for key, value in feed.items():
        if not isinstance(key, LazyTensor):
            raise ArgumentError(
                "only lazy tensors can be fed",
                op="compute",
                argument="feed",
                expected="keys that gl.tensor returned",
                got=describe(key),
                remedy="keep the tensor itself, x = gl.tensor(name='x'), and write feed={x: value}",
            )
        spec, given = key.spec, spec_of(value)
        if given is None or not np.can_cast(given.dtype, spec.dtype, "same_kind"):
            raise DTypeError(
                "a fed value has the wrong kind",
                op="compute",
                argument="feed",
                expected=spec,
                got=describe(value),
                remedy="feed an array or a number of that kind, or make the placeholder with dtype=",
            )
        if given.shape != spec.shape:
            raise ShapeError(
                "a fed value has the wrong shape",
                op="compute",
                argument="feed",
                expected=spec.shape,
                got=given.shape,
                remedy="make a placeholder of that shape, and build the graph on it",
            )
        if type(value) in PYTHON_SCALARS or given.dtype != spec.dtype:
            value = spec.dtype.type(value) if not spec.shape else value.astype(spec.dtype)
        checked[key._index] = value
    return checked
