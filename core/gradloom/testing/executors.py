"""ExecutorConformance: the law of `gradloom.executor.AbstractExecutor` as tests.

A plugin's test file is five lines::

    from gradloom.testing.executors import ExecutorConformance

    class TestMine(ExecutorConformance):
        scheduler = "mine"
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import numpy as np
import pytest

import gradloom as gl
from gradloom.backend import backends
from gradloom.executor import AbstractExecutor, SerialExecutor, executors
from gradloom.graph import Graph
from gradloom.plan import Plan
from gradloom.testing.backends import assert_same_bits, assert_same_bits_in_threads
from gradloom.testing.sample import rng

_UNARY: tuple[Callable[..., Any], ...] = (np.sin, np.cos, np.tanh, np.negative, np.square)
_BINARY: tuple[Callable[..., Any], ...] = (np.add, np.subtract, np.multiply, np.maximum)


class ExecutorConformance:
    """What an executor must satisfy; subclass it and name the executor.

    Attributes
    ----------
    scheduler : str or AbstractExecutor
        What `gradloom.scheduler` takes.
    """

    scheduler: ClassVar[str | AbstractExecutor]

    @pytest.fixture
    def this(self) -> AbstractExecutor:
        """Return the executor under test."""
        return self.scheduler if isinstance(self.scheduler, AbstractExecutor) else executors.get(self.scheduler)

    @pytest.mark.parametrize("seed", range(20))
    def test_same_bits_as_serial(self, this: AbstractExecutor, seed: int) -> None:
        """A random graph, run twice, gives the bits of the serial executor; inputs stay as they are."""
        graph, inputs = random_graph(seed)
        before = [x.copy() for x in inputs]
        expected = SerialExecutor().run(numpy_plan(graph), inputs)
        plan = numpy_plan(graph)
        for _ in range(2):
            got = this.run(plan, inputs)
            assert len(got) == len(expected)
            for one, other in zip(got, expected, strict=True):
                assert_same_bits(np.asarray(one), np.asarray(other))
        for x, y in zip(inputs, before, strict=True):
            assert_same_bits(x, y)

    def test_outputs_are_their_own(self, this: AbstractExecutor) -> None:
        """No output shares memory with an input or with another output."""

        def views(x: Any) -> Any:
            return x, x, np.transpose(x), np.sin(x)

        x = rng(5).normal(size=(3, 4))
        outputs = this.run(numpy_plan(gl.make_graph(views)(x)), [x])
        for k, out in enumerate(outputs):
            assert not np.shares_memory(out, x)
            assert not any(np.shares_memory(out, other) for other in outputs[:k])

    @pytest.mark.parametrize("runs", [1, 2])
    def test_same_exception_as_serial(self, this: AbstractExecutor, runs: int) -> None:
        """A kernel that fails raises what it raises under the serial executor, naming op and line."""
        graph = gl.make_graph(lambda x: np.sum(np.linalg.inv(x)) * 2.0)(np.eye(3))
        singular = np.zeros((3, 3))
        for plan in [numpy_plan(graph)] * runs:
            expected = _raised(partial(SerialExecutor().run, numpy_plan(graph), [singular]))
            got = _raised(partial(this.run, plan, [singular]))
            assert type(got) is type(expected) is np.linalg.LinAlgError
            assert str(got) == str(expected)
            assert got.__notes__ == expected.__notes__
            assert "gradloom: while running" in got.__notes__[0]

    def test_works_after_an_exception(self, this: AbstractExecutor) -> None:
        """A failed run leaves nothing behind."""
        plan = numpy_plan(gl.make_graph(lambda x: np.sum(np.linalg.inv(x)))(np.eye(3)))
        _raised(lambda: this.run(plan, [np.zeros((3, 3))]))
        assert_same_bits(np.asarray(this.run(plan, [np.eye(3)])[0]), np.asarray(3.0))

    def test_one_plan_in_many_threads(self, this: AbstractExecutor) -> None:
        """A plan may run in several threads at once."""
        graph, inputs = random_graph(101)
        plan = numpy_plan(graph)
        expected = SerialExecutor().run(plan, inputs)
        assert_same_bits_in_threads(lambda: this.run(plan, inputs), expected)

    def test_under_the_transforms(self, this: AbstractExecutor) -> None:
        """`gl.scheduler` runs gradients with it, and gives the bits of the serial one."""

        def loss(w: Any, x: Any) -> Any:
            return np.sum(np.tanh(x @ w) ** 2)

        w, x = rng(7).normal(size=(4, 2)), rng(8).normal(size=(5, 4))
        expected = gl.value_and_grad(loss)(w, x)
        with gl.scheduler(self.scheduler):
            got = gl.value_and_grad(loss)(w, x)
        for one, other in zip(got, expected, strict=True):
            assert_same_bits(np.asarray(one), np.asarray(other))


def numpy_plan(graph: Graph) -> Plan:
    """Return a fresh plan for the NumPy backend."""
    return Plan(graph, backends.get("numpy"))


def random_graph(seed: int, size: int = 40) -> tuple[Graph, list[Any]]:
    """Return a random graph with branches, reductions and several outputs, and inputs for it."""
    generator = rng(seed)
    inputs = [generator.normal(size=shape) for shape in ((4, 3), (4, 3), (3,), ())]

    def function(*args: Any) -> tuple[Any, ...]:
        values = list(args)
        for _ in range(size):
            x, y = (values[k] for k in generator.integers(len(values), size=2))
            choice = generator.integers(4)
            if choice == 0:
                values.append(_UNARY[generator.integers(len(_UNARY))](x))
            elif choice == 1 and x.ndim:
                values.append(np.sum(x, axis=int(generator.integers(x.ndim)), keepdims=True))
            elif choice == 2 and x.ndim == 2 == y.ndim:
                values.append(x @ np.transpose(y) @ y if x.shape[-1] == y.shape[-1] else x)
            elif _broadcasts(x.shape, y.shape):
                values.append(np.tanh(_BINARY[generator.integers(len(_BINARY))](x, y)))
        return tuple(values[-6:])

    return gl.make_graph(function)(*inputs), inputs


def _broadcasts(first: tuple[int, ...], second: tuple[int, ...]) -> bool:
    return all(m == n or 1 in (m, n) for m, n in zip(first[::-1], second[::-1], strict=False))


def _raised(action: Callable[[], Any]) -> Any:
    with pytest.raises(np.linalg.LinAlgError) as raised:
        action()
    return raised.value
