"""Indexing with the NumPy kernels: each way they take gives what NumPy gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gradloom.testing.sample import rng
from gradloom_numpy.kernels import indexing

CASES: list[tuple[tuple[int, ...], tuple[Any, ...], tuple[int, ...]]] = [
    ((3, 7), (":", "array"), (4, 5)),  # a long index, the same for each row
    ((3, 2, 7), (":", ":", "array"), (40,)),
    ((3, 2, 7), (":", ":", "array"), (2,)),
    ((3, 7), (("slice", 0, 2, 1), "array"), (4, 5)),  # not every row
    ((3, 7), (("slice", 2, -1, -1), "array"), (4, 5)),
    ((3, 2, 7), (":", "array"), (30,)),
    ((3, 7), ("array",), (9,)),
    ((0, 7), (":", "array"), (9,)),
    ((3, 7), (":", "array"), (0, 5)),
]


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize(("shape", "index", "of_index"), CASES, ids=str)
def test_adding_at_an_index(
    shape: tuple[int, ...], index: tuple[Any, ...], of_index: tuple[int, ...], order: Any
) -> None:
    """Elements that are named several times, from the front or the end, get all values."""
    entries = [
        slice(None) if e == ":" else e if e == "array" else slice(e[1], None if e[2] < 0 else e[2], e[3]) for e in index
    ]
    length = shape[index.index("array")]
    at = rng(0).integers(-length, length, of_index)
    where: Any = tuple([at if e == "array" else e for e in entries])
    x = np.asarray(rng(1).normal(size=shape), order=order)
    v = np.asarray(rng(2).normal(size=x[where].shape), order=order)
    want = x.copy()
    np.add.at(want, where, v)
    kept = x.copy()
    kernel = indexing.index_add(index=index, unique=False)
    np.testing.assert_array_equal(kernel(x, v, at), want)
    np.testing.assert_array_equal(x, kept)
    np.testing.assert_array_equal(kernel(x, v, at, donate=True), want)
    np.testing.assert_array_equal(indexing.gather(index=index, unique=False)(x, at), x[where])


def test_rows_that_are_gathered_lie_together() -> None:
    """NumPy would leave neighbours of a row apart, which later kernels pay for; it still says what is not there."""
    gather = indexing.gather(index=(":", "array"), unique=False)
    x, at = rng(0).normal(size=(3, 7)), np.array([[6, -7, 0], [2, 2, -1]])
    found = gather(x, at)
    np.testing.assert_array_equal(found, x[:, at])
    assert found.flags.c_contiguous
    for beyond in (7, -8):
        with pytest.raises(IndexError):
            gather(x, np.array([0, beyond]))
