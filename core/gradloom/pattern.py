"""Pattern: what graphs have in common that differ in numbers alone."""

from __future__ import annotations

from typing import Any, final


@final
class Pattern:
    """What graphs share that differ in numbers alone; see `gradloom.polymorphic`.

    Parameters
    ----------
    graph : Graph
        One of them, with symbolic numbers.
    """

    __slots__ = ("__weakref__", "found", "graph")

    def __init__(self, graph: Any) -> None:
        self.graph = graph
        #: What was found for one of them and holds for all, by who found it.
        self.found: dict[Any, Any] = {}
