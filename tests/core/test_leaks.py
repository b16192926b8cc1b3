"""Tensors that outlive their trace, and traces that take turns."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom.errors import TraceEndedError

X = np.array([0.5, -1.25, 2.0])


def grad_at(f: Any, x: Any = 2.0) -> Any:
    """Return the gradient of a function at a point."""
    return gl.grad(f)(x)


@pytest.mark.parametrize(
    "use",
    [
        lambda t: t + 1.0,
        lambda t: -t,
        lambda t: np.sin(t),
        lambda t: X * t,
        lambda t: t[0],
        lambda t: t.reshape(-1),
        lambda t: bool(t),
        lambda t: float(t),
        lambda t: np.asarray(t),
        lambda t: gl.grad(lambda x: x * t)(2.0),
        lambda t: gl.elementwise_grad(lambda x: x * x)(t),
        lambda t: gl.jit(lambda x: x * x)(t),
        lambda t: gl.vmap(lambda x: x * x)(t),
        lambda t: gl.compute(gl.tensor(1.0) * t),
    ],
)
def test_leaked_tensors_raise(use: Any) -> None:
    """A tensor used after its trace says so, in every way of using it."""
    leaked = []
    gl.grad(lambda x: leaked.append(x * 2.0) or np.sum(x))(np.ones(1))
    with pytest.raises(TraceEndedError, match="a tensor was used after the trace that made it had ended") as caught:
        use(leaked[0])
    assert __file__ in caught.value.location


def test_inner_tensor_used_in_the_outer_trace() -> None:
    """A tensor that escapes an inner gradient is refused in the outer one."""

    def f(x: Any) -> Any:
        escaped = []
        gl.grad(lambda y: escaped.append(y * 2.0) or y * x)(1.0)
        return x * escaped[0]

    with pytest.raises(TraceEndedError):
        grad_at(f)


def test_returning_a_leaked_tensor() -> None:
    """As an output of another gradient, too."""
    leaked = []
    grad_at(lambda x: leaked.append(x) or x * 1.0)
    with pytest.raises(TraceEndedError):
        grad_at(lambda x: leaked[0])


def test_exceptions_inside_leave_nothing_behind() -> None:
    """The user's exception comes through as it is, and the next call works."""

    class OwnError(Exception):
        pass

    def f(x: Any, fail: bool) -> Any:
        y = np.sin(x)
        if fail:
            raise OwnError("inside")
        return y

    for transform in (gl.grad(f), gl.jit(f, static_argnums=1), gl.grad(gl.grad(f)), gl.jacobian(f)):
        before = transform(0.5, False)
        with pytest.raises(OwnError, match="inside") as caught:
            transform(0.5, True)
        assert caught.value.__context__ is None
        assert transform(0.5, False) == before


# -- interleaving ------------------------------------------------------------------------------


def test_generators_interleave_traces() -> None:
    """Two traces advance in turn: there is no current trace."""

    def stepwise(scale: float, log: list[Any]) -> Iterator[None]:
        """Run a gradient whose function hands control back in the middle, by a nested generator."""

        def f(x: Any) -> Any:
            log.append(x * scale)
            other = log_other.pop() if log_other else None
            assert other is None
            return np.sin(x) * scale

        log_other: list[Any] = []
        yield
        log.append(gl.grad(f)(0.5))
        yield

    logs: tuple[list[Any], list[Any]] = ([], [])
    for _ in zip(stepwise(2.0, logs[0]), stepwise(3.0, logs[1]), strict=True):
        pass
    np.testing.assert_allclose([logs[0][-1], logs[1][-1]], [2 * np.cos(0.5), 3 * np.cos(0.5)])


def test_generator_inside_a_traced_function_driven_from_two_traces() -> None:
    """A generator that computes with the tensors of one trace while another one runs."""

    def powers(x: Any) -> Iterator[Any]:
        y = x
        while True:
            yield y
            y = y * x

    def outer(x: Any) -> Any:
        stream = powers(x)
        first = next(stream)

        def inner(y: Any) -> Any:
            return y * y * next(stream)  # x^2, made while the inner trace runs

        slope = gl.grad(inner)(first)  # 2 x * x^2
        return slope + next(stream)  # 2 x^3 + x^3

    assert gl.value_and_grad(outer)(2.0) == (24.0, 36.0)


def test_asyncio_tasks_interleave_gradients() -> None:
    """Tasks that switch between gradients, each with its own scheduler context."""

    async def work(k: int) -> Any:
        with gl.scheduler("serial"), gl.backend("numpy"):
            total = 0.0
            for i in range(20):
                await asyncio.sleep(0)
                total += gl.grad(lambda x, i=i: np.sin(x * k) * i)(0.1)
                await asyncio.sleep(0)
            return total

    async def main() -> list[Any]:
        return await asyncio.gather(*[work(k) for k in range(8)])

    found = asyncio.run(main())
    np.testing.assert_allclose(found, [sum(k * np.cos(0.1 * k) * i for i in range(20)) for k in range(8)], rtol=1e-13)


def test_tensors_of_two_running_traces_mix() -> None:
    """The inner trace captures the outer tensor, whatever the order of the operands."""
    assert grad_at(lambda x: gl.grad(lambda y: x * y - y / x)(3.0)) == 1.0 + 1 / 4
    assert grad_at(lambda x: gl.grad(lambda y: np.where(x > y, x * y, y))(1.0)) == 1.0
