"""Plan: kernels in order, buffers freed after their last use, outputs that alias nothing."""

from __future__ import annotations

import warnings
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom.executor import SerialExecutor, executors
from gradloom.plan import Plan
from gradloom.program import Program
from gradloom.step import stretches

X = np.array([0.5, -1.25, 2.0])


def plan_of(f: Any, *args: Any) -> Plan:
    """Return the plan of a function."""
    return Program(gl.make_graph(f)(*args)).plan("numpy")


def test_first_and_later_runs_give_the_same_bits() -> None:
    """Interpreted first, straight-line Python then."""

    def f(x: Any, s: Any) -> Any:
        y = np.sort(np.sin(x) * s)[::-1]
        return y, np.sum(y**2), np.reshape(y, (3, 1)) * y, y[1], np.max(y), -y / 3.0

    plan = plan_of(f, X, 2.0)
    inputs = [X, np.float64(2.0)]
    first, *others = [plan.run(inputs) for _ in range(4)]
    assert plan._compiled is not None
    for other in others:
        for a, b in zip(first, other, strict=True):
            np.testing.assert_array_equal(a, b)
            assert type(a) is type(b)
            assert np.asarray(a).dtype == np.asarray(b).dtype


def test_intermediates_are_freed_after_their_last_use() -> None:
    """Every value is dropped exactly once, unless it is an output; nothing is used after."""
    plan = plan_of(gl.value_and_grad(lambda x: np.sum(np.tanh(np.sin(x) * x) ** 2)), X)
    dropped = [i for step in plan.steps for i in step.drop]
    assert len(dropped) == len(set(dropped))
    gone: set[int] = set()
    for step in plan.steps:
        assert not gone & set(step.inputs)
        gone |= set(step.drop)
    assert not gone & set(plan.outputs)
    made = {step.out for step in plan.steps} | set(plan.graph.inputs)
    assert made - gone == set(plan.outputs) or made - gone - set(plan.outputs) <= set(plan.graph.inputs)


def test_outputs_alias_nothing() -> None:
    """Views of inputs, of literals and of each other are copied."""
    plan = plan_of(lambda x: (x, x, x.T, x[1:], np.ones_like(x), np.reshape(x * 2, (3, 1)), 5.0), X)
    x = X.copy()
    for _ in range(3):
        outs = plan.run([x])
        for k, a in enumerate(outs):
            a = np.asarray(a)
            assert not np.shares_memory(a, x)
            assert not any(np.shares_memory(a, b) for b in outs[:k] if isinstance(b, np.ndarray))
            if isinstance(outs[k], np.ndarray):
                outs[k] += 1
    np.testing.assert_array_equal(x, X)
    assert plan.run([x])[6] == 5.0


def test_warnings_are_the_users_not_those_of_gradients() -> None:
    """log(0) warns as in NumPy; the division in its gradient does not."""
    with pytest.warns(RuntimeWarning, match="divide by zero encountered in log"):
        gl.jit(np.log)(0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        x = np.array([0.0, 1.0])
        np.testing.assert_array_equal(gl.grad(lambda x: np.sum(np.sqrt(x)))(x), [np.inf, 0.5])
        for _ in range(3):
            np.testing.assert_array_equal(gl.grad(lambda x: np.sum(np.where(x > 0, np.sqrt(x), 0.0)))(x), [0.0, 0.5])


@pytest.mark.parametrize("scheduler", ["serial", "threads"])
def test_warnings_name_the_users_line(scheduler: str) -> None:
    """At the first run and at later ones, by whatever executor."""

    def f(x: Any) -> Any:
        y = np.sum(x)
        return y + np.sum(np.log(x))

    line = f.__code__.co_firstlineno + 2
    gradient = gl.grad(f)
    with gl.scheduler(scheduler):
        for _ in range(3):
            with pytest.warns(RuntimeWarning, match="invalid value encountered in log") as caught:
                gradient(np.array([-1.0, 2.0]))
            assert [(w.filename, w.lineno) for w in caught] == [(__file__, line)]
            with np.errstate(invalid="raise"), pytest.raises(FloatingPointError, match="invalid value"):
                gradient(np.array([-1.0, 2.0]))
            with np.errstate(invalid="ignore"), warnings.catch_warnings():
                warnings.simplefilter("error")
                gradient(np.array([-1.0, 2.0]))


def test_stretches() -> None:
    """Runs of steps with one setting cover all steps in order."""
    plan = plan_of(gl.grad(lambda x: np.sum(np.exp(np.log(x)))), np.abs(X))
    parts = list(stretches(plan.steps))
    assert parts[0][1] == 0
    assert parts[-1][2] == len(plan.steps)
    assert all(a[2] == b[1] and a[0] != b[0] for a, b in pairwise(parts))


def test_kernel_errors_name_the_op_in_both_forms() -> None:
    """Interpreted and compiled runs, forward and gradient ops."""
    f = lambda a: np.sum(np.linalg.solve(a, np.ones(2)))  # noqa: E731
    good, bad = np.eye(2), np.zeros((2, 2))
    for run in (gl.jit(f), gl.jit(gl.grad(f))):
        for arrays in ([bad], [good, good, bad]):
            for a in arrays[:-1]:
                run(a)
            with pytest.raises(np.linalg.LinAlgError) as caught:
                run(arrays[-1])
            (note,) = caught.value.__notes__
            assert "op 'solve'" in note
            assert f"{__file__}:{f.__code__.co_firstlineno}" in note


def test_plans_that_differ_in_sizes_alone_share_their_code() -> None:
    """And nothing else: each has its own sizes, and finds its own step in an error."""

    def f(x: Any, y: Any) -> Any:
        return np.reshape(np.sin(x)[1:, :], (-1,)), np.linalg.inv(y)

    plans = {n: plan_of(f, np.ones((n, 2)), np.eye(n)) for n in (3, 4)}
    assert len({plan.compile().source for plan in plans.values()}) == 1
    for n, plan in plans.items():
        rest, inverse = plan.compile().run(np.ones((n, 2)), np.eye(n))
        assert rest.shape == (2 * n - 2,)
        assert inverse.shape == (n, n)
        with pytest.raises(np.linalg.LinAlgError) as raised:
            plan.compile().run(np.ones((n, 2)), np.zeros((n, n)))
        failed = plan.compile().failed_step(raised.value)
        assert failed is not None
        assert plan.graph.nodes[plan.steps[failed].out][0].name == "inv"
        assert plans[7 - n].compile().failed_step(raised.value) is None


def test_serial_executor_is_the_reference() -> None:
    """It is registered, and runs a plan as the plan runs itself."""
    assert isinstance(executors.get("serial"), SerialExecutor)
    plan = plan_of(lambda x: np.sin(x) * 2, X)
    np.testing.assert_array_equal(executors.get("serial").run(plan, [X])[0], plan.run([X])[0])


def test_plan_of_nothing() -> None:
    """Graphs of inputs and literals only."""
    assert plan_of(lambda x: 3.0, X).run([X]) == [3.0]
    (out,) = plan_of(lambda x: x, X).run([X])
    np.testing.assert_array_equal(out, X)
    assert out is not X


def test_donated_buffers_are_never_the_users() -> None:
    """Scatter-adds that may overwrite a running total leave inputs and outputs alone."""
    x = np.arange(4.0)

    def f(x: Any) -> Any:
        y = x * 2.0
        return np.sum(x[1] * x[2] + x[[0, 0, 3]] * y[:3]) + np.sum(y[1:]), y

    run = gl.jit(gl.grad(f, has_aux=True))
    results = [run(x) for _ in range(3)]
    for gradient, y in results:
        np.testing.assert_array_equal(gradient, results[0][0])
        np.testing.assert_array_equal(y, np.arange(4.0) * 2)
    np.testing.assert_array_equal(x, np.arange(4.0))
    h = 1e-6
    numeric = [(f(x + h * e)[0] - f(x - h * e)[0]) / (2 * h) for e in np.eye(4)]
    np.testing.assert_allclose(results[0][0], numeric, rtol=1e-8)
