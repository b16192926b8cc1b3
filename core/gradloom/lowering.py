"""Lowering: from the nodes of a graph to the kernels of a plan."""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import zip_longest
from typing import Any, final

from gradloom import ahead
from gradloom.backend import AbstractBackend, Kernel
from gradloom.compiler import AbstractCompiler
from gradloom.graph import ITEM, Graph, varies
from gradloom.outline import Outline, outline_of
from gradloom.placement import MOVES, Device, transfer
from gradloom.regions import REGION
from gradloom.step import COPY, Bound, Step


@final
class Lowering:
    """From a graph to steps: their kernels, and what is constant.

    Parameters
    ----------
    graph : Graph
    backend : AbstractBackend
    compiler : AbstractCompiler, optional
    places : sequence of str, optional
        Where each node runs, if not all run at home.
    devices : mapping
        The devices of the places, by name.
    arranged : bool
        Whether the graph comes from `gradloom.arrangement.arrange`.
    alone : callable
        Returns what runs a region by the backend's kernels of single ops, where it does not compile.
    """

    def __init__(
        self,
        graph: Graph,
        backend: AbstractBackend,
        compiler: AbstractCompiler | None,
        places: Sequence[str | None] | None,
        devices: Mapping[str | None, Device],
        arranged: bool,
        alone: Callable[[Graph, AbstractBackend], Callable[..., list[Any]]],
    ) -> None:
        self.graph, self.backend, self.compiler = graph, backend, compiler
        self.places = (None,) * len(graph) if places is None else places
        self.devices = devices
        self._alone = alone
        self.constants: dict[int, Any] = {}
        self.uncompiled: list[str] = []
        self.outline = outline_of(graph, places, arranged)
        #: Those that plans of all sizes share, by kind; None where they are not known yet.
        self.common: Mapping[int, Bound] | None = self.outline.common.get((backend.name, compiler))
        #: By kind; and the kinds whose kernels are the compiler's own, outside of regions.
        self.kernels: dict[int, Bound] = dict(self.common or {})
        self._own: set[int] = set()
        self._take_over()
        self._begun = {} if compiler is None else self._begin_kernels(compiler)
        self._find_constants()
        for kind in self.outline.examples:
            if kind not in self.kernels:
                self._kernel(kind)  # a missing one is found before anything runs
        if self.common is None:
            self.common = self._find_common()
        if graph.pattern is not None and not self.uncompiled:
            self.outline.latest[backend.name, compiler] = weakref.ref(self)

    def _take_over(self) -> None:
        """Take the kernels of the latest plan of other sizes that need none of the numbers that are others now."""
        pattern, outline = self.graph.pattern, self.outline
        reference = outline.latest.get((self.backend.name, self.compiler))
        latest = None if reference is None else reference()
        if pattern is None or latest is None:
            return
        pairs = zip_longest(latest.graph.numbers, self.graph.numbers)
        changed = {place for place, (a, b) in enumerate(pairs) if a != b}
        for kind, bound in latest.kernels.items():
            if changed.isdisjoint(outline.uses(pattern.graph, kind)):
                self.kernels[kind] = bound
                self._own.update(latest._own & {kind})

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
        run = self._alone(region, self.backend)
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
