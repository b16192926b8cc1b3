"""Linear algebra on stacks of matrices: systems of equations, inverses and determinants.

Source of the derivatives: M. Giles, "Collected matrix derivative results for forward and
reverse mode algorithmic differentiation" (2008).

In all rules ``t`` is the tangent of the matrix. The conjugate transpose is written ``x^H``.
A (co)tangent that is exactly zero annihilates: it meets values through annihilating products.
"""

from __future__ import annotations

from typing import Any

from gradloom.autodiff import unbroadcast
from gradloom.errors import ShapeError
from gradloom.op import define
from gradloom.ops._matrices import check_square, columns, inner, left, numbers, promote, right, square_spec
from gradloom.ops.arithmetic import annihilating_multiply
from gradloom.ops.comparison import equal, greater
from gradloom.ops.complex import imag, real
from gradloom.ops.contraction import swap
from gradloom.ops.selection import where
from gradloom.spec import Spec, broadcast_shapes, real_dtype

Tensor = Any


# -- lower_triangle ------------------------------------------------------------------------


def lower_triangle_spec(x: Spec, *, diagonal: float) -> Spec:
    check_square(x)
    return x


def lower_triangle_transpose(cotangent: Tensor, x: Tensor, *, diagonal: float) -> Tensor:
    return lower_triangle(cotangent, diagonal=diagonal)


def lower_triangle_expansion(x: Tensor, *, diagonal: float) -> Tensor:
    if x.dtype.kind != "f":
        return None
    row, column = numbers(x)
    on_it = where(equal(row, column), x * diagonal, 0.0) if diagonal else 0.0
    return where(greater(row, column), x, on_it)


#: The elements below the diagonal, and ``diagonal`` times those on it.
lower_triangle = define(
    "lower_triangle",
    spec=lower_triangle_spec,
    transpose=(lower_triangle_transpose,),
    axes="...IJ->...IJ",
    expansion=lower_triangle_expansion,
)


# -- inv -----------------------------------------------------------------------------------

# 0 = d(A X) = t X + A dX,  so  dX = -X t X  (Giles 2008, 2.2.3).


def inv_pushforward(t: Tensor, out: Tensor, a: Tensor) -> Tensor:
    return -right(left(out, t), out)


inv = define("inv", spec=square_spec, promote=promote, pushforward=(inv_pushforward,), axes="...IJ->...IJ")


# -- solve ---------------------------------------------------------------------------------


def solve_spec(a: Spec, b: Spec) -> Spec:
    check_square(a)
    if b.ndim < 2 or b.shape[-2] != a.shape[-1]:
        raise ShapeError(
            "right-hand side does not fit the matrix",
            argument="b",
            expected=f"an array of shape (..., {a.shape[-1]}, k); or ({a.shape[-1]},) for numpy.linalg.solve",
            got=f"shape {b.shape}",
            remedy="np.linalg.solve(a, b[..., None])[..., 0] takes b as a stack of vectors",
        )
    try:
        loops = broadcast_shapes(a.shape[:-2], b.shape[:-2])
    except ValueError:
        raise ShapeError(
            "leading axes do not broadcast",
            argument="b",
            expected=f"equal lengths, or 1, on every axis before the last two of {a.shape}",
            got=f"shape {b.shape}",
        ) from None
    return b.with_shape(loops + b.shape[-2:])


# A X = B:  t X + A dX = dB,  so  dX = A^-1 (dB - t X)  (Giles 2008, 2.3.1). In reverse,
# ct_B = A^-T ct  and  ct_A = -ct_B X^T, summed over broadcast axes.


def solve_pushforward_a(t: Tensor, out: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return -annihilating_solve(a, right(t, out))


def solve_pushforward_b(t: Tensor, out: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return annihilating_solve(a, t)


def solve_transpose_b(cotangent: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return unbroadcast(annihilating_solve(swap(a), cotangent), b.spec)


SOLVE_RULES: dict[str, Any] = {
    "spec": solve_spec,
    "promote": promote,
    "transpose": (None, solve_transpose_b),
    "pushforward": (solve_pushforward_a, solve_pushforward_b),
    "axes": "...IJ,...Jk->...Ik",
}

solve = define("solve", **SOLVE_RULES)
#: `solve`, but right-hand sides that are exactly zero have the solution zero, also where the
#: matrix holds NaN.
annihilating_solve = define("annihilating_solve", **SOLVE_RULES)


# -- solve_triangular ----------------------------------------------------------------------


def solve_triangular_spec(a: Spec, b: Spec, *, lower: bool) -> Spec:
    return solve_spec(a, b)


# As `solve`; the tangent counts in the triangle that is read.


def solve_triangular_pushforward_a(t: Tensor, out: Tensor, a: Tensor, b: Tensor, *, lower: bool) -> Tensor:
    t = lower_triangle(t, diagonal=1.0) if lower else swap(lower_triangle(swap(t), diagonal=1.0))
    return -annihilating_solve_triangular(a, right(t, out), lower=lower)


def solve_triangular_pushforward_b(t: Tensor, out: Tensor, a: Tensor, b: Tensor, *, lower: bool) -> Tensor:
    return annihilating_solve_triangular(a, t, lower=lower)


def solve_triangular_transpose_b(cotangent: Tensor, a: Tensor, b: Tensor, *, lower: bool) -> Tensor:
    return unbroadcast(annihilating_solve_triangular(swap(a), cotangent, lower=not lower), b.spec)


TRIANGULAR_RULES = SOLVE_RULES | {
    "spec": solve_triangular_spec,
    "transpose": (None, solve_triangular_transpose_b),
    "pushforward": (solve_triangular_pushforward_a, solve_triangular_pushforward_b),
}

#: `solve` for matrices of which one triangle is read: ``lower``, or the upper one.
solve_triangular = define("solve_triangular", **TRIANGULAR_RULES)
#: `solve_triangular`, annihilating like `annihilating_solve`.
annihilating_solve_triangular = define("annihilating_solve_triangular", **TRIANGULAR_RULES)


# -- det -----------------------------------------------------------------------------------


def det_spec(a: Spec) -> Spec:
    check_square(a)
    return a.with_shape(a.shape[:-2])


# Expansion along row i:  det A = sum_j a_ij C_ij, and the cofactor C_ij does not hold a_ij, so
# d det = sum_ij C_ij t_ij. This needs no inverse and holds for singular matrices: C has
# rank one for rank n - 1 and is zero below.


def det_pushforward(t: Tensor, out: Tensor, a: Tensor) -> Tensor:
    return inner(t, cofactors(a))


det = define("det", spec=det_spec, promote=promote, pushforward=(det_pushforward,), axes="...IJ->...")


def cofactors_pushforward(t: Tensor, out: Tensor, a: Tensor) -> Tensor:
    return cofactor_changes(a, t)


#: The matrix of cofactors, the transpose of the adjugate.
cofactors = define(
    "cofactors", spec=square_spec, promote=promote, pushforward=(cofactors_pushforward,), axes="...IJ->...IJ"
)


def cofactor_changes_spec(a: Spec, t: Spec) -> Spec:
    check_square(a)
    return t


# The second derivative of det A along two directions is symmetric in them, so the change of
# the cofactors is its own transpose.
def cofactor_changes_transpose(cotangent: Tensor, a: Tensor, t: Tensor) -> Tensor:
    return cofactor_changes(a, cotangent)


# For a regular matrix, with  X = A^-T,  C = det(A) X  and the change  D(t) = <X, t> C - C t^T X:
# along r,  dX = -X r^T X  and  dC = D(r), so
# dD = <dX, t> C + <X, t> D(r) - D(r) t^T X - C t^T dX. It raises where the matrix is singular.
def cofactor_changes_pushforward(r: Tensor, out: Tensor, a: Tensor, t: Tensor) -> Tensor:
    x, c, d = swap(inv(a)), cofactors(a), cofactor_changes(a, r)
    dx = -right(left(x, swap(r)), x)
    first = annihilating_multiply(columns(columns(inner(dx, t))), c)
    second = annihilating_multiply(d, columns(columns(inner(t, x))))
    return first + second - right(right(d, swap(t)), x) - left(left(c, swap(t)), dx)


#: How the cofactors of ``a`` change along ``t``, for matrices of any rank.
cofactor_changes = define(
    "cofactor_changes",
    spec=cofactor_changes_spec,
    promote=promote,
    transpose=(None, cofactor_changes_transpose),
    pushforward=(cofactor_changes_pushforward, None),
    axes="...IJ,...IJ->...IJ",
)


# -- slogdet -------------------------------------------------------------------------------


def slogdet_spec(a: Spec) -> tuple[Spec, Spec]:
    check_square(a)
    return Spec(a.shape[:-2], a.dtype), Spec(a.shape[:-2], real_dtype(a.dtype))


# d log det A = tr(A^-1 t). Its real part is that of log |det A|; its imaginary part turns the
# phase, d sign = i im(...) sign. A real sign is piecewise constant.


def slogdet_pushforward(t: Tensor, out: tuple[Tensor, Tensor], a: Tensor) -> tuple[Tensor, Tensor]:
    return slogdet_change(t, out[0], inv(a))


def slogdet_change(t: Tensor, sign: Tensor, inverse: Tensor) -> tuple[Tensor, Tensor]:
    """Return the tangents of sign and logarithm."""
    change = inner(t, swap(inverse))
    if inverse.dtype.kind != "c":
        return 0.0, change
    turned = annihilating_multiply(imag(change), sign * 1j)
    return turned, real(change)


slogdet = define("slogdet", spec=slogdet_spec, promote=promote, pushforward=(slogdet_pushforward,), axes="...IJ->...")


# -- inv_slogdet ---------------------------------------------------------------------------


def inv_slogdet_spec(a: Spec) -> tuple[Spec, Spec, Spec]:
    return (square_spec(a), *slogdet_spec(a))


def inv_slogdet_pushforward(t: Tensor, out: tuple[Tensor, ...], a: Tensor) -> tuple[Tensor, ...]:
    return (inv_pushforward(t, out[0], a), *slogdet_change(t, out[1], out[0]))


#: `inv` and `slogdet` by one factorisation; simplify finds them where a graph wants both.
inv_slogdet = define(
    "inv_slogdet", spec=inv_slogdet_spec, promote=promote, pushforward=(inv_slogdet_pushforward,), axes="...IJ->..."
)
