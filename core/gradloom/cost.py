"""Cost: what a node of a graph takes, by the axis rule of its op."""

from __future__ import annotations

from typing import Any, NamedTuple, final

from gradloom.axes import known_axes
from gradloom.calibration import Rates
from gradloom.graph import INPUT, ITEM, LITERAL, Graph, RawNode, varies
from gradloom.op import Op
from gradloom.placement import TO_DEVICE
from gradloom.spec import Spec

#: Elementwise ops that take tens of instructions an element.
_TRANSCENDENTAL = frozenset(
    "sin cos tan arcsin arccos arctan arctan2 sinh cosh tanh arcsinh arccosh arctanh exp exp2 expm1 log log2 log10 "
    "log1p logaddexp logaddexp2 power erf erfc gammaln digamma expit".split()
)

#: Ops that move elements: those along a whole axis do not meet each other. Some read no more than they return.
_READING = frozenset({"gather", "take_along_axis"})
_INDEXING = _READING | {"index_add", "index_set", "add_along_axis"}

#: Products that BLAS does, and those whose kernels share large ones out over cores.
PRODUCTS = frozenset({"matmul", "annihilating_matmul", "einsum"})
_SHARED_PRODUCTS = frozenset({"matmul", "annihilating_matmul"})
#: Decompositions, by how many operations at the speed of products they take for n**3, measured at n = 250.
DECOMPOSITIONS = {
    "cholesky": 2.0, "slogdet": 3.0, "det": 3.0, "inv": 7.0, "inv_slogdet": 7.0, "qr": 14.0, "eigh": 20.0,
    "svd": 50.0, "pinv": 55.0,
    "cofactors": 60.0, "eig": 100.0, "solve": 5.0, "annihilating_solve": 5.0,
    "solve_triangular": 1.5, "annihilating_solve_triangular": 1.5,
}  # fmt: skip
_SOLVES = frozenset("solve annihilating_solve solve_triangular annihilating_solve_triangular".split())
_REGION = "region"
#: Products of fewer operations take one thread, whatever BLAS is allowed.
SMALL_PRODUCT = 2.0 * 64**3
#: Operations of products, and estimated seconds of compiled regions, from which on their kernels share the
#: work out over cores themselves, and operations of one piece of a product; roughly as the kernels have it.
SHARED_PRODUCT = 16e6
SHARED_SECONDS = 300e-6
PIECE = 100e6
#: What each further core adds to the speed of a kernel that is shared out: 0.5 to 0.66 in a perceptron, two towers and
#: an ensemble of small models, on two cores.
SHARING_EFFICIENCY = 0.6


@final
class Cost(NamedTuple):
    """Floating-point operations, bytes read and written, whether BLAS does it, and the name of the op."""

    flops: float
    bytes: float
    blas: bool = False
    op: str = ""

    def seconds(self, rates: Rates = Rates()) -> float:  # noqa: B008  (immutable)
        """Return a rough time on one core: a kernel call, then arithmetic or memory, whichever is longer."""
        work = max(self.flops / (rates.blas if self.blas else rates.flops), self.bytes / rates.bytes)
        return (rates.call + work) * rates.corrections.get(self.op, 1.0)

    def shared_seconds(self, rates: Rates, cores: int) -> float:
        """Return a rough time where the kernel may share its work out over some cores."""
        alone = self.seconds(rates)
        pieces = 1
        if self.op == _REGION and alone >= SHARED_SECONDS:
            pieces = cores
        elif self.op in _SHARED_PRODUCTS and self.flops >= SHARED_PRODUCT:
            pieces = max(2, min(16, int(self.flops / PIECE)))
        gain = 1.0 + SHARING_EFFICIENCY * (min(pieces, cores) - 1)
        return alone / gain

    @property
    def threaded(self) -> bool:
        """Whether BLAS uses several threads for it where it may."""
        return self.blas and self.flops / DECOMPOSITIONS.get(self.op, 1.0) > SMALL_PRODUCT


_FREE = Cost(0.0, 0.0)


def node_cost(graph: Graph, i: int) -> Cost:
    """Return the cost of one node; views, inputs and literals are free."""
    op, inputs, attrs = graph.raw_node(i)
    if _is_free(op):
        return _FREE
    specs = tuple([graph.specs[j] for j in inputs])
    outs: tuple[Spec, ...] = graph.specs[i] if type(graph.specs[i]) is tuple else (graph.specs[i],)
    moved = sum([s.nbytes for s in specs]) + sum([s.nbytes for s in outs])
    if attrs and isinstance(attrs[0], Graph):  # a region: the work of its nodes, the traffic of its ends
        return Cost(_graph_flops(attrs[0]), float(moved), op=op.name)
    if op.name in _READING:
        # Of the first input it reads no more than it returns.
        moved += outs[0].nbytes - specs[0].nbytes
    blas = op.name in PRODUCTS or op.name in DECOMPOSITIONS
    return Cost(_flops(op, specs, attrs, outs), float(moved), blas, op.name)


def _is_free(op: Op) -> bool:
    return op is INPUT or op is LITERAL or op is ITEM or (op.view and op is not TO_DEVICE)


def _graph_flops(graph: Graph) -> float:
    if graph.pattern is None:
        plain, others = _tally(graph)
    else:
        known = graph.pattern.found
        if _tally not in known:
            known[_tally] = _tally(graph.pattern.graph)
        plain, others = known[_tally]
    specs = graph.specs
    total: float = sum([each * specs[i].size for i, each in plain])
    for i, (op, inputs, attrs) in others:
        outs = specs[i] if type(specs[i]) is tuple else (specs[i],)
        own = graph.nodes[i][2] if graph.pattern is not None and varies(attrs) else attrs
        if own and isinstance(own[0], Graph):
            total += _graph_flops(own[0])
        else:
            total += _flops(op, tuple([specs[j] for j in inputs]), own, outs)
    return total


def _tally(graph: Graph) -> tuple[list[tuple[int, float]], list[tuple[int, RawNode]]]:
    """Return the work of a graph: nodes with what they and those like them take for each element, and others."""
    specs = graph.specs
    plain: dict[Spec, list[float]] = {}
    others: list[tuple[int, RawNode]] = []
    for i, (node, out) in enumerate(zip(graph.nodes, specs, strict=True)):
        op = node[0]
        if _is_free(op):
            continue
        if _is_plain(op, out if type(out) is tuple else (out,)):
            own = plain.setdefault(out, [i, 0.0])
            own[1] += 40.0 if op.name in _TRANSCENDENTAL else 1.0
        else:
            others.append((i, node))
    return [(int(i), each) for i, each in plain.values()], others


def _is_plain(op: Op, outs: tuple[Spec, ...]) -> bool:
    """Return whether an op does the same for each element, so that its inputs need not be looked at."""
    return op.elementwise and op.axes is None and outs[0].size > 0


def _plain_flops(op: Op, outs: tuple[Spec, ...]) -> float:
    return (40.0 if op.name in _TRANSCENDENTAL else 1.0) * outs[0].size


def _flops(op: Op, specs: tuple[Spec, ...], attrs: tuple[Any, ...], outs: tuple[Spec, ...]) -> float:
    """Count a multiply-add for each combination of labelled axes; a whole axis meets itself."""
    if _is_plain(op, outs):
        return _plain_flops(op, outs)
    size = float(max([s.size for s in (*specs, *outs)]))
    if op.name in _INDEXING:
        return float(outs[0].size if op.name in _READING else specs[1].size)
    if op.name in _SOLVES:  # a decomposition, and two passes over its factors for each right-hand side
        n = specs[0].shape[-1]
        return n * (DECOMPOSITIONS[op.name] * specs[0].size + 4.0 * outs[0].size)
    axes = known_axes(op, specs, attrs)
    if axes is None:
        return size
    lengths: dict[object, int] = {}
    whole = 1
    for spec, labels in zip(specs, axes.inputs, strict=True):
        own = 1
        for n, label in zip(spec.shape, labels, strict=True):
            if label is None:
                own *= n
            else:
                lengths[label] = max(n, lengths.get(label, 1))
        whole = max(whole, own)
    points = float(whole)
    for n in lengths.values():
        points *= n
    if isinstance(op.axes, str) and any(letter.isupper() for letter in op.axes):
        # Decompositions: as many passes over the whole axes as the longest of them is long, some times.
        return DECOMPOSITIONS.get(op.name, 1.0) * points * max([max(s.shape, default=1) for s in specs])
    return _worked(op, points, size)


def _worked(op: Op, points: float, size: float) -> float:
    """Return the operations of a loop over some points, of values that have at most ``size`` elements."""
    if op.name in _TRANSCENDENTAL:
        return 40.0 * points
    return 2.0 * points if points > size else points
