"""Conversions of tensors that would lose a gradient raise; harmless ones answer as NumPy does."""

from __future__ import annotations

import copy
import decimal
import json
import math
import pickle
from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom.errors import LostGradientError, MissingAttributeError
from gradloom.tensor import Tensor

X = np.array([0.5, -1.25, 2.0])


def grad_at(f: Any, x: Any = 2.0) -> Any:
    """Return the gradient of a function at a point."""
    return gl.grad(f)(x)


CONVERSIONS = {
    "float": float,
    "int": int,
    "complex": complex,
    "np.asarray": np.asarray,
    "np.array": np.array,
    "np.array of a list": lambda t: np.array([t, t]),
    "np.array of nested lists": lambda t: np.array([[t], [1.0]]),
    "np.float64": np.float64,
    "np.float32": np.float32,
    "math.sin": math.sin,
    "math.sqrt": math.sqrt,
    "math.isnan": math.isnan,
    "math.floor": math.floor,
    "math.trunc": math.trunc,
    "math.fsum": lambda t: math.fsum([t, t]),
    "math.hypot": lambda t: math.hypot(t, 1.0),
    "item": lambda t: t.item(),
    "tolist": lambda t: t.tolist(),
    "format": lambda t: f"{t:.3f}",
    "percent": lambda t: "%f" % t,  # noqa: UP031
    "ndarray += t": lambda t: np.zeros(3).__iadd__(t),
    "ndarray[:] = t": lambda t: np.zeros(3).__setitem__(slice(None), t),
    "out": lambda t: np.add(t, 1.0, out=np.zeros(3)),
    "np.full": lambda t: np.full(3, t),
    "pickle": pickle.dumps,
    "random": lambda t: np.random.default_rng(0).normal(t),
    "np.vectorize": lambda t: np.vectorize(lambda v: v)(t),
    "arange": lambda t: np.arange(0.0, t, 1.0),
}


@pytest.mark.parametrize("conversion", CONVERSIONS)
@pytest.mark.parametrize("transform", ["grad", "jvp", "vjp", "jacobian", "nested"])
def test_losing_conversions_raise(conversion: str, transform: str) -> None:
    """Wherever a value is being differentiated, with the user's line and a remedy."""
    convert = CONVERSIONS[conversion]

    def f(x: Any) -> Any:
        convert(x * 2.0)
        return x * 1.0

    runs = {
        "grad": lambda: gl.grad(f)(2.0),
        "jvp": lambda: gl.jvp(f, (2.0,), (1.0,)),
        "vjp": lambda: gl.vjp(f, 2.0),
        "jacobian": lambda: gl.jacobian(f)(2.0),
        "nested": lambda: gl.grad(lambda x: gl.grad(lambda y: y * f(x))(1.0))(2.0),
    }
    with pytest.raises(LostGradientError) as caught:
        runs[transform]()
    assert __file__ in caught.value.location
    assert caught.value.remedy


@pytest.mark.parametrize(
    "store", [lambda t: np.zeros(3).__setitem__(0, t), lambda t: np.zeros(3).fill(t), lambda t: np.fromiter([t], float)]
)
def test_storing_a_scalar_in_an_array(store: Any) -> None:
    """NumPy raises its own error here, caused by ours, which tells the line and the remedy."""
    with pytest.raises((LostGradientError, ValueError)) as caught:
        grad_at(lambda x: (store(x), x)[1])
    error = caught.value if isinstance(caught.value, LostGradientError) else caught.value.__cause__
    assert isinstance(error, LostGradientError)
    assert __file__ in error.location
    assert "np.stack" in error.remedy


@pytest.mark.parametrize("convert", [json.dumps, decimal.Decimal, memoryview, bytes, range, lambda t: [1, 2, 3][t]])
def test_other_conversions_raise_too(convert: Any) -> None:
    """Python's own TypeErrors."""
    with pytest.raises(TypeError):
        grad_at(lambda x: (convert(x), x)[1])


def test_attributes_of_arrays_that_tensors_lack() -> None:
    """The error says what to write instead; what arrays lack too has Python's own error."""

    def f(x: Any) -> Any:
        assert not hasattr(x, "tobytes")
        with pytest.raises(MissingAttributeError) as caught:
            x.view(np.int64)
        assert caught.value.op == "view"
        assert "astype" in str(caught.value.remedy)
        assert caught.value.location.startswith(__file__)
        with pytest.raises(AttributeError, match="'Tensor' object has no attribute 'summ'"):
            x.summ()
        return np.sum(x)

    gl.grad(f)(X)


def test_methods_are_attributes_of_the_class() -> None:
    """Tab completion finds them, and no ``__getattr__`` slows down what every op reads (spec, trace, index)."""
    assert {"sum", "reshape", "T", "shape"} <= set(dir(Tensor))
    assert not hasattr(Tensor, "__getattr__")
    gl.grad(lambda x: (x.sum(0) + x.T.reshape(-1).sum()).sum())(np.ones((2, 3)))


def test_harmless_protocols() -> None:
    """hash, is, copy, repr and use as a dict key work and cost nothing."""

    def f(x: Any) -> Any:
        y = x * 2.0
        assert hash(y) == hash(y)
        assert {y: 1}[y] == 1
        assert "float64" in repr(y) == str(y)
        assert f"{y}" == str(y)
        z = copy.copy(y)
        w = copy.deepcopy([y])[0]
        z += 1.0
        assert y is not z
        assert z is not None
        assert (y == None) is False  # noqa: E711
        assert (y != "text") is True
        return y + z + w + y.copy()

    assert gl.value_and_grad(f)(3.0) == (25.0, 8.0)


def test_length_and_iteration_of_scalars_raise_as_in_numpy() -> None:
    """0-d tensors have no length."""
    for f in (len, iter, list, lambda t: t[0]):
        with pytest.raises((TypeError, IndexError)):
            grad_at(lambda x, f=f: (f(x), x)[1])


def test_truth_of_an_array_raises_as_in_numpy() -> None:
    """More than one element has no truth."""
    with pytest.raises(ValueError, match="truth value of an array"):
        grad_at(lambda x: np.sum(x) if x > 0 else np.sum(-x), X)
