"""Plan: the kernels of a graph in order, with buffer lifetimes; what actually runs."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, final

from gradloom.backend import AbstractBackend, backends
from gradloom.errors import GradloomError
from gradloom.straightline import StraightLine, Step, stretches
from gradloom.graph import INPUT, LITERAL, Graph, live_nodes
from gradloom.source import RawSource, Source

#: Plans with more steps than this are interpreted; compiling straight-line Python costs about
#: 25 us a step, which a plan that runs once never earns back.
COMPILE_LIMIT = 150_000

@final
class Plan:
    """The kernels that compute a graph's outputs on one backend.

    Parameters
    ----------
    graph : Graph
        What to compute; nodes that no output needs are left out.
    backend : AbstractBackend
        Whose kernels run.

    Notes
    -----
    Outputs never share memory with inputs, literals or each other. Every intermediate array
    is released right after its last use. The first run is interpreted; from the second on,
    the plan is straight-line Python.
    """

    def __init__(self, graph: Graph, backend: AbstractBackend) -> None:
        self.graph = graph
        self.backend = backend
        self.constants: dict[int, Any] = {}
        for i, (op, _, attrs) in enumerate(graph.nodes):
            if op is LITERAL:
                self.constants[i] = backend.from_host(attrs[0].dtype.type(graph.literals[attrs[1]]))
        self.steps, self.outputs = _steps(graph, backend)
        self._runs = 0
        self._compiled: StraightLine | None = None
        self._lock = threading.Lock()

    def run(self, inputs: Sequence[Any], sources: Sequence[RawSource | None] = ()) -> list[Any]:
        """Run the plan.

        Parameters
        ----------
        inputs : sequence of arrays
            One array of the backend per graph input.
        sources : sequence, optional
            Where the user wrote each node, when not as in ``graph.sources``.

        Returns
        -------
        list of arrays
            One per graph output.
        """
        compiled = self._compiled
        if compiled is None:
            self._runs += 1
            if self._runs == 1 or len(self.steps) > COMPILE_LIMIT:
                return self._interpret(inputs, sources)
            compiled = self.compile()
        try:
            result: list[Any] = compiled.run(*inputs)
        except Exception as error:
            self._explain(error, compiled.failed_step(error), sources)
            raise
        return result

    def _interpret(self, inputs: Sequence[Any], sources: Sequence[RawSource | None]) -> list[Any]:
        values: dict[int, Any] = dict(self.constants)
        values.update(zip(self.graph.inputs, inputs, strict=True))
        k = 0
        try:
            for quiet, start, stop in stretches(self.steps):
                context = self.backend.quiet() if quiet else _LOUD
                with context:
                    for k in range(start, stop):
                        kernel, args, attrs, out, drop, _ = self.steps[k]
                        values[out] = kernel(*[values[i] for i in args], **attrs)
                        for i in drop:
                            del values[i]
        except Exception as error:
            self._explain(error, k, sources)
            raise
        return [values[i] for i in self.outputs]

    def compile(self) -> StraightLine:
        """Return the plan as one straight-line Python function; built once."""
        with self._lock:
            if self._compiled is None:
                self._compiled = self._straight_line()
            return self._compiled

    def _straight_line(self) -> StraightLine:
        specs = self.graph.specs

        def is_scalar(i: int) -> bool:
            return i < len(specs) and type(specs[i]) is not tuple and not specs[i].shape

        return StraightLine(self.steps, self.graph.inputs, self.outputs, self.constants, self.backend, is_scalar)

    def _explain(self, error: Exception, k: int | None, sources: Sequence[RawSource | None]) -> None:
        """Add op and user's line to an error that a kernel raised."""
        if k is None or not 0 <= k < len(self.steps) or isinstance(error, GradloomError):
            return
        node = self.steps[k].out
        if node >= len(self.graph.nodes):
            return
        raw = self.graph.sources[node]
        origin = node if raw is None or raw[2] < 0 else raw[2]
        if origin < len(sources):
            raw = sources[origin]
        where = "" if raw is None else f" recorded at {Source(*raw)}"
        what = "the gradient of " if origin != node else ""
        op = self.graph.nodes[origin][0]
        error.add_note(f"gradloom: while running {what}op {op.name!r}{where}")

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self.graph, self.backend.name)


def _rebuild(graph: Graph, backend: str) -> Plan:
    return Plan(graph, backends.get(backend))


class _Loud:
    def __enter__(self) -> None: ...

    def __exit__(self, *exc: object) -> None: ...


_LOUD: Any = _Loud()


def _steps(graph: Graph, backend: AbstractBackend) -> tuple[list[Step], tuple[int, ...]]:
    """Return the steps in order, each with what it frees, and where the outputs end up."""
    nodes = graph.nodes
    live = live_nodes(nodes, graph.outputs)
    order = [i for i in range(len(nodes)) if live[i] and nodes[i][0] is not INPUT and nodes[i][0] is not LITERAL]
    outputs, copies = _own_outputs(graph)
    kept = set(outputs) | {i for i in range(len(nodes)) if nodes[i][0] is LITERAL}
    last: dict[int, int] = {}
    for k, i in enumerate(order):
        for j in nodes[i][1]:
            last[j] = k
    copied = {source for source, _ in copies}
    drops: list[list[int]] = [[] for _ in order]
    for j, k in last.items():
        if j not in kept and j not in copied:
            drops[k].append(j)
    kernels: dict[Any, Any] = {}
    owned = _owned_nodes(graph)
    steps = []
    for k, i in enumerate(order):
        op, inputs, attrs = nodes[i]
        bound = kernels.get((op, attrs))
        if bound is None:
            bound = kernels[op, attrs] = backend.kernel(op, attrs)
        kernel, keywords = bound
        if op.donates and inputs[0] in drops[k] and owned[inputs[0]] and inputs[0] not in inputs[1:]:
            keywords = {**keywords, "donate": True}
        raw = graph.sources[i]
        steps.append(Step(kernel, inputs, keywords, i, tuple(drops[k]), raw is not None and raw[2] >= 0))
    steps += [Step(backend.copy, (source,), {}, target, (), True) for source, target in copies]
    return steps, outputs


def _own_outputs(graph: Graph) -> tuple[tuple[int, ...], list[tuple[int, int]]]:
    """Return output ids and the copies (source, target) that keep outputs from aliasing."""
    outputs: list[int] = []
    copies: list[tuple[int, int]] = []
    owned = _owned_nodes(graph)
    next_id = len(graph.nodes)
    for i in graph.outputs:
        if i in outputs or not owned[i]:
            copies.append((i, next_id))
            i = next_id
            next_id += 1
        outputs.append(i)
    return tuple(outputs), copies


def _owned_nodes(graph: Graph) -> bytearray:
    """Mark the nodes whose memory no input, literal or other node shares."""
    owned = bytearray(len(graph.nodes))
    for i, (op, inputs, _) in enumerate(graph.nodes):
        if op.view and inputs:
            owned[inputs[0]] = 0
        elif op is not INPUT and op is not LITERAL:
            owned[i] = 1
    return owned
