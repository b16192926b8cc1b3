"""A program of a shape that others came before is the one that a fresh process makes: the same plan, the same bits."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from hashlib import blake2b
from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom import partition
from gradloom.plan import Plan
from gradloom.polymorphic import Polymorphic, Shared
from gradloom.program import Program, _prepare
from gradloom.regions import REGION
from gradloom.symbolic import Symbolic
from gradloom_llvm import kernel, lowering
from gradloom_llvm.compiler import LLVMCompiler
from gradloom_llvm.loops import Loops


def regression(w: Any, X: Any) -> Any:
    """Rows, and a mean that divides by their number."""
    z = X @ w
    return np.mean(np.logaddexp(0.0, z) - 0.3 * z)


def recurrent(w: Any, X: Any) -> Any:
    """Run steps that are alike, with products that may be merged."""
    v = np.outer(w, w)
    h = np.zeros_like(X)
    for t in range(5):
        h = np.tanh(X * t + h @ v)
    return np.sum(h**2) / X.size


def mixture(w: Any, X: Any) -> Any:
    """Rows against rows, and a broadcast that a length of 1 makes another one."""
    d = X[:, None, :] - np.stack([w, 2 * w])[None]
    return np.sum(np.log(np.sum(np.exp(-np.sum(d * d, axis=2)), axis=1) + 1e-3)) * (1.0 / len(X))


def centred(w: Any, X: Any) -> Any:
    """Means along both axes, and part of the rows."""
    c = X - X.mean(axis=0) - X.mean(axis=1, keepdims=True)
    return np.sum(np.sin(c[: max(len(X) // 2, 1)] * w) ** 2)


FUNCTIONS = (regression, recurrent, mixture, centred)
#: Few and many rows, one, as many as columns, and around the number from which on loops are long and are cut.
ROWS = (64, 65, 1, 6, 700, 5, 2000, 683, 682)


def values(rows: int) -> tuple[Any, Any]:
    """Return the arguments of a function."""
    rng = np.random.default_rng(rows)
    return rng.normal(size=6), rng.normal(size=(rows, 6))


def plan_of(f: Callable[..., Any], rows: int) -> tuple[Plan, list[str]]:
    """Return the plan of a gradient, and all that it says of itself."""
    graph = gl.make_graph(gl.value_and_grad(f, (0, 1)))(*values(rows))
    plan = Program(graph, eager=True).plan("numpy")
    regions = [str(attrs[0]) for op, _, attrs in plan.graph.nodes if op is REGION]
    return plan, [str(plan.graph), *regions, plan.compile().source, repr(sorted(plan.constants.items()))]


def bits(plan: Plan, rows: int) -> str:
    """Return a hash of what a plan computes."""
    digest = blake2b()
    for array in plan.run(values(rows)):
        digest.update(np.asarray(array).tobytes())
    return digest.hexdigest()


@pytest.mark.parametrize("f", FUNCTIONS)
def test_plans_of_other_shapes_leave_no_trace(f: Callable[..., Any]) -> None:
    """In whatever order the shapes come."""

    def forget() -> None:
        partition._CUTS.clear()
        lowering._LOWERED.clear()

    alone = {}
    for rows in ROWS:
        forget()
        plan, text = plan_of(f, rows)
        alone[rows] = text, bits(plan, rows)
    forget()
    for rows in (*ROWS, *reversed(ROWS)):
        plan, text = plan_of(f, rows)
        assert text == alone[rows][0]
        assert bits(plan, rows) == alone[rows][1]


def test_a_fresh_process_computes_the_same() -> None:
    """Of one shape each, after all others here."""
    for f in FUNCTIONS:
        for rows in ROWS:
            plan_of(f, rows)
    here = [bits(plan_of(f, rows)[0], rows) for f, rows in zip(FUNCTIONS, ROWS, strict=False)]
    script = (
        f"import sys; sys.path.insert(0, {str(__file__.rsplit('/', 1)[0])!r}); import test_new_shapes as t\n"
        "for f, rows in zip(t.FUNCTIONS, t.ROWS): print(t.bits(t.plan_of(f, rows)[0], rows))"
    )
    there = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=100)
    assert there.stdout.split() == here


@pytest.mark.parametrize("f", FUNCTIONS)
def test_kernels_of_other_sizes_are_measured_once(f: Callable[..., Any]) -> None:
    """What a kernel reads and needs, for sizes that others came before, is what it would be from nothing."""
    compiler = LLVMCompiler()
    outlined: Any = compiler._outlined
    kinds = []
    compiler._outline = Shared(lambda region: kinds.append(type(region.specs[0].size)) or outlined(region))
    found = Polymorphic(lambda graph: _prepare(graph, "numpy", compiler))
    sizes = (300, 311, 320, 333, 299, 2500, 2600, 2700, 12)
    held = []
    for rows in sizes:
        graph = gl.make_graph(gl.value_and_grad(f, (0, 1)))(*values(rows))
        held += [attrs[0] for op, _, attrs in found(graph).nodes if op is REGION]
    for region in dict.fromkeys(held):
        assert region.pattern is not None
        assert compiler._outline(region) == outlined(region)
    assert len(kinds) < len(held)
    assert Symbolic in kinds


#: What changes the strides of a matrix, and what makes one of the same rows from more of the memory.
STRIDED: dict[str, Callable[[Any], Any]] = {
    "columns": lambda X: np.repeat(X, 2, axis=1)[:, ::2],
    "rows": lambda X: np.repeat(X, 3, axis=0)[::3],
    "backwards": lambda X: X[::-1, ::-1].copy()[::-1, ::-1],
    "columns first": np.asfortranarray,
    "the same row": lambda X: np.broadcast_to(X[0], X.shape),
    "the same column": lambda X: np.broadcast_to(X[:, :1], X.shape),
}


def test_kernels_for_strides_are_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Code for arrays that are not C-contiguous serves those of other sizes, whose strides differ."""
    made: list[Any] = []
    count = 0
    measures, generate = kernel._measures, kernel.generate

    def noted(region: Any, strides: Any) -> Any:
        made.append((region, strides, measures(region, strides)))
        return made[-1][2]

    def counted(*args: Any) -> Any:
        nonlocal count
        count += 1
        return generate(*args)

    compiled = gl.jit(lambda X, w: np.sum(np.exp(-X * X) * w, axis=1))
    for rows in (1000, 1010, 1021, 1034):
        w, X = values(rows)
        compiled(X, w)
    monkeypatch.setattr(kernel, "_measures", noted)
    monkeypatch.setattr(kernel, "generate", counted)
    for rows in (1000, 1010, 1021, 1034, 1047, 1062):
        w, X = values(rows)
        for change in STRIDED.values():
            strided = change(X)
            for _ in range(2):
                np.testing.assert_allclose(compiled(strided, w), np.exp(-strided * strided) @ w, rtol=1e-12, atol=1e-15)
    # Each kind once for the first size, which came before there was a pattern, and once for all others.
    assert count <= 2 * len(STRIDED) < len(made)
    for region, strides, own in made:
        expected = kernel.Measures(*kernel.measured(Loops(region, strides), strides))
        for name in kernel.Measures.__slots__:
            assert getattr(own, name) == getattr(expected, name)
