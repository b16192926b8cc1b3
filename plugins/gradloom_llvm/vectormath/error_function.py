"""The error function, as 1 - e**-G with G = -log(erfc) of |x|, which is smooth: one polynomial serves every x."""

from __future__ import annotations

from typing import Final

from gradloom_llvm.vectormath._text import Function, Vector, copysign, polynomial, fma, smaller
from gradloom_llvm.vectormath.coefficients import ERF
from gradloom_llvm.vectormath.exponential import expm1_of, power_of_two, reduced

#: From here on erf is 1.
LIMIT: Final = {"float64": 6.0, "float32": 4.0}


def erf(x: Vector) -> Vector:
    """Return the error function; G = |x| (1 + P(|x|)) keeps its relative accuracy at zero, and so does e**-G - 1."""
    size = smaller(abs(x), LIMIT[x.body.dtype])
    parts = reduced(-fma(size, polynomial(size, ERF[x.body.dtype]), size))
    return copysign(expm1_of(parts, power_of_two(parts.shifted.as_bits())), x)


FUNCTIONS: Final[dict[str, Function]] = {"erf": erf}
