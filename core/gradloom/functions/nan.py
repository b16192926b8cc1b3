"""Traced counterparts of NumPy's functions that leave NaN out, written from ops."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom.dispatch import implements, refuse
from gradloom.functions.reduction import (
    NoValue,
    cumulated,
    extremum,
    folded,
    given,
    has_where,
    np_all,
    np_sum,
    reduced_axes,
    tensor_among,
    worst,
)
from gradloom.functions.sorting import nan_quantile
from gradloom.functions.statistics import degrees_removed, np_mean, root, variance
from gradloom.op import Op
from gradloom.ops import cumulative, reduction

Tensor = Any

# -- reductions and cumulative functions -----------------------------------------------------------


def without_nan(a: Any, fill: float) -> Any:
    """Return an array with another number in place of NaN."""
    return np.where(np.isnan(a), a.dtype.type(fill), a) if a.dtype.kind in "fc" else a


@implements(np.nansum)
def np_nansum(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    keepdims: Any = False,
    initial: Any = NoValue,
    where: Any = True,
) -> Tensor:
    """Add up what is not NaN."""
    a = tensor_among(a, initial, where)
    return folded("numpy.nansum", reduction.sum, np.add, without_nan(a, 0), axis, dtype, out, keepdims, initial, where)


@implements(np.nanprod)
def np_nanprod(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    keepdims: Any = False,
    initial: Any = NoValue,
    where: Any = True,
) -> Tensor:
    """Multiply what is not NaN."""
    a = without_nan(tensor_among(a, initial, where), 1)
    return folded("numpy.nanprod", reduction.prod, np.multiply, a, axis, dtype, out, keepdims, initial, where)


@implements(np.nancumsum)
def np_nancumsum(a: Any, axis: Any = None, dtype: Any = None, out: Any = None) -> Tensor:
    """Add up step by step what is not NaN."""
    return cumulated("numpy.nancumsum", cumulative.cumsum, without_nan(a, 0), axis, dtype, out)


@implements(np.nancumprod)
def np_nancumprod(a: Any, axis: Any = None, dtype: Any = None, out: Any = None) -> Tensor:
    """Multiply step by step what is not NaN."""
    return cumulated("numpy.nancumprod", cumulative.cumprod, without_nan(a, 1), axis, dtype, out)


@implements(np.nanmax)
def np_nanmax(
    a: Any, axis: Any = None, out: Any = None, keepdims: Any = False, initial: Any = NoValue, where: Any = True
) -> Tensor:
    """Return the maximum of what is not NaN."""
    return _nan_extremum("numpy.nanmax", reduction.max, np.maximum, a, axis, out, keepdims, initial, where)


@implements(np.nanmin)
def np_nanmin(
    a: Any, axis: Any = None, out: Any = None, keepdims: Any = False, initial: Any = NoValue, where: Any = True
) -> Tensor:
    """Return the minimum of what is not NaN."""
    return _nan_extremum("numpy.nanmin", reduction.min, np.minimum, a, axis, out, keepdims, initial, where)


def _nan_extremum(
    name: str,
    op: Op,
    ufunc: np.ufunc,
    a: Any,
    axis: Any,
    out: Any,
    keepdims: Any,
    initial: Any,
    where: Any,
) -> Tensor:
    a = tensor_among(a, initial, where)
    if a.dtype.kind not in "fc":
        return extremum(name, op, ufunc, a, axis, out, keepdims, initial, where)
    missing = np.isnan(a)
    filled = np.where(missing, worst(ufunc, a.dtype), a)
    result = extremum(name, op, ufunc, filled, axis, out, keepdims, initial, where)
    if given(initial):
        return result
    # Where there is nothing but NaN, so is the result.
    return np.where(np_all(missing, axis, keepdims=keepdims), a.dtype.type(np.nan), result)


# -- statistics ------------------------------------------------------------------------------------


def _present(a: Tensor, where: Any) -> Any:
    """Return the mask of the elements that are not NaN, among those that ``where`` selects."""
    present = ~np.isnan(a)
    return present & where if has_where(where) else present


@implements(np.nanmean)
def np_nanmean(
    a: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: Any = False, *, where: Any = True
) -> Tensor:
    """Return the mean of what is not NaN."""
    a = tensor_among(a, where)
    if a.dtype.kind not in "fc":
        return np_mean(a, axis, dtype, out, keepdims, where=where)
    return np_mean(without_nan(a, 0), axis, dtype, out, keepdims, where=_present(a, where))


@implements(np.nanvar)
def np_nanvar(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    ddof: Any = 0,
    keepdims: Any = False,
    *,
    where: Any = True,
    mean: Any = NoValue,
    correction: Any = NoValue,
) -> Tensor:
    """Return the variance of what is not NaN."""
    a = tensor_among(a, where, mean)
    if a.dtype.kind not in "fc":
        return variance("numpy.nanvar", a, axis, dtype, out, ddof, keepdims, where, mean, correction)
    present = _present(a, where)
    a = without_nan(a, 0)
    result = variance("numpy.nanvar", a, axis, dtype, out, ddof, keepdims, present, mean, correction)
    # NumPy gives NaN, not inf, where ddof leaves no degrees of freedom.
    count = np_sum(present, reduced_axes("numpy.nanvar", axis, a.ndim), keepdims=keepdims)
    return np.where(count <= degrees_removed("numpy.nanvar", ddof, correction), result.dtype.type(np.nan), result)


@implements(np.nanstd)
def np_nanstd(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    ddof: Any = 0,
    keepdims: Any = False,
    *,
    where: Any = True,
    mean: Any = NoValue,
    correction: Any = NoValue,
) -> Tensor:
    """Return the root of the variance of what is not NaN."""
    return root(np_nanvar(a, axis, dtype, out, ddof, keepdims, where=where, mean=mean, correction=correction))


# -- order ---------------------------------------------------------------------------------


@implements(np.nanmedian)
def np_nanmedian(
    a: Any, axis: Any = None, out: Any = None, overwrite_input: bool = False, keepdims: Any = NoValue
) -> Tensor:
    """Return the middle of what is not NaN, or the mean of the two in the middle."""
    refuse("numpy.nanmedian", out=out)
    if a.dtype.kind != "f":
        return np.median(a, axis, keepdims=_kept(keepdims))
    return nan_quantile("numpy.nanmedian", a, 0.5, 1, axis, "midpoint", _kept(keepdims))


@implements(np.nanquantile)
def np_nanquantile(
    a: Any,
    q: Any,
    axis: Any = None,
    out: Any = None,
    overwrite_input: bool = False,
    method: str = "linear",
    keepdims: Any = NoValue,
    *,
    weights: Any = None,
) -> Tensor:
    """Return quantiles of what is not NaN; ``q`` is known, not traced."""
    refuse("numpy.nanquantile", out=out, weights=weights)
    return nan_quantile("numpy.nanquantile", tensor_among(a, q), q, 1, axis, method, _kept(keepdims))


@implements(np.nanpercentile)
def np_nanpercentile(
    a: Any,
    q: Any,
    axis: Any = None,
    out: Any = None,
    overwrite_input: bool = False,
    method: str = "linear",
    keepdims: Any = NoValue,
    *,
    weights: Any = None,
) -> Tensor:
    """Return percentiles of what is not NaN; ``q`` is known, not traced."""
    refuse("numpy.nanpercentile", out=out, weights=weights)
    return nan_quantile("numpy.nanpercentile", tensor_among(a, q), q, 100, axis, method, _kept(keepdims))


def _kept(keepdims: Any) -> bool:
    return keepdims is not NoValue and bool(keepdims)


@implements(np.nanargmax)
def np_nanargmax(a: Any, axis: Any = None, out: Any = None, *, keepdims: Any = NoValue) -> Tensor:
    """Return the index of the first maximum of what is not NaN; 0 where nothing is."""
    filled = np.where(np.isnan(a), worst(np.maximum, a.dtype), a) if a.dtype.kind in "fc" else a
    return np.argmax(filled, axis, out, keepdims=_kept(keepdims))


@implements(np.nanargmin)
def np_nanargmin(a: Any, axis: Any = None, out: Any = None, *, keepdims: Any = NoValue) -> Tensor:
    """Return the index of the first minimum of what is not NaN; 0 where nothing is."""
    filled = np.where(np.isnan(a), worst(np.minimum, a.dtype), a) if a.dtype.kind in "fc" else a
    return np.argmin(filled, axis, out, keepdims=_kept(keepdims))
