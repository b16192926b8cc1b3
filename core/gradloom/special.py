"""Functions of statistics and learning that neither NumPy nor a SciPy ufunc has.

They are written with NumPy, and take arrays and tensors alike.
"""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from gradloom.errors import ArgumentError
from gradloom.functions._arguments import as_array
from gradloom.jit import jit
from gradloom.ops import special as ops
from gradloom.ops.arithmetic import annihilating_multiply
from gradloom.ops.custom import stop_gradient
from gradloom.trace import Handle

__all__ = ["log_softmax", "logsumexp", "multigammaln", "polygamma", "softmax"]

Array = Any
Axis = int | tuple[int, ...] | None


def logsumexp(x: Array, axis: Axis = None, b: Array = None, keepdims: bool = False) -> Array:
    """Return ``log(sum(b * exp(x)))`` without overflow.

    Parameters
    ----------
    x : array, shape (...)
        Logarithms of the terms; ``-inf`` stands for a term of zero.
    axis : int or tuple of int, optional
        The axes to sum over; all of them by default.
    b : array, optional
        Weights that broadcast against ``x``.
    keepdims : bool, default False
        Whether the axes summed over stay, with length 1.

    Returns
    -------
    array
        Of the dtype of ``x`` (float64 for integers); ``-inf`` where all terms are zero.

    Raises
    ------
    AxisError
        If an axis is out of range or given twice.

    Notes
    -----
    The largest element is taken out of the sum, so that no exponential exceeds one. The
    gradient is the softmax, and zero wherever the sum is. Where ``b`` makes the sum negative the result is NaN.
    Values and gradient are read once, in blocks that fit the cache, where they are compiled.

    See Also
    --------
    softmax, log_softmax

    Examples
    --------
    >>> import numpy as np
    >>> import gradloom as gl
    >>> from gradloom.special import logsumexp
    >>> logsumexp(np.array([1000.0, 1000.0]))
    np.float64(1000.6931471805599)
    >>> gl.grad(logsumexp)(np.array([0.0, 0.0, -np.inf]))
    array([0.5, 0.5, 0. ])
    """
    x = _as_inexact(x)
    terms = x
    if b is not None:
        b = as_array(b)
        # Terms without weight do not count for the maximum.
        terms = np.where(b == 0, -np.inf, x)
    maximum = _maximum(terms, axis)
    powers = np.exp(x - maximum)
    total = np.sum(powers if b is None else _weighted(b, powers), axis=axis, keepdims=keepdims)
    zero = total == 0
    shift = maximum if keepdims else np.reshape(maximum, total.shape)
    result = np.where(zero, total.dtype.type(-np.inf), np.log(np.where(zero, total.dtype.type(1), total)) + shift)
    return result if isinstance(result, Handle) else result[()]


def softmax(x: Array, axis: Axis = None) -> Array:
    """Return ``exp(x) / sum(exp(x))`` without overflow.

    Parameters
    ----------
    x : array, shape (...)
    axis : int or tuple of int, optional
        The axes along which the result sums to one; all of them by default.

    Returns
    -------
    array, shape (...)
        Of the dtype of ``x`` (float64 for integers); NaN where all elements are ``-inf``.

    Raises
    ------
    AxisError
        If an axis is out of range or given twice.

    See Also
    --------
    log_softmax : Its logarithm, where small probabilities are not lost.

    Notes
    -----
    The largest element along the axes is subtracted first, so that no exponential exceeds one.

    Examples
    --------
    >>> import numpy as np
    >>> from gradloom.special import softmax
    >>> softmax(np.array([[0.0, 0.0], [1000.0, -np.inf]]), axis=1)
    array([[0.5, 0.5],
           [1. , 0. ]])
    """
    x = _as_inexact(x)
    powers = np.exp(x - _maximum(x, axis))
    return powers / np.sum(powers, axis=axis, keepdims=True)


def log_softmax(x: Array, axis: Axis = None) -> Array:
    """Return the logarithm of `softmax`, also where that is zero in floating point.

    Parameters
    ----------
    x : array, shape (...)
    axis : int or tuple of int, optional
        The axes along which the softmax sums to one; all of them by default.

    Returns
    -------
    array, shape (...)
        Of the dtype of ``x`` (float64 for integers).

    Raises
    ------
    AxisError
        If an axis is out of range or given twice.

    See Also
    --------
    softmax, logsumexp

    Notes
    -----
    It is ``x - logsumexp(x)``, with the largest element subtracted first. The absolute error is a few roundings of the
    result and of one: what is closer to zero than that (the logarithm of a softmax that is one) is lost.

    Examples
    --------
    >>> import numpy as np
    >>> from gradloom.special import log_softmax
    >>> log_softmax(np.array([1000.0, 0.0]))
    array([    0., -1000.])
    """
    x = _as_inexact(x)
    shifted = x - _maximum(x, axis)
    return shifted - np.log(np.sum(np.exp(shifted), axis=axis, keepdims=True))


def polygamma(n: int, x: Array) -> Array:
    """Return derivative number ``n`` of the digamma function.

    Parameters
    ----------
    n : int
        0 or more; 0 is the digamma function itself.
    x : array, shape (...)
        Real numbers.

    Returns
    -------
    array, shape (...)
        Of the dtype of ``x`` (float64 for integers).

    Raises
    ------
    ArgumentError
        If ``n`` is no integer of 0 or more.
    MissingKernelError
        If SciPy is not installed.

    Notes
    -----
    It is ``scipy.special.polygamma``, which tensors cannot pass through: that is no ufunc.
    The backend's kernel is SciPy's. The derivative is the polygamma function of order ``n + 1``.

    References
    ----------
    NIST Digital Library of Mathematical Functions, section 5.15, https://dlmf.nist.gov/5.15

    Examples
    --------
    >>> import gradloom as gl
    >>> gl.grad(lambda x: gl.special.polygamma(0, x))(1.0).round(12)
    np.float64(1.644934066848)
    """
    n = _order("polygamma", "n", n, 0)
    if not isinstance(x, Handle):
        return jit(lambda x: polygamma(n, x))(_as_inexact(x))
    x = _as_inexact(x)
    return ops.polygamma(x, n=n) if n else ops.psi(x)


def multigammaln(a: Array, d: int) -> Array:
    """Return the logarithm of the multivariate gamma function.

    Parameters
    ----------
    a : array, shape (...)
        More than ``(d - 1) / 2``.
    d : int
        The dimension, 1 or more.

    Returns
    -------
    array, shape (...)
        Of the dtype of ``a`` (float64 for integers).

    Raises
    ------
    ArgumentError
        If ``d`` is no integer of 1 or more.
    MissingKernelError
        If SciPy is not installed.

    Notes
    -----
    It is ``d * (d - 1) / 4 * log(pi)`` and the sum of ``gammaln(a - j / 2)`` for ``j = 0, ..., d - 1``: ``d`` passes
    over ``a``.

    References
    ----------
    NIST Digital Library of Mathematical Functions, section 35.3, https://dlmf.nist.gov/35.3

    Examples
    --------
    >>> from gradloom.special import multigammaln
    >>> round(float(multigammaln(3.0, 2)), 12)
    1.550194993958
    """
    d = _order("multigammaln", "d", d, 1)
    if not isinstance(a, Handle):
        return jit(lambda a: multigammaln(a, d))(_as_inexact(a))
    a = _as_inexact(a)
    terms = [ops.gammaln(a - 0.5 * j) for j in range(d)]
    return sum(terms, d * (d - 1) / 4 * math.log(math.pi))


def _order(op: str, argument: str, value: Any, least: int) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if number < least:
        raise ArgumentError(
            "must be a known integer",
            op=op,
            argument=argument,
            expected=f"an int of {least} or more",
            got=repr(value),
            remedy="pass it as a Python integer; under jit name it in static_argnums",
        )
    return number


def _as_inexact(x: Array) -> Array:
    x = as_array(x)
    return x if x.dtype.kind in "fc" else np.astype(x, np.float64)


def _maximum(x: Array, axis: Axis) -> Array:
    """Return the maximum, or 0 where that is not finite; the results do not depend on it."""
    if isinstance(x, Handle):
        x = stop_gradient(x)
    maximum = np.max(np.real(x), axis=axis, keepdims=True)
    return np.where(np.isfinite(maximum), maximum, maximum.dtype.type(0))


def _weighted(b: Array, powers: Array) -> Array:
    """Return ``b * powers``, zero where b is, also when a power overflows."""
    if isinstance(b, Handle) or isinstance(powers, Handle):
        return annihilating_multiply(b, powers)
    return np.multiply(b, powers, where=b != 0, out=np.zeros(np.broadcast_shapes(b.shape, powers.shape), powers.dtype))
