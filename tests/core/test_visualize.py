"""Drawings: complete, readable, self-contained, and the same every time."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom.errors import ArgumentError
from gradloom.graph import LITERAL, Graph, live_nodes
from gradloom.layout import Layout, assign_tracks, drawn_nodes
from gradloom.picture import MAX_NODES

SVG = "{http://www.w3.org/2000/svg}"
X = np.linspace(0.1, 0.9, 10)


def chain(x: Any, length: int = 4) -> Any:
    """Repeat ``sin(x) * 2 + x``, then sum."""
    for _ in range(length):
        x = np.sin(x) * 2.0 + x
    return np.sum(x)


def branches(x: Any, y: Any) -> Any:
    """Two wide parts that meet at the end."""
    left = [np.sin(x * float(k)) for k in range(1, 6)]
    right = [np.cos(y * float(k)) for k in range(1, 4)]
    return np.sum(sum(left[1:], left[0]) * 0.5) * np.sum(sum(right[1:], right[0]))


def parse(drawing: Any) -> ET.Element:
    """Parse a drawing as XML."""
    return ET.fromstring(drawing.svg)


def nodes_of(root: ET.Element) -> list[ET.Element]:
    """Return the elements of the nodes."""
    return [g for g in root.iter(f"{SVG}g") if "node" in (g.get("class") or "").split()]


def boxes_of(root: ET.Element) -> list[tuple[float, float, float, float]]:
    """Return left, top, right and bottom of each box."""
    found = []
    for node in nodes_of(root):
        (rect,) = [r for r in node.findall(f"{SVG}rect") if r.get("class") == "box"]
        x, y, width, height = (float(rect.attrib[k]) for k in ("x", "y", "width", "height"))
        found.append((x, y, x + width, y + height))
    return found


CASES: list[tuple[str, Callable[..., Any], tuple[Any, ...]]] = [
    ("value", chain, (X,)),
    ("gradient", gl.value_and_grad(chain), (X,)),
    ("branches", gl.value_and_grad(branches, argnums=(0, 1)), (X, X)),
    ("tangents", lambda x, v: gl.jvp(chain, (x,), (v,)), (X, X)),
    ("second order", lambda x, v: gl.hvp(chain)(x, v), (X, X)),
    ("single node", np.sin, (X,)),
    ("argument returned", lambda x: x, (X,)),
    ("constant", lambda x: 2.0, (X,)),
]


@pytest.fixture(params=CASES, ids=[name for name, _, _ in CASES])
def case(request: pytest.FixtureRequest) -> tuple[Any, tuple[Any, ...]]:
    """Return a function with arguments."""
    _, f, args = request.param
    return f, args


def test_every_live_node_is_drawn_once(case: Any) -> None:
    """A node that is missing, or drawn twice, makes the picture a lie."""
    f, args = case
    graph = gl.make_graph(f)(*args)
    live = live_nodes(graph.nodes, graph.outputs)
    expected = [f"x{i}" for i, n in enumerate(graph.nodes) if live[i] and (n[0] is not LITERAL or i in graph.outputs)]
    assert sorted(n.attrib["id"] for n in nodes_of(parse(gl.visualize(f, *args)))) == sorted(expected)


def test_every_edge_is_drawn_once(case: Any) -> None:
    """One line for each input that is not written into its box."""
    f, args = case
    graph = gl.make_graph(f)(*args)
    drawn = set(drawn_nodes(graph))
    expected = [(f"x{j}", f"x{i}") for i in drawn for j in graph.nodes[i][1] if j in drawn]
    found = []
    for path in parse(gl.visualize(f, *args)).iter(f"{SVG}path"):
        title = path.find(f"{SVG}title")
        if title is not None and title.text is not None:
            source, target = title.text.split(" to ")
            found.append((source.split()[0], target.split()[0]))
    assert sorted(found) == sorted(expected)


def test_boxes_do_not_overlap(case: Any) -> None:
    """Every box keeps a gap to every other one, and lies on the canvas."""
    f, args = case
    root = parse(gl.visualize(f, *args))
    boxes = boxes_of(root)
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    for k, (left, top, right, bottom) in enumerate(boxes):
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
        for other in boxes[:k]:
            assert right + 8 < other[0] or other[2] + 8 < left or bottom + 8 < other[1] or other[3] + 8 < top


def test_lines_do_not_cross_boxes(case: Any) -> None:
    """A line that runs through a box would seem to end there."""
    f, args = case
    graph = gl.make_graph(f)(*args)
    layout = Layout(graph, dict.fromkeys(drawn_nodes(graph), 100.0))
    for line in layout.lines:
        ends = {line.source, line.target}
        for (x1, y1), (x2, y2) in pairwise(line.points):
            for box in layout.boxes.values():
                if box.id in ends:
                    continue
                outside = (
                    max(x1, x2) <= box.x - box.width / 2
                    or min(x1, x2) >= box.x + box.width / 2
                    or max(y1, y2) <= box.y
                    or min(y1, y2) >= box.y + 44
                )
                assert outside, f"line {line.source}->{line.target} meets x{box.id}"


def test_forward_and_backward_are_told_apart() -> None:
    """Nodes that a gradient rule added have their own class and stand in their own part."""
    graph = gl.make_graph(gl.value_and_grad(chain))(X)
    root = parse(gl.visualize(graph))
    seen = set()
    for node in nodes_of(root):
        i = int(node.attrib["id"][1:])
        source = graph.source(i)
        part = node.attrib["class"].split()[1]
        seen.add(part)
        if source is not None:
            assert part == ("backward" if source.derived else "forward")
    assert seen == {"input", "forward", "backward"}
    texts = [t.text or "" for t in root.iter(f"{SVG}text")]
    assert "forward: flows down" in texts
    assert "backward: flows up" in texts


def test_tangents_and_second_order_have_their_own_parts() -> None:
    """A forward-mode derivative flows down; a derivative of a derivative stands apart."""
    tangents = gl.visualize(lambda x, v: gl.jvp(chain, (x,), (v,)), X, X).svg
    assert "tangents: flow down" in tangents
    second = gl.visualize(lambda x: gl.grad(lambda y: np.sum(gl.grad(chain)(y)))(x), X).svg
    assert "derivative, order 2: flows" in second
    assert 'class="node higher' in second


def test_inputs_and_outputs_are_named() -> None:
    """Arguments carry the names of the parameters, results their place in the output."""

    def loss(params: Any, data: Any) -> Any:
        return np.sum(params["w"] * data)

    root = parse(gl.visualize(gl.value_and_grad(loss), {"w": X}, X))
    names = {t.text for t in root.iter(f"{SVG}text") if t.get("class") == "name"}
    tags = {t.text for t in root.iter(f"{SVG}text") if t.get("class") == "tag"}
    assert {"params['w']", "data"} <= names
    assert {"output[0]", "output[1]['w']"} <= tags


def test_literals_stand_in_the_boxes_that_use_them() -> None:
    """``x * 2.5`` is one box."""
    root = parse(gl.visualize(lambda x: x * 2.5, X))
    assert [t.text for t in root.iter(f"{SVG}text") if t.get("class") == "name"] == ["x", "multiply(·, 2.5)"]


def test_long_literals_are_rounded_in_boxes_and_exact_in_tooltips() -> None:
    """A third would be wider than its box is worth."""
    root = parse(gl.visualize(lambda x: x * (1 / 3), X))
    assert [t.text for t in root.iter(f"{SVG}text") if t.get("class") == "name"] == ["x", "multiply(·, 0.3333)"]
    assert any("multiply(x0, 0.3333333333333333)" in (n.findtext(f"{SVG}title") or "") for n in nodes_of(root))


def test_a_literal_that_is_an_output_is_a_box_and_only_that() -> None:
    """The gradient of ``a * b + c`` with respect to c is the constant 1."""
    root = parse(gl.visualize(gl.value_and_grad(lambda a, b, c: a * b + c, argnums=(0, 1, 2)), 3.0, 2.0, 1.0))
    names = [t.text or "" for t in root.iter(f"{SVG}text") if t.get("class") == "name"]
    assert names.count("1.0") == 1
    assert not any("(" in name for name in names)


def test_outputs_of_one_op_are_numbered() -> None:
    """An op with several outputs has a box for each that is used."""
    root = parse(gl.visualize(lambda x: np.linalg.eigh(x)[0], np.eye(3)))
    assert [t.text for t in root.iter(f"{SVG}text") if t.get("class") == "name"] == ["x", "eigh", "output 0"]


def test_tooltip_shows_the_users_line() -> None:
    """Pointing at a box answers where it was written."""
    root = parse(gl.visualize(gl.value_and_grad(chain), X))
    titles = [n.findtext(f"{SVG}title") or "" for n in nodes_of(root)]
    here = Path(__file__).name
    assert any(f"= sin(x0)\nfloat64[10]  {here}:" in title for title in titles)
    assert any(f"gradient of {here}:" in title for title in titles)


def test_the_same_function_gives_the_same_picture() -> None:
    """Pictures can be kept under version control."""
    f = gl.value_and_grad(branches, argnums=(0, 1))
    assert gl.visualize(f, X, X).svg == gl.visualize(f, X, X).svg


def test_text_is_escaped() -> None:
    """Names with markup or control characters leave the document well-formed."""
    root = parse(gl.visualize(lambda p: np.sum(p["<b>&\x01\"'"]), {"<b>&\x01\"'": X}))
    assert any("<b>&" in (t.text or "") for t in root.iter(f"{SVG}text"))


def test_the_picture_is_self_contained() -> None:
    """No scripts and no references to anything outside, so that it opens anywhere."""
    svg = gl.visualize(gl.value_and_grad(chain), X).svg
    assert "<script" not in svg
    assert "href" not in svg
    assert svg.count("http") == 1  # the namespace


def test_saved_file_and_notebook_text_are_the_picture(tmp_path: Path) -> None:
    """What is shown and what is saved agree."""
    drawing = gl.visualize(chain, X, filename=tmp_path / "graph.svg")
    assert (tmp_path / "graph.svg").read_text(encoding="utf-8") == drawing.svg == drawing._repr_svg_() == str(drawing)
    assert repr(drawing).startswith("<Drawing: ")


def test_other_file_types_are_refused(tmp_path: Path) -> None:
    """A name that promises another format is not written."""
    with pytest.raises(ArgumentError, match=r"expected: a name that ends in \.svg"):
        gl.visualize(chain, X, filename=tmp_path / "graph.png")
    assert not list(tmp_path.iterdir())


def test_large_graphs_are_refused_with_a_remedy() -> None:
    """A picture of thousands of boxes helps nobody."""

    def long(x: Any) -> Any:
        return chain(x, MAX_NODES)

    with pytest.raises(ArgumentError, match=r"too large to read as a picture: 3,00\d nodes") as error:
        gl.visualize(long, X)
    assert "expected: at most 1,000 nodes" in str(error.value)
    assert "print(gl.make_graph(f)(...))" in str(error.value)


def test_a_graph_takes_no_arguments() -> None:
    """Arguments beside a graph would be ignored."""
    graph = gl.make_graph(chain)(X)
    with pytest.raises(ArgumentError, match="a graph takes no arguments"):
        gl.visualize(graph, X)


def test_what_is_neither_function_nor_graph_is_refused() -> None:
    """An array, or the output of a function, has no graph."""
    with pytest.raises(ArgumentError, match="must be a function, a graph or a lazy tensor") as error:
        gl.visualize(chain(X))  # type: ignore[arg-type]
    assert "got: numpy.float64" in str(error.value)


def test_a_jitted_function_is_drawn_as_the_function() -> None:
    """How a function runs is not what it computes."""
    assert len(nodes_of(parse(gl.visualize(gl.jit(chain), X)))) == len(nodes_of(parse(gl.visualize(chain, X))))


def test_long_graphs_need_no_recursion() -> None:
    """The largest graph that is drawn, at a low recursion limit."""
    graph: Graph = gl.make_graph(gl.value_and_grad(lambda x: chain(x, 120)))(X)
    limit = sys.getrecursionlimit()
    try:
        sys.setrecursionlimit(200)
        drawing = gl.visualize(graph)
    finally:
        sys.setrecursionlimit(limit)
    assert len(nodes_of(parse(drawing))) > 800


def test_tracks_never_share_a_place() -> None:
    """Two lines on one track may not touch."""
    generator = np.random.default_rng(0)
    spans = {}
    for k in range(60):
        start, length = generator.uniform(0, 100, 2)
        spans[0, k] = start, start + length
    tracks, count = assign_tracks(spans)
    assert count == 1 + max(tracks.values())
    for a in spans:
        for b in spans:
            if a < b and tracks[a] == tracks[b]:
                assert spans[a][1] < spans[b][0] or spans[b][1] < spans[a][0]


def test_lazy_tensors() -> None:
    """Placeholders need no value; the gradient stands beside what it is the gradient of."""
    x = gl.tensor(shape=(3,))
    loss = np.sum(np.sin(x) * 2.0)
    drawn = parse(gl.visualize(loss, *gl.gradients(loss, [x])))
    expected = parse(gl.visualize(gl.value_and_grad(lambda x: np.sum(np.sin(x) * 2.0)), X))
    assert len(nodes_of(drawn)) == len(nodes_of(expected))
    for call in (lambda: gl.visualize(loss, 3.0), lambda: gl.visualize(loss, feed={x: X})):
        with pytest.raises(ArgumentError, match="lazy tensors are drawn with other lazy tensors only"):
            call()
