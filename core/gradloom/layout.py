"""Layout: where the boxes and lines of a graph's drawing go.

The nodes of one derivative order form a group. All groups share the same rows: the values flow
down in the first group, and a derivative stands beside what it is the derivative of, so that a
gradient flows up. Boxes of a group with nothing between them are joined by a curve; every other
line is routed around the boxes, through the channels between rows and the gutters between
groups. Time and size are linear in the number of edges, up to sorting.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import final

from gradloom.graph import INPUT, LITERAL, Graph, live_nodes

BOX_HEIGHT = 44.0
BOX_GAP = 22.0
#: Height of a channel and width of a gutter without lines, and what each track of lines adds.
CHANNEL = 34.0
GUTTER = 44.0
TRACK = 7.0
#: Curves reach over at most this many rows.
REACH = 8
SWEEPS = 6
#: How much boxes are drawn to the middle of their group, so that long chains do not drift.
CENTRING = 0.12

Point = tuple[float, float]


@dataclass
class Box:
    """One drawn node; ``x`` is its centre, ``y`` its top."""

    id: int
    group: int
    width: float
    row: int = 0
    x: float = 0.0
    y: float = 0.0


@dataclass
class Line:
    """One edge: a curve from box to box, or routed around the boxes."""

    source: int
    target: int
    curved: bool
    points: list[Point] = field(default_factory=list)


@dataclass
class Frame:
    """The area of one group."""

    group: int
    upward: bool
    mixed: bool = False
    left: float = 0.0
    right: float = 0.0
    top: float = 0.0
    bottom: float = 0.0


def drawn_nodes(graph: Graph) -> list[int]:
    """Return the nodes to draw: those that an output needs.

    Literals are written into the boxes that use them, unless they are outputs.
    """
    live = live_nodes(graph.nodes, graph.outputs)
    outputs = set(graph.outputs)
    return [i for i, node in enumerate(graph.nodes) if live[i] and (node[0] is not LITERAL or i in outputs)]


def derivative_orders(graph: Graph, nodes: Sequence[int]) -> dict[int, int]:
    """Return the derivative order of each node: 0 for what the user wrote, 1 for its gradient."""
    orders: dict[int, int] = {}
    for i in nodes:
        raw = graph.sources[i]
        orders[i] = 0 if raw is None or raw[2] < 0 else orders.get(raw[2], 0) + 1
    # What has no inputs goes where it is used first: a cotangent belongs to the backward part.
    used: dict[int, int] = {}
    for i in nodes:
        for j in graph.nodes[i][1]:
            used[j] = min(used.get(j, orders[i]), orders[i])
    for i in nodes:
        if graph.nodes[i][0] in (INPUT, LITERAL):
            orders[i] = used.get(i, 0)
    return orders


@final
class Layout:
    """Positions of all boxes and lines of a graph's drawing.

    Parameters
    ----------
    graph : Graph
    widths : dict of int to float
        Width of the box of each drawn node.
    """

    def __init__(self, graph: Graph, widths: dict[int, float]) -> None:
        nodes = sorted(widths)
        orders = derivative_orders(graph, nodes)
        self.boxes = {i: Box(i, orders[i], widths[i]) for i in nodes}
        self.edges = [(j, i) for i in nodes for j in graph.nodes[i][1] if j in self.boxes]
        self.origins = {i: raw[2] for i in nodes if (raw := graph.sources[i]) is not None and raw[2] in self.boxes}
        self.frames: list[Frame] = []
        self.lines: list[Line] = []
        self._assign_rows()
        for frame in self.frames:
            self._place(frame.group)
        self._route()

    # -- rows ----------------------------------------------------------------------------

    def _inner_edges(self, group: int) -> list[tuple[int, int]]:
        return [(s, t) for s, t in self.edges if self.boxes[s].group == group == self.boxes[t].group]

    def _assign_rows(self) -> None:
        groups = sorted({box.group for box in self.boxes.values()})
        inner = {g: self._inner_edges(g) for g in groups}
        self._order_rows(0, False, inner.get(0, []))
        for group in groups:
            self.frames.append(self._frame(group, inner[group]))
        # Twice, because room made for derivatives moves what they belong to.
        for _ in range(2):
            for frame in self.frames[1:] if groups[0] == 0 else self.frames:
                self._order_rows(frame.group, frame.upward, inner[frame.group])
            if groups[0] == 0:
                self._align_with_derivatives(inner[0])
        for frame in self.frames[1:] if groups[0] == 0 else self.frames:
            self._order_rows(frame.group, frame.upward, inner[frame.group])
        for frame in self.frames:
            self._pull_sources(frame, inner[frame.group])
        used = {row: k for k, row in enumerate(sorted({box.row for box in self.boxes.values()}))}
        for box in self.boxes.values():
            box.row = used[box.row]

    def _frame(self, group: int, edges: Iterable[tuple[int, int]]) -> Frame:
        """Return the frame of a group; a derivative that flows against its origins flows up."""
        up = down = 0
        for s, t in edges:
            if group and s in self.origins and t in self.origins:
                up += self.origins[s] > self.origins[t]
                down += self.origins[s] < self.origins[t]
        return Frame(group, group > 0 and up >= down, mixed=up > 0 and down > 0)

    def _order_rows(self, group: int, upward: bool, edges: list[tuple[int, int]]) -> None:
        """Give each box the first row after (upward: before) its inputs, not above its origin."""
        before: dict[int, list[int]] = defaultdict(list)
        for s, t in edges:
            before[s if upward else t].append(t if upward else s)
        for i in sorted(self.boxes, reverse=upward):
            box = self.boxes[i]
            if box.group == group:
                origin = self.boxes[self.origins[i]].row if i in self.origins else 0
                box.row = max([origin, *[self.boxes[j].row + 1 for j in before[i]]])

    def _align_with_derivatives(self, edges: list[tuple[int, int]]) -> None:
        """Move what the user wrote down to the rows of its derivatives."""
        first: dict[int, int] = {}
        for i, origin in self.origins.items():
            if self.boxes[i].group == 1:
                row = self.boxes[i].row
                first[origin] = min(first.get(origin, row), row)
        before: dict[int, list[int]] = defaultdict(list)
        for s, t in edges:
            before[t].append(s)
        for i, box in self.boxes.items():
            if box.group == 0:
                box.row = max([first.get(i, box.row), *[self.boxes[j].row + 1 for j in before[i]]])

    def _pull_sources(self, frame: Frame, edges: list[tuple[int, int]]) -> None:
        """Move boxes without inputs of their own group next to their first use."""
        step = 1 if frame.upward else -1
        inputs = {t for _, t in edges}
        uses: dict[int, list[int]] = defaultdict(list)
        for s, t in edges:
            if s not in inputs:
                uses[s].append(self.boxes[t].row)
        for s, rows in uses.items():
            self.boxes[s].row = (max(rows) if frame.upward else min(rows)) + step

    # -- columns -------------------------------------------------------------------------

    def _place(self, group: int) -> None:
        """Order each row by barycentre, then move boxes toward their neighbours."""
        rows: dict[int, list[Box]] = defaultdict(list)
        for box in self.boxes.values():
            if box.group == group:
                rows[box.row].append(box)
        near: dict[int, list[Box]] = defaultdict(list)
        for s, t in self._inner_edges(group):
            near[s].append(self.boxes[t])
            near[t].append(self.boxes[s])
        for row in rows.values():
            _settle(row, [0.0] * len(row))
        order = sorted(rows)
        for sweep in range(SWEEPS):
            down = sweep % 2 == 0
            for r in order if down else order[::-1]:
                beside = {b.id: [n for n in near[b.id] if (n.row < r) == down and n.row != r] for b in rows[r]}
                rows[r].sort(key=lambda b: (_mean(beside[b.id] or [b]), b.x, b.id))
                _settle(rows[r], [_mean(beside[b.id] or [b]) for b in rows[r]])
        for r in order + order[::-1]:
            _settle(rows[r], [_mean(near[b.id] or [b]) * (1 - CENTRING) for b in rows[r]])

    # -- lines ---------------------------------------------------------------------------

    def _route(self) -> None:
        upward = {frame.group: frame.upward for frame in self.frames}
        nets: dict[tuple[int, int], list[Line]] = defaultdict(list)
        rows: dict[tuple[int, int], list[Box]] = defaultdict(list)
        for box in self.boxes.values():
            rows[box.group, box.row].append(box)
        for s, t in self.edges:
            a, b = self.boxes[s], self.boxes[t]
            curved = a.group == b.group and self._in_sight(a, b, upward[a.group], rows)
            line = Line(s, t, curved)
            self.lines.append(line)
            if not curved:
                nets[min(a.group, b.group), s].append(line)
        exits = {i: box.row + (not upward[box.group]) for i, box in self.boxes.items()}
        entries = {i: box.row + upward[box.group] for i, box in self.boxes.items()}
        trunks = self._gutters(nets, exits, entries)
        ports = self._ports(trunks)
        tracks = self._channels(nets, exits, entries, trunks, ports)
        for key, lines in nets.items():
            for line in lines:
                a, b = self.boxes[line.source], self.boxes[line.target]
                start, stop = exits[line.source], entries[line.target]
                end = ports[id(line)]
                points = [(a.x, _edge(a, start)), (a.x, tracks[key, start])]
                if start != stop:
                    points += [(trunks[key], tracks[key, start]), (trunks[key], tracks[key, stop])]
                line.points = [*points, (end, tracks[key, stop]), (end, _edge(b, stop))]
        for line in self.lines:
            if line.curved:
                a, b = self.boxes[line.source], self.boxes[line.target]
                line.points = [(a.x, _edge(a, exits[a.id])), (ports[id(line)], _edge(b, entries[b.id]))]

    @staticmethod
    def _in_sight(a: Box, b: Box, upward: bool, rows: dict[tuple[int, int], list[Box]]) -> bool:
        """Return whether a curve in the direction of flow meets no other box of the group."""
        distance = a.row - b.row if upward else b.row - a.row
        left, right = min(a.x, b.x - b.width / 2), max(a.x, b.x + b.width / 2)
        return 0 < distance <= REACH and not any(
            box.x - box.width / 2 < right and left < box.x + box.width / 2
            for row in range(min(a.row, b.row) + 1, max(a.row, b.row))
            for box in rows[a.group, row]
        )

    def _gutters(
        self, nets: dict[tuple[int, int], list[Line]], exits: dict[int, int], entries: dict[int, int]
    ) -> dict[tuple[int, int], float]:
        """Place the groups side by side and return where each net runs down its gutter."""
        spans: dict[int, dict[tuple[int, int], tuple[float, float]]] = defaultdict(dict)
        for key, lines in nets.items():
            rows = [exits[key[1]], *[entries[line.target] for line in lines]]
            if min(rows) < max(rows):
                spans[key[0]][key] = min(rows), max(rows)
        trunks: dict[tuple[int, int], float] = {}
        left = GUTTER / 2
        for frame in self.frames:
            members = [box for box in self.boxes.values() if box.group == frame.group]
            shift = left - min(box.x - box.width / 2 for box in members)
            for box in members:
                box.x += shift
            frame.left = left
            frame.right = max(box.x + box.width / 2 for box in members)
            chosen, count = assign_tracks(spans[frame.group])
            for key, track in chosen.items():
                trunks[key] = frame.right + GUTTER * 0.6 + track * TRACK
            left = frame.right + GUTTER + count * TRACK
        self.width = left - GUTTER / 2
        return trunks

    def _ports(self, trunks: dict[tuple[int, int], float]) -> dict[int, float]:
        """Return where each line enters its box, in the order in which lines arrive."""
        arriving: dict[int, list[tuple[float, int, Line]]] = defaultdict(list)
        for k, line in enumerate(self.lines):
            a, b = self.boxes[line.source], self.boxes[line.target]
            trunk = trunks.get((min(a.group, b.group), line.source), a.x)
            arriving[line.target].append((a.x if line.curved else trunk, k, line))
        ports = {}
        for target, found in arriving.items():
            box = self.boxes[target]
            for k, (_, _, line) in enumerate(sorted(found, key=lambda entry: entry[:2])):
                ports[id(line)] = box.x + box.width * 0.8 * ((k + 1) / (len(found) + 1) - 0.5)
        return ports

    def _channels(
        self,
        nets: dict[tuple[int, int], list[Line]],
        exits: dict[int, int],
        entries: dict[int, int],
        trunks: dict[tuple[int, int], float],
        ports: dict[int, float],
    ) -> dict[tuple[tuple[int, int], int], float]:
        """Set the heights of all rows and return where each net runs along each channel."""
        touched: dict[int, dict[tuple[int, int], list[float]]] = defaultdict(lambda: defaultdict(list))
        for key, lines in nets.items():
            start = exits[key[1]]
            touched[start][key].append(self.boxes[key[1]].x)
            for line in lines:
                stop = entries[line.target]
                touched[stop][key].append(ports[id(line)])
                if stop != start:
                    touched[start][key].append(trunks[key])
                    touched[stop][key].append(trunks[key])
        rows = 1 + max(box.row for box in self.boxes.values())
        tops = []
        tracks: dict[tuple[tuple[int, int], int], float] = {}
        y = 0.0
        for channel in range(rows + 1):
            chosen, count = assign_tracks({key: (min(xs), max(xs)) for key, xs in touched[channel].items()})
            for key, track in chosen.items():
                tracks[key, channel] = y + CHANNEL / 2 + track * TRACK
            y += CHANNEL + max(count - 1, 0) * TRACK
            tops.append(y)
            y += BOX_HEIGHT
        self.height = y - BOX_HEIGHT
        for box in self.boxes.values():
            box.y = tops[box.row]
        for frame in self.frames:
            members = [box for box in self.boxes.values() if box.group == frame.group]
            frame.top = min(box.y for box in members)
            frame.bottom = max(box.y for box in members) + BOX_HEIGHT
        return tracks


def assign_tracks(
    spans: dict[tuple[int, int], tuple[float, float]],
) -> tuple[dict[tuple[int, int], int], int]:
    """Give intervals tracks so that no two on one track touch; return them and their number."""
    free: list[float] = []
    tracks = {}
    for key, (start, stop) in sorted(spans.items(), key=lambda entry: (entry[1], entry[0])):
        track = next((k for k, end in enumerate(free) if end < start), len(free))
        if track == len(free):
            free.append(stop)
        else:
            free[track] = stop
        tracks[key] = track
    return tracks, len(free)


def _edge(box: Box, channel: int) -> float:
    """Return the side of a box that faces a channel."""
    return box.y if channel == box.row else box.y + BOX_HEIGHT


def _mean(boxes: list[Box]) -> float:
    return sum(box.x for box in boxes) / len(boxes)


def _settle(row: list[Box], wanted: list[float]) -> None:
    """Move the boxes of a row as near as possible to where they want to be, without overlap.

    Least squares under minimal distances: pool adjacent violators.
    """
    offset = 0.0
    offsets = []
    pools: list[tuple[float, int]] = []
    for k, (box, x) in enumerate(zip(row, wanted, strict=True)):
        if k:
            offset += (row[k - 1].width + box.width) / 2 + BOX_GAP
        offsets.append(offset)
        total, count = x - offset, 1
        while pools and pools[-1][0] / pools[-1][1] > total / count:
            more, others = pools.pop()
            total, count = total + more, count + others
        pools.append((total, count))
    places = [total / count for total, count in pools for _ in range(count)]
    for box, place, shift in zip(row, places, offsets, strict=True):
        box.x = place + shift
