"""Traced counterparts of NumPy's polynomials, whose coefficients stand from the highest power down.

Values are not looked at: leading coefficients of zero stay, and `numpy.roots` needs one that is not zero.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from gradloom.dispatch import implements
from gradloom.errors import ArgumentError, ShapeError
from gradloom.functions._arguments import as_array
from gradloom.functions.reduction import tensor_among
from gradloom.functions.sequences import np_convolve

Tensor = Any

# -- values and arithmetic -----------------------------------------------------------------


@implements(np.polyval)
def np_polyval(p: Any, x: Any) -> Tensor:
    """Evaluate a polynomial, by Horner's scheme."""
    p, x = as_array(p), as_array(x)
    y = np.zeros_like(x)
    for k in range(p.shape[0]):
        y = y * x + p[k]
    return y


@implements(np.polyadd)
def np_polyadd(a1: Any, a2: Any) -> Tensor:
    """Add polynomials."""
    first, second = _aligned(a1, a2)
    return first + second


@implements(np.polysub)
def np_polysub(a1: Any, a2: Any) -> Tensor:
    """Subtract polynomials."""
    first, second = _aligned(a1, a2)
    return first - second


def _aligned(a1: Any, a2: Any) -> tuple[Any, Any]:
    """Return coefficients with zeros for the powers that one polynomial lacks."""
    rows = [np.atleast_1d(as_array(a)) for a in (a1, a2)]
    most = max(row.size for row in rows)
    first, second = [np.concatenate([np.zeros(most - row.size, row.dtype), row]) for row in rows]
    return first, second


@implements(np.polymul)
def np_polymul(a1: Any, a2: Any) -> Tensor:
    """Multiply polynomials; leading zeros stay, since values are not known."""
    return np_convolve(a1, a2)


@implements(np.polyder)
def np_polyder(p: Any, m: int = 1) -> Tensor:
    """Differentiate a polynomial."""
    _order("numpy.polyder", m)
    for _ in range(m):
        p = p[:-1] * np.arange(p.size - 1, 0, -1)
    return p


@implements(np.polyint)
def np_polyint(p: Any, m: int = 1, k: Any = None) -> Tensor:
    """Integrate a polynomial; ``k`` holds the constants of integration."""
    _order("numpy.polyint", m)
    p = tensor_among(p, k)
    constants = np.atleast_1d(as_array(0.0 if k is None else k))
    if constants.size == 1 and m > 1:
        constants = np.broadcast_to(constants, (m,))
    if constants.size < m:
        raise ShapeError(
            "k must be a scalar or a rank-1 array of length 1 or >m.",
            op="numpy.polyint",
            argument="k",
            expected=f"1 or {m} constants",
            got=constants.shape,
        )
    for i in range(m):
        p = np.concatenate([p / np.arange(p.size, 0, -1), constants[i : i + 1]])
    return p


def _order(op: str, m: Any) -> None:
    if operator.index(m) < 0:
        raise ArgumentError("a negative order", op=op, argument="m", expected="0 or more", got=m)


@implements(np.polydiv)
def np_polydiv(u: Any, v: Any) -> tuple[Tensor, Tensor]:
    """Divide polynomials; the remainder has as many coefficients as the divisor, less one."""
    u, v = np.atleast_1d(as_array(u)) + 0.0, np.atleast_1d(as_array(v)) + 0.0
    steps = u.size - v.size + 1
    if steps < 1:
        return np.zeros_like(u[:1]), u
    quotient = []
    for k in range(steps):
        quotient.append(u[k] / v[0])
        u = np.concatenate([u[: k + 1], u[k + 1 : k + v.size] - quotient[k] * v[1:], u[k + v.size :]])
    # NumPy gives a remainder of one zero where the divisor is a number.
    return np.stack(quotient), u[steps:] if v.size > 1 else np.zeros_like(u[:1])


# -- roots -----------------------------------------------------------------------------------


@implements(np.poly)
def np_poly(seq_of_zeros: Any) -> Tensor:
    """Return the polynomial with some roots, or with the eigenvalues of a matrix as its roots."""
    roots = np.atleast_1d(as_array(seq_of_zeros))
    if roots.ndim == 2 and roots.shape[0] == roots.shape[1]:
        roots = np.linalg.eigvals(roots)
    if roots.ndim != 1:
        raise ShapeError(
            "input must be 1d or non-empty square 2d array.",
            op="numpy.poly",
            argument="seq_of_zeros",
            expected="1-d roots or a square matrix",
            got=roots.shape,
            remedy="np.poly(np.ravel(x)) takes all elements as roots",
        )
    roots = np.astype(roots, np.mintypecode(roots.dtype.char))
    p, zero = np.ones(1, roots.dtype), np.zeros(1, roots.dtype)
    for k in range(roots.size):
        p = np.concatenate([p, zero]) - np.concatenate([zero, p * roots[k]])
    return p


@implements(np.roots)
def np_roots(p: Tensor) -> Tensor:
    """Return the complex roots, the eigenvalues of the companion matrix; the first coefficient must not be zero."""
    if p.ndim != 1:
        raise ShapeError(
            "Input must be a rank-1 array.",
            op="numpy.roots",
            argument="p",
            expected="1-d",
            got=p.shape,
            remedy="np.roots(np.ravel(p)) takes all elements as coefficients",
        )
    if p.size < 2:
        return np.zeros_like(p, shape=(0,), dtype=np.complex128)
    below = np.eye(p.size - 2, p.size - 1)
    return np.linalg.eigvals(np.concatenate([(-p[1:] / p[0])[None], below]))


# -- fits ------------------------------------------------------------------------------------


@implements(np.polyfit)
def np_polyfit(x: Any, y: Any, deg: Any, rcond: Any = None, full: Any = False, w: Any = None, cov: Any = False) -> Any:
    """Fit a polynomial by least squares, with columns scaled to length 1."""
    x, y = as_array(x) + 0.0, as_array(y) + 0.0
    order = operator.index(deg) + 1
    if order < 1 or x.ndim != 1 or not x.size or y.ndim not in (1, 2) or y.shape[0] != x.size:
        raise ShapeError(
            "there is no such fit",
            op="numpy.polyfit",
            argument="y" if order > 0 else "deg",
            expected="1-d x, y with as many rows, and a degree of 0 or more",
            got=f"x {x.shape}, y {y.shape}, degree {order - 1}",
        )
    columns, values = np.vander(x, order), y
    if w is not None:
        weights = as_array(w) + 0.0
        if weights.shape != x.shape:
            raise ShapeError(
                "w is not one weight for each point",
                op="numpy.polyfit",
                argument="w",
                expected=x.shape,
                got=weights.shape,
                remedy="np.broadcast_to(w, x.shape) repeats one weight",
            )
        columns, values = columns * weights[:, None], (values.T * weights).T
    scale = np.sqrt(np.sum(columns * columns, axis=0))
    columns = columns / scale
    rcond = x.size * np.finfo(x.dtype).eps if rcond is None else rcond
    solution, residuals, rank, singular_values = np.linalg.lstsq(columns, values, rcond)
    fit = (solution.T / scale).T
    if full:
        return fit, residuals, rank, singular_values, rcond
    if not cov:
        return fit
    spread = np.linalg.inv(columns.T @ columns) / np.outer(scale, scale)
    if cov == "unscaled":
        return fit, spread if y.ndim == 1 else spread[:, :, None]
    if x.size <= order:
        raise ArgumentError(
            "the number of data points must exceed order to scale the covariance matrix",
            op="numpy.polyfit",
            argument="cov",
            expected=f"more than {order} points",
            got=x.size,
            remedy="cov='unscaled'",
        )
    factor = residuals / (x.size - order)
    return fit, spread * factor if y.ndim == 1 else spread[:, :, None] * factor
