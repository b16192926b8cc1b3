"""Rules of padding: products with matrices that are zero but for a part, as the gradients of taking a part are."""

from __future__ import annotations

from typing import Any

from gradloom.graph import RawNode
from gradloom.op import Op, ops
from gradloom.simplify.builder import Builder, Rule
from gradloom.spec import WHOLE, Spec, sliced, taken_length

Args = tuple[int, ...]
Result = int | RawNode | None


def product_with_padded(g: Builder, op: Op, args: Args, attrs: Any, spec: Spec, k: int) -> Result:
    """``matmul(a, padded) -> matmul(a[:, rows], v)`` for zeros with v in some rows; columns of zeros are not computed.

    The same for ``padded @ a``. For products in which exact zeros of the padded matrix annihilate. Fewer
    terms round in another order, within n eps of the sum of absolute values.
    """
    padded, (zeros, *part), own = g.nodes[args[k]]
    other = g.specs[args[1 - k]]
    index = own[0]
    if attrs[0] != k or len(part) != 1 or len(index) != 2 or None in index or other.ndim < 2 or not _is_zeros(g, zeros):
        return None
    shape = g.specs[args[k]].shape
    slices = [sliced(e, e + 1, 1, n) if type(e) is int else e for e, n in zip(index, shape, strict=True)]
    summed, kept = (0, 1) if k else (1, 0)
    factor = args[1 - k]
    if slices[summed] != WHOLE:
        cut = [WHOLE] * other.ndim
        cut[-1 - summed] = slices[summed]
        factor = g.emit("getitem", (factor,), tuple(cut))
    v = g.emit("reshape", (part[0],), tuple(map(taken_length, slices, shape)))
    pair = (factor, v) if k else (v, factor)
    if slices[kept] == WHOLE:
        return op, pair, attrs
    product = g.emit(op.name, pair, k)
    place = [WHOLE] * spec.ndim
    place[kept - 2] = slices[kept]
    empty = g.emit("broadcast_to", (g.literal(0.0, spec.dtype),), spec.shape)
    return padded, (empty, product), (tuple(place), own[1])


def _is_zeros(g: Builder, node: int) -> bool:
    op, inputs, _ = g.nodes[node]
    return op is ops["broadcast_to"] and g.constant(inputs[0]) == 0


#: The rules of padding.
PADDING = (Rule(product_with_padded, "annihilating_matmul", "index_add", exact=False),)
