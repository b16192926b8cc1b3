"""`gl.explain`: tasks, times, the critical path and simulated workers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom.explain import _critical_path
from gradloom.tasks import Task

X = np.random.default_rng(0).normal(size=(300, 300)) / 17


def branches(x: Any) -> Any:
    a, b = x, x.T
    for _ in range(4):
        a, b = np.tanh(a @ x), np.tanh(b @ x)
    return np.sum(a * b)


def test_branches() -> None:
    """Two heavy tasks, one of them on the critical path; workers beyond the branches gain nothing."""
    found = gl.explain(branches, X, workers=8)
    assert set(found.simulated) == {1, 2, 4, 8}
    heavy = [task for task in found.tasks if task.measured > 0.2 * found.simulated[1]]
    assert len(heavy) == 2
    assert all("matmul" in task.ops and __file__ in task.line for task in heavy)
    assert any(task.critical for task in heavy)
    assert found.simulated[2] < 0.8 * found.simulated[1]
    assert found.simulated[8] == pytest.approx(found.simulated[2], rel=0.05)
    assert found.critical_path <= found.simulated[8]
    text = str(found)
    assert "critical path" in text
    assert "matmul" in text


def test_small_functions_are_one_task() -> None:
    found = gl.explain(gl.grad(lambda x: np.sum(np.sin(x) ** 2)), np.ones(10), workers=[3])
    assert len(found.tasks) == 1
    assert not found.in_branches
    assert found.simulated[3] == found.simulated[1]


def test_critical_path() -> None:
    tasks = [Task((0,), (), 1.0), Task((1,), (0,), 5.0), Task((2,), (0,), 2.0), Task((3,), (1, 2), 1.0)]
    assert _critical_path(tasks) == (7.0, {0, 1, 3})
