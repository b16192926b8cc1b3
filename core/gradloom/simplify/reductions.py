"""Rules of reductions: over nothing, over reductions, over broadcasts; and sums that are products of matrices."""

from __future__ import annotations

import math
from typing import Any

from gradloom.graph import RawNode
from gradloom.op import Op, ops
from gradloom.simplify.arithmetic import never_minus_zero
from gradloom.simplify.builder import Builder, Rule
from gradloom.spec import Spec
from gradloom.symbolic import compute

Args = tuple[int, ...]
Result = int | RawNode | None

#: Elements from which on a product of matrices beats a product of arrays and a sum.
MATMUL_SIZE = 256
#: Rows, and columns of the product, from which on it pays to add up rows before they are multiplied.
MATMUL_ROWS = 8


def reduce_nothing(g: Builder, op: Op, args: Args, attrs: Any, spec: Spec, k: int) -> Result:
    """Reshape instead of a reduction over no axis, or axes of length 1; the dtype stays.

    A sum turns -0.0 into 0.0, so only where that cannot be; and no complex product, which begins with 1, since
    ``inf * 1`` has a NaN part.
    """
    x = g.specs[args[0]]
    if any([x.shape[axis] != 1 for axis in attrs[0]]) or x.dtype != spec.dtype:
        return None
    if (op.name == "sum" and not never_minus_zero(g, args[0])) or (op.name == "prod" and spec.dtype.kind == "c"):
        return None
    return ops["reshape"], args, (spec.shape,)


def reduce_reduced(g: Builder, op: Op, args: Args, attrs: Any, spec: Spec, k: int) -> Result:
    """``sum(sum(x)) -> sum(x)`` over the axes of both, where the inner one is used nowhere else.

    The same of prod, any and all. Sums and products round in another order, within n eps of the
    sum of absolute values.
    """
    _, inner, (axes, keepdims) = g.nodes[args[0]]
    x = g.specs[inner[0]]
    if g.uses[args[0]] > 1 or keepdims != attrs[1] or g.specs[args[0]].dtype != spec.dtype:
        return None
    left = range(x.ndim) if keepdims else [axis for axis in range(x.ndim) if axis not in axes]
    return op, inner, (tuple(sorted({*axes, *[left[axis] for axis in attrs[0]]})), keepdims)


def sum_of_broadcast(g: Builder, op: Op, args: Args, attrs: Any, spec: Spec, k: int) -> Result:
    """``sum(broadcast_to(x)) -> sum(x) * n`` over n > 0 equal terms; real and integers.

    One rounding instead of up to n - 1: within n eps of the sum. The sum of -0.0 is 0.0, so
    0.0 is added where nothing is left to sum.
    """
    x = g.nodes[args[0]][1][0]
    small, full = g.specs[x], g.specs[args[0]]
    if small.dtype != spec.dtype or spec.dtype.kind not in "fi" or not full.size:
        return None
    extra = full.ndim - small.ndim
    wide = [axis for axis in attrs[0] if axis < extra or small.shape[axis - extra] < full.shape[axis]]
    count = math.prod([full.shape[axis] for axis in wide])
    # The dtype must hold the count exactly.
    if not wide or count > (2**24 if spec.dtype.itemsize > 2 else 2**11 if spec.dtype.kind == "f" else 2**7):
        return None
    rest = tuple([axis - extra for axis in attrs[0] if axis >= extra])
    if any([small.shape[axis] != 1 for axis in rest]):
        x = g.emit("sum", (x,), rest, True)
    elif spec.dtype.kind == "f" and not never_minus_zero(g, x):
        x = g.emit("add", (x, g.literal(0.0, spec.dtype)))
    if count > 1:
        x = g.emit("multiply", (x, g.literal(compute(float, count) if spec.dtype.kind == "f" else count, spec.dtype)))
    if not attrs[1]:
        shape = tuple([n for axis, n in enumerate(small.shape) if axis not in rest])
        x = x if g.specs[x].shape == shape else g.emit("reshape", (x,), shape)
    return x if g.specs[x].shape == spec.shape else (ops["broadcast_to"], (x,), (spec.shape,))


def sum_of_product(g: Builder, op: Op, args: Args, attrs: Any, spec: Spec, k: int) -> Result:
    """``sum(a[:, :, None] * b[None], axis=1) -> a @ b``: a product of matrices, or of a matrix and a vector.

    Real floats, a product used nowhere else. A fused loop over product and sum would read
    both factors once for each element of the other; a product of matrices does not. Rounds in
    another order, within n eps of the sum of absolute values; inf * 0 is NaN in both.
    """
    _, (a, b), _ = g.nodes[args[0]]
    full = g.specs[args[0]]
    if g.uses[args[0]] > 1 or full.dtype.kind != "f" or full.dtype.itemsize not in (4, 8) or full.size < MATMUL_SIZE:
        return None
    roles = _roles(g.specs[a], g.specs[b], full, attrs[0])
    if roles is None:
        return None
    summed, own_a, own_b = roles
    if own_a is not None and (own_b is None or own_a < own_b):
        left, right = _matrix(g, a, own_a, summed, full.ndim), _matrix(g, b, summed, own_b, full.ndim)
    else:
        left, right = _matrix(g, b, own_b, summed, full.ndim), _matrix(g, a, summed, own_a, full.ndim)
    return ops["reshape"], (g.emit("matmul", (left, right)),), (spec.shape,)


def _roles(a: Spec, b: Spec, full: Spec, axes: tuple[int, ...]) -> tuple[int, int | None, int | None] | None:
    """Return the summed axis, and the axis that only one factor has; None for any other pattern."""
    summed = []
    own: dict[str, list[int]] = {"a": [], "b": []}
    for axis, n in enumerate(full.shape):
        in_a = axis >= full.ndim - a.ndim and a.shape[axis - full.ndim] == n
        in_b = axis >= full.ndim - b.ndim and b.shape[axis - full.ndim] == n
        if n == 1:
            continue
        if axis in axes:
            if not (in_a and in_b):
                return None
            summed.append(axis)
        elif in_a and in_b:
            return None
        else:
            own["a" if in_a else "b"].append(axis)
    if len(summed) != 1 or max(len(own["a"]), len(own["b"])) != 1:
        return None
    return summed[0], *[own[name][0] if own[name] else None for name in "ab"]  # type: ignore[return-value]


def _matrix(g: Builder, x: int, first: int | None, second: int | None, ndim: int) -> int:
    """Return a factor as a matrix of two axes of the product, or a vector of one."""
    spec = g.specs[x]
    offset = ndim - spec.ndim
    axes = [axis for axis in (first, second) if axis is not None]
    order = sorted(axes)
    shape = tuple([spec.shape[axis - offset] for axis in order])
    if shape != spec.shape:
        x = g.emit("reshape", (x,), shape)
    return x if axes == order else g.emit("transpose", (x,), (1, 0))


def sum_of_careful_product(g: Builder, op: Op, args: Args, attrs: Any, spec: Spec, k: int) -> Result:
    """``sum(a @ b, rows) -> sum(s @ b, rows)``, s having two rows: sums of the positive rows of a, and of the others.

    For products in which exact zeros of ``a`` annihilate, and so do those of columns of ``b``; real
    floats, used nowhere else, also behind a `negative`. No sum of positive numbers vanishes, and infinite
    terms of both signs still meet; with one sum of all rows neither would hold. Within n eps of the sum
    of absolute values.
    """
    product = args[0]
    negated = g.nodes[product][0] is ops["negative"]
    if negated:
        product = g.nodes[product][1][0]
    kind, factors, own = g.nodes[product]
    if kind is not ops["annihilating_matmul"] or g.uses[args[0]] > 1 or g.uses[product] > 1:
        return None
    (zeros,) = own
    x, other = factors[zeros], factors[1 - zeros]
    full = g.specs[product]
    if min(g.specs[x].ndim, g.specs[other].ndim) < 2 or full.dtype.kind != "f" or full.dtype != spec.dtype:
        return None
    axis = g.specs[x].ndim - 2 + zeros
    rows, columns = full.shape[zeros - 2], full.shape[-1 - zeros]
    if full.ndim - 2 + zeros not in attrs[0] or min(rows, columns) < MATMUL_ROWS:
        return None
    if negated:
        x = g.emit("negative", (x,))
    zero = g.literal(0.0, full.dtype)
    positive = g.emit("greater", (x, zero))
    parts = [g.emit("where", (positive, *pair)) for pair in ((x, zero), (zero, x))]
    pair = g.emit("concatenate", tuple([g.emit("sum", (part,), (axis,), True) for part in parts]), axis)
    return op, (g.emit("annihilating_matmul", (pair, other)[:: 1 - 2 * zeros], zeros),), attrs


_REDUCTIONS = ("sum", "prod", "max", "min", "any", "all")

#: The rules of reductions, in the order they are tried.
REDUCTIONS = (
    *[Rule(reduce_nothing, name) for name in _REDUCTIONS],
    *[Rule(reduce_reduced, name, name, exact=name in ("any", "all")) for name in ("sum", "prod", "any", "all")],
    Rule(sum_of_broadcast, "sum", "broadcast_to", exact=False),
    Rule(sum_of_product, "sum", "multiply", exact=False),
    *[Rule(sum_of_careful_product, "sum", name, exact=False) for name in ("annihilating_matmul", "negative")],
)
