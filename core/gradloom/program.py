"""Program: a transformed graph with its plans, cached under the structure of the trace.

Calling ``gl.grad(f)(x)`` in a loop costs one trace each time; the derivative, its plan and
its compiled code are found here by what the trace recorded.
"""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, final

import numpy as np

from gradloom.arrangement import arrange
from gradloom.backend import backend_of_type, backends
from gradloom.collector import resting_collector
from gradloom.compiler import AbstractCompiler, compiler_for, expect_graph, likely_compiler
from gradloom.context import current_backend, execute
from gradloom.errors import BackendError
from gradloom.expansion import GRADIENT, expand_calls, expanded, fusible, inline
from gradloom.follow import Latest, Recording
from gradloom.graph import INPUT, LITERAL, Graph
from gradloom.locks import new_lock
from gradloom.optimism import optimistic_graph
from gradloom.placement import node_places
from gradloom.plan import Plan
from gradloom.polymorphic import Polymorphic, with_values
from gradloom.progress import phase
from gradloom.refusals import number_of
from gradloom.simplify import simplify
from gradloom.source import Lines, RawSource, same_lines
from gradloom.trace import Trace, innermost

_NDARRAY = frozenset({np.ndarray})
_PYTHON_NUMBERS = (float, int, complex, bool)


#: Elements that all values of a graph have together, from which on it is compiled at its first
#: call: below, compiling takes longer than many runs, and `jit` asks for it.
COMPILE_ELEMENTS = 10_000_000


@final
class Program:
    """A graph and the plans made from it, one per backend.

    Parameters
    ----------
    graph : Graph
    eager : bool, default False
        Whether the plan is simplified and compiled, as under `jit`, however small its values are.
    """

    __slots__ = ("_foresaw", "_graph", "_plans", "_quick", "_traced", "eager")

    def __init__(self, graph: Graph, eager: bool = False) -> None:
        self._traced = graph
        self._graph: Graph | None = None
        self.eager = eager
        self._foresaw = False
        self._plans: dict[str, Plan] = {}
        self._quick: dict[str, tuple[Plan, tuple[int, ...]] | None] = {}

    @property
    def graph(self) -> Graph:
        """The graph, in which gradients that were put off are written out."""
        if self._graph is None:
            with resting_collector():
                self._graph = expanded(self._traced, GRADIENT)
        return self._graph

    def plan(self, backend: str) -> Plan:
        """Return the plan for a backend, made on first use."""
        plan = self._plans.get(backend)
        if plan is None:
            with phase("compiling"), resting_collector():
                if self.eager or _elements(self.graph) >= COMPILE_ELEMENTS:
                    # Its compiler may be starting meanwhile.
                    likely = likely_compiler(backend)
                    prepared = _PREPARED(self._traced, backend, likely)
                    compiler = compiler_for(backend)
                    if compiler is not likely:
                        prepared = _PREPARED(self._traced, backend, compiler)
                    new = _planned(prepared, backend, compiler)
                else:
                    new = Plan(expand_calls(self.graph), backends.get(backend))
            plan = self._plans.setdefault(backend, new)
        return plan

    def run(self, values: Sequence[Any], sources: Sequence[RawSource | None] = ()) -> list[Any]:
        """Compute the outputs; inside another trace, record them there instead.

        Parameters
        ----------
        values : sequence
            Arrays, scalars or tensors, one per input of the graph.
        sources : sequence, optional
            Where the user wrote each node that was traced, if not where those of the graph were written.
        """
        if not _NDARRAY.issuperset(map(type, values)) or current_backend() is not None:
            outer = innermost(values)
            if outer is not None:
                with resting_collector():
                    return inline(outer, self._traced if outer.defers else self.graph, values)
            name = choose_backend(values)
            if backends.get(name).whole_graphs:
                return backends.get(name).run_graph(expand_calls(self._at(sources).graph), values, sources)
            plan = self.plan_at(name, sources)
            values = prepare(plan, values)
        else:
            plan = self.plan_at("numpy", sources)
        return self.run_plan(plan, values, self.lines(plan, sources))

    def _at(self, sources: Sequence[RawSource | None]) -> Program:
        """Return this program as made of a trace that was written elsewhere."""
        own = self._traced.sources[: len(sources)]
        return self if same_lines(own, sources) else Program(self._traced.written_at(sources), self.eager)

    def plan_at(self, name: str, sources: Sequence[RawSource | None]) -> Plan:
        """Return the plan for a backend; what cannot be planned raises with the lines of a trace of this structure."""
        try:
            return self.plan(name)
        except Exception:
            self._at(sources).plan(name)  # raises the same, with the user's lines
            raise

    def lines(self, plan: Plan, sources: Sequence[RawSource | None]) -> Sequence[RawSource | None]:
        """Return where the user wrote each node of a plan, in a trace of this structure."""
        return Lines(partial(self._find_lines, plan, sources)) if sources else ()

    def _find_lines(self, plan: Plan, sources: Sequence[RawSource | None]) -> Sequence[RawSource | None]:
        at = self._at(sources)
        return plan.graph.sources if at is self else at.plan(plan.backend.name).graph.sources

    def run_plan(self, plan: Plan, values: Sequence[Any], sources: Sequence[RawSource | None] = ()) -> list[Any]:
        """Run a plan; one that is not compiled, from the second run on, optimistically while that gives no NaN."""
        if plan.compiler is not None:
            again = plan.has_run
            results = execute(plan, values, sources)
            if again and not self._foresaw:
                self._foresee(plan)
            return results
        if not plan.has_run:
            results = execute(plan, values, sources)
            plan.has_run = True
            return results
        name = plan.backend.name
        quick = self._quick[name] if name in self._quick else self._find_quick(plan)
        if quick is not None:
            optimistic, checked = quick
            results = execute(optimistic, values, sources)
            has_nan = plan.backend.has_nan
            if not any([has_nan(results[k]) for k in checked]):
                return results
            # What gave a NaN once is likely to do so again.
            self._quick[name] = None
        return execute(plan, values, sources)

    def _foresee(self, plan: Plan) -> None:
        """Let what other sizes will need be found meanwhile: what runs twice may run with the last few samples too."""
        self._foresaw = True
        if plan.graph.pattern is not None:  # found for another size already
            return
        _PREPARED.foresee(self._traced, plan.backend.name, plan.compiler)

    def _find_quick(self, plan: Plan) -> tuple[Plan, tuple[int, ...]] | None:
        backend = plan.backend
        quick = None
        if backend.has_nan(backend.from_host(np.float64(0))) is not None:
            found = optimistic_graph(plan.graph)
            if found is not None:
                quick = Plan(found.graph, backend), found.checked
        return self._quick.setdefault(backend.name, quick)


def _elements(graph: Graph) -> int:
    """Return how many elements all values of a graph have together."""
    return sum([s.size for s in graph.specs if type(s) is not tuple])


def choose_backend(values: Sequence[Any]) -> str:
    """Return the backend that the kinds of some arrays pick.

    Raises
    ------
    BackendError
        If arrays of two backends meet; 0-d NumPy arrays and scalars go with any.
    """
    chosen = current_backend()
    if chosen is not None:
        return chosen
    host = False
    for value in values:
        kind: Any = type(value)
        if kind is np.ndarray:
            host = host or value.ndim > 0
            continue
        if kind in _PYTHON_NUMBERS or isinstance(value, np.generic):
            continue
        name = backend_of_type(kind)
        if name == "numpy":
            host = True
        elif name is not None and chosen is not None and name != chosen:
            raise _mixed(chosen, name)
        elif name is not None:
            chosen = name
    if host and chosen is not None and not backends.get(chosen).whole_graphs:
        raise _mixed(chosen, "numpy")
    return chosen or "numpy"


def _mixed(first: str, second: str) -> BackendError:
    return BackendError(
        f"arrays of two backends meet: {first} and {second}",
        expected="all arrays of one backend (numbers and 0-d NumPy arrays go with any)",
        remedy=f"convert them, or wrap the call in `with gl.backend({first!r})`",
    )


def prepare(plan: Plan, values: Sequence[Any]) -> list[Any]:
    """Return values as arrays of a plan's backend."""
    graph = plan.graph
    backend = plan.backend
    if backend.name == "numpy":
        return [
            number_of(v, graph.specs[i].dtype, "jit") if type(v) in _PYTHON_NUMBERS else v
            for i, v in zip(graph.inputs, values, strict=True)
        ]
    prepared = []
    for i, value in zip(graph.inputs, values, strict=True):
        if type(value) in _PYTHON_NUMBERS:
            value = number_of(value, graph.specs[i].dtype, "jit")
        elif not isinstance(value, (np.ndarray, np.generic)) and not backend.recognises(type(value)):
            kind: Any = type(value)
            value = backends.get(backend_of_type(kind) or "numpy").to_host(value)
        prepared.append(value if backend.recognises(type(value)) else backend.from_host(value))
    return prepared


def _prepare(graph: Graph, backend: str, compiler: AbstractCompiler | None) -> Graph:
    """Return what is planned for a graph on a backend, whose compilers begin with what it will need."""
    graph = expand_calls(graph)
    if compiler is not None:
        graph = fusible(graph)
    expect_graph(backend, with_values(graph))
    graph = simplify(graph)
    # Where ops run elsewhere, that is settled first, when the plan is made.
    return graph if compiler is None or node_places(graph) is not None else arrange(graph, compiler)


def _planned(graph: Graph, backend: str, compiler: AbstractCompiler | None) -> Plan:
    """Return the plan of a prepared graph."""
    return Plan(graph, backends.get(backend), compiler, arranged=node_places(graph) is None)


def _plan_ahead(graph: Graph, backend: str, compiler: AbstractCompiler | None) -> None:
    """Make what plans of all sizes share."""
    if compiler is not None:
        _planned(graph, backend, compiler).compile()


_PREPARED = Polymorphic(_prepare, after=1, use=_plan_ahead)


# -- the cache -----------------------------------------------------------------------------


def _frozen(values: tuple[Any, ...], lifted: tuple[int, ...]) -> tuple[Any, ...]:
    """Return the values of literals that are not lifted."""
    return tuple([v for s, v in enumerate(values) if s not in lifted]) if lifted else values


@final
class _Family:
    """Programs whose traces differ only in the values of literals.

    A literal that was seen to change is lifted: it becomes an input of the graph.
    """

    __slots__ = ("__weakref__", "last", "lifted", "programs", "recording", "size")

    def __init__(self, size: int) -> None:
        self.lifted: tuple[int, ...] = ()
        self.last: tuple[Any, ...] | None = None
        self.programs: dict[Any, Any] = {}
        #: What the next trace of a function may follow.
        self.recording: Recording | None = None
        self.size = size


@final
class ProgramCache:
    """Programs by the structure of what was traced; bounded, least recently used first out.

    Parameters
    ----------
    max_nodes : int
        Bound on the total number of traced nodes of all entries.
    """

    def __init__(self, max_nodes: int = 2_000_000) -> None:
        self._families: OrderedDict[Any, _Family] = OrderedDict()
        self._lock = new_lock()
        self._max_nodes = max_nodes
        self._nodes = 0

    def find(
        self,
        trace: Trace,
        what: Any,
        outputs: tuple[int, ...],
        build: Callable[[Graph], Any],
        latest: Latest | None = None,
    ) -> tuple[Any, list[Any]]:
        """Return what ``build(graph)`` made of a trace of this structure, or makes of it now.

        ``latest`` takes note of the trace, for the next one to follow.

        Returns
        -------
        program : Program (or several)
        values : list
            Values for its inputs: those of the trace, then literals that change.
        """
        purpose = what, outputs
        recording = trace.repeated(purpose)
        if recording is not None and recording.program is not None and recording.literal_keys == trace.literal_keys:
            return recording.program, list(trace.input_values.values())
        literals = trace.literals
        values = tuple(trace.literal_keys)
        with self._lock:
            family = (recording and recording.owner()) or self._family(trace, purpose)
            lifted = self._lift_changed(family, values)
            frozen = _frozen(values, lifted)
            program = family.programs.get(frozen)
        if program is None:
            graph = trace.graph(outputs)
            with phase("differentiating"), resting_collector():
                program = build(lift_literals(graph, lifted) if lifted else graph)
            with self._lock:
                if family.lifted == lifted:
                    program = family.programs.setdefault(frozen, program)
        if latest is not None and recording is None and trace.followable:
            trace.leave()
            family.recording = Recording(trace, purpose, None if lifted else program, weakref.ref(family))
            latest.remember(family.recording)
        inputs = list(trace.input_values.values())
        return program, inputs + [literals[s] for s in lifted] if lifted else inputs

    @staticmethod
    def _lift_changed(family: _Family, values: tuple[Any, ...]) -> tuple[int, ...]:
        last = family.last
        if last is None:
            family.last = values
        elif last != values:
            changed = {s for s, (a, b) in enumerate(zip(last, values, strict=True)) if a != b}
            if not changed <= set(family.lifted):
                family.lifted = tuple(sorted(changed | set(family.lifted)))
                family.programs.clear()
        return family.lifted

    def _family(self, trace: Trace, purpose: Any) -> _Family:
        key = trace.key(), purpose
        family = self._families.get(key)
        if family is not None:
            self._families.move_to_end(key)
            return family
        family = self._families[key] = _Family(len(key[0]))
        self._nodes += family.size
        while self._nodes > self._max_nodes and len(self._families) > 1:
            oldest, other = self._families.popitem(last=False)
            if other.recording is not None and other.recording.used:
                # A second chance: traces that follow a recording do not move it to the end.
                other.recording.used = False
                self._families[oldest] = other
            else:
                self._nodes -= other.size
        return family

    def clear(self) -> None:
        """Forget all programs."""
        with self._lock:
            self._families.clear()
            self._nodes = 0


def lift_literals(graph: Graph, slots: Sequence[int]) -> Graph:
    """Return a graph in which some literals are inputs, after those it has."""
    nodes = list(graph.nodes)
    lifted = {}
    for i, (op, _, attrs) in enumerate(nodes):
        if op is LITERAL and attrs[1] in slots:
            nodes[i] = (INPUT, (), (attrs[0],))
            lifted[attrs[1]] = i
    inputs = graph.inputs + tuple([lifted[s] for s in slots])
    return Graph(tuple(nodes), graph.specs, inputs, graph.outputs, graph.literals, graph.sources)


#: What un-jitted transforms share.
programs = ProgramCache()
