"""`check_grads`: compare a function's derivatives with finite differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradloom.errors import ArgumentError
from gradloom.linear import jvp, vjp
from gradloom.pytree import flatten, unflatten
from gradloom.refusals import describe

_MODES = ("fwd", "rev")
_OFFSETS = (1, 2)
_WEIGHTS = (2 / 3, -1 / 12)


def check_grads(
    f: Callable[..., Any],
    args: Sequence[Any],
    order: int = 2,
    modes: Sequence[str] = _MODES,
    rtol: float | None = None,
    atol: float | None = None,
    seed: int = 0,
) -> None:
    """Raise unless derivatives agree with central differences along random directions.

    Parameters
    ----------
    f : callable
        A function of float arrays (in containers), written with NumPy.
    args : sequence
        The point: the arguments of ``f``.
    order : int, default 2
        Derivatives up to this order are checked.
    modes : sequence of {"fwd", "rev"}
        Modes to check.
    rtol, atol : float, optional
        Tolerances; by default 1e-6 for float64 and 1e-2 for float32 inputs.
    seed : int, default 0
        Seed of the directions.

    Raises
    ------
    AssertionError
        Naming mode and order, where a derivative disagrees.
    ArgumentError
        If a mode is unknown, ``order`` is less than 1, or ``args`` is not a sequence of arguments.

    Examples
    --------
    >>> import numpy as np
    >>> import gradloom as gl
    >>> gl.check_grads(np.sin, (np.array([0.1, 0.2]),))
    """
    unknown = [mode for mode in modes if mode not in _MODES]
    if unknown or order < 1:
        raise ArgumentError(
            "cannot check this",
            op="check_grads",
            argument="modes" if unknown else "order",
            expected=f"modes of {_MODES}" if unknown else "at least 1",
            got=unknown or order,
            remedy='leave it out: modes=("fwd", "rev"), order=2',
        )
    if not isinstance(args, (tuple, list)):
        raise ArgumentError(
            "the arguments must stand in a tuple",
            op="check_grads",
            argument="args",
            expected="a tuple, one entry per argument of the function",
            got=describe(args),
            remedy="write (x,) for a single one",
        )
    leaves, structure = flatten(tuple(args))
    single = any(getattr(leaf, "dtype", None) == np.float32 for leaf in leaves)
    tolerance = 1e-2 if single else 1e-6
    rtol = tolerance if rtol is None else rtol
    atol = tolerance if atol is None else atol
    rng = np.random.default_rng(seed)
    step = 1e-2 if single else 1e-4
    tangents = unflatten(structure, [_direction(rng, leaf) for leaf in leaves])
    expected = _differences(f, tuple(args), tangents, step)
    # Called on copies: outside a trace, a function that assigns to its argument changes the caller's array.
    copies = [leaf.copy() if isinstance(leaf, np.ndarray) else leaf for leaf in leaves]
    out, structure_out = flatten(f(*unflatten(structure, copies)))
    cotangents = unflatten(structure_out, [_direction(rng, leaf) for leaf in out])
    if "fwd" in modes:
        _, found = jvp(f, args, tangents)
        _compare(found, expected, rtol, atol, "forward mode")
        if order > 1:
            _deeper(lambda *a: jvp(f, a, tangents)[1], args, order, modes, rtol, atol, seed, "fwd")
    if "rev" in modes:
        _, pullback = vjp(f, *args)
        found_dot = _dot(pullback(cotangents), tangents)
        _compare(found_dot, _dot(cotangents, expected), rtol, atol, "reverse mode")
        if order > 1:
            _deeper(lambda *a: vjp(f, *a)[1](cotangents), args, order, modes, rtol, atol, seed, "rev")


def _deeper(
    derivative: Callable[..., Any],
    args: Sequence[Any],
    order: int,
    modes: Sequence[str],
    rtol: float,
    atol: float,
    seed: int,
    mode: str,
) -> None:
    try:
        check_grads(derivative, args, order - 1, modes, rtol, atol, seed + 1)
    except AssertionError as error:
        raise AssertionError(f"{mode} of order {order}, then {error}") from None


def _direction(rng: np.random.Generator, leaf: Any) -> Any:
    dtype = np.result_type(leaf)
    values = rng.normal(size=np.shape(leaf))
    if dtype.kind == "c":
        values = values + 1j * rng.normal(size=np.shape(leaf))
    return np.asarray(values, dtype)[()]


def _differences(f: Callable[..., Any], args: tuple[Any, ...], tangents: Any, step: float) -> Any:
    """Return the directional derivative by a central difference of order 4."""
    points, structure = flatten(args)
    directions, _ = flatten(tangents)
    totals: list[Any] = []
    out_structure: Any = None
    for offset, weight in zip(_OFFSETS, _WEIGHTS, strict=True):
        for sign in (1, -1):
            moved = [_moved(x, sign * offset * step, v) for x, v in zip(points, directions, strict=True)]
            values, out_structure = flatten(f(*unflatten(structure, moved)))
            terms = [sign * weight / step * np.asarray(v, np.result_type(v, np.float64)) for v in values]
            totals = [t + u for t, u in zip(totals, terms, strict=True)] if totals else terms
    return unflatten(out_structure, totals)


def _moved(x: Any, distance: float, direction: Any) -> Any:
    return (
        (x + distance * direction).astype(np.result_type(x)) if isinstance(x, np.ndarray) else x + distance * direction
    )


def _dot(left: Any, right: Any) -> Any:
    lefts, _ = flatten(left)
    rights, _ = flatten(right)
    return sum(np.sum(np.real(np.asarray(a) * np.asarray(b))) for a, b in zip(lefts, rights, strict=True))


def _compare(found: Any, expected: Any, rtol: float, atol: float, what: str) -> None:
    for k, (a, b) in enumerate(zip(flatten(found)[0], flatten(expected)[0], strict=True)):
        np.testing.assert_allclose(
            a, b, rtol=rtol, atol=atol, err_msg=f"{what}, output {k}: differs from finite differences"
        )
