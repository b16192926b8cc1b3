"""Samples of the indexing ops."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom.spec import WHOLE
from gradloom.testing.sample import Sample, rng

X = rng().uniform(-2, 2, (3, 2, 4))
M = rng(1).uniform(-2, 2, (3, 2))
V = rng(2).uniform(-2, 2, (4,))
Z = M + 1j * rng(3).uniform(-2, 2, (3, 2))
ROWS = np.array([2, 0, 2])
COLUMNS = np.array([[1], [0]])


def places(shape: tuple[int, ...], index: tuple[Any, ...], arrays: tuple[Any, ...]) -> Any:
    """Return the flat position of each element of an index."""
    rest = iter(arrays)
    form: list[Any] = []
    for entry in index:
        if entry == "array":
            form.append(next(rest))
        elif entry == "...":
            form.append(Ellipsis)
        elif entry == WHOLE:
            form.append(slice(None))
        elif type(entry) is tuple:
            start_or_mask, *stop, step = entry[1:] if len(entry) > 2 else (entry[1], None)
            form.append(slice(start_or_mask, stop[0] if stop[0] >= 0 else None, step) if stop else start_or_mask)
        else:
            form.append(entry)
    return np.arange(int(np.prod(shape))).reshape(shape)[tuple(form)]


def read(x: Any, *arrays: Any, index: tuple[Any, ...], **promises: Any) -> Any:
    """Read element by element."""
    return np.ravel(x)[places(np.shape(x), index, arrays)]


def added(x: Any, v: Any, *arrays: Any, index: tuple[Any, ...], **promises: Any) -> Any:
    """Add element by element."""
    out = np.array(np.ravel(x), np.result_type(x, v))
    for k, value in zip(np.ravel(places(np.shape(x), index, arrays)), np.ravel(v), strict=True):
        out[k] = out[k] + value
    return out.reshape(np.shape(x))


def replaced(x: Any, v: Any, *arrays: Any, index: tuple[Any, ...], **promises: Any) -> Any:
    """Replace element by element, in order."""
    out = np.array(np.ravel(x), np.result_type(x, v))
    for k, value in zip(np.ravel(places(np.shape(x), index, arrays)), np.ravel(v), strict=True):
        out[k] = value
    return out.reshape(np.shape(x))


def values(*shape: int) -> Any:
    """Return values to write."""
    return rng(4).uniform(-2, 2, shape)


def _changes(op: str, oracle: Any) -> list[Sample]:
    return [
        Sample(op, (M, values(2, 2)), oracle, {"index": (("slice", 0, 3, 2), WHOLE)}),
        Sample(op, (M, values(3)), oracle, {"index": (WHOLE, 1)}, name="int"),
        Sample(op, (M, values(3, 1, 2)), oracle, {"index": (("slice", 2, -1, -1), None, WHOLE)}, name="reversed"),
        Sample(op, (M, np.float64(0.5)), oracle, {"index": (2, 1)}, name="element"),
        Sample(op, (np.float64(0.3), np.float64(0.5)), oracle, {"index": ()}, name="0-d"),
        Sample(op, (M, values(0, 2)), oracle, {"index": (("slice", 2, 2, 1), WHOLE)}, name="size 0"),
        Sample(op, (V, values(3), ROWS), oracle, {"index": ("array",)}, name="twice the same"),
        Sample(op, (V, values(3), np.array([2, 0, 3])), oracle, {"index": ("array",), "unique": True}, name="unique"),
        Sample(op, (M, values(3, 2), ROWS), oracle, {"index": ("array", WHOLE)}, name="rows"),
        Sample(
            op, (X[:, :1], values(2, 3, 1), ROWS, COLUMNS), oracle, {"index": ("array", WHOLE, "array")}, name="apart"
        ),
        Sample(op, (V, np.float64(0.5), np.int64(3)), oracle, {"index": ("array",)}, name="0-d index"),
        Sample(op, (Z, Z[:2], np.array([1, 1])), oracle, {"index": ("array", WHOLE)}, name="complex"),
    ]


SAMPLES = [
    Sample("getitem", (X,), read, {"index": (1, ("slice", 1, -1, -1), ("slice", 0, 4, 3))}),
    Sample("getitem", (M,), read, {"index": (None, WHOLE, None, ("slice", 1, -1, -1))}, name="new axes"),
    Sample("getitem", (V,), read, {"index": (3,)}, name="element"),
    Sample("getitem", (np.float64(0.5),), read, {"index": (None,)}, name="0-d"),
    Sample("getitem", (M,), read, {"index": (("slice", 2, 2, 1), WHOLE)}, name="size 0"),
    Sample("getitem", (Z,), read, {"index": (WHOLE, 1)}, name="complex"),
    Sample("getitem", (np.arange(6),), read, {"index": (("slice", 1, 6, 3),)}, name="integer"),
    Sample("gather", (V, ROWS), read, {"index": ("array",)}, name="twice the same"),
    Sample("gather", (V, -1 - ROWS), read, {"index": ("array",)}, name="negative"),
    Sample("gather", (M, COLUMNS), read, {"index": (WHOLE, "array")}, name="columns"),
    Sample("gather", (M, ROWS, COLUMNS), read, {"index": ("array", "array")}, name="broadcast"),
    Sample("gather", (X, ROWS, COLUMNS), read, {"index": ("array", WHOLE, "array")}, name="apart"),
    Sample("gather", (X, ROWS), read, {"index": ("array", WHOLE, 3)}, name="apart from an int"),
    Sample("gather", (X, COLUMNS, ROWS), read, {"index": (None, WHOLE, "array", "array")}, name="adjacent"),
    Sample("gather", (M, np.int64(2)), read, {"index": ("array", WHOLE)}, name="0-d index"),
    Sample("gather", (X, np.int64(2), np.int64(1)), read, {"index": ("array", WHOLE, "array")}, name="0-d indices"),
    Sample("gather", (M, np.empty((0, 2), np.int64)), read, {"index": ("array", WHOLE)}, name="size 0"),
    Sample("gather", (M,), read, {"index": (("mask", True), WHOLE, WHOLE)}, name="mask"),
    Sample("gather", (M,), read, {"index": (WHOLE, ("mask", False), WHOLE)}, name="false mask"),
    Sample("gather", (Z, ROWS), read, {"index": ("array", WHOLE)}, name="complex"),
    *_changes("index_add", added),
    *_changes("index_set", replaced),
]
