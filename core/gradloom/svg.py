"""SVG: pictures, and the shapes that they are written in."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import final

from gradloom.errors import ArgumentError
from gradloom.layout import Point

#: What words are set in; its letters are of one width.
FONT = "ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace"

_ESCAPES = {38: "&amp;", 60: "&lt;", 62: "&gt;", 34: "&quot;"}
# What XML cannot hold at all.
_ESCAPES |= {code: " " for code in range(32) if code != 10}
_ESCAPES |= dict.fromkeys([*range(0xD800, 0xE000), 0xFFFE, 0xFFFF], "")


@final
class Drawing:
    """An SVG picture; notebooks show it.

    Attributes
    ----------
    svg : str
        The whole document: no scripts, no references to anything outside it.
    """

    __slots__ = ("svg",)

    def __init__(self, svg: str) -> None:
        self.svg = svg

    def _repr_svg_(self) -> str:
        return self.svg

    def __str__(self) -> str:
        return self.svg

    def __repr__(self) -> str:
        return f"<Drawing: {len(self.svg)} characters of SVG>"

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the picture to a file whose name ends in ``.svg``."""
        from pathlib import Path  # costs a tenth of `import gradloom`

        path = Path(path)
        if path.suffix.lower() != ".svg":
            raise ArgumentError(
                "the drawing is SVG",
                op="save",
                argument="filename",
                expected="a name that ends in .svg",
                got=str(path),
                remedy="save as .svg, and convert it with a program of your choice",
            )
        path.write_text(self.svg, encoding="utf-8")


def document(width: float, height: float, title: str, note: str, style: str, margin: float, body: Sequence[str]) -> str:
    """Return a whole picture: a title and a note under it, above what stands in the body."""
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
            f'width="{width:.0f}" height="{height:.0f}" role="img">',
            f"<title>{escape(title)}</title>",
            f"<style>{style}</style>",
            '<rect width="100%" height="100%" fill="#ffffff"/>',
            text("title", margin, 34, title),
            text("note", margin, 52, note),
            *body,
            "</svg>\n",
        ]
    )


def rectangle(kind: str, x: float, y: float, width: float, height: float, radius: float) -> str:
    """Return a rectangle of a class."""
    return f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="{radius:g}"/>'


def text(kind: str, x: float, y: float, words: str) -> str:
    """Return a line of text of a class."""
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escape(words)}</text>'


def escape(words: str) -> str:
    """Return words as they may stand in XML."""
    return words.translate(_ESCAPES)


def markers() -> list[str]:
    """Return the definitions of the heads of lines, one for each part of a picture."""
    colours = {"forward": "#3b6fb6", "backward": "#c2621b", "higher": "#8a3fa0", "input": "#3a8a4d"}
    heads = [
        f'<marker id="{part}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="6.5" markerHeight="6.5" '
        f'markerUnits="userSpaceOnUse" orient="auto"><path d="M0,0.5 L8,4 L0,7.5 z" fill="{colour}"/></marker>'
        for part, colour in colours.items()
    ]
    return ["<defs>", *heads, "</defs>"]


def curve(points: list[Point]) -> str:
    """Return a path that leaves and arrives upright."""
    (x1, y1), (x2, y2) = points
    middle = (y1 + y2) / 2
    return f"M{x1:.1f},{y1:.1f} C{x1:.1f},{middle:.1f} {x2:.1f},{middle:.1f} {x2:.1f},{y2:.1f}"


def rounded(points: list[Point]) -> str:
    """Return a path along straight pieces with rounded corners."""
    kept = [points[0]]
    for point in points[1:]:
        if abs(point[0] - kept[-1][0]) + abs(point[1] - kept[-1][1]) > 0.05:
            kept.append(point)
    path = [f"M{kept[0][0]:.1f},{kept[0][1]:.1f}"]
    for before, corner, after in zip(kept, kept[1:], kept[2:], strict=False):
        a, b = _toward(corner, before), _toward(corner, after)
        path.append(f"L{a[0]:.1f},{a[1]:.1f} Q{corner[0]:.1f},{corner[1]:.1f} {b[0]:.1f},{b[1]:.1f}")
    return " ".join([*path, f"L{kept[-1][0]:.1f},{kept[-1][1]:.1f}"])


def _toward(corner: Point, other: Point, radius: float = 6.0) -> Point:
    """Return the point a little way from a corner, at most half way."""
    dx, dy = other[0] - corner[0], other[1] - corner[1]
    length = abs(dx) + abs(dy)
    share = min(radius / length, 0.5)
    return corner[0] + dx * share, corner[1] + dy * share
