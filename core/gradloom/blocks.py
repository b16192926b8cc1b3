"""Blocks: what runs along one long axis through several kernels, block by block.

A kernel of a region takes its rows in blocks that fit the cache. Where products of matrices stand between regions, as
in the layers of a model, whole arrays go from kernel to kernel by way of memory. If they share an axis that ends
in sums, the samples of a loss, all of those kernels run for one block of it, while its arrays are in the cache, and
then for the next; what the blocks give is added.
"""

from __future__ import annotations

from typing import Any

from gradloom.compiler import AbstractCompiler
from gradloom.graph import INPUT, Graph
from gradloom.op import define
from gradloom.regions import region_spec
from gradloom.spec import Spec

#: Bytes of the smallest array that is not the graph's input for which a graph is looked at closely.
LARGE = 2 * 2**20


def _spec(*inputs: Spec, graph: Graph, axes: tuple[int | None, ...], rows: int) -> Any:
    return region_spec(*inputs, graph=graph)


#: A graph that runs by blocks of ``rows`` along ``axes`` of its inputs, None for those that each block takes whole.
BLOCKS = define("blocks", spec=_spec)


def block(graph: Graph, compiler: AbstractCompiler) -> Graph:
    """Return the graph with what is to run by blocks as single nodes of the op `BLOCKS`.

    Parameters
    ----------
    graph : Graph
    compiler : AbstractCompiler
        Says which nodes a region may hold; what goes to and from the others goes by way of memory.

    Notes
    -----
    Cost: linear in the number of nodes; graphs without large products are looked through once.
    """
    nodes, specs = graph.nodes, graph.specs
    found = [i for i, (op, inputs, _) in enumerate(nodes) if inputs and op.axes is not None and not op.elementwise]
    values = [specs[j] for i in found for j in (i, *nodes[i][1]) if nodes[j][0] is not INPUT]
    if not any([type(spec) is not tuple and spec.nbytes >= LARGE for spec in dict.fromkeys(values)]):
        return graph
    from gradloom.chains import in_blocks  # few graphs have large arrays there

    return in_blocks(graph, [i for i in found if not nodes[i][0].view and _parts_regions(graph, i, compiler)])


def _parts_regions(graph: Graph, i: int, compiler: AbstractCompiler) -> bool:
    """Return whether no region can hold a node."""
    op, inputs, attrs = graph.nodes[i]
    specs = tuple([graph.specs[j] for j in (i, *inputs)])
    return tuple not in map(type, specs) and not compiler.forms(op, specs[1:], attrs, specs[0])
