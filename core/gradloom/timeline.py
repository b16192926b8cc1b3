"""Timeline: which task ran where and when, as a self-contained SVG picture."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, final

from gradloom.observer import Span
from gradloom.svg import FONT, Drawing, document, escape, rectangle, text

#: Lanes of a panel beyond these are left out.
MAX_LANES = 64
_PLOT = 900.0
_MARGIN = 24.0
_HEADER = 62.0
_ROW = 34.0
_BOX = 22.0
_PANEL = 26.0
_LETTER = 6.2
#: Boxes that are narrower, and closer together, are drawn as one.
_NARROW = 0.8

# Fill and line of boxes: light colours that also the colour-blind tell apart, with dark words on them.
_COLOURS = (
    ("#d5e5f7", "#2f6db3"),
    ("#fde3c8", "#c2621b"),
    ("#d6efdb", "#2f8a4a"),
    ("#eddcf3", "#8a3fa0"),
    ("#fbf0bf", "#9a7d0a"),
    ("#fadadf", "#b93a55"),
    ("#cdeeed", "#18817d"),
    ("#e4ded8", "#6b5644"),
)
_STYLE = f"""
text {{ font-family: {FONT}; fill: #1f2937 }}
.title {{ font-size: 15px; font-weight: 600 }} .note, .tick {{ font-size: 11px; fill: #6b7280 }}
.panel {{ font-size: 12px; font-weight: 600 }} .lane {{ font-size: 11px; text-anchor: end }}
.tick {{ text-anchor: middle }} .grid {{ stroke: #e5e7eb }} .end {{ stroke: #111827; stroke-dasharray: 3 3 }}
.row {{ fill: #f9fafb }} .label {{ font-size: 10px; text-anchor: middle; pointer-events: none }}
.box {{ stroke-width: 1 }} .several .box {{ fill: #d1d5db; stroke: #6b7280 }}
.moving {{ fill: #6b7280 }}
.task:hover .box {{ filter: brightness(0.93) }}
""" + "\n".join(
    [
        *[f".c{n} .box {{ fill: {fill}; stroke: {line} }}" for n, (fill, line) in enumerate(_COLOURS)],
        ".critical .box { stroke: #111827; stroke-width: 2 }",
    ]
)


class Panel(NamedTuple):
    """Spans under a heading."""

    heading: str
    spans: Sequence[Span]


class Box(NamedTuple):
    """Spans of one task that follow each other in one lane; of several tasks (-1), where they are too narrow to see."""

    task: int
    start: float
    end: float
    spans: tuple[Span, ...]


@final
class Timeline:
    """Panels of lanes on one axis of time, laid out and written as SVG.

    Parameters
    ----------
    title, summary : str
    panels : sequence of Panel
        The times of each begin at its first span.
    task_of : callable
        To which task a span belongs.
    critical : frozenset of int
        Tasks to be marked.
    name, hover : callable
        What stands in the boxes of a task, and what is shown of a span when its box is pointed at.
    """

    def __init__(
        self,
        title: str,
        summary: str,
        panels: Sequence[Panel],
        task_of: Callable[[Span], int],
        critical: frozenset[int],
        name: Callable[[int], str],
        hover: Callable[[Span], str],
    ) -> None:
        self.title = title
        self.summary = summary
        self.task_of = task_of
        self.critical = critical
        self.name = name
        self.hover = hover
        self.panels = [Panel(panel.heading, _from_zero(panel.spans)) for panel in panels if panel.spans]
        longest = max([span.end for panel in self.panels for span in panel.spans], default=0.0)
        self.step = tick_step(longest)
        #: Seconds that the axis shows: whole ticks.
        self.seconds = self.step * max(1, math.ceil(longest / self.step - 1e-9))
        self.unit, self.factor = _unit(self.seconds)
        lanes = [span.lane for panel in self.panels for span in panel.spans]
        self.left = _MARGIN + 12 + max([len(lane) * 6.8 for lane in lanes], default=0.0)

    def drawing(self) -> Drawing:
        """Return the picture."""
        return Drawing(self._svg())

    def _svg(self) -> str:
        body: list[str] = []
        y = _HEADER
        for panel in self.panels:
            y = self._panel(panel, y, body)
        axis = self._axis(y)
        legend, legend_width = self._legend()
        words = max(len(self.title) * 9.2, len(self.summary) * 6.8, legend_width) + 2 * _MARGIN
        width, height = max(self.left + _PLOT + _MARGIN + 20, words), y + 92
        below = f'<g class="legend" transform="translate({_MARGIN},{y + 56:.0f})">{legend}</g>'
        return document(width, height, self.title, self.summary, _STYLE, _MARGIN, [*axis, *body, below])

    def _x(self, seconds: float) -> float:
        return self.left + _PLOT * seconds / self.seconds

    def _panel(self, panel: Panel, y: float, body: list[str]) -> float:
        """Write a panel whose top is at ``y``; return where it ends."""
        lanes: dict[str, list[Span]] = {}
        for span in sorted(panel.spans, key=lambda span: (span.start, span.end)):
            lanes.setdefault(span.lane, []).append(span)
        names = sorted(lanes, key=_natural)
        end = max([span.end for span in panel.spans])
        hidden = f", the first {MAX_LANES} of {len(names)} shown" if len(names) > MAX_LANES else ""
        body.append(text("panel", self.left, y + 16, f"{panel.heading}: {self._time(end)}{hidden}"))
        top = y = y + _PANEL
        for lane in names[:MAX_LANES]:
            body.append(rectangle("row", self.left, y + 2, _PLOT, _ROW - 4, 3))
            body.append(text("lane", self.left - 8, y + 17, lane))
            body += [self._box(box, y + 4) for box in self.boxes(lanes[lane])]
            body += [self._moving(span, y + 4 + _BOX) for span in lanes[lane] if span.moving]
            y += _ROW
        x = self._x(end)
        body.append(f'<path class="end" d="M{x:.1f},{top:.1f} V{y:.1f}"/>')
        return y + 6

    def boxes(self, spans: Sequence[Span]) -> list[Box]:
        """Return the boxes of a lane: neighbours of one task as one, and what is too narrow to see as one."""
        found: list[Box] = []
        narrow = _NARROW * self.seconds / _PLOT
        for span in spans:
            if span.moving:
                continue
            task, last = self.task_of(span), found[-1] if found else None
            if last is not None and span.start - last.end < narrow:
                both_narrow = last.end - last.start < narrow and span.end - span.start < narrow
                if last.task == task or both_narrow:
                    kept = last.task if last.task == task else -1
                    found[-1] = Box(kept, last.start, max(last.end, span.end), (*last.spans, span))
                    continue
            found.append(Box(task, span.start, span.end, (span,)))
        return found

    def _box(self, box: Box, y: float) -> str:
        x, width = self._x(box.start), max(0.6, self._x(box.end) - self._x(box.start))
        kind = "several" if box.task < 0 else f"c{box.task % len(_COLOURS)}"
        critical = " critical" if box.task in self.critical else ""
        when = f"{self._time(box.start)} to {self._time(box.end)}: {self._time(box.end - box.start)}"
        lines = [f"{'several tasks' if box.task < 0 else self.name(box.task)}, {when}"]
        longest = sorted(box.spans, key=lambda span: span.start - span.end)[:12]
        lines += [self.hover(span) for span in sorted(longest)]
        if len(box.spans) > len(longest):
            lines.append(f"and {len(box.spans) - len(longest)} shorter steps")
        parts = [f'<g class="task {kind}{critical}"><title>{escape(chr(10).join(lines))}</title>']
        parts.append(rectangle("box", x, y, width, _BOX, min(3.0, width / 3)))
        label = _fitting(self.name(box.task), width - 6) if box.task >= 0 else ""
        if label:
            parts.append(text("label", x + width / 2, y + 15, label))
        return "".join([*parts, "</g>"])

    def _moving(self, span: Span, y: float) -> str:
        x, width = self._x(span.start), max(0.6, self._x(span.end) - self._x(span.start))
        words = f"values for {self.name(self.task_of(span))} arrive: {self._time(span.end - span.start)}"
        return f"<g><title>{escape(words)}</title>{rectangle('moving', x, y + 1, width, 4, 0)}</g>"

    def _axis(self, bottom: float) -> list[str]:
        parts = []
        for n in range(round(self.seconds / self.step) + 1):
            x = self._x(n * self.step)
            parts.append(f'<path class="grid" d="M{x:.1f},{_HEADER + _PANEL - 4:.1f} V{bottom:.1f}"/>')
            parts.append(text("tick", x, bottom + 15, f"{n * self.step * self.factor:g}"))
        parts.append(text("tick", self.left + _PLOT / 2, bottom + 32, f"time, {self.unit}"))
        return parts

    def _legend(self) -> tuple[str, float]:
        moving = any([span.moving for panel in self.panels for span in panel.spans])
        entries = [
            (f'<g class="c0">{rectangle("box", 0, 0, 26, 14, 3)}</g>', "a task (one colour and number throughout)"),
            (f'<g class="c0 critical">{rectangle("box", 0, 0, 26, 14, 3)}</g>', "on the critical path"),
        ]
        if moving:
            entries.append((rectangle("moving", 0, 5, 26, 4, 0), "values from elsewhere arrive"))
        entries.append(("", "point at a box for its ops, lines and times"))
        parts, x = [], 0.0
        for shape, words in entries:
            start = 33 if shape else 0
            parts.append(f'<g transform="translate({x:.0f},0)">{shape}{text("note", start, 11, words)}</g>')
            x += start + len(words) * 6.8 + 20
        return "".join(parts), x

    def _time(self, seconds: float) -> str:
        return f"{seconds * self.factor:.4g} {self.unit}"


def tick_step(longest: float) -> float:
    """Return the distance of ticks, 1, 2 or 5 times a power of ten, of which 5 to 12 cover some seconds."""
    if longest <= 0.0:
        return 1e-6
    power = 10.0 ** math.floor(math.log10(longest / 6))
    return next(step * power for step in (1.0, 2.0, 5.0, 10.0) if longest / (step * power) <= 12)


def _from_zero(spans: Sequence[Span]) -> list[Span]:
    first = min([span.start for span in spans])
    return [span._replace(start=span.start - first, end=span.end - first) for span in spans]


def _unit(seconds: float) -> tuple[str, float]:
    if seconds >= 2.0:
        return "s", 1.0
    return ("ms", 1e3) if seconds >= 2e-3 else ("us", 1e6)


def _natural(lane: str) -> tuple[str, int, str]:
    """Return a key by which worker 10 comes after worker 9."""
    head = lane.rstrip("0123456789")
    return head, int(lane[len(head) :] or -1), lane


def _fitting(words: str, width: float) -> str:
    """Return words, or their beginning, or nothing: what fits a width."""
    count = int(width / _LETTER)
    if len(words) <= count:
        return words
    number = words.split(" ")[1] if words.startswith("task ") else ""
    if count >= 12:
        return words[: count - 1] + "…"
    return number if len(number) <= count else ""
