"""DaskBackend: chunked arrays go in, lazy chunked arrays come out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np

from gradloom.backend import AbstractBackend, Kernel, Specialised, spec_of
from gradloom.errors import ShapeError
from gradloom.graph import INPUT, ITEM, Graph
from gradloom.op import Op
from gradloom.packages import installed
from gradloom.program import Program
from gradloom.spec import Spec, recent_spec


@final
class DaskBackend(AbstractBackend):
    """Dask arrays.

    Notes
    -----
    A graph is cut along the chunks of the data. Each chunk is read once; sums over chunks are taken in a tree.
    """

    name = "dask"
    whole_graphs = True

    @property
    def kernels(self) -> Mapping[str, Kernel | Specialised]:
        """None: chunks are computed by the backend of their arrays."""
        return {}

    def unavailable(self) -> str | None:
        """Return what to install."""
        return None if installed("dask") else "dask not installed; pip install 'gradloom[dask]'"

    def recognises(self, kind: type) -> bool:
        """Return whether a type is that of dask arrays; dask is not imported for it."""
        return any([one.__name__ == "Array" and one.__module__.startswith("dask.array") for one in kind.__mro__])

    def describe(self, array: Any) -> Spec:
        """Return the spec of a dask array."""
        if any([math.isnan(n) for n in array.shape]):
            raise ShapeError(
                "the lengths of the chunks are not known",
                expected="a dask array of known shape",
                got=f"shape {array.shape}",
                remedy="call x.compute_chunk_sizes() first",
            )
        return recent_spec(array.shape, array.dtype)

    def from_host(self, value: Any) -> Any:
        """Return a NumPy array as a dask array."""
        import dask.array

        return dask.array.asarray(value)

    def to_host(self, array: Any) -> np.ndarray[Any, Any]:
        """Compute an array."""
        return np.asarray(array.compute())

    def kernel(self, op: Op, attrs: tuple[Any, ...]) -> tuple[Kernel, dict[str, Any]]:
        """Return a callable that computes one op lazily: for values on demand."""

        def run(*values: Any) -> Any:
            specs = tuple([spec for v in values if (spec := spec_of(v)) is not None])
            out = op.infer(specs, attrs)[0]
            nodes: list[Any] = [(INPUT, (), (spec,)) for spec in specs]
            nodes.append((op, tuple(range(len(specs))), attrs))
            count = len(out) if type(out) is tuple else 0
            nodes += [(ITEM, (len(specs),), (k,)) for k in range(count)]
            found = (*specs, out, *(out if count else ()))
            outputs = tuple(range(len(nodes) - (count or 1), len(nodes)))
            graph = Graph(tuple(nodes), found, tuple(range(len(specs))), outputs)
            results = Program(graph).run(values)
            return tuple(results) if count else results[0]

        return run, {}

    def run_graph(self, graph: Graph, values: Sequence[Any], sources: Sequence[Any]) -> list[Any]:
        """Return lazy arrays for the outputs of a graph."""
        from gradloom_dask.chunks import run_graph

        return run_graph(graph, values)
