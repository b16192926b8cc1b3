"""Tensor: the handle that user code computes with; it stands for one value of a graph."""

from __future__ import annotations

import operator
import sys
import weakref
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from gradloom import alias, dispatch
from gradloom.errors import ArgumentError, LostGradientError
from gradloom.op import _OPS, Op
from gradloom.refusals import INSTEAD, TRACED_INSTEAD, alias_error, not_assignable
from gradloom.source import called_function, shown
from gradloom.spec import Spec
from gradloom.symbolic import Symbolic
from gradloom.trace import Handle, innermost

#: Types that belong to no other trace.
_NUMBERS = frozenset({float, int, complex, bool, np.float64, Symbolic})


def _binary(name: str) -> Callable[[Any, Any], Any]:
    def method(self: Tensor, other: Any) -> Any:
        trace = self._trace
        kind = type(other)
        if (kind is Tensor and other._trace is trace) or kind in _NUMBERS:
            return trace.bind(_OPS[name], (self, other))
        if kind is np.ndarray:
            return trace.bind(_OPS[name], (self, trace.tensor(trace.lift(other, _OPS[name]))))
        if isinstance(other, Handle):
            return innermost((self, other)).bind(_OPS[name], (self, other))
        return trace.bind(_OPS[name], (self, other)) if _is_operand(other) else NotImplemented

    method.__name__ = method.__qualname__ = name
    return method


def _reflected(name: str) -> Callable[[Any, Any], Any]:
    def method(self: Tensor, other: Any) -> Any:
        if not _is_operand(other):
            return NotImplemented
        return self._trace.bind(_OPS[name], (other, self))

    method.__name__ = method.__qualname__ = f"reflected_{name}"
    return method


def _unary(name: str) -> Callable[[Any], Any]:
    def method(self: Tensor) -> Any:
        return self._trace.bind(_OPS[name], (self,))

    method.__name__ = method.__qualname__ = name
    return method


def _in_place(name: str) -> Callable[[Any, Any], Any]:
    def method(self: Tensor, other: Any) -> Any:
        result = getattr(self, name)(other)
        if result is NotImplemented:
            return result
        if result.shape != self.shape or not np.can_cast(result.dtype, self.dtype, "same_kind"):
            raise ArgumentError(
                "an in-place operation cannot change shape or kind of dtype",
                op=name.replace("__", "__i", 1),
                expected=self.spec,
                got=result.spec,
                remedy="write x = x + y",
            )
        self._rebind(result.astype(self.dtype), None, "an in-place operation", other)
        return self

    return method


def _is_operand(value: Any) -> bool:
    return not isinstance(value, (str, bytes, dict, set, type(None)))


class Tensor(Handle):
    """A value of a graph: lazy, with the operators, methods and protocols of an array.

    Tensors are made by tracing (`gradloom.grad` and its relatives hand them to your function)
    and by `gradloom.tensor`. NumPy functions and ufuncs work on them.

    Attributes
    ----------
    shape : tuple of int
        Length of every axis. It is known without the value, as all attributes are.
    dtype : numpy.dtype
        A bool, integer, float or complex dtype in native byte order.
    ndim, size : int
        Number of axes, and of elements.
    itemsize, nbytes : int
        Bytes of an element, and of all.
    T, mT, real, imag, flat
        As of an array. What is assigned to them, or to a part of them, is written into the tensor.

    Raises
    ------
    LostGradientError
        Where a value is asked for (``float(x)``, ``np.asarray(x)``, ``x.item()``) that a gradient flows through.
    ConcreteValueError
        Where a value is asked for that nobody has: under `jit`, or of a mapped value under `vmap`.
    AliasError
        Where an in-place change would show in another tensor that overlaps and is in use.
    TraceEndedError
        Where a tensor is used after the function that it was made in has returned.
    UnsupportedFunctionError
        If a NumPy function has no traced counterpart.

    Notes
    -----
    Each operation appends a node to the graph and computes nothing, which takes some microseconds, whatever the size.
    The value is computed when Python asks for it (``if x > 0``), or when the graph runs. A tensor is a handle:
    ``x[i] = v`` and ``x += v`` let it stand for another value. Tensors of a trace are released with it.

    Examples
    --------
    >>> import numpy as np
    >>> import gradloom as gl
    >>> x = gl.tensor(np.array([1.0, 2.0], dtype=np.float32))
    >>> y = np.exp(x).sum()
    >>> y.shape, y.dtype
    ((), dtype('float32'))
    >>> round(y.item(), 3)
    10.107
    """

    __slots__ = ("__weakref__", "_base", "_region")

    __array_priority__ = 1_000_000.0
    #: What this tensor shares with others, and the part of it that this one shows.
    _memory: alias.Memory | None
    _region: Any
    #: The tensor this one is a view of, weakly, and the part it shows, None if unknown; only
    #: set on views, since every op of every trace makes a tensor.
    _base: tuple[weakref.ref[Tensor], Any, Tensor | None]

    # -- what is known without a value ---------------------------------------------------

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of every axis."""
        spec = self.spec
        return shown(spec.shape, sys._getframe(1)) if spec.symbolic else spec.shape

    @shape.setter
    def shape(self, shape: Any) -> NoReturn:
        raise not_assignable("shape", self.spec.shape, "write x = x.reshape(shape)")

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype."""
        return self.spec.dtype

    @dtype.setter
    def dtype(self, dtype: Any) -> NoReturn:
        raise not_assignable("dtype", self.spec.dtype, "write x = x.astype(dtype)")

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self.spec.ndim

    @property
    def size(self) -> int:
        """Number of elements."""
        spec = self.spec
        return shown((spec.size,), sys._getframe(1))[0] if spec.symbolic else spec.size

    @property
    def nbytes(self) -> int:
        """Number of bytes of the value."""
        return operator.index(self.spec.nbytes)

    @property
    def itemsize(self) -> int:
        """Bytes per element."""
        return self.spec.dtype.itemsize

    def __len__(self) -> int:
        if not self.spec.shape:
            raise TypeError("len() of a 0-d tensor")
        return operator.index(self.spec.shape[0])

    def __iter__(self) -> Iterator[Any]:
        if not self.shape:
            raise TypeError("iteration over a 0-d tensor")
        return iter([self[i] for i in range(self.shape[0])])

    def __repr__(self) -> str:
        spec = self.spec
        return f"Tensor({Spec(tuple(map(operator.index, spec.shape)), spec.dtype)!r})"

    __hash__ = object.__hash__

    # -- operators -----------------------------------------------------------------------

    __neg__ = _unary("negative")
    __pos__ = _unary("positive")
    __abs__ = _unary("absolute")
    __invert__ = _unary("invert")

    __add__ = _binary("add")
    __radd__ = _reflected("add")
    __sub__ = _binary("subtract")
    __rsub__ = _reflected("subtract")
    __mul__ = _binary("multiply")
    __rmul__ = _reflected("multiply")
    __truediv__ = _binary("divide")
    __rtruediv__ = _reflected("divide")
    __floordiv__ = _binary("floor_divide")
    __rfloordiv__ = _reflected("floor_divide")
    __mod__ = _binary("remainder")
    __rmod__ = _reflected("remainder")
    __and__ = _binary("bitwise_and")
    __rand__ = _reflected("bitwise_and")
    __or__ = _binary("bitwise_or")
    __ror__ = _reflected("bitwise_or")
    __xor__ = _binary("bitwise_xor")
    __rxor__ = _reflected("bitwise_xor")
    __lshift__ = _binary("left_shift")
    __rlshift__ = _reflected("left_shift")
    __rshift__ = _binary("right_shift")
    __rrshift__ = _reflected("right_shift")
    __matmul__ = _binary("matmul")
    __rmatmul__ = _reflected("matmul")
    __lt__ = _binary("less")
    __le__ = _binary("less_equal")
    __gt__ = _binary("greater")
    __ge__ = _binary("greater_equal")
    __eq__ = _binary("equal")
    __ne__ = _binary("not_equal")

    def __pow__(self, other: Any) -> Any:
        return dispatch.power(self, other)

    def __rpow__(self, other: Any) -> Any:
        return dispatch.power(other, self)

    def __divmod__(self, other: Any) -> Any:
        return self // other, self % other

    def __rdivmod__(self, other: Any) -> Any:
        return other // self, other % self

    __iadd__ = _in_place("__add__")
    __isub__ = _in_place("__sub__")
    __imul__ = _in_place("__mul__")
    __itruediv__ = _in_place("__truediv__")
    __ifloordiv__ = _in_place("__floordiv__")
    __imod__ = _in_place("__mod__")
    __ipow__ = _in_place("__pow__")
    __imatmul__ = _in_place("__matmul__")
    __iand__ = _in_place("__and__")
    __ior__ = _in_place("__or__")
    __ixor__ = _in_place("__xor__")

    # -- indexing and in-place changes -----------------------------------------------------

    def __getitem__(self, index: Any) -> Any:
        return dispatch.getitem(self, index)

    def __setitem__(self, index: Any, value: Any) -> None:
        if self._memory is not None and alias.shows(value, self, index):
            # ``x[i] += v`` assigns the view ``x[i]``, which has changed ``x`` already.
            return
        self._rebind(dispatch.setitem(self, index, value), index, "an item assignment", value)

    def _rebind(self, result: Tensor, index: Any, action: str, operand: Any = None) -> None:
        """Let this handle stand for a new value, and write a changed view into its array.

        Raises where NumPy would change other tensors that are in use.

        ``index`` is the part that changes, None for all of it. ``operand`` is what it changes
        by; if it shows elements that change (``x[1:] -= x[:-1]``) it is read anew afterwards.
        """
        memory = self._memory
        shown = None
        if memory is not None:
            root = memory.root()
            region = (() if index is None else index) if root is self else self._region
            sharers = memory.sharers(self, region)
            if sharers:
                bases = alias.bases(self)
                changed = {id(base) for base, _ in bases}
                if any(sharer is operand for sharer in sharers):
                    shown = alias.part_of(operand, {id(self), *changed})
                allowed = changed if shown is None else changed | {id(operand)}
                if not {id(sharer) for sharer in sharers} <= allowed:
                    raise alias_error(action, on_view=root is not self)
                value = result
                for base, part in bases:
                    whole = type(part) is alias.Whole
                    value = part.restore(base, value) if whole else dispatch.setitem(base, part, value)
                    base._become(value)
        self._become(result)
        if shown is not None:
            operand._become(dispatch.getitem(*shown))

    def _become(self, result: Tensor) -> None:
        self._trace, self._index, self.spec = result._trace, result._index, result.spec

    def _note_view(self, view: Any, index: Any) -> Any:
        """Remember that a tensor shows part of this one, as a NumPy view would.

        ``index`` tells which part: an index, `alias.Whole`, or None if unknown. What has no axes
        is a NumPy scalar, as reductions return it: it shares nothing.
        """
        if view.spec.shape and self.spec.shape and view is not self:
            alias.note_view(self, view, index)
        return view

    real = dispatch.attribute("real")
    imag = dispatch.attribute("imag")
    flat = dispatch.attribute("flat")

    # -- values on demand -----------------------------------------------------------------

    def __bool__(self) -> bool:
        value = self._trace.demand(self._index, "bool()")
        return bool(value)

    def __index__(self) -> int:
        if self.dtype.kind not in "iub" or self.shape:
            raise TypeError(f"only an integer scalar can be an index, not {self!r}")
        return int(self._trace.demand(self._index, "an index"))

    def __int__(self) -> int:
        return int(self._concrete("int()"))

    def __float__(self) -> float:
        return float(self._concrete("float()"))

    def __complex__(self) -> complex:
        return complex(self._concrete("complex()"))

    def __round__(self, ndigits: int | None = None) -> Any:
        return int(np.rint(self)) if ndigits is None else np.round(self, ndigits)

    def __trunc__(self) -> int:
        return int(self._concrete("trunc()"))

    def __format__(self, spec: str) -> str:
        return format(self._concrete("formatting"), spec) if spec else str(self)

    def item(self, *args: Any) -> Any:
        """Return an element as a Python scalar, as `numpy.ndarray.item`; raises where that would lose a gradient."""
        return self._concrete("item()").item(*args)

    def tolist(self) -> Any:
        """Return nested lists of Python scalars; raises where that would lose a gradient."""
        return self._concrete("tolist()").tolist()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        return np.array(self._concrete("conversion to a NumPy array"), dtype=dtype)

    def _concrete(self, action: str) -> Any:
        if self._trace.carries_gradient(self._index):
            raise lost_gradient(action)
        return self._trace.demand(self._index, action)

    # -- protocols --------------------------------------------------------------------------

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        op = dispatch.UFUNCS.get(ufunc)
        if type(op) is Op and not kwargs and method == "__call__":
            own = inputs if len(inputs) == 1 else _beside(self, inputs, op)
            if own is not None:
                result = self._trace.bind(op, own)
                # A NumPy function returns a NumPy scalar, which does not yield to other dtypes.
                return result._trace.strong(result) if result.spec.weak else result
        return dispatch.call_ufunc(ufunc, method, inputs, kwargs)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return dispatch.call_function(func, args, kwargs, self)

    def __array_namespace__(self, *, api_version: str | None = None) -> Any:
        return np

    def __copy__(self) -> Tensor:
        return type(self)(self._trace, self._index, self.spec)

    def __deepcopy__(self, memo: Any) -> Tensor:
        return self.__copy__()

    def copy(self, order: str = "C") -> Tensor:
        """Return a tensor that in-place changes of this one leave alone; it has no memory layout to choose."""
        return self.__copy__()

    def __reduce__(self) -> NoReturn:
        if self._trace.carries_gradient(self._index):
            raise lost_gradient("pickling")
        raise ArgumentError(
            "a tensor cannot be pickled: it is a part of its graph",
            remedy="pickle its value (gl.compute, or a returned array), or the graph (gl.make_graph)",
        )

    def __dask_tokenize__(self) -> Any:
        # Asked for by all functions of dask that would put a tensor into one of its arrays.
        raise ArgumentError(
            "a tensor cannot be a part of a dask array",
            op=called_function(),
            expected="NumPy functions and operators, which take tensors and dask arrays alike",
            got=repr(self),
            remedy="write np.sum instead of da.sum, and x @ w instead of x.dot(w)",
        )

    if TYPE_CHECKING:  # the class is given the methods of arrays below

        def __getattr__(self, name: str) -> Any: ...


# NumPy's own functions, so there is one implementation of each; a `__getattr__` would slow down all other attributes.
for _name in dispatch.ARRAY_ATTRIBUTES.keys() - set(dir(Tensor)):
    setattr(Tensor, _name, dispatch.ARRAY_ATTRIBUTES[_name])


def _beside(tensor: Tensor, inputs: tuple[Any, ...], op: Op) -> tuple[Any, ...] | None:
    """Return the arguments of a ufunc, if they are a tensor and one like it, an array or a number."""
    if len(inputs) != 2:
        return None
    first, second = inputs
    other = second if first is tensor else first
    kind = type(other)
    trace = tensor._trace
    if kind is np.ndarray:
        lifted = trace.tensor(trace.lift(other, op))
        return (tensor, lifted) if first is tensor else (lifted, tensor)
    return inputs if kind in _NUMBERS or (kind is Tensor and other._trace is trace) else None


def lost_gradient(action: str) -> LostGradientError:
    """Return the error for a conversion that would cut a gradient."""
    function = called_function()
    instead = TRACED_INSTEAD
    if function in dispatch.supported():
        instead = "join a list of tensors by np.stack first"
    elif function is not None:
        instead = INSTEAD.get(function, "compose it from functions in docs/numpy.md, or use gl.custom_gradient")
    return LostGradientError(
        f"{action} of a tensor that is being differentiated would lose its gradient",
        op=function,
        expected="NumPy functions and operators, which gradloom traces",
        remedy=f"{instead}; wrap the value in gl.stop_gradient if no gradient should flow",
    )
