"""Fast calls: a Python function, generated for one signature, that checks its arguments and runs a plan.

What it cannot vouch for (other types or shapes, a chosen backend, a scheduler with workers, a display
of progress, an error of a kernel) it leaves to the general path, by returning `MISS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Any, Final

import numpy as np

from gradloom.context import BACKEND, EXECUTOR
from gradloom.decision import decide
from gradloom.executor import AutoExecutor, SerialExecutor
from gradloom.generated import function
from gradloom.placement import PLACE
from gradloom.plan import Plan
from gradloom.program import Program
from gradloom.progress import DISPLAY
from gradloom.pytree import LEAF, PLAIN_CONTAINERS, Structure, has_plain_containers, unflatten

#: What a fast call returns for arguments of another signature.
MISS: Final = object()

_KINDS = frozenset({np.ndarray, np.float64, float})
#: Schedulers that run a plan whose branches do not pay in threads as it is; so does none at all.
_DIRECT = frozenset({type(None), AutoExecutor, SerialExecutor})


def fast_call(
    structure: Structure,
    leaves: Sequence[Any],
    captured: Sequence[Any],
    program: Program,
    output: Structure,
) -> Callable[[tuple[Any, ...]], Any] | None:
    """Return a function of the tuple of arguments, or None where there is no fast way.

    Parameters
    ----------
    structure : Structure
        Of the tuple of arguments.
    leaves : sequence
        Arguments of the signature.
    captured : sequence of arrays
        Further inputs of the program.
    program : Program
        What to run, on NumPy arrays.
    output : Structure
        Of the result.
    """
    if not _KINDS.issuperset(map(type, leaves)) or not has_plain_containers(structure):
        return None
    namespace: dict[str, Any] = {
        "MISS": MISS,
        "ndarray": np.ndarray,
        "float64": np.float64,
        "backend": BACKEND.get,
        "executor": EXECUTOR.get,
        "direct": _DIRECT,
        "place": PLACE.get,
        "display": DISPLAY.get,
        "run": _runner(program),
        "captured": tuple(captured),
    }
    lines = [
        "def call(a):",
        " if type(executor()) not in direct or backend() is not None: return MISS",
        " if place() is not None or display() is not None: return MISS",
    ]
    names: list[str] = []
    lines += _unpacking("a", structure, iter(leaves), names, namespace)
    arguments = [f"float64({n})" if type(leaf) is float else n for n, leaf in zip(names, leaves, strict=True)]
    lines += [
        " try:",
        f"  r = run({', '.join(arguments)}{', ' if arguments else ''}*captured)",
        " except Exception:",
        "  return MISS  # the general path raises it again, with the user's line",
        f" return {_packing(output, count(), namespace)}",
    ]
    return function(lines, namespace)


def _runner(program: Program) -> Callable[..., list[Any]]:
    """Return what runs the program's plan: its own function where nothing else is to be decided."""
    plan: Plan = program.plan("numpy")
    decision = decide(plan)
    alone = decision.schedule is None and not decision.one_thread and not plan.resources
    if plan.compiler is not None and alone:
        return plan.compile().run
    run_plan = program.run_plan
    return lambda *values: run_plan(plan, values)


def _unpacking(
    name: str, structure: Structure, leaves: Iterator[Any], names: list[str], namespace: dict[str, Any]
) -> list[str]:
    """Return the lines that check a container and give names to its leaves."""
    kind, keys, children = structure
    parts = [f"{name}_{k}" for k in range(len(children))]
    if kind is dict:
        namespace[f"{name}_keys"] = keys
        lines = [f" if type({name}) is not dict or tuple({name}) != {name}_keys: return MISS"]
        values = f"{name}.values()"
    else:
        lines = [f" if type({name}) is not {kind.__name__} or len({name}) != {len(parts)}: return MISS"]
        values = name
    if parts:
        lines.append(f" {', '.join(parts)}, = {values}")
    for part, child in zip(parts, children, strict=True):
        if child is None:
            lines.append(f" if {part} is not None: return MISS")
            continue
        if child != LEAF:
            lines += _unpacking(part, child, leaves, names, namespace)
            continue
        leaf = next(leaves)
        names.append(part)
        if type(leaf) is np.ndarray:
            namespace[f"{part}_dtype"], namespace[f"{part}_shape"] = leaf.dtype, leaf.shape
            lines.append(
                f" if type({part}) is not ndarray or {part}.dtype is not {part}_dtype or "
                f"{part}.shape != {part}_shape: return MISS"
            )
        else:
            lines.append(f" if type({part}) is not {type(leaf).__name__}: return MISS")
    return lines


def _packing(structure: Structure, numbers: Iterator[int], namespace: dict[str, Any]) -> str:
    """Return the expression that builds a container from the list ``r``."""
    if structure == LEAF:
        return f"r[{next(numbers)}]"
    if structure is not None and structure[0] in PLAIN_CONTAINERS:
        kind, keys, children = structure
        words = [_packing(child, numbers, namespace) for child in children]
        if kind is tuple:
            return f"({''.join(word + ', ' for word in words)})"
        if kind is list:
            return f"[{', '.join(words)}]"
        name = f"keys_{len(namespace)}"
        namespace[name] = keys
        return "{" + ", ".join(f"{name}[{k}]: {word}" for k, word in enumerate(words)) + "}"
    name = f"structure_{len(namespace)}"
    namespace[name], namespace["unflatten"] = structure, unflatten
    leaves = [f"r[{next(numbers)}]" for _ in range(_count(structure))]
    return f"unflatten({name}, [{', '.join(leaves)}])"


def _count(structure: Structure) -> int:
    if structure == LEAF:
        return 1
    return 0 if structure is None else sum(map(_count, structure[2]))
