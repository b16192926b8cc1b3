"""Traced counterparts of NumPy's histograms.

Counts are piecewise constant. What carries a derivative are the weights, and edges that the least and the
greatest sample determine, and so densities.
"""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from gradloom.dispatch import implements
from gradloom.errors import ArgumentError, ShapeError
from gradloom.functions._arguments import as_array
from gradloom.functions.indexing import value_of
from gradloom.functions.reduction import tensor_among
from gradloom.trace import Handle

Tensor = Any


@implements(np.histogram_bin_edges)
def np_histogram_bin_edges(a: Any, bins: Any = 10, range: Any = None, weights: Any = None) -> Tensor:
    """Return the edges of the bins of `numpy.histogram`."""
    name = "numpy.histogram_bin_edges"
    if isinstance(bins, str):
        bins = len(np.histogram_bin_edges(value_of(as_array(a), name), bins, range)) - 1
    return _edges(name, np.ravel(as_array(a)), bins, range)


@implements(np.histogram)
def np_histogram(
    a: Any, bins: Any = 10, range: Any = None, density: Any = None, weights: Any = None
) -> tuple[Tensor, Tensor]:
    """Count samples in bins, or add up their weights."""
    if weights is not None and np.shape(weights) != np.shape(a):
        raise ShapeError(
            "weights should have the same shape as a.",
            op="numpy.histogram",
            argument="weights",
            expected=np.shape(a),
            got=np.shape(weights),
            remedy="np.broadcast_to(weights, np.shape(a)) repeats them",
        )
    edges = np_histogram_bin_edges(a, bins, range)
    weights = None if weights is None else np.ravel(as_array(weights))
    return _binned([np.ravel(as_array(a))], [edges], bool(density), weights), edges


@implements(np.histogram2d)
def np_histogram2d(
    x: Any, y: Any, bins: Any = 10, range: Any = None, density: Any = None, weights: Any = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Count pairs of samples in rectangles, or add up their weights."""
    if hasattr(bins, "__len__") and len(bins) not in (1, 2):
        bins = [as_array(bins)] * 2
    counts, (first, second) = np_histogramdd([x, y], bins, range, density, weights)
    return counts, first, second


@implements(np.histogramdd)
def np_histogramdd(
    sample: Any, bins: Any = 10, range: Any = None, density: Any = None, weights: Any = None
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Count points in boxes, or add up their weights; points stand in rows, or coordinates in a list."""
    name = "numpy.histogramdd"
    if not isinstance(sample, (list, tuple)) and sample.ndim == 1:
        sample = [sample]  # points on a line
    listed = isinstance(sample, (list, tuple)) or sample.ndim != 2
    columns = [as_array(c) for c in (sample if listed else sample.T)]
    several = bins if hasattr(bins, "__len__") else [bins] * len(columns)
    ranges = [None] * len(columns) if range is None else range
    if len(several) != len(columns) or len(ranges) != len(columns):
        raise ShapeError(
            "bins and range need one entry for each coordinate",
            op=name,
            argument="bins" if len(several) != len(columns) else "range",
            expected=len(columns),
            got=len(several) if len(several) != len(columns) else len(ranges),
            remedy="one number as bins serves all coordinates; range=None takes that of the data",
        )
    edges = tuple([_edges(name, *each) for each in zip(columns, several, ranges, strict=True)])
    counts = _binned(columns, edges, bool(density), weights)
    return np.astype(counts, np.float64), edges


def _edges(name: str, a: Any, bins: Any, range: Any) -> Any:
    """Return ascending edges: those that are given, or equally spaced ones."""
    if np.ndim(bins) == 1:
        edges = as_array(bins)
        if not isinstance(edges, Handle) and np.any(np.diff(edges) < 0):
            raise ArgumentError(
                "bins must be monotonically increasing",
                op=name,
                argument="bins",
                expected="ascending edges",
                got=bins,
                remedy="sort the bins",
            )
        return edges
    count = operator.index(bins)
    if count < 1:
        raise ArgumentError("too few bins", op=name, argument="bins", expected="1 or more", got=count)
    if range is None:
        first, last = (np.min(a), np.max(a)) if a.size else (0.0, 1.0)
    else:
        first, last = range
        if not isinstance(first, Handle) and not isinstance(last, Handle) and not -np.inf < first <= last < np.inf:
            raise ArgumentError(
                "there is no such range",
                op=name,
                argument="range",
                expected="two finite numbers, the lower first",
                got=range,
                remedy="leave range out to take that of the data",
            )
    margin = np.where(np.equal(first, last), 0.5, 0.0)
    return np.linspace(first - margin, last + margin, count + 1)


def _binned(columns: Any, edges: Any, density: bool, weights: Any) -> Any:
    """Return counts or added weights in each box."""
    shape = tuple([e.shape[0] - 1 for e in edges])
    place, inside = 0, np.True_
    for column, e, n in zip(columns, edges, shape, strict=True):
        found = np.searchsorted(e, column, "right") - 1
        found = np.where(np.equal(column, e[-1]), n - 1, found)  # the last bin has both its edges
        inside = inside & (found >= 0) & (found < n)
        place = place * n + found
    size = math.prod(shape)
    if weights is None:
        weights = np.ones(columns[0].shape, np.int64)
    # What falls in no box is added to one more, which is left out.
    sums = np.zeros_like(tensor_among(weights, place), shape=(size + 1,), dtype=weights.dtype)
    np.add.at(sums, np.where(inside, place, size), weights)
    sums = np.reshape(sums[:size], shape)
    if density:
        sums = sums / np.sum(sums)
        for k, e in enumerate(edges):
            sums = sums / np.reshape(np.diff(e), (1,) * k + (-1,) + (1,) * (len(shape) - k - 1))
    return sums
