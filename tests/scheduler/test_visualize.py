"""dask draws lazy tensors and chunked gradients; what it hands to graphviz is looked at, as dot need not be here."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest

import gradloom as gl

X = np.ones((6, 3))


class Drawn:
    """Takes the place of graphviz's class, and keeps what dask draws."""

    def __init__(self, **options: Any) -> None:
        self.shapes: dict[str, str] = {}
        self.tasks: list[str] = []
        self.edges: set[tuple[str, str]] = set()

    def node(self, name: str, *, shape: str, **options: Any) -> None:
        self.shapes[name] = shape
        if shape == "circle":
            self.tasks.append(options["label"])

    def edge(self, start: str, end: str, **options: Any) -> None:
        self.edges.add((start, end))

    def pipe(self, **options: Any) -> bytes:
        LATEST[:] = [self]
        return b"<svg/>"

    def inputs(self) -> set[str]:
        """Return what no task makes: a task is a circle, and a value a box."""
        made = {end for start, end in self.edges if self.shapes[start] == "circle"}
        return {name for name, shape in self.shapes.items() if shape == "box"} - made

    def results(self) -> set[str]:
        """Return what no task takes."""
        return {name for name, shape in self.shapes.items() if shape == "box"} - {start for start, _ in self.edges}


LATEST: list[Drawn] = []


@pytest.fixture
def draw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Drawn]:
    """Return what `dask.visualize`, or a method of that name, draws."""
    graphviz = types.ModuleType("graphviz")
    graphviz.Digraph = Drawn  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "graphviz", graphviz)

    def drawn(*collections: Any, visualize: Any = dask.visualize, **options: Any) -> Drawn:
        visualize(*collections, filename=str(tmp_path / "graph"), format="svg", engine="graphviz", **options)
        assert (tmp_path / "graph.svg").read_text() == "<svg/>"
        return LATEST.pop()

    return drawn


def tensors() -> tuple[Any, ...]:
    a, w = gl.tensor(X), gl.tensor(X.T / 8)
    y = np.sum(np.tanh(a @ w) ** 2)
    return (y, *gl.gradients(y, [a, w]))


def test_each_tensor_is_a_task_on_the_inputs(draw: Any) -> None:
    graph = draw(*tensors())
    tasks = [name for name, shape in graph.shapes.items() if shape == "circle"]
    assert len(tasks) == len(graph.results()) == 3
    assert len(graph.inputs()) == 2
    assert {(i, t) for i in graph.inputs() for t in tasks} <= graph.edges


def test_optimised_tensors_are_cut_into_tasks(draw: Any) -> None:
    graph = draw(*tensors(), optimize_graph=True)
    assert len(graph.results()) == 3
    assert len(graph.shapes) > len(draw(*tensors()).shapes)


def test_tasks_are_called_by_their_ops(draw: Any) -> None:
    """A tensor by its last op, a task of what is computed together by the op that takes most of its time."""
    assert sorted(draw(*tensors()).tasks) == ["gradloom.annihilating_matmul"] * 2 + ["gradloom.sum"]
    assert "gradloom.annihilating_matmul" in draw(*tensors(), optimize_graph=True).tasks


def test_method(draw: Any) -> None:
    assert len(draw(visualize=tensors()[0].visualize).results()) == 1


@pytest.mark.parametrize("optimize_graph", [False, True])
def test_chunked_gradient(draw: Any, optimize_graph: bool) -> None:
    chunked = da.from_array(X, chunks=(2, -1))
    value, gradient = gl.value_and_grad(lambda w, x: np.sum(np.tanh(x @ w)))(np.ones(3), chunked)
    assert len(draw(value, gradient, optimize_graph=optimize_graph).results()) == 2


def test_without_graphviz_dask_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("graphviz", "ipycytoscape"):
        monkeypatch.setitem(sys.modules, name, None)
    for draw in (dask.visualize, type(tensors()[0]).visualize):
        with pytest.raises(RuntimeError, match="please install graphviz or ipycytoscape"):
            draw(tensors()[0])
    assert "<svg" in str(gl.visualize(*tensors()))
