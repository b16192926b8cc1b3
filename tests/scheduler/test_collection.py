"""Lazy tensors are dask collections."""

from __future__ import annotations

import pickle
import subprocess
import sys
import textwrap
from typing import Any

import dask
import dask.base
import numpy as np
import pytest
from dask._expr import FinalizeCompute
from dask.typing import DaskCollection

import gradloom as gl
from gradloom.errors import ConcreteValueError
from gradloom.testing.backends import assert_same_bits

X = np.random.default_rng(0).normal(size=(60, 60))


def tensors(x: Any = X) -> tuple[Any, ...]:
    """Return a loss and two gradients."""
    a, w = gl.tensor(x), gl.tensor(X.T / 8)
    y = np.sum(np.tanh(a @ w) ** 2)
    return (y, *gl.gradients(y, [a, w]))


def test_is_a_collection() -> None:
    y = tensors()[0]
    assert isinstance(y, DaskCollection)
    assert dask.is_dask_collection(y)


@pytest.mark.parametrize("scheduler", ["threads", "sync"])
def test_compute(scheduler: str) -> None:
    """Value and gradients together, with the bits of `gl.compute`."""
    expected = gl.compute(*tensors())
    for one, other in zip(dask.compute(*tensors(), scheduler=scheduler), expected, strict=True):
        assert_same_bits(np.asarray(one), np.asarray(other))
    assert dask.compute({"y": tensors()[0]}, scheduler=scheduler)[0]["y"] == expected[0]
    assert tensors()[0].compute(scheduler=scheduler) == expected[0]
    assert dask.compute(tensors()[0], optimize_graph=False, scheduler=scheduler)[0] == expected[0]


def test_what_tensors_share_is_computed_once() -> None:
    """One task graph of value and gradients, no larger than that of the gradients alone."""
    y, ga, gw = tensors()

    def kernels(*collections: Any) -> int:
        expr = FinalizeCompute(dask.base.collections_to_expr(collections)).optimize()  # as `dask.compute` does
        (planned,) = [v for key, v in expr.__dask_graph__().items() if str(key).startswith("gradloom.plan-")]
        return len(getattr(planned, "value", planned).plan.steps)

    assert kernels(y, ga, gw) <= kernels(ga, gw) + 2
    assert kernels(y, ga, gw) < kernels(ga) + kernels(gw)


def test_token_is_that_of_the_content() -> None:
    """The same for equal graphs and values, in every process; another for another value."""
    y = tensors()[0]
    assert dask.base.tokenize(y) == dask.base.tokenize(tensors()[0])
    assert dask.base.tokenize(y) != dask.base.tokenize(tensors(X + 1.0)[0])
    assert dask.base.tokenize(y) != dask.base.tokenize(y * 2.0)
    script = """
        import dask.base, numpy as np, gradloom as gl
        print(dask.base.tokenize(np.sin(gl.tensor(np.arange(3.0))) * 2.0))
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == dask.base.tokenize(np.sin(gl.tensor(np.arange(3.0))) * 2.0)


def test_persist() -> None:
    """A persisted tensor is a tensor."""
    y = tensors()[0]
    (kept,) = dask.persist(y, scheduler="threads")
    assert isinstance(kept, gl.Tensor)
    assert gl.compute(kept * 2.0) == (2.0 * gl.compute(y)[0],)
    assert y.persist(scheduler="sync").compute() == gl.compute(y)[0]


def test_placeholders_raise() -> None:
    with pytest.raises(ConcreteValueError, match="placeholder 'x' was not fed"):
        dask.compute(gl.tensor(shape=(), name="x") * 2.0)


def test_errors_carry_op_and_line() -> None:
    y = np.sum(np.linalg.inv(gl.tensor(np.zeros((3, 3)))))
    with pytest.raises(np.linalg.LinAlgError) as raised:
        dask.compute(y, scheduler="threads")
    assert f"'inv' recorded at {__file__}:" in raised.value.__notes__[0]


def test_constants() -> None:
    """What depends on literals alone is there before any task."""
    assert dask.compute(gl.tensor(3.0), gl.tensor(2.0) * 2.0) == (3.0, 4.0)


def test_graph_is_data() -> None:
    graph = tensors()[0].__dask_graph__()
    assert set(pickle.loads(pickle.dumps(graph))) == set(graph)


class TestOnWorkers:
    @pytest.fixture(autouse=True)
    def _client(self, workers: Any) -> None:
        self.client = workers._connection.client

    def test_compute(self) -> None:
        expected = gl.compute(*tensors())
        for future, other in zip(self.client.compute(list(tensors())), expected, strict=True):
            assert_same_bits(np.asarray(future.result()), np.asarray(other))
        with self.client.as_current():
            assert dask.compute(tensors()[0], scheduler=self.client)[0] == expected[0]

    def test_persist(self) -> None:
        y = tensors()[0]
        kept = self.client.persist(y)
        assert gl.compute(kept + 1.0) == (gl.compute(y)[0] + 1.0,)
