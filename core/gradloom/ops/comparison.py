"""Comparison, logic and bit ops: their outputs carry no derivative."""

from __future__ import annotations

import numpy as np

from gradloom.ops._elementwise import elementwise

equal = elementwise("equal", np.equal, zero_derivative=True)
not_equal = elementwise("not_equal", np.not_equal, zero_derivative=True)
less = elementwise("less", np.less, zero_derivative=True)
less_equal = elementwise("less_equal", np.less_equal, zero_derivative=True)
greater = elementwise("greater", np.greater, zero_derivative=True)
greater_equal = elementwise("greater_equal", np.greater_equal, zero_derivative=True)

logical_and = elementwise("logical_and", np.logical_and, zero_derivative=True)
logical_or = elementwise("logical_or", np.logical_or, zero_derivative=True)
logical_xor = elementwise("logical_xor", np.logical_xor, zero_derivative=True)
logical_not = elementwise("logical_not", np.logical_not, zero_derivative=True)

isnan = elementwise("isnan", np.isnan, zero_derivative=True)
isinf = elementwise("isinf", np.isinf, zero_derivative=True)
isfinite = elementwise("isfinite", np.isfinite, zero_derivative=True)
signbit = elementwise("signbit", np.signbit, zero_derivative=True)

bitwise_and = elementwise("bitwise_and", np.bitwise_and, zero_derivative=True)
bitwise_or = elementwise("bitwise_or", np.bitwise_or, zero_derivative=True)
bitwise_xor = elementwise("bitwise_xor", np.bitwise_xor, zero_derivative=True)
invert = elementwise("invert", np.invert, zero_derivative=True)
left_shift = elementwise("left_shift", np.left_shift, zero_derivative=True)
right_shift = elementwise("right_shift", np.right_shift, zero_derivative=True)
bitwise_count = elementwise("bitwise_count", np.bitwise_count, zero_derivative=True)
