"""Every exception that gradloom raises, with the fields a caller can act on."""

from __future__ import annotations

from typing import Any

from gradloom.source import user_location


class GradloomError(Exception):
    """Base of all gradloom errors.

    Parameters
    ----------
    message : str
        What went wrong, in one sentence.
    op, argument : str, optional
        The op (or public function) and the argument at fault.
    expected, got : object, optional
        What the argument should have been, and what arrived.
    remedy : str, optional
        What to write instead.
    location : str, optional
        The user's ``file:line``; by default where the innermost frame outside gradloom stands.
    """

    def __init__(
        self,
        message: str,
        *,
        op: str | None = None,
        argument: str | None = None,
        expected: Any = None,
        got: Any = None,
        remedy: str | None = None,
        location: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.op = op
        self.argument = argument
        self.expected = expected
        self.got = got
        self.remedy = remedy
        self.location = user_location() if location is None else location

    def __str__(self) -> str:
        head = self.message if self.op is None else f"{self.op}: {self.message}"
        parts = [head]
        if self.argument is not None:
            parts.append(f"  argument: {self.argument}")
        if self.expected is not None:
            parts.append(f"  expected: {self.expected}")
        if self.got is not None:
            parts.append(f"  got: {self.got}")
        if self.remedy is not None:
            parts.append(f"  remedy: {self.remedy}")
        if self.location is not None:
            parts.append(f"  at {self.location}")
        return "\n".join(parts)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.message, dict(self.__dict__))


def _rebuild(kind: type[GradloomError], message: str, fields: dict[str, Any]) -> GradloomError:
    error = kind(message)
    error.__dict__.update(fields)
    return error


class ShapeError(GradloomError, ValueError):
    """Shapes do not fit an op or a function."""


class DTypeError(GradloomError, TypeError):
    """A dtype that an op or a transform cannot take."""


class AxisError(GradloomError, ValueError, IndexError):
    """An axis out of range or given twice."""


class IndexRangeError(GradloomError, IndexError):
    """An index out of the range of its axis."""


class ArgumentError(GradloomError, TypeError):
    """An argument of the wrong kind, or one that has no traced counterpart."""


class OutputError(GradloomError, TypeError):
    """The output of a function is not what the transform needs (a real scalar, say)."""


class UnsupportedFunctionError(GradloomError, NotImplementedError, TypeError):
    """A NumPy or SciPy function that gradloom does not map to ops."""


class MissingAttributeError(GradloomError, AttributeError):
    """An attribute that arrays have and tensors do not."""


class MissingRuleError(GradloomError, NotImplementedError):
    """An op has no rule for what was asked of it."""


class MissingKernelError(GradloomError, NotImplementedError):
    """A backend has no kernel for an op."""


class ConcreteValueError(GradloomError, TypeError):
    """A value was needed on the spot where only a trace exists."""


class LostGradientError(GradloomError, TypeError):
    """A conversion that would silently cut a value off from its gradient."""


class TraceEndedError(GradloomError, RuntimeError):
    """A tensor was used after the trace that made it had ended."""


class AliasError(GradloomError, ValueError):
    """An in-place change that NumPy would show through a view."""


class BackendError(GradloomError, RuntimeError):
    """A backend is unknown, unavailable, or mixed with another."""


class DeviceError(BackendError):
    """A device or a resource of workers that there is not."""


class PluginError(GradloomError, ImportError):
    """A plugin could not be loaded, or broke the rules of its door."""


class MissingPackageError(GradloomError, ImportError):
    """A package that a function needs is not installed."""


class SchedulerError(GradloomError, RuntimeError):
    """A scheduler has lost its workers, or cannot use those that it has."""


class RewriteError(GradloomError, AssertionError):
    """A rule that simplifies graphs changed a result; raised in the debug mode of `simplify`."""
