"""Function: a kernel as it is written: the numbers it reads, and where values lie in memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, final

import numpy as np

from gradloom_llvm.elementwise import TYPES, in_every_lane
from gradloom_llvm.loops import Loops
from gradloom_llvm.text import Text

#: A number that depends on sizes: what it is, and of which value or label.
Parameter = tuple[Any, ...]


@final
class Function(Text):
    """The text of a kernel's function, and the numbers it asks for.

    Parameters
    ----------
    loops : Loops
    vector_bytes : int
        Width of a vector register.
    pairs : bool, default False
        Whether loops run over two vectors at a time where one would wait, as their results do for the ones before.
    """

    def __init__(self, loops: Loops, vector_bytes: int, pairs: bool = False) -> None:
        super().__init__()
        self.loops = loops
        self.vector_bytes = vector_bytes
        #: Whether loads and stores under a mask cost no more than others: then one loop does all.
        self.masks = vector_bytes >= 64
        self.pairs = pairs and not self.masks
        #: Whether there are loops that would wait.
        self.waits = False
        #: The numbers that all functions of the kernel read, and where.
        self.parameters: dict[Parameter, int] = {}
        self.requests: set[tuple[str, str, int]] = set()
        self.declares: set[str] = set()
        self.entry: list[str] = []
        #: While a row phase is written: the running chunk.
        self.chunk: str | None = None
        #: Whether LLVM does not see how the indices of innermost loops go on.
        self.opaque = False
        self._strided = loops.strided
        self._known: dict[Any, str] = {}

    def sibling(self) -> Function:
        """Return another function of the same kernel, with the same arguments and numbers."""
        other = Function(self.loops, self.vector_bytes, self.pairs)
        other.parameters, other.requests, other.declares = self.parameters, self.requests, self.declares
        other.opaque = True
        other.chunk = None if self.chunk is None else "%chunk"
        return other

    def index(self, name: str, values: str) -> list[str]:
        """Return the lines of an innermost loop's index, given the phi's values.

        Strength reduction of many addresses takes LLVM up to a quarter of its time, and makes few loops faster.
        """
        if not self.opaque:
            return [f"  {name} = phi i64 {values}"]
        return [f"  {name}.phi = phi i64 {values}", f'  {name} = call i64 asm "", "=r,0"(i64 {name}.phi)']

    def text(self, head: str) -> str:
        """Return the function, from its arguments and attributes on."""
        entry = ["entry:", *self.entry, "  br label %begin", "begin:"]
        return "\n".join([f"{head} nounwind {{", *entry, *self.lines, "  ret void", "}"])

    def literal(self, i: int, lanes: int) -> str:
        """Return a literal that the code reads, in every lane."""
        dtype = self.loops.literals[i][1]
        kind, _ = TYPES[dtype]
        word = self.number("literal", i)
        if dtype.kind == "f":
            word = self._in_entry(("value", i), f"bitcast i64 {word} to double")
            if kind == "float":
                word = self._in_entry(("float", i), f"fptrunc double {word} to float")
        elif kind != "i64":
            word = self._in_entry(("value", i), f"trunc i64 {word} to {kind}")
        return in_every_lane(lambda text: self._in_entry(text, text), kind, lanes, word)

    # -- numbers and addresses ---------------------------------------------------------------

    def _in_entry(self, key: Any, text: str) -> str:
        """Return a value computed once, at the start of the function."""
        if key not in self._known:
            name = "%" + self.fresh("e")
            self.entry.append(f"  {name} = {text}")
            self._known[key] = name
        return self._known[key]

    def number(self, *key: Any) -> str:
        """Return a number that depends on sizes."""
        if key not in self._known:
            position = self.parameters.setdefault(key, len(self.parameters))
            address = self._in_entry(("address", key), f"getelementptr i64, ptr %n, i64 {position}")
            self._in_entry(key, f"load i64, ptr {address}")
        return self._known[key]

    def pointer(self, i: int) -> str:
        """Return the address of the first element of a value's storage."""
        loops = self.loops
        i = loops.overwritten.get(i, i)
        place = loops.places[i]
        if place in ("input", "output"):
            inputs = loops.region.inputs
            position = inputs.index(i) if place == "input" else len(inputs) + loops.outputs.index(i)
            address = self._in_entry(("slot", i), f"getelementptr ptr, ptr %p, i64 {position}")
            return self._in_entry(("pointer", i), f"load ptr, ptr {address}")
        area = "%block" if place == "block" else "%ws"
        return self._in_entry(("pointer", i), f"getelementptr i8, ptr {area}, i64 {self.number('offset', i)}")

    def partials(self, i: int) -> str:
        """Return the address of the partial results of a value that is reduced over rows."""
        return self._in_entry(("partials", i), f"getelementptr i8, ptr %ws, i64 {self.number('partial', i)}")

    def partial_of_chunk(self, i: int) -> str:
        """Return the address of the running chunk's partial results."""
        memory = TYPES[self.loops.values[i].dtype][1]
        offset = self.emit(f"mul i64 {self.chunk}, {self.number('width', i)}")
        return self.emit(f"getelementptr {memory}, ptr {self.partials(i)}, i64 {offset}")

    def address(self, i: int, index: Mapping[int, str], r0: str, partial: bool = False) -> str:
        """Return the address of a value's element.

        Parameters
        ----------
        i : int
        index : mapping
            By label, where the element is; at zero along others.
        r0 : str
            The first row of the block.
        partial : bool, default False
            Of the running chunk's partial result, rather than the value.
        """
        loops = self.loops
        memory = TYPES[loops.values[i].dtype][1]
        pointer = self.partial_of_chunk(i) if partial else self.pointer(i)
        for label in loops.values[i].labels:
            offset = index.get(label)
            if loops.places[i] == "block" and label == loops.row:
                offset = self.emit(f"sub i64 {offset or 0}, {r0}")
            if offset is None:
                continue
            step = self.stride(i, label)
            if step != "1":
                offset = self.emit(f"mul i64 {offset}, {step}")
            pointer = self.emit(f"getelementptr {memory}, ptr {pointer}, i64 {offset}")
        return pointer

    def stride(self, i: int, label: int) -> str:
        """Return the step of a value along a label, in elements."""
        if label == self.loops.values[i].labels[-1] and (i, label) not in self._strided:
            return "1"
        return self.number("stride", i, label)

    def range(self, label: int, r0: str, r1: str) -> tuple[str, str]:
        """Return where the loop of a label starts and stops; ``r0``, ``r1`` bound the block of rows."""
        if self.chunk is not None and label == self.loops.row:
            return r0, r1
        return "0", self.number("size", label)

    def lanes(self, dtypes: Iterable[np.dtype[Any]]) -> int:
        """Return how many lanes the widest of some dtypes leaves in a vector."""
        return self.vector_bytes // max([d.itemsize for d in dtypes if d.kind != "b"], default=4)
