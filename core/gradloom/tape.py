"""Gradients in the explicit lazy graph: `gradients` and `Tape`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, final

from gradloom.autodiff import backward, ones, zeros
from gradloom.errors import ArgumentError, DTypeError
from gradloom.graph import LITERAL
from gradloom.lazy import LAZY, LazyNode, LazyTensor, compute, to_trace
from gradloom.refusals import describe
from gradloom.tensor import Tensor
from gradloom.trace import Trace


def gradients(y: Tensor, xs: Tensor | Sequence[Tensor]) -> list[Tensor]:
    """Return the gradients of a lazy tensor, as lazy tensors.

    Parameters
    ----------
    y : Tensor
        What to differentiate; an array counts as the sum of its elements.
    xs : Tensor or sequence of Tensor
        With respect to what; anything ``y`` was computed from, inputs or intermediate values.

    Returns
    -------
    list of Tensor
        One per entry of ``xs``, of its shape and dtype; zeros where ``y`` does not depend
        on it.

    Raises
    ------
    ArgumentError
        If something is not a lazy tensor.
    DTypeError
        If something is not of a float or complex dtype.

    Examples
    --------
    >>> import gradloom as gl
    >>> x = gl.tensor(3.0)
    >>> (slope,) = gl.gradients(x**2, x)
    >>> gl.compute(slope, *gl.gradients(slope, x))
    (np.float64(6.0), np.float64(2.0))
    """
    if isinstance(xs, Tensor):
        xs = [xs]
    for value, argument in [(y, "y"), *[(x, f"xs[{k}]") for k, x in enumerate(xs)]]:
        if not isinstance(value, LazyTensor):
            raise ArgumentError(
                "must be a lazy tensor",
                op="gradients",
                argument=argument,
                got=describe(value),
                remedy="make it with gl.tensor, or use gl.grad",
            )
        if not value.spec.inexact:
            raise DTypeError(
                "cannot differentiate integers or booleans",
                op="gradients",
                argument=argument,
                expected="float or complex dtype",
                got=value.spec,
                remedy="make the tensor of floats (gl.tensor(3.0)), or convert it with astype(float)",
            )
    target = y._index
    wanted: list[Any] = [x._index for x in xs]
    trace, ids = to_trace([target, *wanted], {})
    known: dict[int, LazyNode] = {i: node for node, i in ids.items()}
    start = len(trace.nodes)
    found = backward(trace, [ids[target]], [ones(trace, y.spec)], [ids[x] for x in wanted])
    results = [zeros(trace, x.spec) if g is None else g for x, g in zip(xs, found, strict=True)]
    for i in range(start, len(trace.nodes)):
        known[i] = _lazy_node(trace, i, known)
    return [LAZY.tensor(known[g._index]) for g in results]


def _lazy_node(trace: Trace, i: int, known: dict[int, LazyNode]) -> LazyNode:
    """Return a lazy node for a node that was appended to a trace."""
    op, inputs, attrs = trace.nodes[i]
    spec = trace.specs[i]
    if op is LITERAL:
        return LAZY.literal(trace.literals[attrs[1]], spec.dtype)
    source: Any = trace.sources[i]
    if source is not None and source[2] >= 0:
        source = source[0], source[1], known[source[2]]
    return LAZY.append(op, tuple([known[j] for j in inputs]), attrs, spec, source)


@final
class Tape:
    """Marks tensors to differentiate with respect to, and gives their gradients as arrays.

    It has the manners of TensorFlow's ``GradientTape``, but records nothing: a lazy graph knows by itself what it was
    computed from. So `gradient` may be called as often as one likes, also for what was computed before or outside the
    block, and the block itself has no effect.

    Notes
    -----
    `gradient` takes a pass over the graph below ``y``, and one run of it for all entries of ``xs``. The same graph
    finds its plan in the cache.

    See Also
    --------
    gradients : The same as lazy tensors, which can be differentiated again.

    Examples
    --------
    >>> import gradloom as gl
    >>> a, b, c = gl.tensor(3.0), gl.tensor(2.0), gl.tensor(1.0)
    >>> with gl.Tape() as tape:
    ...     tape.watch([a, b, c])
    ...     y = a * b + c
    >>> tape.gradient(y, [a, b, c])
    [np.float64(2.0), np.float64(3.0), np.float64(1.0)]
    """

    def __init__(self) -> None:
        self._watched: set[LazyNode] = set()

    def __enter__(self) -> Tape:
        return self

    def __exit__(self, *exc: object) -> None:
        return None

    def watch(self, tensors: Tensor | Sequence[Tensor]) -> None:
        """Mark one lazy tensor, or several.

        Parameters
        ----------
        tensors : Tensor, or tuple or list of Tensor
            Lazy tensors of any shape: inputs or intermediate values.

        Raises
        ------
        ArgumentError
            If something is not a lazy tensor.

        Examples
        --------
        >>> import gradloom as gl
        >>> tape, x = gl.Tape(), gl.tensor([1.0, 2.0])
        >>> tape.watch(x)
        >>> tape.gradient((x**2).sum(), x)
        array([2., 4.])
        """
        for value in tensors if isinstance(tensors, (tuple, list)) else [tensors]:
            if not isinstance(value, LazyTensor):
                raise ArgumentError(
                    "only lazy tensors can be watched",
                    op="Tape.watch",
                    argument="tensors",
                    expected="a lazy tensor, or a tuple or list of them",
                    got=describe(value),
                    remedy="make it with gl.tensor",
                )
            self._watched.add(value._index)

    def gradient(self, y: Tensor, xs: Tensor | Sequence[Tensor], feed: Mapping[Any, Any] | None = None) -> Any:
        """Compute the gradients of ``y`` with respect to watched tensors.

        Parameters
        ----------
        y : Tensor
            What to differentiate; an array counts as the sum of its elements.
        xs : Tensor or sequence of Tensor
            With respect to what; each was watched.
        feed : mapping, optional
            Values of placeholders, as in `compute`.

        Returns
        -------
        array or list of array
            One array for one tensor, a list for a sequence: each of the shape and dtype of its entry of ``xs``, zeros
            where ``y`` does not depend on it.

        Raises
        ------
        ArgumentError
            If something is not a lazy tensor, or an entry of ``xs`` was not watched.
        DTypeError
            If something is not of a float or complex dtype, or a fed value does not fit.
        ConcreteValueError
            If a placeholder is not fed.
        ShapeError
            If a fed value has another shape.

        Examples
        --------
        >>> import gradloom as gl
        >>> x, scale = gl.tensor(3.0), gl.tensor(name="scale")
        >>> tape = gl.Tape()
        >>> tape.watch(x)
        >>> tape.gradient(scale * x**2, x, feed={scale: 10.0})
        np.float64(60.0)
        """
        wanted = [xs] if isinstance(xs, Tensor) else list(xs)
        for k, x in enumerate(wanted):
            if isinstance(x, LazyTensor) and x._index not in self._watched:
                raise ArgumentError(
                    "the tensor was not watched",
                    op="Tape.gradient",
                    argument=f"xs[{k}]",
                    expected="a tensor that tape.watch was called on",
                    got=describe(x),
                    remedy="call tape.watch on it",
                )
        results = list(compute(*gradients(y, wanted), feed=feed))
        return results[0] if isinstance(xs, Tensor) else results
