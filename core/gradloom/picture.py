"""Pictures: a graph, laid out and written as SVG, see `gradloom.visualize`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gradloom.errors import ArgumentError
from gradloom.graph import INPUT, ITEM, LITERAL, Graph
from gradloom.layout import BOX_HEIGHT, Layout, Line, drawn_nodes
from gradloom.placement import ANYWHERE, node_places
from gradloom.svg import FONT, curve, document, escape, markers, rectangle, rounded, text

#: Drawings with more nodes than this are refused.
MAX_NODES = 1_000

_NAME_WIDTH = 7.3
_SPEC_WIDTH = 6.1
_MARGIN = 24.0
_HEADER = 58.0
_LEGEND = 54.0

_STYLE = """
text { font-family: FONT; fill: #1f2937 }
.title { font-size: 15px; font-weight: 600 } .note { font-size: 11px; fill: #6b7280 }
.name { font-size: 12px; font-weight: 600; text-anchor: middle }
.spec { font-size: 10px; fill: #4b5563; text-anchor: middle }
.tag { font-size: 10px; font-weight: 600; fill: #ffffff; text-anchor: middle }
.frame { fill: none; stroke-width: 1; stroke-dasharray: 3 4 }
.box { stroke-width: 1.3 } .output .box { stroke-width: 2.6 }
.forward .box { fill: #e6effc; stroke: #3b6fb6 } .backward .box { fill: #fdebdc; stroke: #c2621b }
.higher .box { fill: #f3e6f8; stroke: #8a3fa0 } .input .box { fill: #e5f4e8; stroke: #3a8a4d }
.badge { fill: #111827 }
.line { fill: none; stroke-width: 1.3 } .routed { stroke-width: 1; opacity: 0.75 }
.from-forward { stroke: #3b6fb6 } .from-backward { stroke: #c2621b }
.from-higher { stroke: #8a3fa0 } .from-input { stroke: #3a8a4d }
.line:hover { stroke-width: 3; opacity: 1 } .node:hover .box { filter: brightness(0.95) }
""".replace("FONT", FONT)


class Picture:
    """A graph, laid out and written as SVG."""

    def __init__(self, graph: Graph, title: str, names: Sequence[str], outputs: Sequence[str]) -> None:
        nodes = drawn_nodes(graph)
        if len(nodes) > MAX_NODES:
            raise ArgumentError(
                f"the graph is too large to read as a picture: {len(nodes):,} nodes",
                op="visualize",
                expected=f"at most {MAX_NODES:,} nodes",
                remedy="draw a part of the function (a layer, a step), or read it with print(gl.make_graph(f)(...))",
            )
        if not nodes:
            raise ArgumentError(
                "the graph has no outputs, so there is nothing to draw",
                op="visualize",
                expected="a function that returns arrays",
                remedy="return what is to be drawn",
            )
        self.graph = graph
        self.places = node_places(graph)
        self.drawn = frozenset(nodes)
        self.title = title
        self.names = dict(zip(graph.inputs, names, strict=False))
        self.tags: dict[int, str] = {}
        single = len(graph.outputs) == 1
        for k, i in enumerate(graph.outputs):
            name = outputs[k] if outputs else "output" if single else f"output {k}"
            self.tags[i] = f"{self.tags[i]}, {name}" if i in self.tags else name
        self.lines = {i: line.split("  # ") for i, line in zip(nodes, self._listing(nodes), strict=True)}
        self.layout = Layout(graph, {i: self._width(i) for i in nodes})
        self.upward = {frame.group for frame in self.layout.frames if frame.upward}

    def _listing(self, nodes: list[int]) -> list[str]:
        names = [f"x{i}" for i in range(len(self.graph.nodes))]
        for i, (op, _, attrs) in enumerate(self.graph.nodes):
            if op is LITERAL:
                names[i] = repr(self.graph.literals[attrs[1]])
        return [self.graph._line(i, names).strip() for i in nodes]

    # -- what stands in a box --------------------------------------------------------------

    def _label(self, i: int) -> str:
        op, inputs, attrs = self.graph.nodes[i]
        if op is INPUT:
            return self.names.get(i, f"captured x{i}" if self.names else f"x{i}")
        if op is ITEM:
            return f"output {attrs[0]}"
        if op is LITERAL:
            return _short(self.graph.literals[attrs[1]])
        slots = ["·" if j in self.drawn else self._label(j) for j in inputs]
        return f"{op.name}({', '.join(slots)})" if any(slot != "·" for slot in slots) else op.name

    def _spec(self, i: int) -> str:
        spec = self.graph.specs[i]
        words = f"{len(spec)} outputs" if isinstance(spec, tuple) else repr(spec)
        place = None if self.places is None else self.places[i]
        return words if place in (None, ANYWHERE) else f"{words} on {place}"

    def _width(self, i: int) -> float:
        name = len(self._label(i)) * _NAME_WIDTH
        return max(name, len(self._spec(i)) * _SPEC_WIDTH, len(self.tags.get(i, "")) * _SPEC_WIDTH, 40.0) + 20.0

    def _tooltip(self, i: int) -> str:
        if self.graph.nodes[i][0] is INPUT:
            return f"{self._label(i)}: {self._spec(i)}, an input"
        return "\n".join(self.lines[i])

    def _part(self, i: int) -> str:
        """Return the class of a node."""
        if self.graph.nodes[i][0] is INPUT:
            return "input"
        return ("forward", "backward", "higher")[min(self.layout.boxes[i].group, 2)]

    # -- writing ---------------------------------------------------------------------------

    def svg(self) -> str:
        """Return the document."""
        layout = self.layout
        legend, legend_width = self._legend()
        header = self._summary()
        width = max(layout.width, legend_width, len(header) * 6.8, len(self.title) * 9.2) + 2 * _MARGIN
        height = layout.height + _HEADER + _LEGEND + 2 * _MARGIN
        body = [self._frame(k) for k in range(len(layout.frames))]
        body += [self._line(line) for line in sorted(layout.lines, key=lambda line: line.curved)]
        body += [self._box(i) for i in layout.boxes]
        body = [
            *markers(),
            f'<g transform="translate({_MARGIN},{_HEADER + _MARGIN})">',
            *body,
            "</g>",
            f'<g class="legend" transform="translate({_MARGIN},{height - _LEGEND})">{legend}</g>',
        ]
        return document(width, height, self.title, header, _STYLE, _MARGIN, body)

    def _summary(self) -> str:
        counts: dict[str, int] = {}
        for i in self.layout.boxes:
            counts[self._part(i)] = counts.get(self._part(i), 0) + 1
        words = {"input": "input", "forward": "forward", "backward": "derivative", "higher": "higher derivative"}
        ends = " node", " nodes"
        return ", ".join(
            f"{n} {word}{'s' * (n > 1) if part == 'input' else ends[n > 1]}"
            for part, word in words.items()
            if (n := counts.get(part))
        )

    def _frame(self, k: int) -> str:
        frame = self.layout.frames[k]
        if len(self.layout.frames) == 1:
            return ""
        colour = ("#3b6fb6", "#c2621b", "#8a3fa0")[min(frame.group, 2)]
        if frame.group == 0:
            words = "forward: flows down"
        elif frame.group == 1 and not frame.mixed:
            words = "backward: flows up" if frame.upward else "tangents: flow down"
        else:
            words = f"derivative, order {frame.group}: flows {'up' if frame.upward else 'down'}"
        x, y = frame.left - 14, frame.top - 12
        return (
            f'<rect class="frame" x="{x:.1f}" y="{y:.1f}" width="{frame.right - frame.left + 28:.1f}" '
            f'height="{frame.bottom - frame.top + 30:.1f}" rx="10" stroke="{colour}"/>'
            f'<text class="note" x="{x + 2:.1f}" y="{y - 6:.1f}" style="fill: {colour}">{words}</text>'
        )

    def _box(self, i: int) -> str:
        box = self.layout.boxes[i]
        x, radius = box.x - box.width / 2, 20 if self.graph.nodes[i][0] is INPUT else 6
        classes = f"node {self._part(i)}" + (" output" if i in self.tags else "")
        parts = [
            f'<g class="{classes}" id="x{i}"><title>{escape(self._tooltip(i))}</title>',
            rectangle("box", x, box.y, box.width, BOX_HEIGHT, radius),
            text("name", box.x, box.y + 19, self._label(i)),
            text("spec", box.x, box.y + 34, self._spec(i)),
        ]
        tag = self.tags.get(i)
        if tag is not None:
            # On the side where values leave, away from the lines that come in.
            y = box.y - 11 if box.group in self.upward else box.y + BOX_HEIGHT - 4
            width = len(tag) * _SPEC_WIDTH + 12
            parts.append(rectangle("badge", box.x - width / 2, y, width, 15, 7) + text("tag", box.x, y + 11, tag))
        return "".join([*parts, "</g>"])

    def _line(self, line: Line) -> str:
        part = self._part(line.source)
        path = curve(line.points) if line.curved else rounded(line.points)
        source = f"x{line.source} ({self._label(line.source)}, {self._spec(line.source)})"
        what = f"{source} to x{line.target} ({self._label(line.target)})"
        classes = f"line from-{part}" + ("" if line.curved else " routed")
        return f'<path class="{classes}" d="{path}" marker-end="url(#{part})"><title>{escape(what)}</title></path>'

    def _legend(self) -> tuple[str, float]:
        present = {self._part(i) for i in self.layout.boxes}
        words = {
            "input": "input",
            "forward": "value",
            "backward": "its derivative",
            "higher": "derivative of a derivative",
        }
        parts = []
        x = 0.0
        for part, word in words.items():
            if part in present:
                box = rectangle("box", x, 0, 26, 16, 8 if part == "input" else 4)
                parts.append(f'<g class="{part}">{box}</g>{text("note", x + 33, 12, word)}')
                x += 33 + len(word) * 6.8 + 22
        parts.append(rectangle("badge", x, 1, 52, 15, 7) + text("tag", x + 26, 12, "output"))
        hint = "point at a box or a line for details"
        parts.append(text("note", x + 72, 12, hint))
        return "".join(parts), x + 72 + len(hint) * 6.8


def _short(number: Any) -> str:
    """Return a literal as it is written, long ones rounded; tooltips show it in full."""
    exact = repr(number)
    return exact if len(exact) <= 8 or isinstance(number, complex) else f"{number:.4g}"
