"""Samples of the cast ops."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom.testing.sample import Sample, rng

_X = rng(10).uniform(-2, 2, (2, 3))


def _cast(x: Any, *, dtype: np.dtype[Any]) -> Any:
    wide = np.dtype(np.longdouble) if np.asarray(x).dtype == np.longdouble and dtype.kind == "f" else dtype
    wide = np.dtype(np.clongdouble) if np.asarray(x).dtype.itemsize > 8 and dtype.kind == "c" else wide
    return np.asarray(x).astype(wide)


def _sample(x: Any, dtype: Any, name: str = "", **kwargs: Any) -> Sample:
    dtype = np.dtype(dtype)
    title = f"{np.asarray(x).dtype} to {dtype} {name}".strip()
    return Sample("astype", (x,), _cast, {"dtype": dtype}, name=title, **kwargs)


SAMPLES: list[Sample] = [
    _sample(_X, np.float32, smooth=False, expected_partials={0: np.eye(6).reshape(2, 3, 2, 3)}),
    _sample(_X.astype(np.float32), np.float64, smooth=False, expected_partials={0: np.eye(6).reshape(2, 3, 2, 3)}),
    _sample(_X, np.float64),
    _sample(_X, np.complex128),
    _sample(np.float64(1.5), np.complex128),
    _sample(np.empty((0, 3)), np.complex128, "size 0"),
    _sample(10 * _X, np.int64),
    _sample(_X, np.bool_),
    _sample(np.array([1, 0, -3]), np.float64),
    _sample(np.array([True, False]), np.float32),
    Sample("fitted", (np.array([[0, 7, 255]]),), _cast, {"dtype": np.dtype(np.uint8)}),
    Sample("fitted", (np.int64(-3),), _cast, {"dtype": np.dtype(np.int32)}, name="0-d"),
    Sample("fitted", (np.empty((0, 3), np.int64),), _cast, {"dtype": np.dtype(np.int16)}, name="size 0"),
]
