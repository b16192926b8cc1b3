"""Rules of shapes: views of views, broadcasts that happen anyway, pieces put together again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gradloom.graph import Graph, RawNode
from gradloom.op import Op, ops
from gradloom.simplify.builder import Builder, Rule
from gradloom.spec import WHOLE, Spec, broadcast_shapes, sliced

Args = tuple[int, ...]
Result = int | RawNode | None


def reshape_to_own_shape(g: Builder, op: Op, args: Args, attrs: Any, spec: Spec, k: int) -> Result:
    """``reshape(x, x.shape) -> x`` and ``broadcast_to(x, x.shape) -> x``."""
    return args[0] if g.specs[args[0]].shape == spec.shape else None


def view_of_same_view(g: Builder, op: Op, args: Args, attrs: Any, spec: Spec, k: int) -> Result:
    """``reshape(reshape(x)) -> reshape(x)``, and the same of `broadcast_to`: the last one decides."""
    return op, g.nodes[args[0]][1], attrs


def view_of_filled(g: Builder, op: Op, args: Args, attrs: Any, spec: Spec, k: int) -> Result:
    """Broadcast a 0-d value to the shape of the view of it that is taken."""
    value = g.nodes[args[0]][1]
    return None if g.specs[value[0]].shape else (ops["broadcast_to"], value, (spec.shape,))


def transpose_in_order(g: Builder, op: Op, args: Args, attrs: Any, spec: Spec, k: int) -> Result:
    """``transpose(x) -> x`` where the axes keep their order."""
    return args[0] if attrs[0] == tuple(range(spec.ndim)) else None


def transpose_of_transpose(g: Builder, op: Op, args: Args, attrs: Any, spec: Spec, k: int) -> Result:
    """``transpose(transpose(x)) -> transpose(x)`` with the axes of both."""
    _, x, (first,) = g.nodes[args[0]]
    return op, x, (tuple([first[axis] for axis in attrs[0]]),)


def transpose_of_symmetric(g: Builder, op: Op, args: Args, attrs: Any, spec: Spec, k: int) -> Result:
    """``(x + x.T).T -> x + x.T``, also of products; for any axes that change places in pairs."""
    axes = attrs[0]
    factors = g.nodes[args[0]][1]
    if spec.dtype.kind == "c" or [axes[axis] for axis in axes] != list(range(spec.ndim)):
        return None
    for x, other in (factors, factors[::-1]):
        if g.nodes[other][:2] == (op, (x,)) and g.nodes[other][2] == attrs:
            return args[0]
    return None


def flip_of_flip(g: Builder, op: Op, args: Args, attrs: Any, spec: Spec, k: int) -> Result:
    """``flip(flip(x)) -> x`` for the same axes."""
    _, x, first = g.nodes[args[0]]
    return x[0] if set(first[0]) == set(attrs[0]) else None


def flip_of_nothing(g: Builder, op: Op, args: Args, attrs: Any, spec: Spec, k: int) -> Result:
    """``flip(x) -> x`` where the flipped axes have length 1, or there are none."""
    return args[0] if all([spec.shape[axis] == 1 for axis in attrs[0]]) else None


def getitem_of_everything(g: Builder, op: Op, args: Args, attrs: Any, spec: Spec, k: int) -> Result:
    """``x[:, ...] -> x`` and ``x[:, None] -> reshape(x)``: whole axes only, and new ones."""
    if not takes_all(attrs[0]):
        return None
    return (ops["reshape"], args, (spec.shape,)) if None in attrs[0] else args[0]


def index_add_to_everything(g: Builder, op: Op, args: Args, attrs: Any, spec: Spec, k: int) -> Result:
    """``x[:, None] += v -> x + reshape(v)``, the gradient of taking all of an array."""
    if not takes_all(attrs[0]):
        return None
    x, v = args
    return ops["add"], (x, g.emit("reshape", (v,), spec.shape)), ()


def takes_all(index: tuple[Any, ...]) -> bool:
    """Return whether an index takes every axis whole and in order; it may add new ones."""
    return all([entry is None or entry == WHOLE for entry in index])


def getitem_of_concatenate(g: Builder, op: Op, args: Args, attrs: Any, spec: Spec, k: int) -> Result:
    """``concatenate(..., x, ...)[index] -> x[index]`` where the index stays inside one part, on its axis."""
    _, parts, (axis,) = g.nodes[args[0]]
    index = attrs[0]
    if None in index or axis >= len(index):
        return None
    entry = index[axis]
    if type(entry) is int:
        first = last = entry
    elif type(entry) is tuple and entry[0] == "slice" and entry[3] > 0 and entry[2] > entry[1]:
        first, last = entry[1], entry[2] - 1
    else:
        return None
    start = 0
    for x in parts:
        length = g.specs[x].shape[axis]
        if first < start + length:
            if first < start or last >= start + length:
                return None
            if type(entry) is int:
                inside: Any = entry - start
            else:
                inside = sliced(entry[1] - start, entry[2] - start, entry[3], length)
            return op, (x,), ((*index[:axis], inside, *index[axis + 1 :]),)
        start += length
    return None


def reshape_of_row(g: Builder, op: Op, args: Args, attrs: Any, spec: Spec, k: int) -> Result:
    """``reshape(x[i], (1, ...)) -> x[i:i+1]``, so that rows put together are seen to be one slice."""
    _, x, (index,) = g.nodes[args[0]]
    shape = g.specs[x[0]].shape
    if spec.shape != (1, *shape[1:]) or type(index[0]) is not int or index[1:] != (WHOLE,) * (len(shape) - 1):
        return None
    return ops["getitem"], x, ((sliced(index[0], index[0] + 1, 1, shape[0]), *index[1:]),)


def concatenate_one(g: Builder, op: Op, args: Args, attrs: Any, spec: Spec, k: int) -> Result:
    """``concatenate([x]) -> x``."""
    return args[0] if len(args) == 1 else None


def concatenate_slices(g: Builder, op: Op, args: Args, attrs: Any, spec: Spec, k: int) -> Result:
    """``concatenate([x[0:a], x[a:b], ...]) -> x[0:b]``, and of rows ``x[i]`` a reshape of that; axis 0."""
    run = slice_run(g, args) if attrs[0] == 0 else None
    if run is None:
        return None
    x, start, stop = run
    shape = g.specs[x].shape
    index = (sliced(start, stop, 1, shape[0]), *[WHOLE] * (len(shape) - 1))
    return ops["reshape"], (g.emit("getitem", (x,), index),), (spec.shape,)


def slice_run(g: Builder | Graph, args: Sequence[int]) -> tuple[int, int, int] | None:
    """Return (x, start, stop) if nodes are the rows or slices of ``x[start:stop]``, in order."""
    getitem = ops["getitem"]
    first = stop = -1
    x = -1
    for j in args:
        op, inputs, attrs = g.nodes[j]
        if op is not getitem:
            return None
        index = attrs[0]
        if x < 0:
            x = inputs[0]
            others = (WHOLE,) * (g.specs[x].ndim - 1)
        if inputs[0] != x or index[1:] != others:
            return None
        entry = index[0]
        if type(entry) is int:
            begin, end = entry, entry + 1
        elif entry == WHOLE:
            begin, end = 0, g.specs[x].shape[0]
        elif type(entry) is tuple and entry[0] == "slice" and entry[3] == 1:
            begin, end = entry[1], entry[2]
        else:
            return None
        if first < 0:
            first = begin
        elif begin != stop:
            return None
        stop = end
    return x, first, stop


# -- broadcasts that happen anyway ------------------------------------------------------------


def drop_broadcast(g: Builder, op: Op, args: Args, attrs: Any, spec: Spec, k: int) -> Result:
    """``f(broadcast_to(x), y) -> f(x, y)`` for elementwise f, where y gives the shape.

    Not for `power`: NumPy rounds a power differently where the exponent is 0-d.
    """
    x = g.nodes[args[k]][1][0]
    fitted = (*args[:k], x, *args[k + 1 :])
    specs = g.specs
    shape = spec.shape
    for j in fitted:
        if specs[j].shape == shape:
            return op, fitted, attrs
    return (op, fitted, attrs) if broadcast_shapes(*[specs[j].shape for j in fitted]) == shape else None


def broadcast_later(g: Builder, op: Op, args: Args, attrs: Any, spec: Spec, k: int) -> Result:
    """``f(broadcast_to(x), broadcast_to(y)) -> broadcast_to(f(x, y))`` for elementwise f: less to compute."""
    x = g.nodes[args[k]][1][0]
    inner = g.emit(op.name, (*args[:k], x, *args[k + 1 :]), *attrs)
    small = g.specs[inner]
    if small.shape == spec.shape or small.dtype != spec.dtype:
        return None
    return ops["broadcast_to"], (inner,), (spec.shape,)


def view_rules() -> tuple[Rule, ...]:
    """Return the rules of shapes, in the order they are tried; those of elementwise ops for each one there is."""
    rules = [
        Rule(reshape_to_own_shape, "reshape"),
        Rule(reshape_to_own_shape, "broadcast_to"),
        Rule(view_of_same_view, "reshape", "reshape"),
        Rule(view_of_same_view, "broadcast_to", "broadcast_to"),
        Rule(reshape_of_row, "reshape", "getitem"),
        Rule(transpose_in_order, "transpose"),
        Rule(transpose_of_transpose, "transpose", "transpose"),
        Rule(transpose_of_symmetric, "transpose", "add"),
        Rule(transpose_of_symmetric, "transpose", "multiply"),
        Rule(flip_of_nothing, "flip"),
        Rule(flip_of_flip, "flip", "flip"),
        Rule(getitem_of_everything, "getitem"),
        Rule(index_add_to_everything, "index_add"),
        Rule(getitem_of_concatenate, "getitem", "concatenate"),
        Rule(concatenate_one, "concatenate"),
        Rule(concatenate_slices, "concatenate", "getitem"),
    ]
    rules += [Rule(view_of_filled, name, "broadcast_to") for name in ("reshape", "transpose", "getitem", "flip")]
    for op in ops.values():
        if op.elementwise and op.name != "power":
            rules.append(Rule(drop_broadcast, op.name, "broadcast_to"))
            rules.append(Rule(broadcast_later, op.name, "broadcast_to", exact=False))
    return tuple(rules)
