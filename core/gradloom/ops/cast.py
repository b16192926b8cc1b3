"""Change of dtype."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom.autodiff import unbroadcast
from gradloom.op import define
from gradloom.spec import Spec

Tensor = Any


def astype_spec(x: Spec, *, dtype: np.dtype[Any]) -> Spec:
    return x.with_dtype(dtype)


# Among inexact dtypes a cast is the identity (from complex to real: the real part, whose
# transpose is the cast back). A cast to integers or bools is no float output: no derivative.
def astype_transpose(cotangent: Tensor, x: Tensor, *, dtype: np.dtype[Any]) -> Tensor:
    return unbroadcast(cotangent, x.spec)


astype = define("astype", spec=astype_spec, transpose=(astype_transpose,), elementwise=True, view=True)

# A Python integer of a trace in the dtype of the array that it meets. Its kernel raises where the dtype cannot hold
# it, as NumPy does: that is known when there is a value.
fitted = define("fitted", spec=astype_spec, zero_derivative=True, elementwise=True)
