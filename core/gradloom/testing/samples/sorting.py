"""Samples of the sorting ops."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom.testing.sample import Sample

#: Distances far above the steps of the difference stencil.
APART = np.array([[0.5, -1.0, 2.0], [1.5, 3.0, -0.25]])
TIES = np.array([3.0, 1.0, 3.0, 1.0])
NAN = np.array([[np.nan, 1.0, -np.inf, np.inf], [0.0, -0.0, np.nan, -1.0]])
INTEGERS = np.array([[3, -1, 2], [5, 0, 5]], np.int16)
EMPTY = np.empty((0, 3))
EDGES = np.array([-1.0, 0.0, 0.0, 2.5])
VALUES = np.array([-2.0, 0.0, 1.0, 2.5, np.nan])


def stable(function: Any) -> Any:
    """Return NumPy's function with a stable sort."""

    def sorted_by(x: Any, axis: int) -> Any:
        return function(x, axis=axis, kind="stable")

    return sorted_by


def search(a: Any, v: Any, side: str) -> Any:
    """Count the elements of a row that stand before each value."""
    order = np.less if side == "left" else np.less_equal
    before = order(a[..., None, :], v[..., :, None])
    before |= np.isnan(v[..., :, None]) & ~np.isnan(a[..., None, :])
    return np.sum(before, axis=-1)


def _search(a: Any, v: Any, name: str = "") -> list[Sample]:
    """Return samples from either side."""
    return [Sample("searchsorted", (a, v), search, {"side": side}, name=f"{name} {side}") for side in ("left", "right")]


SAMPLES = [
    *[
        Sample(op, (x,), stable(function), {"axis": axis}, name=name)
        for op, function in (("sort", np.sort), ("argsort", np.argsort))
        for x, axis, name in (
            (APART, 0, ""),
            (APART, 1, "last axis"),
            (APART[:, :1], 1, "size 1"),
            (EMPTY, 0, "size 0"),
            (EMPTY, 1, "size 0"),
            (INTEGERS, 1, "integers"),
        )
    ],
    Sample(
        "sort",
        (TIES,),
        stable(np.sort),
        {"axis": 0},
        name="ties",
        smooth=False,
        expected_partials={0: np.eye(4)[[1, 3, 0, 2]]},
    ),
    Sample(
        "sort",
        (NAN[1],),
        stable(np.sort),
        {"axis": 0},
        name="nan signed zeros",
        smooth=False,
        expected_partials={0: np.eye(4)[[3, 0, 1, 2]]},
    ),
    Sample("sort", (NAN,), stable(np.sort), {"axis": 1}, name="nan inf", smooth=False),
    Sample("argsort", (TIES,), stable(np.argsort), {"axis": 0}, name="ties"),
    Sample("argsort", (NAN,), stable(np.argsort), {"axis": 1}, name="nan inf"),
    *_search(EDGES, VALUES),
    *_search(EDGES[:0], VALUES, "size 0"),
    *_search(INTEGERS[0] + np.arange(3) * 4, np.arange(4), "integers"),
    *_search(np.sort(APART, axis=1), np.array([[0.0, 2.0], [1.5, 9.0]]), "rows"),
    *_search(np.sort(APART, axis=1), np.array([0.0, 2.0]), "rows of a"),
]
