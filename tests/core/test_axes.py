"""Axis rules are true: an op on a piece of a cut axis gives that piece of its output.

Every op with an axis rule is cut on its samples, along each axis that its rule says may be cut.
"""

from __future__ import annotations

from functools import reduce
from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom.axes import Axes, axes_of
from gradloom.cost import node_cost
from gradloom.op import Op, get_op
from gradloom.program import Program
from gradloom.spec import Spec
from gradloom.testing.sample import Sample
from gradloom.testing.samples import SAMPLES

COMBINE: dict[str, Any] = {
    "add": np.add,
    "multiply": np.multiply,
    "max": np.maximum,
    "min": np.minimum,
    "any": np.logical_or,
    "all": np.logical_and,
}


def arrays_of(sample: Sample) -> tuple[Any, ...]:
    """Return the arguments of a sample as its op takes them: a common dtype can depend on all of them."""
    specs = tuple([Spec(np.shape(a), np.asarray(a).dtype) for a in sample.args])
    _, casts = get_op(sample.op).infer(specs, get_op(sample.op).attr_values(sample.attrs))
    casts = casts or (None,) * len(specs)
    return tuple([np.asarray(a, cast) for a, cast in zip(sample.args, casts, strict=True)])


def rule_of(sample: Sample) -> Axes | None:
    op = get_op(sample.op)
    specs = tuple([Spec(a.shape, a.dtype) for a in arrays_of(sample)])
    return axes_of(op, specs, op.attr_dict(op.attr_values(sample.attrs)))


def run(op: Op, args: tuple[Any, ...], attrs: dict[str, Any]) -> list[Any]:
    return Program(gl.make_graph(lambda *x: op(*x, **attrs))(*args)).run(args)


def labels_of_outputs(axes: Axes, outputs: list[Any]) -> list[tuple[Any, ...]]:
    """Return the labels of each output; of several, the last axes stay whole and may differ in number."""
    return [tuple([axes.output[k] if k < len(axes.output) else None for k in range(out.ndim)]) for out in outputs]


def lengths_by_label(axes: Axes, args: tuple[Any, ...]) -> dict[Any, int]:
    lengths: dict[Any, int] = {}
    for arg, labels in zip(args, axes.inputs, strict=True):
        for n, label in zip(arg.shape, labels, strict=True):
            if label is not None:
                assert lengths.setdefault(label, n) == n, f"axes of one label, {label!r}, differ in length"
    return lengths


def piece(array: Any, labels: tuple[Any, ...], label: Any, part: slice) -> Any:
    """Return a part of an array along the axes of one label."""
    return array[tuple([part if own == label else slice(None) for own in labels])]


def attrs_of_piece(attrs: dict[str, Any], axes: Axes, label: Any, length: int) -> dict[str, Any]:
    """Return the attrs that hold lengths for a piece."""
    new = dict(attrs)
    if "shape" in attrs:
        new["shape"] = tuple([length if k == label else n for n, k in zip(attrs["shape"], axes.output, strict=True)])
    return new


CASES = [
    pytest.param(sample, label, id=f"{sample}-{label}")
    for sample in SAMPLES
    for axes in [rule_of(sample)]
    if axes is not None
    for label, n in lengths_by_label(axes, arrays_of(sample)).items()
    if n > 1
]


@np.errstate(all="ignore")
@pytest.mark.parametrize(("sample", "label"), CASES)
def test_pieces_make_the_whole(sample: Sample, label: Any) -> None:
    """They are joined along the axes of the label, or combined where the output has no such axis."""
    op, args, axes = get_op(sample.op), arrays_of(sample), rule_of(sample)
    assert axes is not None
    length = lengths_by_label(axes, args)[label]
    whole = run(op, args, sample.attrs)
    pieces = []
    for part in (slice(0, 1), slice(1, length)):
        cut = tuple([piece(a, labels, label, part) for a, labels in zip(args, axes.inputs, strict=True)])
        pieces.append(run(op, cut, attrs_of_piece(sample.attrs, axes, label, part.stop - part.start)))
    for k, labels in enumerate(labels_of_outputs(axes, whole)):
        parts = [outs[k] for outs in pieces]
        if label in labels:
            joined = np.concatenate(parts, labels.index(label))
        else:
            joined = reduce(COMBINE[axes.combine], parts)
        np.testing.assert_allclose(joined, whole[k], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("sample", [s for s in SAMPLES if rule_of(s) is not None], ids=str)
def test_labels_fit_the_spec_rule(sample: Sample) -> None:
    """One label per axis; an axis of the output has the length of the axes it comes from."""
    op, args, axes = get_op(sample.op), arrays_of(sample), rule_of(sample)
    assert axes is not None
    lengths = lengths_by_label(axes, args)
    outs = op.infer(tuple([Spec(a.shape, a.dtype) for a in args]), op.attr_values(sample.attrs))[0]
    for out in outs if isinstance(outs, tuple) else (outs,):
        assert isinstance(outs, tuple) or len(axes.output) == out.ndim
        for n, label in zip(out.shape, axes.output, strict=False):
            assert label is None or lengths.get(label, n) == n


@pytest.mark.parametrize("op", ["gather", "index_add", "index_set"])
def test_indexing_keeps_axes_taken_whole(op: str) -> None:
    """Of a (3, 4, 2) array indexed along its middle axis the others may be cut."""
    x, rows = Spec((3, 4, 2), np.dtype(float)), Spec((5,), np.dtype(int))
    index = ":", "array", ":"
    attrs = {"index": index, "unique": False}
    if op == "gather":
        # The reads may be spread too, but not what they read from.
        axes = Axes(((0, None, 2), (("joint", 0),)), (0, ("joint", 0), 2))
        assert axes_of(get_op(op), (x, rows), attrs) == axes
    else:
        axes = Axes(((0, None, 2), (0, None, 2), (None,)), (0, None, 2))
        assert axes_of(get_op(op), (x, Spec((3, 5, 2), x.dtype), rows), attrs) == axes


def test_indexing_costs_what_it_moves() -> None:
    """Reading five rows of a large table does not cost as much as reading the table."""
    table, rows = np.zeros((1000, 3)), np.arange(5)
    graph = gl.make_graph(lambda t, i: t[i])(table, rows)
    (k,) = [k for k, node in enumerate(graph.nodes) if node[0].name == "gather"]
    assert node_cost(graph, k)[:2] == (5 * 3, 8 * (5 + 2 * 5 * 3))
    graph = gl.make_graph(gl.grad(lambda t, i: np.sum(t[i])))(table, rows)
    (k,) = [k for k, node in enumerate(graph.nodes) if node[0].name == "index_add"]
    assert node_cost(graph, k)[:2] == (5 * 3, 8 * (5 + 5 * 3 + 2 * 1000 * 3))
