"""Text: a function's IR as it is written: names, basic blocks and loops."""

from __future__ import annotations

from collections.abc import Callable


class Text:
    """The lines of a function, and fresh names for its values and blocks."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._counter = 0

    def fresh(self, word: str) -> str:
        """Return a new name."""
        self._counter += 1
        return f"{word}.{self._counter}"

    def emit(self, text: str) -> str:
        """Append an instruction and return the name of its value."""
        name = "%" + self.fresh("s")
        self.lines.append(f"  {name} = {text}")
        return name

    def label(self, name: str) -> None:
        """Begin a basic block."""
        self.lines.append(f"{name}:")

    def branch(self, target: str) -> None:
        """End a basic block."""
        self.lines.append(f"  br label %{target}")

    def open(self, start: str, stop: str, step: str) -> tuple[str, Callable[[], None]]:
        """Open a loop; return its index and what closes it."""
        name = self.fresh("loop")
        self.branch(f"{name}.start")
        self.label(f"{name}.start")
        self.branch(name)
        self.label(name)
        index, following = f"%{name}.i", f"%{name}.next"
        self.lines.append(f"  {index} = phi i64 [ {start}, %{name}.start ], [ {following}, %{name}.latch ]")
        inside = self.emit(f"icmp slt i64 {index}, {stop}")
        self.lines.append(f"  br i1 {inside}, label %{name}.body, label %{name}.done")
        self.label(f"{name}.body")

        def close() -> None:
            self.branch(f"{name}.latch")
            self.label(f"{name}.latch")
            self.lines.append(f"  {following} = add i64 {index}, {step}")
            self.branch(name)
            self.label(f"{name}.done")

        return index, close

    def minimum(self, a: str, b: str) -> str:
        """Return the lesser of two numbers."""
        less = self.emit(f"icmp ult i64 {a}, {b}")
        return self.emit(f"select i1 {less}, i64 {a}, i64 {b}")
