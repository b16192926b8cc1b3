"""Check: runs every rewrite before and after on special values, and names the rule that broke.

What a rule reads of the graph is recorded while it is applied. All else is unknown to it, so its
rewrite must hold for any values there: random ones, zeros of both signs, infinities, NaN,
subnormal numbers, ties.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from gradloom.backend import backends
from gradloom.errors import RewriteError
from gradloom.graph import INPUT, ITEM, LITERAL, Graph, RawNode
from gradloom.op import Op
from gradloom.simplify.builder import Builder, Replacement, Rule
from gradloom.source import Source
from gradloom.spec import Spec

#: How often each rewrite is run; oftener where it is small.
ROUNDS, SMALL_ROUNDS = 3, 24
#: Elements up to which a rewrite is small.
SMALL = 64
#: How far two orders of additions may differ, in units of eps and of the largest result.
TOLERANCE = 1e4


class _Watched(list[RawNode]):
    """Nodes that remember which of them were read."""

    def __init__(self) -> None:
        self.read: set[int] = set()

    def __getitem__(self, j: Any) -> Any:
        self.read.add(j)
        return super().__getitem__(j)


class CheckingBuilder(Builder):
    """A builder that checks every rule when it holds."""

    def __init__(self, table: Any) -> None:
        super().__init__(table)
        self.nodes: _Watched = _Watched()
        #: Names of the rules that held, in order.
        self.fired: list[str] = []

    def place(self, op: Op, args: tuple[int, ...], attrs: tuple[Any, ...], spec: Any) -> int:
        """Return a node for an op on nodes; see `Builder.place`."""
        outer, nodes = self.nodes.read, self.nodes
        for rule, k in self._candidates(op, args):
            nodes.read = set() if rule.argument is None else {args[k]}
            result = rule.apply(self, op, args, attrs, spec, k)
            read, nodes.read = nodes.read, outer
            if result is not None and (isinstance(result, tuple) or self.specs[result] is spec):
                self._verify(rule, (op, args, attrs), result, read)
                self.fired.append(rule.apply.__name__)
                outer |= read
                return self.place(*result, spec) if isinstance(result, tuple) else result
        return self.add(op, args, attrs, spec)

    def add(self, op: Op, args: tuple[int, ...], attrs: tuple[Any, ...], spec: Any) -> int:
        """Return the node of an op on nodes; a rule that adds a node knows what it is."""
        found = super().add(op, args, attrs, spec)
        self.nodes.read.add(found)
        return found

    def literal(self, value: Any, dtype: Any) -> int:
        """Return the node of a Python scalar."""
        found = super().literal(value, dtype)
        self.nodes.read.add(found)
        return found

    def _candidates(self, op: Op, args: tuple[int, ...]) -> Iterator[tuple[Rule, int]]:
        always, chosen = self.table.get(op, ((), {}))
        yield from [(rule, 0) for rule in always]
        for k, j in enumerate(args):
            yield from [(rule, k) for rule in chosen.get(list.__getitem__(self.nodes, j)[0], ())]

    def _verify(self, rule: Rule, before: RawNode, after: int | RawNode, read: set[int]) -> None:
        roots = [*before[1], *(after[1] if isinstance(after, tuple) else [after])]
        inner, leaves = _cone(self.nodes, roots, lambda j: j not in read)
        for values in special_values({j: self.specs[j] for j in leaves}):
            _run(self.nodes, self.literals, inner, values)
            wanted = _kernel(before)(*[values[j] for j in before[1]])
            got = _kernel(after)(*[values[j] for j in after[1]]) if isinstance(after, tuple) else values[after]
            if not agree(wanted, got, rule.exact):
                what = _text(before, self.specs)
                raise broken(rule.apply.__name__, what, wanted, got, self.sources[self.origin])

    def replaced(self, graph: Graph, node: int, replacement: Replacement, new: list[int]) -> int:
        """Return what stands for a node of a graph, after a check; ``new`` has the nodes before it."""
        made, self.nodes.read = self.nodes.read, self.nodes.read | set()
        result = replacement(self, new)
        made |= self.nodes.read
        self.nodes.read = made
        inner, leaves = _cone(self.nodes, [result], lambda j: j not in made)
        old_inner, old_leaves = _cone(graph.nodes, [node], lambda j: new[j] in leaves)
        places = {j: new[j] for j in old_leaves}
        specs = {j: self.specs[j] for j in leaves} | {places[j]: graph.specs[j] for j in old_leaves}
        for values in special_values(specs):
            old_values = {j: values[place] for j, place in places.items()}
            try:
                _run(graph.nodes, graph.literals, old_inner, old_values)
                _run(self.nodes, self.literals, inner, values)
            except np.linalg.LinAlgError:  # no matrix for either program
                continue
            if not agree(old_values[node], values[result], False):
                what = _text(graph.nodes[node], graph.specs)
                raise broken(
                    type(replacement).__name__, what, old_values[node], values[result], self.sources[self.origin]
                )
        self.fired.append(type(replacement).__name__)
        return result


def broken(name: str, what: str, wanted: Any, got: Any, source: Any) -> RewriteError:
    """Return the error for a rule that changed a result."""
    different = ~_equal(np.asarray(wanted), np.asarray(got)) if np.shape(wanted) == np.shape(got) else True
    first = np.flatnonzero(different)[0] if np.shape(wanted) == np.shape(got) and np.any(different) else 0
    show = [f"{a.dtype}{list(a.shape)}, {a.reshape(-1)[first : first + 1]}" for a in map(np.asarray, (wanted, got))]
    return RewriteError(
        f"the rule {name!r} changes the result of {what}",
        op="simplify",
        expected=show[0],
        got=show[1],
        remedy="correct the rule, or its condition",
        location=None if source is None else str(Source(*source)),
    )


def _text(node: RawNode, specs: Sequence[Any]) -> str:
    op, args, attrs = node
    words = [repr(specs[j]) for j in args] + [f"{key}={value!r}" for key, value in op.attr_dict(attrs).items()]
    return f"{op.name}({', '.join(words)})"


# -- running a few nodes -----------------------------------------------------------------------


def _cone(nodes: Sequence[RawNode], roots: Iterable[int], is_leaf: Any) -> tuple[list[int], list[int]]:
    """Return the nodes that roots depend on down to the leaves, and the leaves."""
    inner: set[int] = set()
    leaves: set[int] = set()
    stack = list(roots)
    while stack:
        j = stack.pop()
        if j in inner or j in leaves:
            continue
        op, args, _ = list.__getitem__(nodes, j) if isinstance(nodes, list) else nodes[j]
        if op is INPUT or (is_leaf(j) and op is not ITEM and op is not LITERAL):
            leaves.add(j)
        else:
            inner.add(j)
            stack += args
    return sorted(inner), sorted(leaves)


def _kernel(node: RawNode) -> Any:
    op, _, attrs = node
    if op is ITEM:
        return lambda outputs: outputs[attrs[0]]
    kernel, keywords = backends.get("numpy").kernel(op, attrs)
    return lambda *args: kernel(*args, **keywords)


def _run(nodes: Sequence[RawNode], literals: Sequence[Any], order: list[int], values: dict[int, Any]) -> None:
    """Compute nodes in order, adding to values."""
    for j in order:
        op, args, attrs = list.__getitem__(nodes, j) if isinstance(nodes, list) else nodes[j]
        if op is LITERAL:
            values[j] = attrs[0].dtype.type(literals[attrs[1]])
        else:
            values[j] = _kernel((op, args, attrs))(*[values[i] for i in args])


def special_values(specs: Mapping[int, Spec]) -> Iterator[dict[int, Any]]:
    """Yield values for some specs, several times: every kind of special value meets every other."""
    rng = np.random.default_rng(len(specs))
    small = sum([spec.size for spec in specs.values()]) <= SMALL
    with np.errstate(all="ignore"):
        for number in range(SMALL_ROUNDS if small else ROUNDS):
            yield {j: _sample(spec, rng, plain=number == 0) for j, spec in specs.items()}


def _sample(spec: Spec, rng: np.random.Generator, plain: bool) -> Any:
    kind = spec.dtype.kind
    shape = spec.shape
    if kind == "b":
        return np.asarray(rng.random(shape) < 0.5)[()]
    if kind in "iu":
        return rng.integers(0 if kind == "u" else -4, 5, shape).astype(spec.dtype)[()]
    values = np.asarray(rng.standard_normal(shape))
    if kind == "c":
        values = values + 1j * rng.standard_normal(shape)
    if not plain:
        limits = np.finfo(spec.dtype)
        special = np.array([0.0, -0.0, 1.0, 1.0, -1.0, 2.0, np.inf, -np.inf, np.nan, limits.smallest_subnormal])
        chosen = np.asarray(rng.choice(special, shape), values.dtype)
        if kind == "c":
            chosen.imag = rng.choice(special, shape)
        # Where few are special, other results stay finite.
        values = np.where(rng.random(shape) < rng.choice([0.02, 0.8]), chosen, values)
    return values.astype(spec.dtype)[()]


def agree(wanted: Any, got: Any, exact: bool) -> bool:
    """Return whether two results are the same: bit for bit (any NaN is NaN), or but for rounding."""
    a, b = np.asarray(wanted), np.asarray(got)
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    same = _equal(a, b)
    if exact or a.dtype.kind not in "fc":
        return bool(same.all())
    finite = np.isfinite(a) & np.isfinite(b) & ((a != 0) | (b != 0))
    scale = max(1.0, float(np.max(np.abs(a[finite]), initial=0.0)))
    return bool((same | (finite & (np.abs(a - b) <= TOLERANCE * np.finfo(a.dtype).eps * scale))).all())


def _equal(a: Any, b: Any) -> Any:
    if a.dtype.kind == "c":
        return _equal(a.real, b.real) & _equal(a.imag, b.imag)
    if a.dtype.kind != "f":
        return a == b
    return ((a == b) & (np.signbit(a) == np.signbit(b))) | (np.isnan(a) & np.isnan(b))
