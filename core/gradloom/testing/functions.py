"""What every traced NumPy function must satisfy: to be NumPy's, in value and in derivative."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gradloom.program import Program
from gradloom.pytree import flatten, unflatten
from gradloom.testing import differences
from gradloom.testing.checks import forward_jacobian, reverse_jacobian
from gradloom.tracing import leaf_specs, trace_abstractly


def value_of(function: Callable[..., Any], *args: Any) -> Any:
    """Return what a function gives on tensors, by the kernels of single ops."""
    leaves, structure = flatten((args, {}))
    traced = trace_abstractly("value_of", function, structure, leaf_specs("value_of", structure, leaves), leaves)
    values = Program(Program(traced.graph).graph).run(leaves + traced.captured)
    return unflatten(traced.structure, values)


def check_like_numpy(
    function: Callable[..., Any], x: Any, rtol: float = 1e-9, value_rtol: float = 1e-14, step: float = 1e-2
) -> None:
    """Value, shape and dtype are NumPy's; both modes give what differences of NumPy give.

    Parameters
    ----------
    function : callable
        A function of one array, written with NumPy.
    x : array
        Where to check; derivatives are checked in float64.
    rtol, value_rtol : float
        Relative tolerance of derivatives, and of values.
    step : float
        Step of the difference stencil.
    """
    expected = np.asarray(function(x))
    got = np.asarray(value_of(function, x))
    assert got.shape == expected.shape
    assert got.dtype == expected.dtype, f"dtype {got.dtype}, expected {expected.dtype}"
    np.testing.assert_allclose(got, expected, rtol=value_rtol, atol=value_rtol / 10)
    if x.dtype == np.float64 and expected.dtype.kind == "f":
        jacobian = differences.jacobian(function, (x,), 0, step)
        scale = np.max(np.abs(jacobian), initial=1e-3, where=np.isfinite(jacobian))
        for mode in (reverse_jacobian, forward_jacobian):
            np.testing.assert_allclose(
                mode(function, (x,), 0), jacobian, rtol=rtol, atol=rtol * scale, err_msg=mode.__name__
            )
