"""One factorisation of a matrix of which both inverse and determinant are wanted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom.program import Program
from gradloom.simplify import simplify

N = 5
RNG = np.random.default_rng(3)
A = RNG.normal(size=(N, N)) + 3 * np.eye(N)
X = RNG.normal(size=N)


def density(a: Any, x: Any) -> Any:
    """Return twice the negative logarithm of a normal density, but for a constant."""
    return x @ np.linalg.inv(a) @ x + np.linalg.slogdet(a)[1]


def factorisations(f: Callable[..., Any], *args: Any) -> tuple[Counter[str], gl.Graph]:
    graph = simplify(gl.make_graph(f)(*args), check=True)
    names = Counter(node[0].name for node in graph.nodes)
    return Counter({name: names[name] for name in ("inv", "slogdet", "inv_slogdet") if names[name]}), graph


@pytest.mark.parametrize("scale", [1.0, -1.0, 1j])
def test_value_and_gradient_factorise_once(scale: Any) -> None:
    a = A * scale if scale != 1j else A + 1j * A[::-1]
    f = lambda a, x: np.real(density(a, x))  # noqa: E731
    found, graph = factorisations(gl.value_and_grad(f), a, X)
    assert found == {"inv_slogdet": 1}
    value, gradient = Program(graph).run([a, X])
    np.testing.assert_allclose(value, f(a, X), rtol=1e-12)
    inverse = np.linalg.solve(a, np.eye(N))
    # d(x^T A^-1 x) = -(A^-T x)(A^-1 x)^T : dA,  d log |det A| = A^-T : dA
    wanted = inverse.T - np.outer(inverse.T @ X, inverse @ X)
    np.testing.assert_allclose(gradient, wanted, rtol=1e-10)


def test_gradient_of_a_stack_of_determinants() -> None:
    stack = np.stack([A, A[::-1], 2 * A])
    f = lambda a: np.sum(np.linalg.slogdet(a)[1])  # noqa: E731
    found, graph = factorisations(gl.value_and_grad(f), stack)
    assert found == {"inv_slogdet": 1}
    value, gradient = Program(graph).run([stack])
    np.testing.assert_allclose(value, f(stack))
    np.testing.assert_allclose(gradient, np.linalg.inv(stack).swapaxes(-1, -2), rtol=1e-10)


@pytest.mark.parametrize(
    ("f", "wanted"),
    [
        (lambda a: np.linalg.inv(a), {"inv": 1}),
        (lambda a: np.linalg.slogdet(a)[1], {"slogdet": 1}),
        (lambda a: np.sum(np.linalg.inv(a + 1.0)) + np.linalg.slogdet(a)[1], {"inv": 1, "slogdet": 1}),
        (
            lambda a: np.sum(np.linalg.inv(a)) + np.linalg.slogdet(a)[1] + np.linalg.slogdet(2 * a)[0],
            {"inv_slogdet": 1, "slogdet": 1},
        ),
    ],
    ids=["inverse", "determinant", "two matrices", "three"],
)
def test_each_matrix_by_itself(f: Callable[..., Any], wanted: dict[str, int]) -> None:
    found, graph = factorisations(f, A)
    assert found == wanted
    np.testing.assert_allclose(Program(graph).run([A])[0], f(A), rtol=1e-12)


def test_of_a_singular_matrix_the_user_reads_which_line() -> None:
    with pytest.raises(np.linalg.LinAlgError, match="Singular") as caught:
        gl.jit(gl.value_and_grad(density))(np.zeros((N, N)), X)
    assert "test_simplify_factors.py:" in caught.value.__notes__[0]
