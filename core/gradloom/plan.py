"""Plan: the kernels of a graph in order, with buffer lifetimes; what actually runs."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from typing import Any, final

from gradloom import ahead
from gradloom.arrangement import arrange
from gradloom.backend import AbstractBackend, Kernel, backends
from gradloom.compiler import AbstractCompiler, compilers
from gradloom.errors import GradloomError
from gradloom.graph import ITEM, Graph, varies
from gradloom.locks import new_lock
from gradloom.outline import Outline, outline_of
from gradloom.placement import MOVES, Device, find_device, is_device, node_places, resources_among, transfer
from gradloom.regions import REGION
from gradloom.settle import settle
from gradloom.source import RawSource, Source
from gradloom.step import COPY, Bound, Step
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
        self._lowering = _Lowering(self, self.places, arranged)
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


def _rebuild(graph: Graph, backend: str, compiler: str | None, arranged: bool) -> Plan:
    return Plan(graph, backends.get(backend), None if compiler is None else compilers.get(compiler), arranged)


class _Lowering:
    """From a graph to steps: their kernels, and what is constant."""

    def __init__(self, plan: Plan, places: Sequence[str | None] | None, arranged: bool) -> None:
        graph = plan.graph
        self.graph = graph
        self.backend = plan.backend
        self.compiler = plan.compiler
        self.places = (None,) * len(graph) if places is None else places
        self.devices = plan.devices
        self.constants: dict[int, Any] = {}
        self.uncompiled: list[str] = []
        self.outline = outline_of(graph, places, arranged)
        #: Those that plans of all sizes share, by kind; None where they are not known yet.
        self.common: Mapping[int, Bound] | None = self.outline.common.get((plan.backend.name, plan.compiler))
        #: By kind; and the kinds whose kernels are the compiler's own, outside of regions.
        self.kernels: dict[int, Bound] = dict(self.common or {})
        self._own: set[int] = set()
        self._begun = {} if plan.compiler is None else self._begin_kernels(plan.compiler)
        self._find_constants()
        for kind in self.outline.examples:
            if kind not in self.kernels:
                self._kernel(kind)  # a missing one is found before anything runs
        if self.common is None:
            self.common = self._find_common()

    def _find_common(self) -> Mapping[int, Bound]:
        """Return the kernels that plans of all sizes share, and keep them for those."""
        pattern, outline, compiler = self.graph.pattern, self.outline, self.compiler
        if pattern is None or pattern.found.get(Outline) is not outline:
            return {}
        found: dict[int, Bound] = {}
        for kind, bound in self.kernels.items():
            op, _, attrs = pattern.graph.nodes[outline.first[kind]]
            is_own = op is REGION or (compiler is not None and compiler.replaces(op))
            if not (is_own or varies(attrs) or hasattr(bound[0], "into")):
                found[kind] = bound
        self.outline.common[self.backend.name, compiler] = found
        return found

    def _begin_kernels(self, compiler: AbstractCompiler) -> dict[int, Callable[[], Kernel]]:
        """Begin to compile, so that kernels compile while others are waited for; return what waits for regions'."""
        specs = self.graph.specs
        known = self.kernels
        nodes = {i: self.graph.raw_node(i) for kind, i in enumerate(self.outline.first) if kind not in known}
        kinds = [(self.outline.kinds[i], i) for i in nodes if nodes[i][1]]
        begun: dict[int, Callable[[], Kernel]] = {}
        # What fails here fails again where the kernel is asked for. What other sizes needed has been begun.
        others = [i for _, i in kinds if nodes[i][0] is not REGION] if self.common is None else []
        for op, own in dict.fromkeys([(nodes[i][0], tuple([specs[j] for j in nodes[i][1]])) for i in others]):
            with suppress(Exception):
                compiler.begin_kernel(op, own)
        for kind, i in kinds:
            if nodes[i][0] is REGION:
                with suppress(Exception):
                    begun[kind] = compiler.begin(nodes[i][2][0])
        return begun

    def _find_constants(self) -> None:
        """Compute what depends on literals alone."""
        constants, graph = self.constants, self.graph
        for i in self.outline.literals:
            spec, slot = graph.raw_node(i)[2]
            constants[i] = self.backend.from_host(spec.dtype.type(graph.literals[slot]))
        firm: set[int] = set()
        with self.backend.quiet():
            for i in self.outline.folded:
                inputs = graph.raw_node(i)[1]
                if firm.isdisjoint(inputs):
                    kernel, keywords = self._kernel(self.outline.kinds[i])
                    try:
                        constants[i] = kernel(*[constants[j] for j in inputs], **keywords)
                        continue
                    except Exception:  # it raises again when the plan runs, with the user's line
                        pass
                firm.add(i)
        if firm:
            keys = [self.outline.kinds.get(i, -1) for i in range(len(graph))]
            self.outline = Outline(graph, keys, firm)

    def _kernel(self, kind: int) -> Bound:
        found = self.kernels.get(kind)
        if found is None:
            found = self.kernels[kind] = self._found(kind)
        return found

    def _found(self, kind: int) -> Bound:
        i = self.outline.first[kind]
        op, inputs, attrs = self.graph.raw_node(i)
        device = self.devices.get(self.places[i])
        if op is REGION and self.compiler is not None:
            return self._region_kernel(self.compiler, i, self._begun.pop(kind, None)), {}
        if op in MOVES:
            source = self.devices.get(attrs[1])
            home = Device(self.backend, None)
            return transfer(source or home, device or home), {}
        if device is not None and op is not ITEM:
            kernel, keywords = device.backend.kernel(op, attrs)
            return device.bound(kernel), keywords
        found = self.backend.kernel(op, attrs)
        if self.compiler is not None:
            specs = tuple([self.graph.specs[j] for j in inputs])
            own = self._node_kernel(self.compiler, i, specs, found[0])
            if own is not found[0]:
                self._own.add(kind)
                return own, found[1]
        return found

    def _region_kernel(self, compiler: AbstractCompiler, i: int, finish: Callable[[], Kernel] | None) -> Kernel:
        """Return the kernel of a region; if it does not compile, its kernels one after the other, with a warning."""
        region: Graph = self.graph.raw_node(i)[2][0]
        try:
            return compiler.compile(region) if finish is None else finish()
        except Exception as error:
            names = ", ".join(dict.fromkeys([op.name for op, inputs, _ in region.nodes if inputs]))
            self._warn_of_failure(compiler, f"a region of {names}", i, error)
        run = Plan(region, self.backend).run
        if len(region.outputs) == 1:
            return lambda *arrays: run(arrays)[0]
        return lambda *arrays: tuple(run(arrays))

    def _node_kernel(self, compiler: AbstractCompiler, i: int, specs: tuple[Any, ...], plain: Kernel) -> Kernel:
        """Return a compiler's kernel of a single node; if that fails, the backend's, with a warning."""
        op, _, attrs = self.graph.raw_node(i)
        try:
            return compiler.kernel(op, specs, attrs, plain)
        except Exception as error:
            self._warn_of_failure(compiler, op.name, i, error)
            return plain

    def is_own(self, i: int) -> bool:
        """Return whether the kernel of a node outside of regions is the compiler's own."""
        return bool(self._own) and self.outline.kinds.get(i) in self._own

    def _warn_of_failure(self, compiler: AbstractCompiler, what: str, i: int, error: Exception) -> None:
        self.uncompiled.append(what)
        if ahead.is_here():  # nobody runs it, and the plan that is run has told
            return
        source = self.graph.source(i)
        where = "" if source is None else f"\n  at {source}"
        warnings.warn(
            f"compiler {compiler.name!r} failed on {what}; it runs by kernels of single ops: {error}{where}",
            RuntimeWarning,
            stacklevel=3,
        )

    def steps(self) -> Iterator[Step]:
        """Yield the kernel calls in order."""
        return self.outline.steps({**self.kernels, COPY: (self.backend.copy, {})})


def _devices(graph: Graph, places: Sequence[str | None]) -> dict[str | None, Device]:
    """Return the devices of some places, by name; raise if there is none."""
    found: dict[str | None, Device] = {}
    for i, place in enumerate(places):
        if place is not None and is_device(place) and place not in found:
            source = graph.source(i)
            found[place] = find_device(place, None if source is None else str(source))
    return found
