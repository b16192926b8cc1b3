"""Factors: one factorisation of a matrix where a graph wants both its inverse and its determinant.

So does the gradient of every logarithm of a determinant, and the density of a normal distribution.
"""

from __future__ import annotations

from typing import final

from gradloom.graph import ITEM, Graph
from gradloom.op import ops
from gradloom.simplify.builder import Builder, Replacement, replace_nodes


@final
class Part:
    """Stands for one output of `inv_slogdet` of a matrix."""

    def __init__(self, matrix: int, output: int) -> None:
        self.matrix = matrix
        self.output = output

    def __call__(self, g: Builder, new: list[int]) -> int:
        """Add the output, and before its first use the op."""
        both = g.emit("inv_slogdet", (new[self.matrix],))
        return g.place(ITEM, (both,), (self.output,), g.specs[both][self.output])


def merge_factors(graph: Graph, g: Builder) -> tuple[Graph, list[int]] | None:
    """Replace `inv` and `slogdet` of one matrix by `inv_slogdet`.

    Returns
    -------
    (Graph, list of int) or None
        What comes out of the builder, and which node each of its nodes was made for.
    """
    inv, slogdet = ops["inv"], ops["slogdet"]
    inverted = {node[1][0] for node in graph.nodes if node[0] is inv}
    if not inverted:
        return None
    parts: dict[int, Part] = {}
    for i, (op, inputs, attrs) in enumerate(graph.nodes):
        if op is inv:
            parts[i] = Part(inputs[0], 0)
        elif op is ITEM and graph.nodes[inputs[0]][0] is slogdet:
            (matrix,) = graph.nodes[inputs[0]][1]
            if matrix in inverted:
                parts[i] = Part(matrix, 1 + attrs[0])
    determined = {part.matrix for part in parts.values() if part.output}
    replacements: dict[int, Replacement] = {i: part for i, part in parts.items() if part.matrix in determined}
    return replace_nodes(graph, g, replacements, range(len(graph.nodes))) if replacements else None
