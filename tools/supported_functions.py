"""Write docs/numpy.md: the NumPy and SciPy functions that work on tensors.

    python tools/supported_functions.py

The table is made from what is registered with `gradloom.dispatch`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

import gradloom as gl  # noqa: F401  (registers ops and functions)
from gradloom import dispatch
from gradloom.op import Op

PAGE = Path(__file__).parents[1] / "docs" / "numpy.md"

INTRODUCTION = """\
# Supported NumPy functions

These functions take tensors: call them as always, `np.sin(x)`, inside a function that gradloom
traces. Methods and operators of arrays (`x.sum()`, `x @ y`, `x[i]`) are the same functions.

- An *op* is a primitive with its own derivative rule. *Piecewise constant* means that its
  derivative is zero wherever it exists; *no derivative* that its values are not floats.
- A *composition* is written from ops, in the module named, and inherits their derivatives.
- An argument that cannot be honoured (`out=`, mostly) raises and is never ignored.
- A Python integer that the dtype of the array beside it cannot hold raises, as in NumPy, and also where NumPy lets it
  wrap around: `np.where`, `np.select`, `np.choose`, `np.pad`. Comparisons and the limits of `np.clip` take any.
- *Raises* marks a function that only tells, in its error, what to write instead.
- A function that is not listed raises `UnsupportedFunctionError` with its name.

This page is written by `tools/supported_functions.py`; a test checks that it is current.
"""

#: What takes tensors in ways a table cannot show.
OPERATORS = {
    "operator.getitem": "`x[index]`: slices, integers, integer and boolean arrays, `...`, `None`",
    "operator.setitem": "`x[index] = value`, which lets `x` stand for the changed array",
    "operator.pow": "`x ** y`",
}


def public(name: str) -> Any:
    """Return the NumPy object of a dotted name, None if this NumPy lacks it."""
    found: Any = np
    for part in name.split(".")[1:]:
        found = getattr(found, part, None)
    return found


def describe_op(op: Op) -> str:
    """Return what kind of op serves a function."""
    if op.zero_derivative:
        return f"op `{op.name}`, piecewise constant"
    has_rule = any(rules is not None for rules in (op.partials, op.transpose, op.pushforward, op.pullback))
    if op.partials is not None and None in op.partials:
        (k,) = [k for k, partial in enumerate(op.partials) if partial is not None]
        return f"op `{op.name}`, derivative in argument {k} only (counted from 0)"
    return f"op `{op.name}`" if has_rule else f"op `{op.name}`, no derivative"


def describe(implementation: Any) -> str:
    """Return what serves a function, for the table."""
    if isinstance(implementation, Op):
        return describe_op(implementation)
    if implementation.__annotations__.get("return") == "NoReturn":
        return "raises, and says what to write instead"
    return f"composition, `{implementation.__module__}`"


def counterparts() -> dict[str, str]:
    """Return what serves each supported function, by its public name."""
    tables = {**dispatch._FUNCTIONS, **dispatch.UFUNCS}
    return {dispatch.name_of(function): describe(tables[function]) for function in tables}


def ufunc_methods() -> list[tuple[str, str]]:
    """Return what serves each method of a ufunc."""
    rows = [(f"{dispatch.name_of(u)}.reduce", f"`{dispatch.name_of(f)}`") for u, f in dispatch._REDUCTIONS.items()]
    rows += [
        (f"{dispatch.name_of(u)}.accumulate", f"`{dispatch.name_of(f)}`") for u, f in dispatch._ACCUMULATIONS.items()
    ]
    rows += [(f"{dispatch.name_of(u)}.{m}", describe(f)) for (u, m), f in dispatch._UFUNC_METHODS.items()]
    return sorted(rows)


def unsupported() -> list[str]:
    """Return the public NumPy functions that dispatch on tensors but have no counterpart."""
    known = dispatch.supported()
    names = set()
    for prefix, module in (("numpy", np), ("numpy.linalg", np.linalg), ("numpy.fft", np.fft)):
        for attribute in module.__all__:
            function = getattr(module, attribute, None)
            dispatches = isinstance(function, np.ufunc) or hasattr(function, "_implementation")
            if dispatches and dispatch.name_of(function) not in known and dispatch.name_of(function).startswith(prefix):
                names.add(dispatch.name_of(function))
    return sorted(names)


def table(rows: Iterable[tuple[str, str]]) -> list[str]:
    """Return a Markdown table."""
    return ["| function | is |", "| --- | --- |", *[f"| `{name}` | {what} |" for name, what in rows], ""]


def render() -> str:
    """Return the page."""
    served = counterparts()
    assert served.keys() == dispatch.supported()
    functions = sorted(name for name in served if name not in OPERATORS)
    is_ufunc = {name: isinstance(public(name), np.ufunc) for name in functions}
    is_linalg = {name: name.startswith("numpy.linalg.") for name in functions}
    sections = {
        "Ufuncs": [name for name in functions if is_ufunc[name]],
        "Functions": [name for name in functions if not is_ufunc[name] and not is_linalg[name]],
        "numpy.linalg": [name for name in functions if is_linalg[name]],
    }
    lines = [INTRODUCTION]
    for title, names in sections.items():
        lines += [f"## {title}", "", *table((name, served[name]) for name in names)]
    lines += ["## Methods of ufuncs", "", "`outer` works for every ufunc above.", "", *table(ufunc_methods())]
    lines += ["## Operators", "", *table((name, OPERATORS[name]) for name in sorted(OPERATORS) if name in served)]
    special = sorted(dispatch._SPECIAL.items())
    lines += ["## scipy.special", "", "SciPy is not imported unless you do.", ""]
    lines += table((f"scipy.special.{name}", describe_op(op)) for name, op in special)
    lines += [
        "## Not supported",
        "",
        "These dispatch on tensors in NumPy, but have no counterpart yet; they raise.",
        "",
    ]
    lines += [", ".join(f"`{name}`" for name in unsupported()), ""]
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(render(), encoding="utf-8")
    print(f"{PAGE.name}: {len(dispatch.supported())} functions")
