"""Samples of the shape ops."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom.testing.sample import Sample, rng

X = rng().uniform(-2, 2, (2, 3, 4))
M = rng(1).uniform(-2, 2, (2, 3))
V = rng(2).uniform(-2, 2, (3,))
Z = M + 1j * rng(3).uniform(-2, 2, (2, 3))


def flipped(x: Any, *, axis: tuple[int, ...]) -> Any:
    """Reverse axes by writing out the positions."""
    for k in axis:
        x = np.take(x, np.arange(np.shape(x)[k])[::-1], axis=k)
    return x


def joined(*arrays: Any, axis: int) -> Any:
    """Concatenate by filling a result."""
    return np.concatenate(arrays, axis=axis)


def counted(*, length: int, dtype: Any) -> Any:
    """Count from 0."""
    return np.array(range(length), dtype)


SAMPLES = [
    Sample("reshape", (X,), lambda x, *, shape: np.reshape(x, shape), {"shape": (4, 6)}),
    Sample("reshape", (X,), lambda x, *, shape: np.reshape(x, shape), {"shape": (2, 3, 2, 2)}, name="split axis"),
    Sample("reshape", (np.float64(0.5),), lambda x, *, shape: np.reshape(x, shape), {"shape": (1, 1)}),
    Sample("reshape", (np.empty((0, 3)),), lambda x, *, shape: np.reshape(x, shape), {"shape": (2, 0)}, name="size 0"),
    Sample("reshape", (Z,), lambda x, *, shape: np.reshape(x, shape), {"shape": (3, 2)}, name="complex"),
    Sample("reshape", (np.arange(6),), lambda x, *, shape: np.reshape(x, shape), {"shape": (3, 2)}, name="integer"),
    Sample("broadcast_to", (M,), lambda x, *, shape: np.broadcast_to(x, shape), {"shape": (2, 2, 3)}),
    Sample("broadcast_to", (V[:, None],), lambda x, *, shape: np.broadcast_to(x, shape), {"shape": (2, 3, 4)}),
    Sample("broadcast_to", (np.float64(0.5),), lambda x, *, shape: np.broadcast_to(x, shape), {"shape": (2, 3)}),
    Sample("broadcast_to", (M[:1, :1],), lambda x, *, shape: np.broadcast_to(x, shape), {"shape": (0, 3)}, name="none"),
    Sample("broadcast_to", (Z,), lambda x, *, shape: np.broadcast_to(x, shape), {"shape": (2, 2, 3)}, name="complex"),
    Sample("transpose", (X,), lambda x, *, axes: np.einsum("ijk->kij", x), {"axes": (2, 0, 1)}),
    Sample("transpose", (np.float64(0.5),), lambda x, *, axes: x, {"axes": ()}),
    Sample("transpose", (np.empty((0, 3)),), lambda x, *, axes: np.einsum("ij->ji", x), {"axes": (1, 0)}, name="none"),
    Sample("transpose", (Z,), lambda x, *, axes: np.einsum("ij->ji", x), {"axes": (1, 0)}, name="complex"),
    Sample("concatenate", (M, X[:, :, 0], M[:, :1]), joined, {"axis": 1}),
    Sample("concatenate", (X, X[:1], X[:0]), joined, {"axis": 0}, name="one empty"),
    Sample("concatenate", (V,), joined, {"axis": 0}, name="single"),
    Sample("concatenate", (V, np.arange(2)), joined, {"axis": 0}, name="integer joins float"),
    Sample("concatenate", (M, Z), joined, {"axis": 0}, name="real joins complex", rtol=1e-13),
    Sample("flip", (X,), flipped, {"axis": (0, 2)}),
    Sample("flip", (V,), flipped, {"axis": (0,)}),
    Sample("flip", (M,), flipped, {"axis": ()}, name="no axis"),
    Sample("flip", (np.empty((2, 0)),), flipped, {"axis": (1,)}, name="size 0"),
    Sample("flip", (np.arange(5),), flipped, {"axis": (0,)}, name="integer"),
]
