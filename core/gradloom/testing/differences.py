"""Derivatives by high-order central differences: the oracle for gradient rules.

The stencil has order 8, so that a step of about 1e-2 leaves a truncation error near 1e-13
and rounding is not amplified by more than 1e3; with extended precision, where the oracle
supports it, less.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

_OFFSETS = (1, 2, 3, 4)
_WEIGHTS = tuple([np.longdouble(p) / q for p, q in ((4, 5), (-1, 5), (4, 105), (-1, 280))])


def jacobian(f: Callable[..., Any], args: tuple[Any, ...], argument: int, step: float = 1e-2) -> Array:
    """Return the Jacobian of ``f`` with respect to one argument.

    Parameters
    ----------
    f : callable
        A function of arrays that returns one array. It is called in extended precision; if it
        raises `TypeError` there (linear algebra, SciPy), in double precision.
    args : tuple of arrays
    argument : int
        Position of the argument to vary; real or complex. For a complex argument the
        derivative is with respect to its real part; see `real_jacobian`.
    step : float
        Step relative to the scale of the argument.

    Returns
    -------
    array, shape (*output shape, *argument shape)
    """
    return _directional(f, args, argument, step, 1.0)


def real_jacobian(f: Callable[..., Any], args: tuple[Any, ...], argument: int, step: float = 1e-2) -> Array:
    """Return the Jacobian over the reals, also for functions that are not holomorphic.

    Returns
    -------
    array, shape (*output shape, *argument shape), with (..., 2) for a complex argument
        The last axis holds the derivatives with respect to the real and the imaginary part.
    """
    along_x = _directional(f, args, argument, step, 1.0)
    if np.asarray(args[argument]).dtype.kind != "c":
        return along_x
    return np.stack([along_x, _directional(f, args, argument, step, 1j)], axis=-1)


def complex_jacobian(f: Callable[..., Any], args: tuple[Any, ...], argument: int, step: float = 1e-2) -> Array:
    """Return ``d re(f)/dx - i d re(f)/dy`` for a complex argument ``x + iy``."""
    parts = np.real(real_jacobian(f, args, argument, step))
    return parts[..., 0] - 1j * parts[..., 1]


def _directional(f: Callable[..., Any], args: tuple[Any, ...], argument: int, step: float, unit: Any) -> Array:
    wide, out = _evaluated(f, args)
    x = wide[argument]
    result = np.zeros((*out.shape, x.size), np.result_type(out.dtype, np.float64))
    for k in range(x.size):
        h = step * max(1.0, abs(float(abs(x.flat[k]))))
        # A step that x can represent exactly, so that (x + h) - x is h.
        h = float(np.float64(2.0) ** np.round(np.log2(h)))
        for offset, weight in zip(_OFFSETS, _WEIGHTS, strict=True):
            for sign in (1, -1):
                moved = x.copy()
                moved.flat[k] += sign * offset * h * unit
                shifted = np.asarray(f(*wide[:argument], moved, *wide[argument + 1 :]))
                result[..., k] += sign * weight * shifted / h
    return result.reshape((*out.shape, *x.shape))


def _evaluated(f: Callable[..., Any], args: tuple[Any, ...]) -> tuple[list[Any], Array]:
    """Return the arguments in the widest precision that ``f`` takes, and its value there."""
    try:
        wide = [_widened(a, np.longdouble, np.clongdouble) for a in args]
        return wide, np.asarray(f(*wide))
    except TypeError:
        wide = [_widened(a, np.float64, np.complex128) for a in args]
        return wide, np.asarray(f(*wide))


def _widened(array: Any, real: Any, complex: Any) -> Any:
    array = np.asarray(array)
    if array.dtype.kind == "f":
        return np.array(array, real)
    return array.astype(complex) if array.dtype.kind == "c" else array
