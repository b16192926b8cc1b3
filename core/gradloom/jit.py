"""`jit`: trace a function once per signature, then only run its plan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial, wraps
from typing import Any, NamedTuple, final

from gradloom.api import normalise_argnums
from gradloom.closure import closed_over
from gradloom.compiler import prepare_compilers
from gradloom.context import backend as backend_context
from gradloom.context import current_backend, require_backend
from gradloom.context import scheduler as scheduler_context
from gradloom.errors import ArgumentError
from gradloom.fastcall import MISS, fast_call
from gradloom.function import require_callable
from gradloom.graph import Graph
from gradloom.persisted import run_on_workers, with_futures
from gradloom.placement import PLACE
from gradloom.program import Program, choose_backend
from gradloom.pytree import Structure, flatten, has_plain_containers, told_apart, unflatten
from gradloom.refusals import describe
from gradloom.sizes import AnySize
from gradloom.trace import Handle, innermost
from gradloom.tracing import leaf_specs, trace_abstractly

FastCall = Callable[[tuple[Any, ...]], Any]

#: Signatures of a function that are remembered, at most; each takes some 20 kB.
MAX_SIGNATURES = 1024


class Compiled(NamedTuple):
    """A traced function: its program, the arrays it closed over, and what else calls need."""

    program: Program
    captured: list[Any]
    structure: Structure


def jit(
    f: Callable[..., Any] | Graph,
    static_argnums: int | Sequence[int] = (),
    scheduler: Any = None,
    backend: str | None = None,
) -> Callable[..., Any]:
    """Return a function that traces ``f`` once per signature and then only runs its plan.

    Parameters
    ----------
    f : callable or Graph
        A function of arrays and numbers (in containers), written with NumPy. It must not
        depend on values: ``if x > 0`` raises. A graph (from `make_graph`, or unpickled) becomes
        a function of one array per input that returns a tuple of its outputs.
    static_argnums : int or sequence of int, default ()
        Positions of arguments that are not traced (flags, sizes, names). They must be
        hashable; each new value is a new trace.
    scheduler, backend : str, optional
        What runs the plan; by default what `gradloom.scheduler` and the kinds of the
        arguments say.

    Returns
    -------
    callable
        Takes what ``f`` takes; returns what ``f`` returns.

    Raises
    ------
    ConcreteValueError
        If ``f`` asks for a value while it is traced.
    ArgumentError
        If an argument is neither an array, a number nor static.

    Notes
    -----
    A signature is the structure, shapes and dtypes of the arguments. Arrays that ``f``
    closes over are inputs of the graph where they meet a traced value: their content is read
    at each call. Tracing happens once: printing and other side effects too, and what is
    computed of such arrays alone. After 1,024 signatures all are forgotten, and traced anew.

    Where tracing ``f`` takes long, some 150 ops, and shapes differ in lengths alone, it is traced for two of them. For
    others it runs again if it asks for a length that is another one (``x.shape``, ``len(x)``), or if what it reads
    besides its arguments has changed, or may have: numbers, functions, small arrays, lists, dicts and objects of your
    classes are compared, which globals, closures and defaults hold; with large arrays and random numbers among them it
    runs for each shape.

    Where the scheduler is a cluster, persisted lazy tensors and dask's futures of arrays may be arguments: then the
    results are persisted tensors, which stay on the workers until somebody looks at them.

    Examples
    --------
    >>> import numpy as np
    >>> import gradloom as gl
    >>> fast = gl.jit(gl.value_and_grad(lambda x: np.sum(x**2)))
    >>> fast(np.array([1.0, 2.0]))
    (np.float64(5.0), array([2., 4.]))
    >>> gl.jit(gl.make_graph(np.sin)(0.0))(0.0)
    (np.float64(0.0),)
    """
    if isinstance(f, Graph):
        f = _function_of(f)
    require_callable("jit", f)
    compiled = Jitted(f, (static_argnums,) if isinstance(static_argnums, int) else tuple(static_argnums))
    if backend is not None:
        require_backend(backend)
    in_context = scheduler is not None or backend is not None

    @wraps(f)
    def jitted(*args: Any, **kwargs: Any) -> Any:
        if in_context:
            return _with_context(compiled, scheduler, backend, args, kwargs)
        return compiled(args, kwargs)

    return jitted


def _function_of(graph: Graph) -> Callable[..., tuple[Any, ...]]:
    """Return a graph as a function of its inputs."""
    specs = graph.input_specs()

    def run(*inputs: Any) -> tuple[Any, ...]:
        given = leaf_specs("jit", flatten((inputs, {}))[1], list(inputs))
        if [s.strong() for s in given] != [s.strong() for s in specs]:
            raise ArgumentError(
                "the inputs do not fit the graph",
                op="jit",
                expected=", ".join(map(repr, specs)),
                got=", ".join(map(repr, given)),
                remedy="pass one array of that shape and dtype for each input",
            )
        return tuple(Program(graph).run(inputs))

    return run


def _with_context(compiled: Jitted, scheduler: Any, backend: str | None, args: Any, kwargs: Any) -> Any:
    chosen_scheduler = nullcontext() if scheduler is None else scheduler_context(scheduler)
    with chosen_scheduler, nullcontext() if backend is None else backend_context(backend):
        return compiled(args, kwargs)


@final
class Jitted:
    """A function with its traces by signature."""

    def __init__(self, f: Callable[..., Any], static: tuple[int, ...]) -> None:
        self._f = f
        self._static = static
        self._traces: dict[Any, Compiled] = {}
        self._any_size = AnySize()
        self._fast_calls: dict[Any, FastCall | None] = {}
        #: That of the latest signature: where the next call looks first.
        self._latest: FastCall | None = None

    def __call__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run the plan for the arguments, traced if their signature is new."""
        latest = self._latest
        if latest is not None and not kwargs:
            result = latest(args)
            if result is not MISS:
                return result
        f = self._f
        static: tuple[Any, ...] = ()
        if self._static:
            f, args, static = self._without_static(args)
        leaves, structure = flatten((args, kwargs))
        leaves = with_futures(leaves)
        specs = leaf_specs("jit", structure, leaves)
        place = PLACE.get()
        key = structure, tuple(specs), static, place
        known = compiled = self._traces.get(key)
        if compiled is None:
            if not innermost(leaves):
                prepare_compilers(choose_backend(leaves))
            # Concurrent first calls may both trace; the first one to finish is kept.
            trace = partial(trace_abstractly, "jit", f, structure, leaves=leaves)
            if has_plain_containers(structure):
                read = partial(closed_over, self._f, static)
                traced = self._any_size.trace((structure, static, place), specs, trace, read)
            else:  # methods of the user's containers may read anything
                traced = trace(specs)
            compiled = Compiled(Program(traced.graph, eager=True), traced.captured, traced.structure)
            if not any(isinstance(value, Handle) for value in compiled.captured):
                if len(self._traces) >= MAX_SIGNATURES:
                    self._traces.clear()
                    self._fast_calls.clear()
                compiled = self._traces.setdefault(key, compiled)
        values = leaves + compiled.captured
        results = run_on_workers(compiled.program, values)
        if results is None:
            results = compiled.program.run(values)
        # Not at the first call, which may be the only one.
        if known is not None and not static and not kwargs and place is None:
            self._latest = self._fast_call(key, structure[2][0], leaves, compiled)
        return unflatten(compiled.structure, results)

    def _fast_call(self, key: Any, structure: Structure, leaves: list[Any], compiled: Compiled) -> FastCall | None:
        """Return the fast way for calls like this one, made once."""
        key = key, tuple(map(type, leaves))
        if key not in self._fast_calls:
            found = None
            values = leaves + compiled.captured
            if not innermost(values) and current_backend() is None and choose_backend(values) == "numpy":
                found = fast_call(structure, leaves, compiled.captured, compiled.program, compiled.structure)
            elif innermost(values):
                return None
            self._fast_calls[key] = found
        return self._fast_calls[key]

    def _without_static(self, args: tuple[Any, ...]) -> tuple[Callable[..., Any], tuple[Any, ...], tuple[Any, ...]]:
        """Return the function of the other arguments, those, and a key for the static ones."""
        positions = normalise_argnums("jit", self._static, len(args), "static_argnums")
        static = {n: args[n] for n in positions}
        for n, value in static.items():
            try:
                hash(value)
            except TypeError:
                raise ArgumentError(
                    "a static argument must be hashable",
                    op="jit",
                    argument=f"argument {n}",
                    got=describe(value),
                    remedy="pass a tuple instead of a list, or trace it",
                ) from None

        def of_others(*others: Any, **kwargs: Any) -> Any:
            rest = iter(others)
            return self._f(*[static[n] if n in static else next(rest) for n in range(len(args))], **kwargs)

        key = tuple([(n, told_apart(v)) for n, v in static.items()])
        return of_others, tuple([a for n, a in enumerate(args) if n not in static]), key
