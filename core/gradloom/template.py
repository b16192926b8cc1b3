"""Template: the straight line of a plan, its text and the places of its values, found once for all sizes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial
from typing import Any, Final

from gradloom.backend import AbstractBackend
from gradloom.buffers import Buffers, Places, places_of
from gradloom.graph import Graph
from gradloom.outline import Outline
from gradloom.polymorphic import Shared
from gradloom.step import COPY, Bound
from gradloom.straightline import StraightLine, Text


class _Stand:
    """Stands for a kernel whose like is not known yet."""


class _Writing(_Stand):
    """One that writes where it is told."""

    into = None


_STAND: Final[Any] = _Stand()
_WRITING: Final[Any] = _Writing()


def has_template(graph: Graph) -> bool:
    """Return whether the straight line of a graph's plan follows from that of another size."""
    return graph.pattern is not None and Text in graph.pattern.found


def straight_line(
    graph: Graph,
    outline: Outline,
    kernels: Mapping[int, Bound],
    common: Collection[int],
    constants: Mapping[int, Any],
    backend: AbstractBackend,
    placing: bool,
) -> StraightLine:
    """Return the steps of a plan as one function.

    Parameters
    ----------
    graph : Graph
    outline : Outline
    kernels : mapping
        By kind, with their attrs.
    common : collection of int
        The kinds of those that plans of all sizes share.
    constants : mapping
        Known values, by id.
    backend : AbstractBackend
    placing : bool
        Whether kernels are told where to write.
    """
    kernels = {**kernels, COPY: (backend.copy, {})}
    own = [kind for kind in kernels if kind not in common]
    writing = frozenset([kind for kind in own if placing and hasattr(kernels[kind][0], "into")])
    pattern = graph.pattern
    if pattern is None or pattern.found.get(Outline) is not outline:
        found = _laid_out(outline, writing, backend, graph)
    else:
        key = Text, writing, backend.name
        shared = pattern.found.get(key)
        if shared is None:
            shared = pattern.found.setdefault(key, Shared(partial(_laid_out, outline, writing, backend)))
        found = shared(graph)
        pattern.found[Text] = True
    places: Places = found[0]
    buffers = Buffers(*found, graph.specs, backend)
    line: StraightLine | None = None
    if places.text is not None:
        line = places.text.line(kernels, constants, backend, buffers)
    if line is None:
        places.text = text = _text(graph, outline, kernels, common, constants, places)
        line = text.line(kernels, constants, backend, buffers)
    assert line is not None
    return line


def _laid_out(
    outline: Outline, writing: Collection[int], backend: AbstractBackend, graph: Graph
) -> tuple[Places, tuple[int, ...], int]:
    kernels: dict[int, Bound] = {
        kind: (_WRITING if kind in writing else _STAND, {}) for kind in (*outline.kinds.values(), COPY)
    }
    return places_of(graph, list(outline.steps(kernels)), outline.outputs, backend)


def _text(
    graph: Graph,
    outline: Outline,
    kernels: Mapping[int, Bound],
    common: Collection[int],
    constants: Collection[int],
    places: Places,
) -> Text:
    specs = graph.specs
    # Past the graph's own nodes are copies of outputs; a constant among them is 0-d.
    scalars = frozenset([i for i, spec in enumerate(specs) if type(spec) is not tuple and not spec.shape])
    scalars |= {target for _, target in outline.copies}
    kinds = [call.kind for call in outline.calls] + [COPY] * len(outline.copies)
    steps = list(outline.steps(kernels))
    return Text(steps, kinds, kernels, common, graph.inputs, outline.outputs, constants, scalars, places)
