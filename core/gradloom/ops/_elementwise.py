"""What elementwise ops share: promotion as in NumPy, and the broadcast shape."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from gradloom.dispatch import implements_ufunc
from gradloom.errors import DTypeError, ShapeError
from gradloom.op import Op, Rule, define
from gradloom.spec import Spec, broadcast_shapes

_WEAK = {"f": float, "c": complex, "i": int}


def broadcast_shape(op: str, *shapes: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape that shapes broadcast to, or raise a `ShapeError`."""
    longest = max(shapes, key=len)
    if all([shape == longest or not shape for shape in shapes]):
        return longest
    try:
        return broadcast_shapes(*shapes)
    except ValueError:
        raise ShapeError(
            "shapes do not broadcast",
            op=op,
            argument="shapes",
            expected="equal lengths, or 1, on every axis from the last",
            got=" and ".join(map(str, shapes)),
            remedy="give a missing axis with x[:, None], or transpose an argument",
        ) from None


def resolve_dtypes(ufunc: np.ufunc, op: str, specs: tuple[Spec, ...]) -> tuple[np.dtype[Any], ...]:
    """Return the dtypes of a ufunc's inputs and outputs for some arguments, as NumPy does."""
    try:
        return _resolved(ufunc, *[_WEAK[s.dtype.kind] if s.weak else s.dtype for s in specs])
    except TypeError:
        raise DTypeError(
            "no loop for these dtypes",
            op=op,
            argument="dtypes",
            expected="dtypes NumPy takes here",
            got=", ".join(str(s.dtype) for s in specs),
            remedy="convert an argument with astype",
        ) from None


@lru_cache(maxsize=4096, typed=True)  # `float` is equal to the dtype float64
def _resolved(ufunc: np.ufunc, *given: Any) -> tuple[np.dtype[Any], ...]:
    return ufunc.resolve_dtypes((*given, *[None] * ufunc.nout))


def result_dtype(op: str, *specs: Spec) -> np.dtype[Any]:
    """Return the dtype in which NumPy joins values of some specs."""
    try:
        return np.result_type(*[_WEAK[s.dtype.kind](0) if s.weak else s.dtype for s in specs])
    except TypeError:
        raise DTypeError(
            "no common dtype",
            op=op,
            argument="dtypes",
            expected="dtypes that NumPy joins",
            got=", ".join(str(s.dtype) for s in specs),
            remedy="convert an argument with astype",
        ) from None


def elementwise(
    name: str,
    ufunc: np.ufunc,
    *partials: Rule | None,
    zero_derivative: bool = False,
    public: bool = True,
    special: str | None = None,
    **rules: Any,
) -> Op:
    """Define an elementwise op with the dtypes of a NumPy ufunc, and map the ufunc to it.

    Parameters
    ----------
    name : str
        The op's name.
    ufunc : numpy.ufunc
        Gives promotion and output dtype.
    *partials : callable
        One partial derivative per argument, ``partial(out, *inputs)``.
    zero_derivative : bool
        The op is piecewise constant.
    public : bool
        Whether the ufunc itself maps to this op.
    special : str, optional
        Name of the ufunc in scipy.special that maps to this op.
    **rules
        Other rules of `Op`.
    """

    def promote(*specs: Spec) -> tuple[Any, ...]:
        return resolve_dtypes(ufunc, name, specs)[: len(specs)]

    def spec(*specs: Spec) -> Spec:
        shape = specs[0].shape if len(specs) == 1 else broadcast_shape(name, *[s.shape for s in specs])
        return Spec(shape, resolve_dtypes(ufunc, name, specs)[-1])

    op = define(
        name,
        spec=spec,
        promote=promote,
        partials=partials or None,
        zero_derivative=zero_derivative,
        elementwise=True,
        **rules,
    )
    return implements_ufunc(op, *([ufunc] if public else []), special=special)
