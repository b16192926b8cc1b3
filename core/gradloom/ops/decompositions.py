"""Decompositions of stacks of matrices, and the pseudo-inverse.

Sources of the derivatives: M. Giles, "Collected matrix derivative results for forward and
reverse mode algorithmic differentiation" (2008); M. Seeger et al., "Auto-differentiating linear
algebra" (2017); J. Townsend, "Differentiating the singular value decomposition" (2016);
G. Golub and V. Pereyra, "The differentiation of pseudo-inverses and nonlinear least squares
problems whose variables separate" (1973).

In all rules ``t`` is the tangent of the matrix. The conjugate transpose is written ``x^H``.
A (co)tangent that is exactly zero annihilates: it meets values through annihilating products.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom.errors import ShapeError
from gradloom.op import define
from gradloom.ops._matrices import (
    adjoint,
    check_matrix,
    check_square,
    columns,
    diagonals,
    hermitian_part,
    left,
    numbers,
    promote,
    real_part,
    right,
    rows,
    square_spec,
)
from gradloom.ops.arithmetic import annihilating_multiply, reciprocal
from gradloom.ops.cast import astype
from gradloom.ops.comparison import equal
from gradloom.ops.complex import conjugate, imag
from gradloom.ops.contraction import swap
from gradloom.ops.linalg import annihilating_solve, annihilating_solve_triangular, lower_triangle
from gradloom.ops.selection import where
from gradloom.spec import Spec, real_dtype

Tensor = Any


# -- inverse_gaps --------------------------------------------------------------------------


def inverse_gaps_spec(w: Spec) -> Spec:
    return w.with_shape((*w.shape, w.shape[-1]))


def inverse_gaps_pushforward(t: Tensor, out: Tensor, w: Tensor) -> Tensor:
    return annihilating_multiply(rows(t) - columns(t), -out * out)


def inverse_gaps_expansion(w: Tensor) -> Tensor:
    if w.dtype.kind != "f":
        return None
    row, column = numbers(w)
    # So nothing is divided by zero but where eigenvalues are equal.
    return reciprocal(where(equal(row, column), np.inf, rows(w) - columns(w)))


#: ``out[i, j] = 1 / (w[j] - w[i])``, zero on the diagonal: how eigenvectors turn into each
#: other. Equal values give inf, so that only an exactly zero (co)tangent passes them.
inverse_gaps = define(
    "inverse_gaps",
    spec=inverse_gaps_spec,
    pushforward=(inverse_gaps_pushforward,),
    axes="...I->...IJ",
    expansion=inverse_gaps_expansion,
)


# -- cholesky ------------------------------------------------------------------------------

# The kernel reads the lower triangle only. The derivative is the one along Hermitian
# directions: t stands for (t + t^H) / 2, and so a cotangent comes out Hermitian (as in JAX).
#
# A = L L^H:  L^-1 t L^-H = L^-1 dL + (L^-1 dL)^H, a lower triangular matrix and its adjoint. So
# L^-1 dL is the lower triangle of the left side with the diagonal halved (Seeger 2017, 4.1).


def cholesky_pushforward(t: Tensor, out: Tensor, a: Tensor) -> Tensor:
    half = annihilating_solve_triangular(out, hermitian_part(t), lower=True)
    both = annihilating_solve_triangular(out, adjoint(half), lower=True)
    return left(out, lower_triangle(both, diagonal=0.5))


#: The lower Cholesky factor.
cholesky = define(
    "cholesky", spec=square_spec, promote=promote, pushforward=(cholesky_pushforward,), axes="...IJ->...IJ"
)


# -- eigh ----------------------------------------------------------------------------------


def eigh_spec(a: Spec, *, lower: bool = True) -> tuple[Spec, Spec]:
    check_square(a)
    return Spec(a.shape[:-1], real_dtype(a.dtype)), a


# The kernel reads one triangle. The derivative is the one along Hermitian directions: t stands
# for (t + t^H) / 2, whichever triangle is read.
#
# A V = V W:  with  E = V^H t V,  dw = diag(E)  and  dV = V (F * E),  F_ij = 1 / (w_j - w_i),
# zero on the diagonal: this fixes the phase that eigenvectors are free in (Giles 2008, 3.1).
# Equal eigenvalues leave their eigenvectors free beyond that; F is inf there, so that
# functions of the eigenvalues alone (V has a zero cotangent) keep their finite gradient, and
# what would need derivatives of such eigenvectors comes out as inf or NaN, not as a number.


def eigh_pushforward(t: Tensor, out: tuple[Tensor, Tensor], a: Tensor, *, lower: bool) -> tuple[Tensor, Tensor]:
    w, v = out
    turned = right(left(adjoint(v), hermitian_part(t)), v)
    return real_part(diagonals(turned)), left(v, annihilating_multiply(turned, inverse_gaps(w)))


#: Eigenvalues, ascending, and eigenvectors of Hermitian matrices; ``lower``: the triangle read.
eigh = define("eigh", spec=eigh_spec, promote=promote, pushforward=(eigh_pushforward,), axes="...IJ->...IJ")


# -- eig -----------------------------------------------------------------------------------


def eig_spec(a: Spec) -> tuple[Spec, Spec]:
    check_square(a)
    dtype = np.result_type(a.dtype, np.complex64)
    return Spec(a.shape[:-1], dtype), Spec(a.shape, dtype)


# A V = V W:  with  E = V^-1 t V,  dw = diag(E)  and  dV = V K,  K = F * E  with the F of `eigh`,
# which leaves the length and phase of each vector v open. They stay by  v^H dv = 0,  which takes
# v (v^H dv) off (M. Giles 2008, 3.1, for the first part).


def eig_pushforward(t: Tensor, out: tuple[Tensor, Tensor], a: Tensor) -> tuple[Tensor, Tensor]:
    w, v = out
    turned = annihilating_solve(v, right(astype(t, dtype=v.dtype), v))
    dv = left(v, annihilating_multiply(turned, inverse_gaps(w)))
    along = diagonals(left(adjoint(v), dv))
    return diagonals(turned), dv - annihilating_multiply(rows(along), v)


#: Eigenvalues and eigenvectors of unit length of any square matrices, always complex.
eig = define("eig", spec=eig_spec, promote=promote, pushforward=(eig_pushforward,), axes="...IJ->...IJ")


# -- qr ------------------------------------------------------------------------------------


def qr_spec(a: Spec) -> tuple[Spec, Spec]:
    check_matrix(a)
    if a.shape[-2] < a.shape[-1]:
        raise ShapeError(
            "no QR factorisation of wide matrices",
            argument="a",
            expected="at least as many rows as columns",
            got=f"shape {a.shape}",
            remedy="factorise the transpose (.mT)",
        )
    return a, a.with_shape((*a.shape[:-2], a.shape[-1], a.shape[-1]))


# A = Q R:  t R^-1 = dQ + Q (dR R^-1).  With  M = Q^H t R^-1:  M = Q^H dQ + dR R^-1,  an
# anti-Hermitian and an upper triangular matrix with real diagonal. So
# K = Q^H dQ = tril(M) - tril(M)^H + i im(diag M), strict triangles;  dR = (M - K) R  and
# dQ = t R^-1 - Q (M - K)  (Seeger 2017, 4.3, for its LQ form).


def qr_pushforward(t: Tensor, out: tuple[Tensor, Tensor], a: Tensor) -> tuple[Tensor, Tensor]:
    q, r = out
    scaled = swap(annihilating_solve_triangular(swap(r), swap(t), lower=True))
    inside = left(adjoint(q), scaled)
    below = lower_triangle(inside, diagonal=0.0)
    turn = below - adjoint(below)
    if a.dtype.kind == "c":
        diagonal = lower_triangle(inside, diagonal=1.0) - below
        turn = turn + (diagonal - conjugate(diagonal)) * 0.5
    upper = inside - turn
    return scaled - left(q, upper), right(upper, r)


#: ``Q``, shape (..., m, n), and upper triangular ``R``, shape (..., n, n), for m >= n.
qr = define("qr", spec=qr_spec, promote=promote, pushforward=(qr_pushforward,), axes="...IJ->...IJ")


# -- svd -----------------------------------------------------------------------------------


def svd_spec(a: Spec) -> tuple[Spec, Spec, Spec]:
    check_matrix(a)
    *loops, m, n = a.shape
    k = min(m, n)
    values = Spec((*loops, k), real_dtype(a.dtype))
    return Spec((*loops, m, k), a.dtype), values, Spec((*loops, k, n), a.dtype)


# A = U S V^H,  P = U^H t V:  ds = re(diag(P)). With F_ij = 1 / (s_j^2 - s_i^2), zero on the
# diagonal,
#
#   dU = U (F * (P S + S P^H)) + (I - U U^H) t V S^-1
#   dV = V (F * (S P + P^H S)) + (I - V V^H) t^H U S^-1     (Townsend 2016, eqs. 16-18)
#
# where the last terms vanish for square U or V. Complex singular vectors are free in a phase that
# each pair has in common; that of U less that of V turns by  im(P_ii) / s_i,  of which each
# takes half. F is inf at equal singular values, S^-1 at zeros: as for `eigh`, functions of s
# alone keep their finite gradient there.


def svd_pushforward(t: Tensor, out: tuple[Tensor, Tensor, Tensor], a: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    u, s, vh = out
    v = adjoint(vh)
    inside = right(left(adjoint(u), t), v)
    gaps = annihilating_multiply(inverse_gaps(s), 1.0 / (columns(s) + rows(s)))
    scaled = annihilating_multiply(inside, rows(s))
    crossed = annihilating_multiply(inside, columns(s))
    du = left(u, annihilating_multiply(scaled + adjoint(scaled), gaps))
    dv = left(v, annihilating_multiply(crossed + adjoint(crossed), gaps))
    if u.shape[-2] > u.shape[-1]:
        du = du + _outside(u, right(t, v), s)
    if v.shape[-2] > v.shape[-1]:
        dv = dv + _outside(v, right(adjoint(t), u), s)
    ds = diagonals(inside)
    if a.dtype.kind == "c":
        phase = rows(annihilating_multiply(imag(ds), 0.5j / s))
        du, dv = du + annihilating_multiply(phase, u), dv - annihilating_multiply(phase, v)
    return du, real_part(ds), adjoint(dv)


def _outside(u: Tensor, t: Tensor, s: Tensor) -> Tensor:
    """Return ``(I - u u^H) t s^-1``."""
    return annihilating_multiply(t - left(u, left(adjoint(u), t)), 1.0 / rows(s))


#: ``U``, shape (..., m, k), the singular values, descending, and ``Vh``, shape (..., k, n).
svd = define("svd", spec=svd_spec, promote=promote, pushforward=(svd_pushforward,), axes="...IJ->...IJ")


# -- pinv ----------------------------------------------------------------------------------


def pinv_spec(a: Spec, *, rcond: float | None = None) -> Spec:
    check_matrix(a)
    return a.with_shape((*a.shape[:-2], a.shape[-1], a.shape[-2]))


# P = A^+:  dP = -P t P + P P^H t^H (I - A P) + (I - P A) t^H P^H P  (Golub and Pereyra 1973,
# eq. 4.12). Holds where the rank does not change; elsewhere no derivative exists.


def pinv_pushforward(t: Tensor, out: Tensor, a: Tensor, *, rcond: float | None) -> Tensor:
    outer = left(out, left(adjoint(out), adjoint(t)))
    second = outer - right(right(outer, a), out)
    outer = right(right(adjoint(t), adjoint(out)), out)
    third = outer - left(out, left(a, outer))
    return second + third - right(left(out, t), out)


#: The pseudo-inverse; singular values up to ``rcond`` times the largest count as zero.
pinv = define("pinv", spec=pinv_spec, promote=promote, pushforward=(pinv_pushforward,), axes="...IJ->...JI")
