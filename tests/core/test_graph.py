"""Graph: plain data that prints, hashes, compares, pickles, and runs in another process."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom.graph import Graph, live_nodes
from gradloom.plan import Plan
from gradloom.program import Program

X = np.array([0.5, -1.25, 2.0])


def loss(params: Any, X: Any, y: Any) -> Any:
    """Return a logistic loss."""
    w, b = params
    z = X @ w + b
    return np.mean(np.logaddexp(0.0, z) - y * z)


ARGS = ((np.array([0.1, -0.2, 0.3]), 0.5), np.arange(12.0).reshape(4, 3) / 10, np.array([0.0, 1.0, 1.0, 0.0]))


def graph_of_gradient() -> Graph:
    """Return the graph of a value and its gradient."""
    return gl.make_graph(gl.value_and_grad(loss))(*ARGS)


@gl.custom_gradient
def clipped(x: Any) -> Any:
    """Return a logarithm with a clipped gradient."""
    return np.log(x), lambda g: g * np.minimum(1 / x, 10.0)


def test_print_reads_like_code() -> None:
    """Names, specs, and the user's lines."""
    graph = gl.make_graph(lambda x, y: np.sum(np.sin(x) * 2.0 + y))(X, 1.0)
    lines = str(graph).splitlines()
    assert lines[0] == "graph(x0: float64[3], x1: float64[]) {"
    assert lines[-1] == "}"
    assert lines[-2].startswith("  return x")
    body = lines[1:-2]
    assert [row.split(" = ")[1].split("(")[0] for row in body] == ["sin", "multiply", "add", "sum"]
    assert all("test_graph.py:" in row for row in body)
    assert "2.0" in body[1]
    assert "axis=(0,)" in body[3]


def test_print_tells_gradients_apart() -> None:
    """Nodes that a gradient rule added say so, and name the line they differentiate."""
    text = str(graph_of_gradient())
    assert "gradient of test_graph.py:" in text
    assert "at test_graph.py" not in text.replace("gradient of ", "")
    assert repr(graph_of_gradient()).startswith("<Graph: 4 inputs, ")


def test_nodes_for_reading() -> None:
    """Iterating gives op, inputs, attrs, spec and source of each node."""
    graph = graph_of_gradient()
    nodes = list(graph)
    assert len(nodes) == len(graph)
    for i, node in enumerate(nodes):
        assert node.id == i
        assert all(j < i for j in node.inputs)
    sources = [node.source for node in nodes if node.source is not None]
    assert {s.filename for s in sources} == {__file__}
    assert any(s.derived for s in sources)
    code = loss.__code__
    body = range(code.co_firstlineno, code.co_firstlineno + 6)
    assert all(s.line in body for s in sources if not s.derived)


def test_equality_and_hash_go_by_content() -> None:
    """Two traces of one function are equal; any difference in structure or literals shows."""
    f = lambda s: gl.make_graph(lambda x: np.sin(x) * s)(X)  # noqa: E731
    assert f(2.0) == f(2.0)
    assert hash(f(2.0)) == hash(f(2.0))
    assert f(2.0).content_hash() == f(2.0).content_hash()
    others = [
        f(3.0),
        f(-2.0),
        f(0.0),
        f(-0.0),
        f(np.nan),
        gl.make_graph(lambda x: np.cos(x) * 2.0)(X),
        gl.make_graph(lambda x: np.sin(x) * 2.0)(X[:2]),
        gl.make_graph(lambda x: np.sin(x) * 2.0)(X.astype(np.float32)),
        gl.make_graph(lambda x: (np.sin(x) * 2.0, x))(X),
        gl.make_graph(lambda x: 2.0 * np.sin(x))(X),
    ]
    graphs = [f(2.0), *others]
    for i, a in enumerate(graphs):
        for b in graphs[i + 1 :]:
            assert a != b
            assert a.content_hash() != b.content_hash()
    assert f(np.nan) == f(np.nan)
    assert f(2.0) != "text"


def test_equal_graphs_have_equal_hashes() -> None:
    """2 and 2.0 beside floats are the same literal."""
    a = gl.make_graph(lambda x: x * 2)(X)
    b = gl.make_graph(lambda x: x * 2.0)(X)
    assert a == b
    assert hash(a) == hash(b)
    assert a.content_hash() == b.content_hash()


def test_large_integer_literals_differ() -> None:
    """2**53 and 2**53 + 1 are one float64 but two int64."""
    a, b = [gl.make_graph(lambda x, n=n: x * n)(np.arange(3)) for n in (2**53, 2**53 + 1)]
    assert a != b
    assert a.content_hash() != b.content_hash()


def test_hash_sees_into_custom_gradients() -> None:
    """Graphs within graphs count by content."""

    def with_slope(c: float) -> Graph:
        @gl.custom_gradient
        def f(x: Any) -> Any:
            return x * c, lambda g: g * (c + 1.0)

        return gl.make_graph(f)(1.0)

    assert with_slope(2.0) == with_slope(2.0)
    assert with_slope(2.0).content_hash() == with_slope(2.0).content_hash()
    assert with_slope(2.0) != with_slope(3.0)
    assert with_slope(2.0).content_hash() != with_slope(3.0).content_hash()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "make",
    [
        graph_of_gradient,
        lambda: gl.make_graph(gl.grad(lambda x: clipped(x) ** 2))(0.01),
        lambda: gl.make_graph(lambda x: np.linalg.eigh(x @ x.T)[1][::-1, None, [0, 1]])(np.eye(3)),
        lambda: gl.make_graph(lambda x: (np.sort(x), x[..., 1:2], np.where(x > 0, x, np.nan), x * 1j))(X),
        lambda: gl.make_graph(gl.hessian(lambda x: np.sum(x**3)))(X),
    ],
)
def test_pickle_round_trip(make: Any, protocol: int) -> None:
    """Content, text and lines survive; so does what a plan computes."""
    graph = make()
    again = pickle.loads(pickle.dumps(graph, protocol))
    assert again == graph
    assert hash(again) == hash(graph)
    assert again.content_hash() == graph.content_hash()
    assert str(again) == str(graph)
    assert [again.source(i) and str(again.source(i)) for i in range(len(again))] == [
        graph.source(i) and str(graph.source(i)) for i in range(len(graph))
    ]
    assert str(pickle.loads(pickle.dumps(again, protocol))) == str(graph)


SCRIPT = """
import pickle, sys
import numpy as np
import gradloom
from gradloom.program import Program
folder = sys.argv[1]
graph, args = pickle.load(open(folder + "/graph.pickle", "rb"))
assert "test_graph" not in sys.modules
result = Program(graph).run(args)
pickle.dump((graph.content_hash(), hash(graph) == hash(pickle.loads(pickle.dumps(graph))), str(graph), result),
            open(folder + "/result.pickle", "wb"))
"""


def test_graph_runs_in_another_process(tmp_path: Path) -> None:
    """Pickled here, opened and run there: same bits, same content hash, same text; string hashing differs."""
    graph = graph_of_gradient()
    args = [ARGS[0][0], ARGS[0][1], ARGS[1], ARGS[2]]
    (tmp_path / "graph.pickle").write_bytes(pickle.dumps((graph, args)))
    subprocess.run([sys.executable, "-c", SCRIPT, str(tmp_path)], check=True, timeout=60)
    digest, same, text, result = pickle.loads((tmp_path / "result.pickle").read_bytes())
    assert digest == graph.content_hash()
    assert same
    assert text == str(graph)
    for found, expected in zip(result, Program(graph).run(args), strict=True):
        np.testing.assert_array_equal(found, expected)
    value, (gw, gb) = gl.value_and_grad(loss)(*ARGS)
    np.testing.assert_array_equal(result[0], value)
    np.testing.assert_array_equal(result[1], gw)
    np.testing.assert_array_equal(result[2], gb)


def test_plan_pickles() -> None:
    """A plan travels as its graph and its backend's name."""
    plan = Program(graph_of_gradient()).plan("numpy")
    args = [ARGS[0][0], np.float64(ARGS[0][1]), ARGS[1], ARGS[2]]
    again = pickle.loads(pickle.dumps(plan))
    assert isinstance(again, Plan)
    for found, expected in zip(again.run(args), plan.run(args), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_without_sources() -> None:
    """The same content, without lines."""
    graph = graph_of_gradient()
    bare = graph.without_sources()
    assert bare == graph
    assert "test_graph.py" not in str(bare)
    assert all(bare.source(i) is None for i in range(len(bare)))


def test_live_nodes() -> None:
    """Only what the outputs need is live, and only that is run."""
    graph = gl.make_graph(lambda x: (np.exp(x), np.sin(x))[1])(X)
    names = [node.op.name for node in graph]
    live = live_nodes(graph.nodes, graph.outputs)
    assert [name for name, alive in zip(names, live, strict=True) if alive] == ["input", "sin"]
    assert len(Program(graph).plan("numpy").steps) == 1


def test_reordered() -> None:
    """Another order of the nodes is the same function, with the same lines; one against the edges is none."""
    graph = graph_of_gradient()
    leaves = [i for i, node in enumerate(graph.nodes) if not node[1]]
    order = leaves[::-1] + [i for i in range(len(graph)) if i not in leaves]
    again = graph.reordered(order)
    assert again is not None
    assert again.inputs != graph.inputs
    values = [ARGS[0][0], np.float64(ARGS[0][1]), *ARGS[1:]]
    for got, expected in zip(Program(again).run(values), Program(graph).run(values), strict=True):
        np.testing.assert_array_equal(got, expected)
    for k, i in enumerate(order):
        assert str(again.source(k)) == str(graph.source(i))
        if graph.sources[i] is not None and graph.sources[i][2] >= 0:  # type: ignore[index]
            assert order[again.sources[k][2]] == graph.sources[i][2]  # type: ignore[index]
    assert graph.reordered(range(len(graph))) == graph
    assert graph.reordered(range(len(graph) - 1, -1, -1)) is None
