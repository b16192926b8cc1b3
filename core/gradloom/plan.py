"""Plan: the kernels of a graph in order, with buffer lifetimes; what actually runs."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, final

from gradloom.arrangement import arrange
from gradloom.backend import AbstractBackend, backends
from gradloom.compiler import AbstractCompiler, compilers
from gradloom.errors import GradloomError
from gradloom.graph import Graph
from gradloom.locks import new_lock
from gradloom.lowering import Lowering
from gradloom.placement import Device, find_device, is_device, node_places, resources_among
from gradloom.regions import REGION
from gradloom.settle import settle
from gradloom.source import RawSource, Source
from gradloom.step import Step
from gradloom.straightline import StraightLine
from gradloom.template import has_template, straight_line

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
    compiler : AbstractCompiler, optional
        Makes one kernel of each region that it accepts.
    arranged : bool, default False
        Whether the graph is what `arrange` returns for the compiler.

    Notes
    -----
    Outputs never share memory with inputs, literals or each other. Every intermediate array
    is released right after its last use. The first run is interpreted; from the second on,
    and where another size has shown how, the plan is straight-line Python.
    """

    def __init__(
        self,
        graph: Graph,
        backend: AbstractBackend,
        compiler: AbstractCompiler | None = None,
        arranged: bool = False,
    ) -> None:
        settled = settle(graph, backend.name)
        #: The place of each node, None if all run at home; see `gradloom.placement`.
        self.places = None if settled is graph else node_places(settled)
        if compiler is not None and not arranged:
            elsewhere = [i for i, place in enumerate(self.places or ()) if is_device(place)]
            settled = arrange(settled, compiler, elsewhere)
            self.places = None if self.places is None else node_places(settled)
        self.graph = settled
        #: The devices of its ops, by name, and the resources that workers need for some of them.
        self.devices = {} if self.places is None else _devices(settled, self.places)
        self.resources = resources_among(self.places)
        self.backend = backend
        self.compiler = compiler
        self._whole = graph
        self._arranged = arranged
        self._lowering = Lowering(settled, backend, compiler, self.places, self.devices, arranged, _alone)
        #: What its compiler failed on, so that kernels of single ops run instead, with other bits.
        self.uncompiled = self._lowering.uncompiled
        #: Values known before any input: literals, and what depends on them alone.
        self.constants = self._lowering.constants
        #: What runs, in which order.
        self.outline = self._lowering.outline
        self.outputs = self.outline.outputs
        self.has_run = False
        #: The lines that a warning was given for.
        self._warned: dict[Any, Any] = {}
        #: How executors cut the plan into tasks; found once, by `gradloom.decision`.
        self.schedule: Any = None
        self._steps: list[Step] | None = None
        self._compiled: StraightLine | None = None
        self._lock = new_lock()

    @property
    def steps(self) -> list[Step]:
        """Kernel calls in order; made at first use."""
        if self._steps is None:
            with self._lock:
                if self._steps is None:
                    self._steps = list(self._lowering.steps())
        return self._steps

    def run(self, inputs: Sequence[Any], sources: Sequence[RawSource | None] = ()) -> list[Any]:
        """Run the plan.

        Parameters
        ----------
        inputs : sequence of arrays
            One array of the backend per graph input.
        sources : sequence, optional
            Where the user wrote each node of `graph`, when not as in ``graph.sources``.

        Returns
        -------
        list of arrays
            One per graph output.
        """
        compiled = self._compiled
        if compiled is None:
            first, self.has_run = not self.has_run, True
            if (first and not has_template(self.graph)) or len(self.graph) > COMPILE_LIMIT:
                return self._interpret(inputs, sources)
            compiled = self.compile()
        run = compiled.run
        try:
            if self.compiler is not None:  # what it compiles does not warn
                result: list[Any] = run(*inputs)
            else:
                with self.backend.reporting(lambda kind: self._warn(kind, compiled.running_step(), sources)):
                    result = run(*inputs)
        except Exception as error:
            self.explain_error(error, compiled.failed_step(error), sources)
            raise
        return result

    def _interpret(self, inputs: Sequence[Any], sources: Sequence[RawSource | None]) -> list[Any]:
        values: dict[int, Any] = dict(self.constants)
        values.update(zip(self.graph.inputs, inputs, strict=True))
        k = -1
        try:
            with self.backend.reporting(lambda kind: self._warn(kind, k, sources)), ExitStack() as stack:
                # Steps that are made one by one, and not kept, cost the garbage collector nothing.
                steps = self._steps or self._lowering.steps()
                was_quiet = False
                for kernel, args, attrs, out, drop, quiet in steps:
                    k += 1
                    if quiet is not was_quiet:
                        stack.close()
                        if quiet:
                            stack.enter_context(self.backend.quiet())
                        was_quiet = quiet
                    values[out] = kernel(*[values[i] for i in args], **attrs)
                    for i in drop:
                        del values[i]
        except Exception as error:
            self.explain_error(error, k, sources)
            raise
        return [values[i] for i in self.outputs]

    def run_step(self, k: int, values: dict[int, Any], sources: Sequence[RawSource | None] = ()) -> None:
        """Run one step on values by id, for executors that order the steps themselves."""
        step = self.steps[k]
        try:
            with (
                self.backend.quiet()
                if step.quiet
                else self.backend.reporting(lambda kind: self._warn(kind, k, sources))
            ):
                values[step.out] = step.kernel(*[values[i] for i in step.inputs], **step.attrs)
        except Exception as error:
            self.explain_error(error, k, sources)
            raise

    def finish(self) -> None:
        """Wait until its kernels are as fast as they get."""
        if self.compiler is not None:
            for step in self.steps:
                self.compiler.finish(step.kernel)

    def compile(self) -> StraightLine:
        """Return the plan as one straight-line Python function; built once."""
        with self._lock:
            if self._compiled is None:
                self._compiled = self._straight_line()
            return self._compiled

    def _straight_line(self) -> StraightLine:
        at_home = self.compiler is not None and self.places is None  # else nothing writes where it is told
        made = self._lowering
        common = made.common or {}
        return straight_line(self.graph, self.outline, made.kernels, common, self.constants, self.backend, at_home)

    def leaves_to_backend(self, i: int) -> bool:
        """Return whether a node runs by a kernel of the backend, not by one of the compiler."""
        return self.graph.raw_node(i)[0] is not REGION and not self._lowering.is_own(i)

    def explain_error(self, error: Exception, k: int | None, sources: Sequence[RawSource | None]) -> None:
        """Add op and user's line to an error that a kernel raised."""
        if getattr(error, "op", None) is not None:
            return
        node = self._node(k)
        if node is None:
            return
        raw = self.graph.sources[node]
        origin = node if raw is None or raw[2] < 0 else raw[2]
        raw = sources[node] if sources else raw
        what = "the gradient of " if origin != node else ""
        op = self.graph.nodes[origin][0]
        if isinstance(error, GradloomError):
            error.op, error.location = f"{what}{op.name}", None if raw is None else str(Source(*raw))
            return
        where = "" if raw is None else f" recorded at {Source(*raw)}"
        error.add_note(f"gradloom: while running {what}op {op.name!r}{where}")

    def _warn(self, kind: str, k: int | None, sources: Sequence[RawSource | None]) -> None:
        """Warn as NumPy does, at the user's line; once for each line, as long as the user's filters say no other."""
        node = self._node(k)
        raw = None if node is None else (sources or self.graph.sources)[node]
        op = "an op" if node is None else self.graph.nodes[node][0].name
        source = Source("<gradloom>", 0) if raw is None else Source(*raw)
        message = f"{kind} encountered in {op}"
        warnings.warn_explicit(message, RuntimeWarning, source.filename, source.line, registry=self._warned)

    def _node(self, k: int | None) -> int | None:
        """Return the node that a step computes, None if there is none of the graph's."""
        if k is None or not 0 <= k < len(self.steps):
            return None
        node = self.steps[k].out
        return node if node < len(self.graph.nodes) else None

    def __reduce__(self) -> tuple[Any, ...]:
        compiler = None if self.compiler is None else self.compiler.name
        return _rebuild, (self._whole, self.backend.name, compiler, self._arranged)


def _alone(region: Graph, backend: AbstractBackend) -> Callable[..., list[Any]]:
    """Return what runs a region by the backend's kernels of single ops."""
    return Plan(region, backend).run


def _rebuild(graph: Graph, backend: str, compiler: str | None, arranged: bool) -> Plan:
    return Plan(graph, backends.get(backend), None if compiler is None else compilers.get(compiler), arranged)


def _devices(graph: Graph, places: Sequence[str | None]) -> dict[str | None, Device]:
    """Return the devices of some places, by name; raise if there is none."""
    found: dict[str | None, Device] = {}
    for i, place in enumerate(places):
        if place is not None and is_device(place) and place not in found:
            source = graph.source(i)
            found[place] = find_device(place, None if source is None else str(source))
    return found
