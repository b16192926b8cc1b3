"""Autodiff: the derivative of a graph as a graph, in both modes, from one rule per op.

Reverse mode walks the nodes backward and appends the pullback of each; forward mode walks
them forward and appends the pushforward. An op whose only rule is a pushforward is
differentiated in reverse by transposing it: the pushforward is recorded on a placeholder
tangent, and the nodes it appended, linear in that tangent, are walked backward.
"""

from __future__ import annotations

from cmath import isfinite
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from gradloom.errors import MissingRuleError
from gradloom.graph import INPUT, ITEM, Graph
from gradloom.op import Op, get_op, ops
from gradloom.repeats import Repeats
from gradloom.source import RawSource
from gradloom.spec import Spec
from gradloom.symbolic import decide
from gradloom.trace import Handle, Trace, resume

Tensor = Any


def gradient_graph(
    graph: Graph,
    outputs: Sequence[int],
    wrt: Sequence[int],
    handle: type[Handle],
    source: RawSource | None = None,
) -> Graph:
    """Append the gradient of the sum of some outputs.

    Parameters
    ----------
    graph : Graph
        The function.
    outputs : sequence of int
        Node ids to differentiate.
    wrt : sequence of int
        Ids of the inputs to differentiate with respect to.
    source : optional
        Where the user asked for the gradient; by default, where he is now.

    Returns
    -------
    Graph
        The same inputs; the outputs of ``graph`` followed by one gradient per ``wrt``.

    Notes
    -----
    Cost: the gradient has at most a small constant times the flops of ``graph``.
    """
    trace = resume(graph, handle)
    trace.origin = source
    seeds = [ones(trace, graph.specs[i]) for i in outputs]
    trace.origin = None
    found = backward(trace, outputs, seeds, wrt)
    trace.origin = source
    gradients = [zeros(trace, graph.specs[i]) if g is None else g for i, g in zip(wrt, found, strict=True)]
    return trace.graph((*graph.outputs, *[g._index for g in gradients]))


def pullback_graph(graph: Graph, wrt: Sequence[int], handle: type[Handle]) -> Graph:
    """Append the pullback of all outputs.

    Returns
    -------
    Graph
        The inputs of ``graph`` followed by one cotangent per output; the outputs of
        ``graph`` followed by one result per ``wrt``.
    """
    trace = resume(graph, handle)
    cotangents = [trace.add_input(graph.specs[i].strong(), None) for i in graph.outputs]
    found = backward(trace, graph.outputs, cotangents, wrt)
    results = [zeros(trace, graph.specs[i]) if g is None else g for i, g in zip(wrt, found, strict=True)]
    return trace.graph((*graph.outputs, *[g._index for g in results]))


def pushforward_graph(graph: Graph, wrt: Sequence[int], handle: type[Handle]) -> Graph:
    """Append the pushforward to all outputs.

    Returns
    -------
    Graph
        The inputs of ``graph`` followed by one tangent per ``wrt``; the outputs of
        ``graph`` followed by the tangent of each.
    """
    trace = resume(graph, handle)
    tangents = [trace.add_input(graph.specs[i].strong(), None) for i in wrt]
    found = forward(trace, len(graph.nodes), wrt, tangents, graph.outputs)
    results = [zeros(trace, graph.specs[i]) if t is None else t for i, t in zip(graph.outputs, found, strict=True)]
    return interleaved(trace.graph((*graph.outputs, *[t._index for t in results])))


def interleaved(graph: Graph) -> Graph:
    """Return a graph with each tangent right behind its value, so that few are alive at once."""

    def place(i: int) -> tuple[int, int]:
        if not graph.nodes[i][1]:
            return -1, i
        source = graph.sources[i]
        return i if source is None or source[2] < 0 else source[2], i

    return graph.reordered(sorted(range(len(graph.nodes)), key=place)) or graph


# -- reverse mode ------------------------------------------------------------------------


def backward(
    trace: Trace, outputs: Sequence[int], cotangents: Sequence[Tensor], wrt: Iterable[int], start: int = 0
) -> list[Tensor | None]:
    """Append the pullback of nodes ``start:`` and return a cotangent per ``wrt``.

    ``None`` in the result means that no output depends on that node.
    """
    stop = len(trace.nodes)
    wrt = list(wrt)
    active = active_nodes(trace, start, stop, wrt)
    totals: dict[int, Any] = {}
    for output, cotangent in zip(outputs, cotangents, strict=True):
        if output in active:
            _accumulate(totals, output, cotangent)
    keep = set(wrt)
    outer = trace.origin
    repeats = Repeats(trace) if outer is None else None
    try:
        for i in range(stop - 1, start - 1, -1):
            if i not in totals:
                continue
            total = totals[i] if i in keep else totals.pop(i)
            if trace.nodes[i][0] is INPUT:
                continue
            if outer is None:
                source = trace.sources[i]
                trace.origin = None if source is None else (source[0], source[1], i)
            _pull_back(trace, i, total, active, totals, repeats if trace.origin is not None else None)
    finally:
        trace.origin = outer
    return [totals.get(i) for i in wrt]


def _pull_back(
    trace: Trace, i: int, total: Tensor, active: set[int], totals: dict[int, Any], repeats: Repeats | None
) -> None:
    """Send the cotangent of node ``i`` to the nodes it depends on."""
    op, inputs, attrs = trace.nodes[i]
    if op is ITEM:
        _accumulate(totals.setdefault(inputs[0], {}), attrs[0], total)
        return
    if repeats is not None and op.pullbacks is None and op.accumulate is None and type(trace.specs[i]) is not tuple:
        for argument in reversed(range(len(inputs))):
            if inputs[argument] in active:
                key, nodes = (op, attrs, argument, total.spec), (total._index, i, *inputs)
                rule = partial(_pullback_of_node, trace, i, argument, total)
                _accumulate(totals, inputs[argument], repeats.tensor(key, nodes, rule))
        return
    out, total = _output(trace, i, total)
    args = [trace.tensor(j) for j in inputs]
    keywords = op.attr_dict(attrs) if attrs else {}
    if op.pullbacks is not None:
        wanted = [k for k, j in enumerate(inputs) if j in active]
        for k, pulled in zip(wanted, op.pullbacks(wanted, total, out, *args, **keywords), strict=True):
            _accumulate(totals, inputs[k], pulled)
        return
    # Argument 0 comes last: its rule may then overwrite the cotangent, if the kernel can.
    for argument in reversed(range(len(inputs))):
        j = inputs[argument]
        if j not in active:
            continue
        if op.accumulate is not None and argument == 0:
            totals[j] = op.accumulate(totals.get(j), total, out, *args, **keywords)
        else:
            _accumulate(totals, j, _pullback(trace, op, argument, total, out, args, keywords))


def _output(trace: Trace, i: int, total: Any) -> tuple[Any, Any]:
    """Return the output tensor(s) of a node and the cotangent(s), zeros filled in."""
    specs = trace.specs[i]
    if type(specs) is not tuple:
        return trace.tensor(i), total
    outs = tuple([item(trace, i, k) for k in range(len(specs))])
    return outs, tuple([total[k] if k in total else zeros(trace, spec) for k, spec in enumerate(specs)])


def _pullback_of_node(trace: Trace, i: int, argument: int, cotangent: Tensor) -> Tensor:
    """Return the contribution of node ``i``, of one output, to the cotangent of one of its arguments."""
    op, inputs, attrs = trace.nodes[i]
    args = [trace.tensor(j) for j in inputs]
    return _pullback(trace, op, argument, cotangent, trace.tensor(i), args, op.attr_dict(attrs))


def _pullback(
    trace: Trace, op: Op, argument: int, cotangent: Any, out: Any, args: list[Any], keywords: dict[str, Any]
) -> Tensor:
    """Return the contribution of one node to the cotangent of one of its arguments."""
    spec = args[argument].spec
    rule = None if op.pullback is None else op.rule_for("pullback", argument)
    if rule is not None:
        return rule(cotangent, out, *args, **keywords)
    rule = None if op.partials is None else op.rule_for("partials", argument)
    if rule is not None:
        scaled = scale(cotangent, rule(out, *args, **keywords))
        return scaled if scaled.spec is spec else unbroadcast(scaled, spec)
    rule = op.rule_for("transpose", argument)
    if rule is not None:
        return rule(cotangent, *args, **keywords)
    rule = op.rule_for("pushforward", argument)
    if rule is None:
        raise trace._located(op.missing_rule(argument, "gradient"), op)
    return _transpose(trace, rule, cotangent, out, args, keywords, spec)


def _transpose(
    trace: Trace, rule: Any, cotangent: Any, out: Any, args: list[Any], keywords: dict[str, Any], spec: Spec
) -> Tensor:
    """Transpose a pushforward: record it on a placeholder, then walk it backward."""
    start = len(trace.nodes)
    tangent = trace.tensor(trace.append(INPUT, (), (spec.strong(),), spec.strong(), trace.origin))
    pushed = rule(tangent, out, *args, **keywords)
    pairs = list(zip(pushed, cotangent, strict=True)) if isinstance(pushed, tuple) else [(pushed, cotangent)]
    pairs = [(t, c) for t, c in pairs if isinstance(t, Handle)]
    (found,) = backward(trace, [t._index for t, _ in pairs], [c for _, c in pairs], [tangent._index], start)
    return zeros(trace, spec) if found is None else found


def _accumulate(totals: dict[int, Any], i: int, cotangent: Tensor) -> None:
    known = totals.get(i)
    totals[i] = cotangent if known is None else known + cotangent


# -- forward mode ------------------------------------------------------------------------


def forward(
    trace: Trace, stop: int, wrt: Sequence[int], tangents: Sequence[Tensor], outputs: Sequence[int]
) -> list[Tensor | None]:
    """Append the pushforward of nodes ``:stop`` and return a tangent per output.

    ``None`` in the result means that the output depends on none of ``wrt``.
    """
    found: dict[int, Any] = dict(zip(wrt, tangents, strict=True))
    active = active_nodes(trace, 0, stop, wrt)
    outer = trace.origin
    try:
        for i in range(stop):
            if i in active and i not in found:
                source = trace.sources[i]
                trace.origin = None if source is None else (source[0], source[1], i)
                found[i] = _push_forward(trace, i, found)
    finally:
        trace.origin = outer
    return [found.get(i) for i in outputs]


def _push_forward(trace: Trace, i: int, found: dict[int, Any]) -> Any:
    op, inputs, attrs = trace.nodes[i]
    if op is ITEM:
        return found[inputs[0]][attrs[0]]
    specs = trace.specs[i]
    several = type(specs) is tuple
    out = tuple([item(trace, i, k) for k in range(len(specs))]) if several else trace.tensor(i)
    args = [trace.tensor(j) for j in inputs]
    keywords = op.attr_dict(attrs)
    if op.pullbacks is not None:
        wanted = [k for k, j in enumerate(inputs) if j in found]
        return _transpose_pullback(trace, op.pullbacks, wanted, [found[inputs[k]] for k in wanted], out, args, keywords)
    if op.transpose is not None and op.linear == "jointly":
        return op(*_joint_tangents(trace, op, inputs, found), **keywords)
    terms = [
        _pushforward(trace, op, argument, found[j], out, args, keywords)
        for argument, j in enumerate(inputs)
        if j in found
    ]
    if several:
        return tuple(
            [_total(trace, column, spec) for column, spec in zip(zip(*terms, strict=True), specs, strict=True)]
        )
    return _total(trace, terms, specs)


def _joint_tangents(trace: Trace, op: Op, inputs: tuple[int, ...], found: dict[int, Any]) -> list[Tensor]:
    """Return tangents for the arguments an op is jointly linear in, values for the others."""
    args = []
    for argument, j in enumerate(inputs):
        if j in found:
            args.append(found[j])
        elif op.rule_for("transpose", argument) is None:
            args.append(trace.tensor(j))
        else:
            args.append(zeros(trace, trace.specs[j]))
    return args


def _pushforward(
    trace: Trace, op: Op, argument: int, tangent: Any, out: Any, args: list[Any], keywords: dict[str, Any]
) -> Any:
    """Return the contribution of one argument to the tangent of a node."""
    rule = op.rule_for("pushforward", argument)
    if rule is not None:
        return rule(tangent, out, *args, **keywords)
    rule = op.rule_for("partials", argument)
    if rule is not None:
        return scale(tangent, rule(out, *args, **keywords))
    if op.rule_for("transpose", argument) is not None:
        return op(*[tangent if k == argument else arg for k, arg in enumerate(args)], **keywords)
    rule = op.rule_for("pullback", argument)
    if rule is None:
        raise trace._located(op.missing_rule(argument, "gradient"), op)

    def pullbacks(arguments: Any, cotangent: Any, *rest: Any, **keywords: Any) -> tuple[Any, ...]:
        return (rule(cotangent, *rest, **keywords),)

    return _transpose_pullback(trace, pullbacks, [argument], [tangent], out, args, keywords)


def _transpose_pullback(
    trace: Trace,
    rule: Any,
    arguments: list[int],
    tangents: list[Any],
    out: Any,
    args: list[Any],
    keywords: dict[str, Any],
) -> Any:
    """Push forward through an op that has only pullbacks, by transposing those of some arguments."""
    start = len(trace.nodes)
    outs = out if isinstance(out, tuple) else (out,)
    places = [trace.append(INPUT, (), (o.spec.strong(),), o.spec.strong(), trace.origin) for o in outs]
    cotangents = [trace.tensor(p) for p in places]
    seeds = tuple(cotangents) if isinstance(out, tuple) else cotangents[0]
    pulled = rule(arguments, seeds, out, *args, **keywords)
    found = backward(trace, [p._index for p in pulled], tangents, places, start)
    if not _is_linear(trace, start, places, pulled, found):
        raise trace._located(_not_linear(), None)
    results = [zeros(trace, o.spec) if t is None else t for o, t in zip(outs, found, strict=True)]
    return tuple(results) if isinstance(out, tuple) else results[0]


def _is_linear(trace: Trace, start: int, places: list[int], pulled: Any, transposed: list[Tensor | None]) -> bool:
    """Return whether what was pulled back from placeholders was linear in them, as far as its transpose tells.

    The transpose of something linear needs no placeholder, and nothing flat, such as a sign, lies on the way.
    """
    needs, flat = set(places), set[int]()
    for i in range(start, len(trace.nodes)):
        op, inputs, _ = trace.nodes[i]
        if needs.isdisjoint(inputs):
            continue
        needs.add(i)
        spec = trace.specs[i]
        if not flat.isdisjoint(inputs) or (op.zero_derivative and type(spec) is not tuple and spec.inexact):
            flat.add(i)
    return flat.isdisjoint([p._index for p in pulled]) and all(t is None or t._index not in needs for t in transposed)


def _not_linear() -> MissingRuleError:
    return MissingRuleError(
        "nothing can be pushed forward: the pullback is not linear in its cotangent",
        op="custom_gradient",
        expected="one that does not clip it, say, or multiply it with itself",
        remedy='take reverse mode: gl.jacobian(f, mode="rev"), gl.jacobian(gl.grad(f), mode="rev") for a Hessian',
    )


def _total(trace: Trace, terms: Sequence[Any], spec: Spec) -> Tensor:
    """Add tangent terms and give the sum the shape and dtype of its value."""
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    if not isinstance(total, Handle):
        return zeros(trace, spec) if total == 0 else ones(trace, spec) * total
    if total.spec.shape != spec.shape:
        total = ops["broadcast_to"](total, shape=spec.shape)
    return total if total.spec.dtype == spec.dtype else ops["astype"](total, dtype=spec.dtype)


# -- shared ------------------------------------------------------------------------------


def active_nodes(trace: Trace, start: int, stop: int, wrt: Iterable[int]) -> set[int]:
    """Return the nodes in ``start:stop`` whose value changes smoothly with ``wrt``."""
    active = set(wrt)
    nodes, specs = trace.nodes, trace.specs
    for i in range(start, stop):
        op, inputs, _ = nodes[i]
        if inputs and not op.zero_derivative and not active.isdisjoint(inputs):
            spec = specs[i]
            if type(spec) is tuple or spec.inexact:
                active.add(i)
    return active


def item(trace: Trace, i: int, k: int) -> Tensor:
    """Return output ``k`` of a node that has several."""
    return trace.tensor(trace.append(ITEM, (i,), (k,), trace.specs[i][k], trace.origin))


def scale(tangent: Tensor, partial: Any) -> Tensor:
    """Multiply a (co)tangent by a partial; where either is exactly zero the result is exactly zero."""
    number = partial._trace.static(partial._index) if isinstance(partial, Handle) else partial
    if number is None or not decide(isfinite, number):
        return tangent._trace.bind(get_op("annihilating_multiply"), (tangent, partial))
    if number == 0:
        return zeros(tangent._trace, tangent.spec)
    if number == 1:
        return tangent
    return -tangent if number == -1 else tangent * number


def unbroadcast(cotangent: Tensor, spec: Spec) -> Tensor:
    """Sum a cotangent over the axes along which an argument of some spec was broadcast.

    A real argument takes the real part of a complex cotangent.
    """
    shape = cotangent.spec.shape
    if shape != spec.shape:
        extra = len(shape) - spec.ndim
        axes = tuple([k for k in range(len(shape)) if k < extra or (spec.shape[k - extra] == 1 and shape[k] != 1)])
        if axes:
            cotangent = ops["sum"](cotangent, axis=axes, keepdims=False)
        if cotangent.spec.shape != spec.shape:
            cotangent = ops["reshape"](cotangent, shape=spec.shape)
    dtype = cotangent.spec.dtype
    if dtype != spec.dtype:
        if dtype.kind == "c" and spec.dtype.kind == "f":
            cotangent = ops["real"](cotangent)
        if cotangent.spec.dtype != spec.dtype:
            cotangent = ops["astype"](cotangent, dtype=spec.dtype)
    return cotangent


def full(trace: Trace, spec: Spec, value: float) -> Tensor:
    """Return a tensor of a spec filled with one number."""
    scalar = trace.tensor(trace.literal(value, spec.dtype))
    return ops["broadcast_to"](scalar, shape=spec.shape) if spec.shape else scalar


def zeros(trace: Trace, spec: Spec) -> Tensor:
    """Return a tensor of zeros."""
    return full(trace, spec, 0.0)


def ones(trace: Trace, spec: Spec) -> Tensor:
    """Return a tensor of ones."""
    return full(trace, spec, 1.0)
