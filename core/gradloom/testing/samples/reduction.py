"""Samples of the reduction ops."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom.testing.sample import Sample, rng

X = rng().uniform(-2, 2, (2, 3))
CUBE = rng(1).uniform(0.5, 2, (2, 3, 4))
#: Distances far above the steps of the difference stencil.
APART = np.array([[0.5, -1.0, 2.0], [1.5, 3.0, -0.25]])
#: No zero, one, and two along the second axis.
ZEROS = np.array([[2.0, -1.5, 3.0], [0.0, 1.25, -2.0], [0.0, 0.5, -0.0]])
TIES = np.array([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]])
INTEGERS = np.array([[3, -1, 2], [5, 0, 5]], np.int16)
EMPTY = np.empty((0, 3))
NAN = np.array([[1.0, np.nan, 2.0], [0.0, -1.0, np.inf]])


def attrs(axis: tuple[int, ...], keepdims: bool = False) -> dict[str, Any]:
    """Return the attrs of a reduction."""
    return {"axis": axis, "keepdims": keepdims}


def _each(op: str, oracle: Any, x: Any) -> list[Sample]:
    """Return samples of one reduction over every choice of axes."""
    return [
        Sample(op, (x,), oracle, attrs(())),
        Sample(op, (x,), oracle, attrs((0,))),
        Sample(op, (x,), oracle, attrs((1,), True)),
        Sample(op, (x,), oracle, attrs((0, 1))),
        Sample(op, (x,), oracle, attrs((0, 1), True)),
        Sample(op, (x[:1],), oracle, attrs((0,)), name="size 1"),
        Sample(op, (x[0, 0],), oracle, attrs(())),
    ]


TIES_FIRST_AXIS = np.zeros((3, 2, 3))
TIES_FIRST_AXIS[[0, 1, 2], [1, 0, 0], [0, 1, 2]] = 1.0
TIES_SECOND_AXIS = np.zeros((2, 2, 3))
TIES_SECOND_AXIS[0, 0, 1:] = 1 / 2
TIES_SECOND_AXIS[1, 1] = 1 / 3
NAN_SECOND_AXIS = np.zeros((2, 2, 3))
NAN_SECOND_AXIS[0, 0, 1] = NAN_SECOND_AXIS[1, 1, 2] = 1.0

SAMPLES = [
    *_each("sum", np.sum, X),
    Sample("sum", (CUBE[:1],), np.sum, attrs((0, 2))),
    Sample("sum", (EMPTY,), np.sum, attrs((0,)), name="size 0"),
    Sample("sum", (EMPTY,), np.sum, attrs((1,)), name="size 0"),
    Sample("sum", (INTEGERS,), np.sum, attrs((1,)), name="integers"),
    Sample("sum", (X > 0,), np.sum, attrs((0, 1)), name="bool"),
    *_each("prod", np.prod, X),
    Sample("prod", (CUBE[:, :1, :3],), np.prod, attrs((0, 2))),
    Sample("prod", (ZEROS,), np.prod, attrs((1,)), name="zeros"),
    Sample("prod", (ZEROS[:2],), np.prod, attrs((0, 1)), name="zero over two axes"),
    Sample("prod", (EMPTY,), np.prod, attrs((0,)), name="size 0"),
    Sample("prod", (EMPTY,), np.prod, attrs((1,)), name="size 0"),
    Sample("prod", (INTEGERS,), np.prod, attrs((1,)), name="integers"),
    *_each("max", np.max, APART),
    *_each("min", np.min, APART),
    Sample("max", (TIES,), np.max, attrs((1,)), name="ties", smooth=False, expected_partials={0: TIES_SECOND_AXIS}),
    Sample("max", (TIES,), np.max, attrs((0,)), name="mixed", smooth=False, expected_partials={0: TIES_FIRST_AXIS}),
    Sample("min", (-TIES,), np.min, attrs((1,)), name="ties", smooth=False, expected_partials={0: TIES_SECOND_AXIS}),
    Sample(
        "max",
        (np.array([0.0, -0.0]),),
        np.max,
        attrs((0,)),
        name="signed zeros",
        smooth=False,
        expected_partials={0: np.array([0.5, 0.5])},
    ),
    Sample("max", (NAN,), np.max, attrs((1,)), name="nan inf", smooth=False, expected_partials={0: NAN_SECOND_AXIS}),
    Sample("max", (EMPTY,), np.max, attrs((1,)), name="size 0"),
    Sample("max", (INTEGERS,), np.max, attrs((1,)), name="integers"),
    Sample("max", (X > 0,), np.max, attrs((1,)), name="bool"),
    Sample("min", (EMPTY,), np.min, attrs((1,)), name="size 0"),
    Sample("min", (INTEGERS,), np.min, attrs((0, 1)), name="integers"),
    *[
        Sample(op, (x,), oracle, attrs(axis, keepdims), name=name)
        for op, oracle in (("any", np.any), ("all", np.all))
        for x, axis, keepdims, name in (
            (ZEROS, (1,), False, ""),
            (ZEROS, (0,), True, "kept"),
            (X > 0, (0, 1), False, "bool"),
            (INTEGERS, (1,), False, "integers"),
            (NAN, (1,), False, "nan"),
            (EMPTY, (0,), False, "size 0"),
        )
    ],
    *[
        Sample(op, (x,), oracle, {"axis": axis, "keepdims": keepdims}, name=name)
        for op, oracle in (("argmax", np.argmax), ("argmin", np.argmin))
        for x, axis, keepdims, name in (
            (APART, 0, False, ""),
            (APART, 1, True, "kept"),
            (TIES, 1, False, "ties"),
            (NAN, 1, False, "nan"),
            (INTEGERS, 1, False, "integers"),
            (EMPTY, 1, False, "size 0"),
        )
    ],
]
