"""`check_grads` passes what is right and names what is wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom.errors import ArgumentError

X = np.array([0.5, -1.25, 2.0])


@pytest.mark.parametrize(
    ("f", "args"),
    [
        (np.sin, (X,)),
        (lambda x: np.sum(np.exp(x)), (X,)),
        (np.multiply, (X, np.float64(2.0))),
        (lambda x, s: (x * s, {"max": np.max(x)}), (X, 1.5)),
        (lambda p: p["a"] @ p["b"], ({"a": np.ones((2, 3)), "b": X},)),
        (lambda z: z**2, (np.array([1.0 + 2.0j]),)),
        (np.tanh, (X.astype(np.float32),)),
        (np.tanh, (0.3,)),
    ],
)
def test_right_gradients_pass(f: Any, args: Any) -> None:
    """Arrays, numbers, containers, complex and float32."""
    gl.check_grads(f, args)
    gl.check_grads(f, args, order=1)
    gl.check_grads(f, list(args), order=3 if np.asarray(args[0]).dtype == np.float64 else 1)


def wrong(factor: Any) -> Any:
    """Return a function whose gradient is off by a factor."""
    return gl.custom_gradient(lambda x: (np.sin(x), lambda g: g * np.cos(x) * factor))


@pytest.mark.parametrize("factor", [1.001, -1.0, 0.0, np.nan, 2.0])
@pytest.mark.parametrize(("modes", "words"), [(("rev",), "reverse mode"), (("fwd",), "forward mode")])
def test_wrong_gradients_are_found(factor: float, modes: Any, words: str) -> None:
    """In each mode by itself."""
    with pytest.raises(AssertionError, match=words):
        gl.check_grads(wrong(factor), (X,), modes=modes)


def test_wrong_second_order_is_found() -> None:
    """Order and mode are named."""
    f = gl.custom_gradient(lambda x: (np.sin(x), lambda g: g * gl.stop_gradient(np.cos(x))))
    gl.check_grads(f, (X,), order=1)
    with pytest.raises(AssertionError, match="of order 2, then"):
        gl.check_grads(f, (X,), order=2)


def test_wrong_gradient_of_one_of_several_outputs() -> None:
    """The output's number is named in forward mode."""
    bad = wrong(1.5)
    with pytest.raises(AssertionError, match="output 1"):
        gl.check_grads(lambda x: (np.cos(x), bad(x)), (X,), modes=("fwd",))


def test_tolerances() -> None:
    """Given tolerances are used."""
    gl.check_grads(wrong(1.001), (X,), order=1, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize(("keywords", "words"), [({"modes": ("both",)}, "modes"), ({"order": 0}, "order")])
def test_bad_arguments(keywords: dict[str, Any], words: str) -> None:
    """Unknown modes and orders below 1."""
    with pytest.raises(ArgumentError, match=f"(?s)cannot check this.*argument: {words}"):
        gl.check_grads(np.sin, (X,), **keywords)


def test_integer_arguments_are_refused() -> None:
    """As everywhere."""
    with pytest.raises(TypeError, match="integers or booleans"):
        gl.check_grads(np.sin, (np.arange(3),))


def test_function_that_changes_its_argument() -> None:
    """The caller's array stays as it is, and every evaluation starts from it."""

    def f(x: Any) -> Any:
        x[1:] -= x[:-1].copy()
        return np.sum(x**2)

    x = np.array([1.0, 3.0, 2.0])
    gl.check_grads(f, (x,))
    np.testing.assert_array_equal(x, [1.0, 3.0, 2.0])
