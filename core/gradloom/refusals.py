"""Refusals: the errors of tracing, and the words for what was refused."""

from __future__ import annotations

from typing import Any

from gradloom.errors import AliasError, ArgumentError, ConcreteValueError, MissingAttributeError, TraceEndedError

#: What NumPy and Python do with a value when it is put into an array, or into a function of math.
CONVERSIONS = frozenset({"float()", "complex()", "conversion to a NumPy array"})
#: What to write instead of functions of NumPy that look at values alone.
INSTEAD = {
    "numpy.full": "give it a tensor to be like, np.full(shape, x, like=x)",
    "numpy.ndenumerate.__init__": "loop over np.ndindex(x.shape), and index",
    "numpy.vectorize.__call__": "use gl.vmap",
}
#: What to write instead.
TRACED_INSTEAD = (
    "use np.* instead of math.*, np.stack instead of np.array, and np.zeros(n, like=x) for an array to assign to"
)


def trace_ended() -> TraceEndedError:
    """Return the error for a tensor used after its trace."""
    return TraceEndedError(
        "a tensor was used after the trace that made it had ended",
        expected="a tensor of a running gradloom function",
        remedy="return the value from the traced function (has_aux=True returns extras) instead of storing it",
    )


def abstract_value(action: str, reason: str) -> ConcreteValueError:
    """Return the error for a value needed where only a spec is known."""
    instead = "use np.where or np.select, mark the argument with static_argnums"
    if action in CONVERSIONS:
        instead = f"{TRACED_INSTEAD}; np.array(a, like=x)[x] instead of a[x], np.where to choose"
    return ConcreteValueError(f"{action} needs a value, but {reason}", remedy=f"{instead}, or leave out the transform")


def not_an_array(value: Any) -> ArgumentError:
    """Return the error for a value that cannot become a node."""
    remedy = made_plain(value, "pass arrays of numbers or booleans")
    if isinstance(value, (list, tuple)):
        remedy = "use np.stack or np.concatenate to build an array of tensors"
    return ArgumentError(
        "cannot take a value of this kind", expected="an array or a number", got=describe(value), remedy=remedy
    )


def number_of(value: Any, dtype: Any, op: str | None = None) -> Any:
    """Return a Python number as one of NumPy's; raise for an integer that the dtype cannot hold."""
    try:
        return dtype.type(value)
    except OverflowError as error:
        raise ArgumentError(
            "a Python integer is out of range",
            op=op,
            expected=str(dtype),
            got=repr(value),
            remedy="convert the array (x.astype(int)), or write the number as a float",
        ) from error


def describe(value: Any) -> str:
    """Return a short description of any value for an error."""
    kind = type(value)
    dtype = getattr(value, "dtype", None)
    name = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
    return name if dtype is None else f"{name} of dtype {dtype}"


def made_plain(value: Any, otherwise: str) -> str:
    """Return the remedy for a value of a wrong kind: of arrays of other kinds, also to make plain ones of them."""
    numbers = getattr(getattr(value, "dtype", None), "kind", "f") in "biufc"
    return (
        f"make it a plain array, np.asarray(x), or {otherwise}"
        if numbers and hasattr(value, "__array__")
        else otherwise
    )


def alias_error(action: str, *, on_view: bool = False) -> AliasError:
    """Return the error for an in-place change that NumPy would show elsewhere too."""
    if on_view:
        return AliasError(
            f"{action} on a view changes an array that a view shares",
            expected="a view by slices (x[1:], x[0]), and no other view of the same elements in use",
            remedy="assign to the array itself (x[1:] = ...), or copy one of the views (x[1:].copy())",
        )
    return AliasError(
        f"{action} changes an array that a view shares",
        remedy="drop the view before the assignment, or copy it (view = x[...].copy())",
    )


def not_assignable(attribute: str, value: Any, remedy: str) -> MissingAttributeError:
    """Return the error for an assignment to an attribute that a tensor keeps."""
    return MissingAttributeError(
        f"the {attribute} of a tensor cannot be assigned",
        op=attribute,
        expected=f"no assignment: {value} for good",
        got=f"x.{attribute} = ...",
        remedy=remedy,
    )
