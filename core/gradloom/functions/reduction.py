"""Traced counterparts of NumPy's reductions, written from ops."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom.dispatch import implements, refuse
from gradloom.ops.reduction import sum

Tensor = Any


@implements(np.sum)
def np_sum(a: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: Any = False, initial: Any = 0, where: Any = True) -> Tensor:
    refuse("numpy.sum", out=out)
    return sum(a, axis=tuple(range(a.ndim)) if axis is None else (axis,), keepdims=keepdims)
