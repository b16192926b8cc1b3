"""Text: a function's IR as it is written: names, basic blocks and loops; and structs that functions hand over."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import final


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


@final
class Struct:
    """Values in memory that one function leaves for another: the name of the type, and its fields as in a head."""

    def __init__(self, name: str, fields: str) -> None:
        self.name = name
        #: The kinds of the fields, by name.
        self.kinds = {field: kind for kind, field in map(str.split, fields.split(", "))}

    def definition(self) -> str:
        """Return the definition of the type."""
        return f"%{self.name} = type {{ {', '.join(self.kinds.values())} }}"

    def place(self, pointer: str, field: str) -> str:
        """Return the instruction that gives the address of a field."""
        return f"getelementptr %{self.name}, ptr {pointer}, i32 0, i32 {list(self.kinds).index(field)}"

    def store(self, pointer: str) -> str:
        """Return the lines that store all fields, from values of their names."""
        return "\n".join(
            f"  %{field}.place = {self.place(pointer, field)}\n  store {kind} %{field}, ptr %{field}.place"
            for field, kind in self.kinds.items()
        )

    def load(self, pointer: str, fields: Iterable[str], prefix: str = "") -> str:
        """Return the lines that load some fields, into values of their names behind a prefix."""
        return "\n".join(
            f"  %{field}.place = {self.place(pointer, field)}\n"
            f"  %{prefix}{field} = load {self.kinds[field]}, ptr %{field}.place"
            for field in fields
        )
