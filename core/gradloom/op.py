"""Op: a named primitive together with its rules, and the registry of all ops."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal, final

from gradloom.errors import ArgumentError, MissingRuleError
from gradloom.spec import WEAK_DTYPES, Spec

Rule = Callable[..., Any]
#: One rule per argument; ``None`` marks an argument that carries no derivative (an index,
#: a mask). A single callable serves ops of any number of arguments: it takes the argument's
#: position first.
Rules = tuple[Rule | None, ...] | Rule
Linearity = Literal["each", "jointly"]

#: How many results of spec rules an op remembers.
MAX_KNOWN = 4096

_OPS: dict[str, Op] = {}
#: What modules above add, which know backends and plugins: what runs an op on arrays, as "run", and what looks for
#: plugins, which may register ops, as "load".
_ABOVE: dict[str, Callable[..., Any]] = {}

#: All registered ops by name, read-only.
ops: Mapping[str, Op] = MappingProxyType(_OPS)


@final
class Op:
    """A named primitive with its rules.

    An op is called on tensors, ``op(*tensors, **attrs)``, and records one node; on arrays, it
    runs. Attrs are static, hashable and keyword-only.

    Parameters
    ----------
    name : str
        The op's name in graphs, errors and kernel tables.
    spec : callable
        Spec rule ``spec(*specs, **attrs)``: the output's `Spec` (a tuple for several
        outputs). Raises the errors of the op. Its keyword-only parameters are the attrs.
    promote : callable, optional
        ``promote(*specs)``: the dtype each argument is cast to before the spec rule runs;
        without it arguments are taken as they are.
    partials : tuple of callables
        Elementwise ops: ``partial(out, *inputs)`` for each argument; a tensor, or a Python
        number where the partial is constant.
    transpose : tuple of callables, or one callable
        Linear ops: ``transpose(cotangent, *inputs, **attrs)`` for each argument.
    linear : {"each", "jointly"}
        What a `transpose` means for pushforwards: linear in each argument with the others
        fixed (matmul), or in all differentiable arguments together (concatenate).
    pushforward : tuple of callables, or one callable
        Everything else: ``pushforward(tangent, out, *inputs, **attrs)`` for each argument;
        reverse mode transposes it.
    pullback : tuple of callables, or one callable
        Overrides the derived pullback where that is faster:
        ``pullback(cotangent, out, *inputs, **attrs)`` for each argument.
    pullbacks : callable, optional
        Overrides those of all arguments, where they share work:
        ``pullbacks(arguments, cotangent, out, *inputs, **attrs)`` returns one result for each
        of the positions ``arguments``.
    accumulate : callable, optional
        ``accumulate(total, cotangent, out, *inputs, **attrs)``: adds the pullback of argument 0 to a
        running total without building the addend (scatter-adds).
    zero_derivative : bool
        The op is piecewise constant: its derivative is zero wherever it exists.
    axes : callable or str, optional
        Axis rule in index notation, ``"...ik,...kj->...ij"``, or a function of specs and
        attrs that returns an `Axes`. Elementwise ops need none.
    axis_attrs, shape_attrs : tuple of str
        Attrs that hold axes (shifted by one under `vmap`) and shapes (prefixed).
    batch : callable, optional
        Own batching rule, where notation cannot say it.
    expansion : callable, optional
        ``expansion(*inputs, **attrs)``: the same by elementwise ops and views, which compilers fuse with what is
        around; None where it is not to be had.
    view : bool
        The output may share memory with the first input.
    donates : bool
        Kernels take ``donate=True`` when argument 0 may be overwritten.
    """

    __slots__ = (
        "accumulate",
        "attr_defaults",
        "attr_names",
        "axes",
        "axis_attrs",
        "batch",
        "donates",
        "elementwise",
        "expansion",
        "known",
        "linear",
        "name",
        "partials",
        "promote",
        "pullback",
        "pullbacks",
        "pushforward",
        "shape_attrs",
        "spec",
        "transpose",
        "view",
        "zero_derivative",
    )

    def __init__(
        self,
        name: str,
        *,
        spec: Rule,
        promote: Rule | None = None,
        partials: tuple[Rule | None, ...] | None = None,
        transpose: Rules | None = None,
        linear: Linearity = "each",
        pushforward: Rules | None = None,
        pullback: Rules | None = None,
        pullbacks: Rule | None = None,
        accumulate: Rule | None = None,
        zero_derivative: bool = False,
        elementwise: bool = False,
        axes: Rule | str | None = None,
        axis_attrs: tuple[str, ...] = (),
        shape_attrs: tuple[str, ...] = (),
        batch: Rule | None = None,
        expansion: Rule | None = None,
        view: bool = False,
        donates: bool = False,
    ) -> None:
        self.name = name
        self.spec = spec
        self.promote = promote
        self.partials = partials
        self.transpose = transpose
        self.linear = linear
        self.pushforward = pushforward
        self.pullback = pullback
        self.pullbacks = pullbacks
        self.accumulate = accumulate
        self.zero_derivative = zero_derivative
        self.elementwise = elementwise
        self.axes = axes
        self.axis_attrs = axis_attrs
        self.shape_attrs = shape_attrs
        self.batch = batch
        self.expansion = expansion
        self.view = view
        self.donates = donates
        parameters = inspect.signature(spec).parameters.values()
        keywords = [p for p in parameters if p.kind is p.KEYWORD_ONLY]
        self.attr_names = tuple(p.name for p in keywords)
        self.attr_defaults = tuple(p.default for p in keywords)
        #: What `infer` found, by specs and attrs in one tuple: of those there are always as many.
        self.known: dict[Any, tuple[Any, Any]] = {}

    def __call__(self, *args: Any, **attrs: Any) -> Any:
        """Record the op on tensors, arrays and scalars; where none is a tensor, run it."""
        trace = None
        for arg in args:
            other = getattr(arg, "_trace", None)
            if other is not None and (trace is None or other.level > trace.level):
                trace = other
        values = self.attr_values(attrs) if self.attr_names else ()
        return _ABOVE["run"](self, args, values) if trace is None else trace.bind(self, args, values)

    def attr_values(self, attrs: Mapping[str, Any]) -> tuple[Any, ...]:
        """Return attrs as a tuple in declared order, defaults filled in."""
        if tuple(attrs) == self.attr_names:  # as most are written
            return tuple(attrs.values())
        values = tuple(
            [attrs.get(name, default) for name, default in zip(self.attr_names, self.attr_defaults, strict=True)]
        )
        if inspect.Parameter.empty in values or not attrs.keys() <= set(self.attr_names):
            raise ArgumentError(
                "wrong attrs",
                op=self.name,
                expected=self.attr_names,
                got=tuple(attrs),
                remedy="give every attr without a default, by keyword",
            )
        return values

    def attr_dict(self, values: tuple[Any, ...]) -> dict[str, Any]:
        """Return attr values by name."""
        return dict(zip(self.attr_names, values, strict=True))

    def infer(self, specs: tuple[Spec, ...], attrs: tuple[Any, ...]) -> tuple[Any, Any]:
        """Return the output spec (or specs) and the dtype to cast each input to, or None."""
        key = specs + attrs
        found = self.known.get(key)
        if found is None:
            if len(self.known) >= MAX_KNOWN:
                self.known.clear()
            found = self.known[key] = self._infer(specs, attrs)
        return found

    def _infer(self, specs: tuple[Spec, ...], attrs: tuple[Any, ...]) -> tuple[Any, Any]:
        casts = None
        strong = [s.strong() if s.weak else s for s in specs]
        if self.promote is not None:
            dtypes = self.promote(*specs)
            if [s.dtype for s in specs] != list(dtypes):
                casts = tuple([None if s.dtype == d else d for s, d in zip(specs, dtypes, strict=True)])
                strong = [s.with_dtype(d) for s, d in zip(strong, dtypes, strict=True)]
        out = self.spec(*strong, **self.attr_dict(attrs)) if attrs else self.spec(*strong)
        if self.elementwise and specs[0].weak and all([s.weak for s in specs]) and out.dtype in WEAK_DTYPES:
            out = Spec(out.shape, out.dtype, weak=True)
        return out, casts

    def rule_for(self, kind: str, argument: int) -> Rule | None:
        """Return the rule of one argument, bound to its position; None if it has none."""
        rules = getattr(self, kind)
        if rules is None:
            return None
        if not isinstance(rules, tuple):
            return _Positioned(rules, argument)
        return rules[argument] if argument < len(rules) else None

    def missing_rule(self, argument: int, wanted: str) -> MissingRuleError:
        """Return the error for a rule that does not exist."""
        return MissingRuleError(
            f"no {wanted} rule",
            op=self.name,
            argument=f"argument {argument}",
            expected="partials, transpose, pushforward or pullback for this argument",
            remedy=f"add one beside the op {self.name!r} in {self.spec.__module__}",
        )

    def __repr__(self) -> str:
        return f"<op {self.name}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return get_op, (self.name,)


class _Positioned:
    """A rule of an op with any number of arguments, bound to one of them."""

    __slots__ = ("argument", "rule")

    def __init__(self, rule: Rule, argument: int) -> None:
        self.rule = rule
        self.argument = argument

    def __call__(self, *args: Any, **attrs: Any) -> Any:
        return self.rule(self.argument, *args, **attrs)


def runs_on_arrays(function: Rule) -> Rule:
    """Register ``function(op, args, attrs)``, which runs an op that no tensor is an argument of."""
    return _ABOVE.setdefault("run", function)


def register(op: Op) -> Op:
    """Add an op to the registry; a taken name is refused."""
    taken = _OPS.setdefault(op.name, op)
    if taken is not op:
        raise ArgumentError(
            f"an op named {op.name!r} is registered already",
            op="register",
            expected=f"a name other than that of the op of {taken.spec.__module__}",
            got=f"a second op of that name, of {op.spec.__module__}",
            remedy=f"give the op of {op.spec.__module__} another name",
        )
    return op


def unregister(name: str) -> None:
    """Take an op back out of the registry (one of a plugin that failed to load)."""
    _OPS.pop(name, None)


def load_with(load: Callable[[], None]) -> None:
    """Set what looks for plugins when an op is not there; it runs once."""
    _ABOVE["load"] = load


def get_op(name: str) -> Op:
    """Return a registered op by name; where there is none, plugins are looked for first."""
    if name not in _OPS and "load" in _ABOVE:
        _ABOVE["load"]()
    op = _OPS.get(name)
    if op is None:
        raise MissingRuleError(
            f"no op named {name!r} is registered",
            remedy="install the plugin that provides it; `gl.backends()` shows which are there, and what is broken",
        )
    return op


def define(name: str, **rules: Any) -> Op:
    """Create an op and register it; the parameters are those of `Op`."""
    return register(Op(name, **rules))
