"""Recorder: how an op on arguments becomes a node, of a trace or of the explicit lazy graph."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from gradloom.errors import ArgumentError, GradloomError
from gradloom.graph import ITEM
from gradloom.handle import Handle
from gradloom.op import Op, get_op
from gradloom.source import RawSource, Source, user_source
from gradloom.spec import PYTHON_SCALARS, Spec
from gradloom.symbolic import Symbolic, concrete

#: What NumPy compares exactly, whether or not the dtype of an array holds a Python integer.
COMPARISONS = frozenset({"equal", "not_equal", "less", "less_equal", "greater", "greater_equal"})


class Recorder(ABC):
    """What gives out tensors and records the ops on them.

    What an id of a node is, is its own affair.
    """

    __slots__ = ()

    #: The class of the tensors given out.
    handle: type[Handle]
    #: When set, nodes are the derivative of the node with this source.
    origin: RawSource | None
    #: Whether small arrays are copied when they are captured.
    copies: bool = True

    @abstractmethod
    def lift(self, value: Any, op: Op | None = None) -> Any:
        """Return the node that stands for any value: tensor, array or scalar."""

    @abstractmethod
    def literal(self, value: Any, dtype: Any) -> Any:
        """Return the node of a Python scalar in the user's code."""

    @abstractmethod
    def append(self, op: Op, inputs: tuple[Any, ...], attrs: tuple[Any, ...], spec: Any, source: Any) -> Any:
        """Append a node as it stands, without spec rule or casts, and return its id."""

    @abstractmethod
    def definition(self, index: Any) -> tuple[Op, tuple[Any, ...], tuple[Any, ...]]:
        """Return op, inputs and attrs of a node."""

    @abstractmethod
    def tensor(self, index: Any) -> Any:
        """Return a new tensor for a node."""

    def bind(self, op: Op, args: Any, attrs: tuple[Any, ...] = (), out: Any = None) -> Any:
        """Record an op on arguments and return its output tensor (or tuple of tensors).

        ``out`` is the spec, where it is known without the spec rule and all arguments are tensors that are not cast.
        """
        if op.name in COMPARISONS:
            args = comparable(args)
        ids, specs, literal = self._lift_all(args, op)
        out, casts = self._infer(op, specs, attrs) if out is None else (out, None)
        if literal or casts is not None:
            ids = self._fit(op, ids, args, specs, casts)
        source = self.origin or user_source()
        return self._given_out(self.append(op, ids, attrs, out, source), out, source)

    def _lift_all(self, args: Any, op: Op) -> tuple[tuple[Any, ...], tuple[Spec, ...], bool]:
        """Return node ids and specs of arguments; Python scalars stay, until their dtype is known."""
        ids: list[Any] = []
        specs: list[Spec] = []
        literal = False
        handle = self.handle
        for arg in args:
            kind = type(arg)
            if kind is handle and arg._trace is self:
                ids.append(arg._index)
                specs.append(arg.spec)
                continue
            spec = PYTHON_SCALARS.get(kind if kind is not Symbolic else type(arg.value))
            if spec is not None:
                literal = True
                ids.append(arg)
            else:
                ids.append(self.lift(arg, op))
                spec = arg.spec if kind is handle else self.tensor(ids[-1]).spec
            specs.append(spec)
        return tuple(ids), tuple(specs), literal

    def _infer(self, op: Op, specs: tuple[Spec, ...], attrs: tuple[Any, ...]) -> tuple[Any, Any]:
        try:
            return op.infer(specs, attrs)
        except GradloomError as error:
            raise self._located(error, op) from None

    def _fit(self, op: Op, ids: tuple[Any, ...], args: Any, specs: tuple[Spec, ...], casts: Any) -> tuple[Any, ...]:
        """Turn scalars into literals of their final dtype, and cast what must be cast."""
        fitted = []
        for i, arg in enumerate(args):
            dtype = None if casts is None else casts[i]
            if ids[i] is arg:  # a scalar
                try:
                    fitted.append(self.literal(arg, dtype or specs[i].dtype))
                except ArgumentError as error:
                    raise self._located(error, op) from None
            elif dtype is not None:
                whole = specs[i].weak and dtype.kind in "iu"
                if whole and op.name in COMPARISONS:  # exact, whether or not the dtype holds what only a run knows
                    strong = tuple([spec.strong() for spec in specs])
                    return self._fit(op, ids, args, strong, self._infer(op, strong, ())[1])
                cast = get_op("fitted" if whole else "astype")
                fitted.append(self.bind(cast, (self.tensor(ids[i]),), (dtype,))._index)
            else:
                fitted.append(ids[i])
        return tuple(fitted)

    def _given_out(self, index: Any, out: Any, source: Any) -> Any:
        """Return the tensor for a new node, or one for each of its outputs."""
        if type(out) is not tuple:
            return self.handle(self, index, out)
        items = [self.append(ITEM, (index,), (k,), spec, source) for k, spec in enumerate(out)]
        return tuple([self.handle(self, item, spec) for item, spec in zip(items, out, strict=True)])

    def lift_as(self, value: Any, spec: Spec) -> Any:
        """Return the node for a value that takes the place of an input of some spec."""
        return self.literal(value, spec.dtype) if type(value) in PYTHON_SCALARS else self.lift(value)

    def _located(self, error: GradloomError, op: Op | None) -> GradloomError:
        if error.op is None and op is not None:
            error.op = op.name
        if self.origin is not None:
            error.location = str(Source(*self.origin))
        return error


def comparable(args: Any) -> Any:
    """Return the sides of a comparison, an integer beyond the range of the other side's dtype as an infinity."""
    for value, other in (args, args[::-1]):
        spec = getattr(other, "spec", None)
        if type(concrete(value)) is int and type(spec) is Spec and spec.dtype.kind in "iu" and not spec.weak:
            limits = np.iinfo(spec.dtype)
            if not limits.min <= value <= limits.max:
                bound = math.copysign(math.inf, value)
                return (bound, other) if value is args[0] else (other, bound)
    return args
