"""What every traced NumPy function must satisfy: to be NumPy's, in value and in derivative."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from typing import Any

import numpy as np

from gradloom.program import Program
from gradloom.pytree import flatten, unflatten
from gradloom.sizes import General
from gradloom.source import same_lines
from gradloom.spec import Spec
from gradloom.structure import Structure
from gradloom.testing import differences
from gradloom.testing.checks import forward_jacobian, reverse_jacobian
from gradloom.tracing import Traced, leaf_specs, trace_abstractly


def value_of(function: Callable[..., Any], *args: Any) -> Any:
    """Return what a function gives on tensors, by the kernels of single ops."""
    leaves, structure = flatten((args, {}))
    traced = trace_abstractly("value_of", function, structure, leaf_specs("value_of", structure, leaves), leaves)
    values = Program(Program(traced.graph).graph).run(leaves + traced.captured)
    return unflatten(traced.structure, values)


def check_like_numpy(
    function: Callable[..., Any], x: Any, rtol: float = 1e-9, value_rtol: float = 1e-14, step: float = 1e-2
) -> None:
    """Value, shape and dtype are NumPy's; both modes give what differences of NumPy give; see `check_any_size` too.

    Parameters
    ----------
    function : callable
        A function of one array, written with NumPy.
    x : array
        Where to check; derivatives are checked in float64.
    rtol, value_rtol : float
        Relative tolerance of derivatives, and of values.
    step : float
        Step of the difference stencil.
    """
    check_any_size(function, x)
    expected = np.asarray(function(x))
    got = np.asarray(value_of(function, x))
    assert got.shape == expected.shape
    assert got.dtype == expected.dtype, f"dtype {got.dtype}, expected {expected.dtype}"
    np.testing.assert_allclose(got, expected, rtol=value_rtol, atol=value_rtol / 10)
    if x.dtype == np.float64 and expected.dtype.kind == "f":
        jacobian = differences.jacobian(function, (x,), 0, step)
        scale = np.max(np.abs(jacobian), initial=1e-3, where=np.isfinite(jacobian))
        for mode in (reverse_jacobian, forward_jacobian):
            np.testing.assert_allclose(
                mode(function, (x,), 0), jacobian, rtol=rtol, atol=rtol * scale, err_msg=mode.__name__
            )


#: Other lengths, by a length: all different where those are, longer, odd or not.
_OTHERS: tuple[Callable[[int], int], ...] = (lambda n: n + 3, lambda n: 2 * n + 1)


def check_any_size(function: Callable[..., Any], *args: Any, lengths: Collection[int] | None = None) -> bool:
    """Traced with symbolic lengths, a function gives the graph that it gives with plain ones, also for other lengths.

    Parameters
    ----------
    function : callable
        A function of arrays and numbers (in containers), written with NumPy.
    *args : array or number
        Arguments to trace it for; equal lengths of their axes vary together.
    lengths : collection of int, optional
        Which lengths vary; by default all but 0 and 1.

    Returns
    -------
    bool
        Whether other lengths are served without tracing anew. If not, the function or what it calls asks for a length,
        or it cannot be traced for other lengths.

    Examples
    --------
    >>> import numpy as np
    >>> from gradloom.testing.functions import check_any_size
    >>> x = np.zeros((5, 3))
    >>> check_any_size(lambda x: x[1:] - np.mean(x, axis=0), x), check_any_size(lambda x: x / len(x), x)
    (True, False)
    """
    leaves, containers = flatten((args, {}))
    specs = leaf_specs("check_any_size", containers, leaves)
    trace = partial(trace_abstractly, "check_any_size", function, containers, leaves=leaves)
    structure = _structure(specs)
    general = General.of(structure, specs, trace, None)
    written = general.at(structure.numbers, None)
    assert written is not None, "what was noted of symbolic lengths does not hold for their own values"
    _assert_same(written, trace(specs))
    vary = {n for spec in specs for n in spec.shape if n > 1} if lengths is None else set(lengths)
    resized = [[_resized(spec, {n: other(n) for n in vary}) for spec in specs] for other in _OTHERS]
    return all([_is_served(general, others, trace) for others in resized])


def _structure(specs: list[Spec]) -> Structure:
    structure = Structure()
    for spec in specs:
        structure.spec(spec)
    return structure


def _resized(spec: Spec, others: dict[int, int]) -> Spec:
    return Spec(tuple([others.get(n, n) for n in spec.shape]), spec.dtype, spec.weak)


def _is_served(general: General, specs: list[Spec], trace: Callable[[list[Spec]], Traced]) -> bool:
    """Return whether a trace serves other specs; if so, it must be what tracing for these gives."""
    written = general.at(_structure(specs).numbers, None)
    if written is not None:
        _assert_same(written, trace(specs))
    return written is not None


def _assert_same(written: Traced, expected: Traced) -> None:
    """Not one node, spec, line or bit of a literal differs."""
    a, b = written.graph, expected.graph
    differ = {
        "nodes": a != b,
        "specs": a.specs != b.specs,
        "literals": list(map(repr, a.literals)) != list(map(repr, b.literals)),
        "lines": not same_lines(a.sources, b.sources),
        "results": written.structure != expected.structure,
    }
    assert not any(differ.values()), f"{differ}\nwith symbolic lengths:\n{a}\nwith plain ones:\n{b}"
    for one, other in zip(written.captured, expected.captured, strict=True):
        np.testing.assert_array_equal(one, other)
