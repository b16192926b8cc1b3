"""Functions that change their argument in place, beside NumPy's values and central differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import gradloom as gl
from gradloom.testing.differences import jacobian

X = np.array([0.3, -1.2, 0.7, 2.1, -0.4, 1.6])
W = np.array([1.5, -0.5, 2.5, 0.25, 3.5, -1.25])


def check(f: Callable[[Any], Any], x: Any = X) -> None:
    """Value and gradient of ``f``, which changes its argument in place, are NumPy's."""
    given = x.copy()
    value, gradient = gl.value_and_grad(f)(given)
    np.testing.assert_array_equal(given, x)
    np.testing.assert_allclose(value, f(x.copy()), rtol=1e-14)
    expected = jacobian(lambda a: f(a.copy()), (x,), 0)
    np.testing.assert_allclose(gradient, expected, rtol=1e-9, atol=1e-11)


def weighted(x: Any) -> Any:
    return np.sum(np.sin(x) * W.reshape(x.shape))
