"""Samples of the ops that read and add along one axis."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom.testing.sample import Sample, rng

X = rng().uniform(-2, 2, (3, 2, 4))
M = rng(1).uniform(-2, 2, (3, 2))
Z = M + 1j * rng(2).uniform(-2, 2, (3, 2))
#: Of ``X`` along its middle axis: five places for each row, some of them twice, some counted from the end.
PLACES = rng(3).integers(-2, 2, (3, 5, 4))
#: A permutation of each column of ``M``, and of each of its rows.
ORDERS = np.array([[2, 0], [0, 2], [1, 1]])
SIDES = np.array([[1, 0], [0, 1], [1, 0]])


def read(x: Any, indices: Any, axis: int, **promises: Any) -> Any:
    """Read element by element."""
    out = np.empty(np.shape(indices), np.result_type(x))
    for place in np.ndindex(out.shape):
        out[place] = x[(*place[:axis], indices[place], *place[axis + 1 :])]
    return out


def added(x: Any, v: Any, indices: Any, axis: int, **promises: Any) -> Any:
    """Add element by element."""
    out = np.array(x, np.result_type(x, v))
    for place in np.ndindex(np.shape(indices)):
        out[(*place[:axis], indices[place], *place[axis + 1 :])] += v[place]
    return out


def values(*shape: int) -> Any:
    """Return numbers to add."""
    return rng(4).uniform(-1, 1, shape)


SAMPLES = [
    Sample("take_along_axis", (X, PLACES), read, {"axis": 1}, name="twice the same"),
    Sample("take_along_axis", (M, ORDERS), read, {"axis": 0, "unique": True}, name="columns"),
    Sample("take_along_axis", (M, SIDES), read, {"axis": 1, "unique": True}, name="rows"),
    Sample("take_along_axis", (M[:, :1], SIDES[:, :1] * 0), read, {"axis": 1}, name="size 1"),
    Sample("take_along_axis", (M, np.empty((0, 2), np.int64)), read, {"axis": 0}, name="nothing"),
    Sample("take_along_axis", (M[:0], ORDERS[:0]), read, {"axis": 1}, name="size 0"),
    Sample("take_along_axis", (M[::-1].T, ORDERS[::-1].T), read, {"axis": 1}, name="strided"),
    Sample("take_along_axis", (Z, ORDERS), read, {"axis": 0}, name="complex"),
    Sample("add_along_axis", (X, values(3, 5, 4), PLACES), added, {"axis": 1}, name="twice the same"),
    Sample("add_along_axis", (M, values(3, 2), ORDERS), added, {"axis": 0, "unique": True}, name="columns"),
    Sample("add_along_axis", (M, values(3, 2), SIDES), added, {"axis": 1, "unique": True}, name="rows"),
    Sample("add_along_axis", (M[:, :1], values(3, 1), SIDES[:, :1] * 0), added, {"axis": 1}, name="size 1"),
    Sample("add_along_axis", (M, values(0, 2), np.empty((0, 2), np.int64)), added, {"axis": 0}, name="nothing"),
    Sample("add_along_axis", (M.T, values(2, 3), SIDES.T), added, {"axis": 0}, name="strided"),
    Sample("add_along_axis", (Z, Z[:2], ORDERS[:2]), added, {"axis": 0}, name="complex"),
]
