"""The ops that read and add along one axis, against NumPy and differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom.axes import Axes, axes_of
from gradloom.errors import DTypeError, ShapeError
from gradloom.op import ops
from gradloom.spec import Spec
from gradloom.testing.checks import OpChecks
from gradloom.testing.samples.taking import SAMPLES

X = np.random.default_rng(0).normal(size=(6, 4))


@pytest.mark.parametrize("sample", SAMPLES, ids=str)
class TestOps(OpChecks):
    pass


@pytest.mark.parametrize("name", ["take_along_axis", "add_along_axis"])
def test_all_axes_but_one_run_together(name: str) -> None:
    """The others may be cut; of the one along which it reads, only the places."""
    x, places = Spec((3, 4, 2), np.dtype(float)), Spec((3, 5, 2), np.dtype(int))
    attrs = {"axis": 1, "unique": False}
    if name == "take_along_axis":
        read = 0, "places", 2
        assert axes_of(ops[name], (x, places), attrs) == Axes(((0, None, 2), read), read)
    else:
        rows = 0, None, 2
        assert axes_of(ops[name], (x, Spec(places.shape, x.dtype), places), attrs) == Axes((rows, rows, rows), rows)


@pytest.mark.parametrize(
    "f", [np.sort, np.median, lambda v: v[np.argsort(-v)], lambda v: np.take_along_axis(v, np.argsort(v)[1:], axis=0)]
)
def test_batches_of_vectors_keep_to_their_rows(f: Any) -> None:
    """What `vmap` makes of a vector's index is one op along an axis, forward and backward, and no index of all axes."""

    def loss(x: Any) -> Any:
        y = gl.vmap(f)(x)
        return np.sum(y * y * np.arange(1.0, y.size + 1.0).reshape(y.shape))

    value, gradient = gl.value_and_grad(loss)(X)
    y = np.stack([f(row) for row in X])
    np.testing.assert_allclose(value, np.sum(y**2 * np.arange(1.0, y.size + 1.0).reshape(y.shape)), rtol=1e-12)
    np.testing.assert_allclose(gradient, [gl.grad(loss)(X)[k] for k in range(len(X))], rtol=1e-12)
    gl.check_grads(loss, (X,), order=2)
    used = {node[0].name for node in gl.make_graph(gl.grad(loss))(X).nodes}
    assert "take_along_axis" in used or "add_along_axis" in used
    assert not any(
        "array" in node[2][0] and len(node[1]) > 3
        for node in gl.make_graph(gl.grad(loss))(X).nodes
        if node[0].name in ("gather", "index_add")
    )


def test_what_does_not_fit_raises() -> None:
    take, add = ops["take_along_axis"], ops["add_along_axis"]
    places = np.zeros((6, 2), np.int64)
    with pytest.raises(ShapeError, match="indices do not fit"):
        take(X, places[:5], axis=1)
    with pytest.raises(ShapeError, match="indices do not fit"):
        take(X, places[:, 0], axis=1)
    with pytest.raises(DTypeError, match="integers"):
        take(X, places * 1.0, axis=1)
    with pytest.raises(ShapeError, match="values do not fit"):
        add(X, X, places, axis=1)
    with pytest.raises(DTypeError, match="another dtype"):
        add(X, np.zeros((6, 2), np.float32), places, axis=1)
    with pytest.raises(IndexError):
        take(X, places + 4, axis=1)
