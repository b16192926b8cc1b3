"""Graph: plain data; nodes in topological order, each an op, its inputs and its attrs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, final

from gradloom.op import Op, define
from gradloom.pattern import Pattern
from gradloom.source import RawSource, Source
from gradloom.spec import Spec
from gradloom.symbolic import Symbolic

#: A node as it is stored: (op, ids of the input nodes, attr values). Its id is its position.
RawNode = tuple[Op, tuple[int, ...], tuple[Any, ...]]


def _input_spec(*, spec: Spec) -> Spec:
    return spec


def _literal_spec(*, spec: Spec, slot: int) -> Spec:
    return spec


def _item_spec(parent: Any, *, item: int) -> Spec:
    spec: Spec = parent[item]
    return spec


#: An argument of the graph.
INPUT = define("input", spec=_input_spec)
#: A Python scalar in the user's code; its value stands in ``graph.literals[slot]``.
LITERAL = define("literal", spec=_literal_spec)
#: One output of an op that has several.
ITEM = define("item", spec=_item_spec)


class Node(NamedTuple):
    """One node of a graph, for reading."""

    id: int
    op: Op
    inputs: tuple[int, ...]
    attrs: dict[str, Any]
    spec: Any
    source: Source | None


@final
class Graph:
    """A dataflow graph: plain data, picklable and printable, without closures.

    Parameters
    ----------
    nodes : tuple
        Raw nodes ``(op, inputs, attrs)`` in topological order; a node's id is its position.
    specs : tuple of Spec
        The spec of each node (a tuple of specs where an op has several outputs).
    inputs, outputs : tuple of int
        Ids of the graph's arguments and results.
    literals : tuple
        Values of the literal nodes.
    sources : sequence
        The user's ``file:line`` of each node, or None.

    Examples
    --------
    >>> import numpy as np
    >>> import gradloom as gl
    >>> print(gl.make_graph(lambda x: np.sin(x) * 2.0)(1.0).without_sources())
    graph(x0: float64[]) {
      x1 = sin(x0)  # float64[]
      x3 = multiply(x1, 2.0)  # float64[]
      return x3
    }
    """

    __slots__ = (
        "_hash",
        "_read",
        "_write",
        "inputs",
        "literals",
        "nodes",
        "numbers",
        "outputs",
        "pattern",
        "sources",
        "specs",
    )

    def __init__(
        self,
        nodes: tuple[RawNode, ...],
        specs: tuple[Any, ...],
        inputs: tuple[int, ...],
        outputs: tuple[int, ...],
        literals: tuple[Any, ...] = (),
        sources: Sequence[RawSource | None] = (),
    ) -> None:
        self.nodes = nodes
        self.specs = specs
        self.inputs = inputs
        self.outputs = outputs
        self.literals = literals
        self.sources: Sequence[RawSource | None] = sources or (None,) * len(nodes)
        #: Where it is known, what graphs share that differ in numbers alone, and the numbers of this one.
        self.pattern: Pattern | None = None
        self.numbers: Sequence[Any] = ()
        self._hash: int | None = None
        self._read: Callable[[int], RawNode] | None = None

    #: What returns nodes and literals of a graph that nobody has looked at yet.
    _write: Callable[[], tuple[Any, Any]]

    @classmethod
    def unwritten(
        cls,
        like: Graph,
        specs: tuple[Any, ...],
        write: Callable[[], tuple[Any, Any]],
        read: Callable[[int], RawNode] | None = None,
    ) -> Graph:
        """Return a graph like another one, whose nodes and literals ``write`` returns when somebody looks at them.

        ``read`` returns one of the nodes.
        """
        new: Graph = object.__new__(cls)
        new.specs, new.inputs, new.outputs, new.sources = specs, like.inputs, like.outputs, like.sources
        new.pattern, new.numbers, new._hash = None, (), None
        new._write, new._read = write, read
        return new

    def __getattr__(self, name: str) -> Any:
        # Python comes here for what is not there yet.
        if name != "nodes" and name != "literals":
            raise AttributeError(f"a graph has no attribute {name!r}")
        self.nodes, self.literals = self._write()
        return self.nodes if name == "nodes" else self.literals

    def __len__(self) -> int:
        return len(self.specs)

    def __iter__(self) -> Iterator[Node]:
        for i in range(len(self.nodes)):
            yield self.node(i)

    def raw_node(self, i: int) -> RawNode:
        """Return node ``i`` as it is stored; if nobody has looked at the nodes yet, no other one is written."""
        return self.nodes[i] if self._read is None else self._read(i)

    def node(self, i: int) -> Node:
        """Return node ``i`` in readable form."""
        op, inputs, attrs = self.nodes[i]
        return Node(i, op, inputs, op.attr_dict(attrs), self.specs[i], self.source(i))

    def source(self, i: int) -> Source | None:
        """Return where the user wrote node ``i``."""
        raw = self.sources[i]
        return None if raw is None else Source(*raw)

    def input_specs(self) -> tuple[Spec, ...]:
        """Return the specs of the arguments."""
        return tuple([self.specs[i] for i in self.inputs])

    def output_specs(self) -> tuple[Spec, ...]:
        """Return the specs of the results."""
        return tuple([self.specs[i] for i in self.outputs])

    def _content(self) -> tuple[Any, ...]:
        return self.nodes, self.inputs, self.outputs, tuple([literal_key(v) for v in self.literals])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Graph):
            return NotImplemented
        return self is other or self._content() == other._content()

    def __hash__(self) -> int:
        if self._hash is None:
            self._hash = hash(self._content())
        return self._hash

    def content_hash(self) -> str:
        """Return a hash of the content that is the same in every process."""
        from hashlib import blake2b  # slow to import, and few need it

        digest = blake2b(digest_size=16)
        for op, inputs, attrs in self.nodes:
            words = [a.content_hash() if isinstance(a, Graph) else repr(a) for a in attrs]
            digest.update(f"{op.name}{inputs}{words};".encode())
            if op is LITERAL:  # by its bits: 2 and 2.0 are one float, 0.0 and -0.0 two
                digest.update(attrs[0].dtype.type(self.literals[attrs[1]]).tobytes())
        digest.update(f"{self.inputs}{self.outputs}".encode())
        return digest.hexdigest()

    def without_sources(self) -> Graph:
        """Return the same graph without the user's lines."""
        return Graph(self.nodes, self.specs, self.inputs, self.outputs, self.literals)

    def written_at(self, sources: Sequence[RawSource | None]) -> Graph:
        """Return the same graph with other lines for its first nodes, and for what is derived from those."""
        found = list(self.sources)
        for i, old in enumerate(found):
            origin = i if old is None or old[2] < 0 else old[2]
            if origin < len(sources):
                new = sources[origin]
                found[i] = None if new is None else (new[0], new[1], -1 if old is None else old[2])
        return Graph(self.nodes, self.specs, self.inputs, self.outputs, self.literals, tuple(found))

    def reordered(self, order: Sequence[int]) -> Graph | None:
        """Return the same graph with its nodes in another order, None where that puts one before its inputs."""
        new = [0] * len(order)
        for k, i in enumerate(order):
            new[i] = k
        nodes: list[RawNode] = []
        sources: list[RawSource | None] = []
        for k, i in enumerate(order):
            op, inputs, attrs = self.nodes[i]
            if any([new[j] > k for j in inputs]):
                return None
            nodes.append((op, tuple([new[j] for j in inputs]), attrs))
            source = self.sources[i]
            sources.append(source if source is None or source[2] < 0 else (source[0], source[1], new[source[2]]))
        specs = tuple([self.specs[i] for i in order])
        inputs, outputs = tuple([new[i] for i in self.inputs]), tuple([new[i] for i in self.outputs])
        return Graph(tuple(nodes), specs, inputs, outputs, self.literals, tuple(sources))

    def __str__(self) -> str:
        names = [f"x{i}" for i in range(len(self.nodes))]
        for i, (op, _, attrs) in enumerate(self.nodes):
            if op is LITERAL:
                names[i] = repr(self.literals[attrs[1]])
        arguments = ", ".join(f"{names[i]}: {self.specs[i]!r}" for i in self.inputs)
        lines = [f"graph({arguments}) {{"]
        inputs = set(self.inputs)
        for i, node in enumerate(self.nodes):
            if node[0] is not LITERAL and i not in inputs:
                lines.append(self._line(i, names))
        lines.append(f"  return {', '.join(names[i] for i in self.outputs)}")
        return "\n".join([*lines, "}"])

    def _line(self, i: int, names: list[str]) -> str:
        node = self.node(i)
        words = [names[j] for j in node.inputs]
        words += [f"{key}={value!r}" for key, value in node.attrs.items()]
        comment = repr(node.spec)
        if node.source is not None:
            what = "gradient of " if node.source.derived else ""
            comment += f"  {what}{os.path.basename(node.source.filename)}:{node.source.line}"
        return f"  {names[i]} = {node.op.name}({', '.join(words)})  # {comment}"

    def __repr__(self) -> str:
        return f"<Graph: {len(self.inputs)} inputs, {len(self.nodes)} nodes, {len(self.outputs)} outputs>"

    def __reduce__(self) -> tuple[Any, ...]:
        # Codes do not pickle, and most nodes share a line: each line is resolved once.
        lines: dict[tuple[int, int], Source] = {}
        sources: list[RawSource | None] = []
        for raw in self.sources:
            if raw is None:
                sources.append(None)
                continue
            code, offset, origin = raw
            key = id(code), offset
            if key not in lines:
                lines[key] = Source(code, offset)
            sources.append((lines[key].filename, lines[key].line, origin))
        return Graph, (self.nodes, self.specs, self.inputs, self.outputs, self.literals, tuple(sources))


def literal_key(value: Any) -> Any:
    """Return what tells two scalars of one dtype apart where ``==`` does not (-0.0, NaN, True)."""
    if type(value) is float:
        return value if value and value == value else repr(value)
    return value if type(value) is int or type(value) is Symbolic else repr(value)


def live_nodes(nodes: Any, outputs: tuple[int, ...]) -> bytearray:
    """Mark the nodes that the outputs depend on."""
    live = bytearray(len(nodes))
    for i in outputs:
        live[i] = 1
    for i in range(len(nodes) - 1, -1, -1):
        if live[i]:
            for j in nodes[i][1]:
                live[j] = 1
    return live


def varies(value: Any) -> bool:
    """Return whether there are symbolic numbers in a value."""
    return next(numbers_in(value), None) is not None


def numbers_in(value: Any) -> Iterator[int]:
    """Yield the places of the symbolic numbers in a value."""
    kind = type(value)
    if kind is Symbolic:
        yield value.place
    elif kind is Spec:
        yield from numbers_in(value.shape)
    elif kind is tuple or kind is Graph:
        for part in value if kind is tuple else (value.nodes, value.specs, value.literals):
            yield from numbers_in(part)
