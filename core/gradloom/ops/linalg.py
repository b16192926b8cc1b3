"""Linear algebra on stacks of matrices.

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

from gradloom.autodiff import unbroadcast
from gradloom.axes import LETTERS
from gradloom.errors import DTypeError, ShapeError
from gradloom.op import define
from gradloom.ops.arithmetic import annihilating_multiply
from gradloom.ops.cast import astype
from gradloom.ops.complex import conjugate, imag, real
from gradloom.ops.contraction import annihilating_matmul, contract, swap
from gradloom.ops.shape import reshape
from gradloom.spec import Spec, real_dtype

Tensor = Any
Dtypes = tuple[np.dtype[Any], ...]


# -- what the ops share --------------------------------------------------------------------


def promote(*specs: Spec) -> Dtypes:
    """Return the common dtype, float64 for integers; NumPy's linear algebra has no float16."""
    dtype = np.result_type(*[s.dtype for s in specs])
    if dtype.kind in "biu":
        dtype = np.dtype(np.float64)
    if dtype.char not in "fdFD":
        raise DTypeError(
            "no linear algebra in this precision",
            argument="a",
            expected="float32, float64, complex64 or complex128",
            got=dtype,
            remedy="convert the matrix with astype",
        )
    return (dtype,) * len(specs)


def check_matrix(x: Spec) -> None:
    """Raise unless a spec is that of a stack of matrices."""
    if x.ndim < 2:
        raise ShapeError(
            "not a matrix", argument="a", expected="an array with at least two axes", got=f"shape {x.shape}"
        )


def check_square(x: Spec) -> None:
    """Raise unless a spec is that of a stack of square matrices."""
    check_matrix(x)
    if x.shape[-1] != x.shape[-2]:
        raise ShapeError("not square", argument="a", expected="last two axes of equal length", got=f"shape {x.shape}")


def square_spec(a: Spec) -> Spec:
    check_square(a)
    return a


def left(a: Tensor, t: Tensor) -> Tensor:
    """Return ``a @ t`` for a (co)tangent t."""
    return annihilating_matmul(a, t, zeros=1)


def right(t: Tensor, a: Tensor) -> Tensor:
    """Return ``t @ a`` for a (co)tangent t."""
    return annihilating_matmul(t, a, zeros=0)


def adjoint(x: Tensor) -> Tensor:
    """Return the conjugate transpose of each matrix."""
    return conjugate(swap(x)) if x.dtype.kind == "c" else swap(x)


def hermitian_part(t: Tensor) -> Tensor:
    """Return ``(t + t^H) / 2``."""
    return (t + adjoint(t)) * 0.5


def real_part(x: Tensor) -> Tensor:
    """Return the real part."""
    return real(x) if x.dtype.kind == "c" else x


def diagonals(x: Tensor) -> Tensor:
    """Return the diagonal of each matrix."""
    loops = LETTERS[: x.ndim - 2]
    return contract(f"{loops}yy->{loops}y", x)


def columns(x: Tensor) -> Tensor:
    """Return stacked vectors as matrices of one column."""
    return reshape(x, shape=(*x.shape, 1))


def rows(x: Tensor) -> Tensor:
    """Return stacked vectors as matrices of one row."""
    return reshape(x, shape=(*x.shape[:-1], 1, x.shape[-1]))


def inner(t: Tensor, x: Tensor) -> Tensor:
    """Return the sum of ``t * x`` over the last two axes, for a (co)tangent t."""
    loops = LETTERS[: t.ndim - 2]
    return contract(f"{loops}yz,{loops}yz->{loops}", t, x, annihilates=0)


# -- lower_triangle ------------------------------------------------------------------------


def lower_triangle_spec(x: Spec, *, diagonal: float) -> Spec:
    check_square(x)
    return x


def lower_triangle_transpose(cotangent: Tensor, x: Tensor, *, diagonal: float) -> Tensor:
    return lower_triangle(cotangent, diagonal=diagonal)


#: The elements below the diagonal, and ``diagonal`` times those on it.
lower_triangle = define(
    "lower_triangle", spec=lower_triangle_spec, transpose=(lower_triangle_transpose,), axes="...IJ->...IJ"
)


# -- inverse_gaps --------------------------------------------------------------------------


def inverse_gaps_spec(w: Spec) -> Spec:
    return w.with_shape((*w.shape, w.shape[-1]))


def inverse_gaps_pushforward(t: Tensor, out: Tensor, w: Tensor) -> Tensor:
    return annihilating_multiply(rows(t) - columns(t), -out * out)


#: ``out[i, j] = 1 / (w[j] - w[i])``, zero on the diagonal: how eigenvectors turn into each
#: other. Equal values give inf, so that only an exactly zero (co)tangent passes them.
inverse_gaps = define(
    "inverse_gaps", spec=inverse_gaps_spec, pushforward=(inverse_gaps_pushforward,), axes="...I->...IJ"
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
        )
    try:
        loops = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
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
    change = inner(t, swap(inv(a)))
    if a.dtype.kind != "c":
        return 0.0, change
    turned = annihilating_multiply(imag(change), out[0] * 1j)
    return turned, real(change)


slogdet = define("slogdet", spec=slogdet_spec, promote=promote, pushforward=(slogdet_pushforward,), axes="...IJ->...")


# -- cholesky ------------------------------------------------------------------------------

# The kernel reads the lower triangle only. The derivative is the one along Hermitian
# directions: t stands for (t + t^H) / 2, and so a cotangent comes out Hermitian (as in JAX).
#
# A = L L^H:  L^-1 t L^-H = L^-1 dL + (L^-1 dL)^H, a lower triangular matrix and its adjoint. So
# L^-1 dL is the lower triangle of the left side with the diagonal halved (Seeger 2017, 4.1).


def cholesky_pushforward(t: Tensor, out: Tensor, a: Tensor) -> Tensor:
    half = annihilating_solve(out, hermitian_part(t))
    both = annihilating_solve(out, adjoint(half))
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
    scaled = swap(annihilating_solve(swap(r), swap(t)))
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
