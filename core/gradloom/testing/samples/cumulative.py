"""Samples of the cumulative ops."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom.testing.sample import Sample, rng

X = rng().uniform(-2, 2, (2, 3))
CUBE = rng(1).uniform(0.5, 2, (2, 3, 1))
#: One zero and two along the second axis.
ZEROS = np.array([[0.0, 1.25, -2.0], [0.0, 0.5, -0.0]])
INTEGERS = np.array([[3, -1, 2], [5, 0, 5]], np.int16)
EMPTY = np.empty((0, 3))


def cumsum(x: Any, axis: int, reverse: bool) -> Any:
    """Add up from either end."""
    return np.flip(np.cumsum(np.flip(x, axis), axis), axis) if reverse else np.cumsum(x, axis)


def cumprod(x: Any, axis: int, exclusive: bool, reverse: bool) -> Any:
    """Multiply every leading or trailing slice on its own."""
    x = np.moveaxis(x, axis, 0)
    n = len(x)
    skip = int(exclusive)
    rows = [x[k + skip :] if reverse else x[: k + 1 - skip] for k in range(n)]
    return np.moveaxis(np.array([np.prod(row, axis=0) for row in rows]).reshape(x.shape), 0, axis)


def linear_recurrence(a: Any, b: Any, axis: int, reverse: bool) -> Any:
    """Add up every term times the factors after it."""
    a, b = (np.moveaxis(x, axis, 0)[:: -1 if reverse else 1] for x in (a, b))
    rows = [sum((b[k] * np.prod(a[k + 1 : i], axis=0) for k in range(i)), 0 * b[0]) for i in range(len(a))]
    return np.moveaxis(np.array(rows)[:: -1 if reverse else 1], 0, axis)


def _products(x: Any, axis: int, name: str = "") -> list[Sample]:
    """Return samples of every kind of cumulative product."""
    return [
        Sample(
            "cumprod",
            (x,),
            cumprod,
            {"axis": axis, "exclusive": exclusive, "reverse": reverse},
            name=" ".join([name] + ["exclusive"] * exclusive + ["reverse"] * reverse),
        )
        for exclusive in (False, True)
        for reverse in (False, True)
    ]


def _recurrences(a: Any, b: Any, axis: int, name: str = "") -> list[Sample]:
    """Return samples of the recurrence from either end."""
    return [
        Sample(
            "linear_recurrence",
            (a, b),
            linear_recurrence,
            {"axis": axis, "reverse": reverse},
            name=name + " reverse" * reverse,
        )
        for reverse in (False, True)
    ]


SAMPLES = [
    *[
        Sample("cumsum", (x,), cumsum, {"axis": axis, "reverse": reverse}, name=name + " reverse" * reverse)
        for reverse in (False, True)
        for x, axis, name in (
            (X, 0, ""),
            (X, 1, "last axis"),
            (CUBE, 1, ""),
            (X[:, :1], 1, "size 1"),
            (EMPTY, 0, "size 0"),
            (EMPTY, 1, "size 0"),
            (INTEGERS, 1, "integers"),
        )
    ],
    *_products(X, 0),
    *_products(CUBE, 1),
    *_products(ZEROS, 1, "zeros"),
    *_products(INTEGERS.astype(np.int64), 1, "integers"),
    Sample("cumprod", (EMPTY,), np.cumprod, {"axis": 0}, name="size 0"),
    Sample("cumprod", (INTEGERS,), np.cumprod, {"axis": 1}, name="integers"),
    *_recurrences(X, rng(2).uniform(-1, 1, X.shape), 1),
    *_recurrences(ZEROS, rng(3).uniform(-1, 1, ZEROS.shape), 1, "zeros"),
    *_recurrences(CUBE[0], CUBE[1], 0, "first axis"),
    *_recurrences(X[:, :1], X[:, 1:2], 1, "size 1"),
    *_recurrences(EMPTY.T, EMPTY.T, 0, "size 0"),
    # Backends may take another path for many rows: values only, the rules are the same.
    Sample(
        "linear_recurrence",
        (rng(4).uniform(-1, 1, (3, 5)), rng(5).uniform(-1, 1, (3, 5))),
        linear_recurrence,
        {"axis": 0, "reverse": False},
        name="many rows",
        smooth=False,
    ),
]
