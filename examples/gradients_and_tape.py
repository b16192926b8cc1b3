"""The gradients of a*b + c, three ways: an explicit graph, a tape, and a plain function.

    python examples/gradients_and_tape.py --output pictures

At a = 3, b = 2, c = 1 they are b = 2, a = 3 and 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from _pictures import output_folder

import gradloom as gl

Three = tuple[float, float, float]


class Gradients(NamedTuple):
    """The gradients with respect to a, b and c, by each way."""

    graph: Three
    tape: Three
    function: Three


def formula(a: Any, b: Any, c: Any) -> Any:
    """Return a*b + c."""
    return a * b + c


def by_graph() -> Three:
    """Extend the graph by its gradients, then compute them."""
    a, b, c = gl.tensor(3.0), gl.tensor(2.0), gl.tensor(1.0)
    y = formula(a, b, c)
    da, db, dc = gl.compute(*gl.gradients(y, [a, b, c]))
    return float(da), float(db), float(dc)


def by_tape() -> Three:
    """Watch the tensors, then ask the tape."""
    a, b, c = gl.tensor(3.0), gl.tensor(2.0), gl.tensor(1.0)
    with gl.Tape() as tape:
        tape.watch([a, b, c])
        y = formula(a, b, c)
    da, db, dc = tape.gradient(y, [a, b, c])
    return float(da), float(db), float(dc)


def by_function() -> Three:
    """Differentiate the function itself."""
    da, db, dc = gl.grad(formula, argnums=(0, 1, 2))(3.0, 2.0, 1.0)
    return float(da), float(db), float(dc)


def main(arguments: Sequence[str] | None = None) -> Gradients:
    """Print the gradients and draw their graph."""
    folder = output_folder(__doc__, arguments)
    found = Gradients(by_graph(), by_tape(), by_function())
    for way, gradients in found._asdict().items():
        print(f"{way:>8}: {gradients}")
    path = folder / "gradients_of_a_times_b_plus_c.svg"
    gl.visualize(gl.value_and_grad(formula, argnums=(0, 1, 2)), 3.0, 2.0, 1.0, filename=path)
    print(f"Picture: {path}")
    return found


if __name__ == "__main__":
    main()
