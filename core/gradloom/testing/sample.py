"""Sample: one use of an op, with an oracle that does not depend on gradloom."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Sample:
    """One use of an op.

    Parameters
    ----------
    op : str
        Name of the op.
    args : tuple of arrays
        NumPy arrays; sizes differ from axis to axis, so that swapped axes show.
    oracle : callable
        ``oracle(*args, **attrs)`` gives the expected output (a tuple for several), with NumPy,
        SciPy or mpmath. It must not call gradloom.
    attrs : dict
        Attrs of the op.
    name : str
        What is special about the sample ("size 0", "ties"); part of the test's name.
    smooth : bool
        False where the derivative is not defined by differences (ties, kinks, edges of the domain):
        then only values, the adjoint identity and `expected_partials` are checked.
    expected_partials : dict
        Expected Jacobians by argument, for samples that are not smooth.
    rtol : float
        Relative tolerance of values in float64.
    step : float
        Step of the difference stencil, relative to the scale of the argument.
    """

    op: str
    args: tuple[Any, ...]
    oracle: Callable[..., Any]
    attrs: dict[str, Any] = field(default_factory=dict)
    name: str = ""
    smooth: bool = True
    expected_partials: dict[int, Any] = field(default_factory=dict)
    rtol: float = 1e-13
    step: float = 1e-2

    def __str__(self) -> str:
        shapes = "_".join("x".join(map(str, np.shape(a))) or "0d" for a in self.args)
        return "-".join(word for word in (self.op, shapes, self.name.replace(" ", "_")) if word)


def rng(seed: int = 0) -> np.random.Generator:
    """Return a generator of reproducible sample data."""
    return np.random.default_rng(seed)


def layouts(array: np.ndarray[Any, Any]) -> Iterable[tuple[str, np.ndarray[Any, Any]]]:
    """Yield an array in every memory layout that must give the same result."""
    yield "Fortran order", np.asarray(array, order="F")
    if array.ndim:
        wide = np.repeat(array, 2, axis=-1)
        yield "strided", wide[..., ::2]
        yield "negative stride", np.ascontiguousarray(array[..., ::-1])[..., ::-1]
    frozen = array.copy()
    frozen.flags.writeable = False
    yield "read-only", frozen
    raw = np.zeros(array.nbytes + 1, np.uint8)
    unaligned = raw[1:].view(array.dtype).reshape(array.shape) if array.size else array
    unaligned[...] = array
    yield "unaligned", unaligned
