"""Kinds: which nodes of a graph are alike, and what of their sizes matters to how it is cut into regions.

A new size gives new kinds, but most often as many, at the same nodes, of the same traits. What follows from
those alone, such as where regions begin and end, is found once for all sizes; see `gradloom.partition`.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple, final

from gradloom.axes import Axes, known_axes
from gradloom.compiler import AbstractCompiler
from gradloom.graph import INPUT, ITEM, LITERAL, Graph, literal_key
from gradloom.op import Op


class Traits(NamedTuple):
    """What there is to know of the nodes of one kind, without their sizes.

    Attributes
    ----------
    op : Op
    forms : int
        In which forms a compiler takes them; see `gradloom.compiler`.
    ones : tuple of bool, or None
        For each axis, whether it has length 1; None for an op of several outputs.
    heavy : bool
        Whether they have so many elements that their loops are worth running apart.
    axes : Axes, or None
        What the op does along each axis, where that does not follow from op, rank and axes of length 1.
    """

    op: Op
    forms: int
    ones: tuple[bool, ...] | None
    heavy: bool
    axes: Axes | None


@final
class Kinds:
    """The kinds of a graph's nodes: those of one kind have op, attrs and specs in common, literals their value.

    Parameters
    ----------
    graph : Graph
    compiler : AbstractCompiler
        Says which nodes a region may hold.
    elsewhere : collection of int
        Nodes that run on other devices than the compiler's.
    heavy : int
        Elements from which on nodes are heavy.
    """

    def __init__(self, graph: Graph, compiler: AbstractCompiler, elsewhere: Collection[int], heavy: int) -> None:
        #: The kind of each node, and the traits of each kind, in the order of their first nodes.
        self.of: list[int] = []
        self.traits: list[Traits] = []
        specs, literals = graph.specs, graph.literals
        known: dict[Any, int] = {}
        for (op, inputs, attrs), spec in zip(graph.nodes, specs, strict=True):
            if len(inputs) == 2:
                key: Any = op, attrs, spec, specs[inputs[0]], specs[inputs[1]]
            elif op is LITERAL:
                value = literals[attrs[1]]
                key = op, spec, type(value), literal_key(value)
            else:
                key = op, attrs, spec, *[specs[j] for j in inputs]
            kind = known.setdefault(key, len(known))
            if kind == len(self.traits):
                self.traits.append(_traits(op, tuple([specs[j] for j in inputs]), attrs, spec, compiler, heavy))
            self.of.append(kind)
        #: Equal for graphs that differ in sizes alone, and in nothing that matters to how they are cut.
        self.key = (
            tuple([inputs for _, inputs, _ in graph.nodes]),
            tuple(self.of),
            tuple(self.traits),
            graph.inputs,
            graph.outputs,
            tuple(elsewhere),
        )


def _traits(
    op: Op, inputs: tuple[Any, ...], attrs: tuple[Any, ...], spec: Any, compiler: AbstractCompiler, heavy: int
) -> Traits:
    if type(spec) is tuple:
        return Traits(op, 0, None, False, None)
    forms, axes = 0, None
    if op is not INPUT and op is not ITEM and inputs and tuple not in map(type, inputs):
        forms = compiler.forms(op, inputs, attrs, spec)
        if forms and op.axes is not None and not isinstance(op.axes, str):
            axes = _numbered(known_axes(op, inputs, attrs))
    return Traits(op, forms, tuple([n == 1 for n in spec.shape]), spec.size >= heavy, axes)


def _numbered(axes: Axes | None) -> Axes | None:
    """Return axes with numbers for labels, which may be made of sizes."""
    if axes is None:
        return None
    numbers: dict[Any, int | None] = {None: None}
    *inputs, output = [tuple([numbers.setdefault(a, len(numbers)) for a in own]) for own in (*axes.inputs, axes.output)]
    return Axes(tuple(inputs), output, axes.combine)
