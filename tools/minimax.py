"""Write plugins/gradloom_llvm/vectormath/coefficients.py: the minimax polynomials of the vector math.

    python tools/minimax.py

Each polynomial P of degree n minimises the largest |P(x) - g(x)| w(x) over an interval, found by
Remez' exchange algorithm in fifty digits. The weight w turns the error of P into the relative
error of the function that is computed with it. The page written states the largest weighted error.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mpmath import mp, mpf

mp.dps = 50

PAGE = Path(__file__).parents[1] / "plugins" / "gradloom_llvm" / "vectormath" / "coefficients.py"

HEAD = '''"""Minimax polynomials, lowest power first. Written by `tools/minimax.py`; change that instead.

Beside each table stand, for each dtype, the interval, the degree and the largest weighted error.
"""

from __future__ import annotations

from typing import Final
'''

#: Grid points per degree of freedom; extrema are taken on the grid.
DENSITY = 24

Function = Callable[[Any], Any]


@dataclass(frozen=True)
class Table:
    """One polynomial: what it approximates, with which weight, where, and to which degrees."""

    name: str
    formula: str
    target: Function
    weight: Function
    degrees: dict[str, int]
    interval: Callable[[str], tuple[Any, Any]]
    head_rest: bool = False


def remez(target: Function, weight: Function, interval: tuple[Any, Any], degree: int) -> tuple[list[Any], Any]:
    """Return the coefficients of the minimax polynomial and its largest weighted error."""
    low, high = interval
    count = DENSITY * (degree + 2)
    grid = [(low + high) / 2 - (high - low) / 2 * mp.cos(mp.pi * i / count) for i in range(count + 1)]
    weights = [weight(x) for x in grid]
    floor = max(weights) * mpf("1e-25")  # where the weight vanishes the polynomial is free
    points = [(x, target(x), w) for x, w in zip(grid, weights, strict=True) if w > floor]
    reference = [round(i * (len(points) - 1) / (degree + 1)) for i in range(degree + 2)]
    while True:
        coefficients, level = levelled(points, reference, degree)
        errors = [(value(coefficients, x) - g) * w for x, g, w in points]
        largest = max(map(abs, errors))
        if largest < level * mpf("1.001"):
            return coefficients, largest
        reference = alternation(errors, degree + 2)


def value(coefficients: list[Any], x: Any) -> Any:
    """Return the polynomial, lowest power first, at x."""
    total = mpf(0)
    for coefficient in reversed(coefficients):
        total = total * x + coefficient
    return total


def levelled(points: list[tuple[Any, Any, Any]], reference: list[int], degree: int) -> tuple[list[Any], Any]:
    """Return the polynomial whose weighted errors at the reference alternate and are equal, and their size."""
    matrix, right = mp.matrix(degree + 2, degree + 2), mp.matrix(degree + 2, 1)
    for row, index in enumerate(reference):
        x, g, w = points[index]
        for power in range(degree + 1):
            matrix[row, power] = x**power
        matrix[row, degree + 1] = (-1) ** row / w
        right[row] = g
    solution = mp.lu_solve(matrix, right)
    return list(solution)[:-1], abs(solution[degree + 1])


def alternation(errors: list[Any], size: int) -> list[int]:
    """Return where the errors peak, one index for each run of one sign, the smallest ends dropped."""
    peaks: list[int] = []
    for index, error in enumerate(errors):
        if peaks and (errors[peaks[-1]] > 0) == (error > 0):
            if abs(error) > abs(errors[peaks[-1]]):
                peaks[-1] = index
        else:
            peaks.append(index)
    while len(peaks) > size:
        peaks.pop(0 if abs(errors[peaks[0]]) < abs(errors[peaks[-1]]) else -1)
    if len(peaks) < size:
        raise ArithmeticError("the error alternates too rarely: fewer digits than the fit needs, or a zero weight")
    return peaks


def fixed(low: Any, high: Any) -> Callable[[str], tuple[Any, Any]]:
    """Return an interval that is the same for each dtype."""
    return lambda dtype: (mpf(low), mpf(high))


def away_from_zero(function: Function) -> Function:
    """Return a function evaluated a little beside its removable singularity at zero, with digits to spare there."""
    nearly_zero = mpf("1e-20")

    def beside(x: Any) -> Any:
        with mp.workdps(4 * mp.dps):
            return function(x if abs(x) > nearly_zero else nearly_zero)

    return beside


def root(function: Function) -> Function:
    """Return the function of z = x**2."""
    return away_from_zero(lambda z: function(mp.sqrt(z)))


#: Where erfc's variable (x - K) / (x + K) has its zero: near the value that lets the degree be lowest.
ERFC_CENTRE = mpf("3.75")


def erfc_smooth(t: Any) -> Any:
    """Return (1 + 2x) exp(x**2) erfc(x) at t = (x - K) / (x + K)."""
    x = ERFC_CENTRE * (1 + t) / (1 - t)
    return (1 + 2 * x) * mp.exp(x * x) * mp.erfc(x)


def erfc_interval(dtype: str) -> tuple[Any, Any]:
    """Return where t is, up to the x at which erfc vanishes."""
    end = mpf(27 if dtype == "float64" else 10)
    return mpf(-1), (end - ERFC_CENTRE) / (end + ERFC_CENTRE)


def erf_exponent(x: Any) -> Any:
    """Return -log(erfc(x)) / x - 1."""
    return -mp.log(mp.erfc(x)) / x - 1


HALF_LN2 = mp.log(2) / 2 * mpf("1.0002")  # a little wider: the multiple of ln 2 is rounded
QUARTER_PI = (mp.pi / 4 * mpf("1.0002")) ** 2

TABLES = [
    Table("EXP", "(e**r - 1 - r) / r**2, relative error of expm1",
          away_from_zero(lambda r: (mp.expm1(r) - r) / r**2), abs,
          {"float64": 10, "float32": 4}, fixed(-HALF_LN2, HALF_LN2)),
    Table("LOG", "(log(1 + f) - f + f**2/2) / f**3, relative error of log",
          away_from_zero(lambda f: (mp.log1p(f) - f + f * f / 2) / f**3), lambda f: f * f,
          {"float64": 18, "float32": 7}, fixed(mp.sqrt(0.5) - 1, mp.sqrt(2) - 1)),
    Table("ERF", "-log(erfc(x)) / x - 1, relative error of erf",
          away_from_zero(erf_exponent), away_from_zero(lambda x: x * mp.erfc(x) / mp.erf(x)),
          {"float64": 24, "float32": 10}, lambda dtype: (mpf(0), mpf(6 if dtype == "float64" else 4))),
    Table("SIN", "(sin x - x) / x**3 in x**2, relative error of sin",
          root(lambda x: (mp.sin(x) - x) / x**3), lambda z: z,
          {"float64": 5, "float32": 2}, fixed(0, QUARTER_PI)),
    Table("COS", "(cos x - 1 + x**2/2) / x**4 in x**2, relative error of cos",
          root(lambda x: (mp.cos(x) - 1 + x**2 / 2) / x**4), lambda z: z * z,
          {"float64": 5, "float32": 2}, fixed(0, QUARTER_PI)),
    Table("ARCTAN", "(arctan x - x) / x**3 in x**2, relative error of arctan",
          root(lambda x: (mp.atan(x) - x) / x**3), lambda z: z,
          {"float64": 10, "float32": 4}, fixed(0, (mp.sqrt(2) - 1) ** 2 * mpf("1.0001"))),
    Table("ARCSIN", "(arcsin x - x) / x**3 in x**2, relative error of arcsin",
          root(lambda x: (mp.asin(x) - x) / x**3), lambda z: z,
          {"float64": 12, "float32": 4}, fixed(0, mpf("0.25"))),
    Table("ERFC", "(1 + 2x) e**(x**2) erfc(x) in (x - K) / (x + K), relative error",
          erfc_smooth, lambda t: 1 / erfc_smooth(t),
          {"float64": 23, "float32": 9}, erfc_interval, head_rest=True),
    Table("SINH", "(sinh x - x) / x**3 in x**2, relative error of sinh",
          root(lambda x: (mp.sinh(x) - x) / x**3), lambda z: z,
          {"float64": 4}, fixed(0, HALF_LN2**2)),
    Table("COSH", "(cosh x - 1) / x**2 in x**2, relative error of cosh",
          root(lambda x: (mp.cosh(x) - 1) / x**2), lambda z: z,
          {"float64": 4}, fixed(0, HALF_LN2**2)),
    Table("ARCTANH", "(arctanh s - s - s**3/3) / s**5 in s**2, error relative to s",
          root(lambda s: (mp.atanh(s) - s - s**3 / 3) / s**5), lambda z: z * z,
          {"float64": 7}, fixed(0, (3 - 2 * mp.sqrt(2)) ** 2 * mpf("1.0001"))),
    Table("CBRT", "x**(-1/3), relative error",
          lambda x: 1 / mp.cbrt(x), mp.cbrt,
          {"float64": 4}, fixed(1, 2)),
]  # fmt: skip


def rounded(number: Any, dtype: str) -> float:
    """Return the nearest number of the dtype."""
    return float(number) if dtype == "float64" else float(struct.unpack("f", struct.pack("f", float(number)))[0])


def written(table: Table) -> str:
    """Return the table as Python source."""
    lines, entries, rests = [f"# {table.formula}"], [], []
    for dtype, degree in table.degrees.items():
        low, high = table.interval(dtype)
        coefficients, error = remez(table.target, table.weight, (low, high), degree)
        lines.append(f"#   {dtype}: [{float(low):.6g}, {float(high):.6g}], degree {degree}, error {float(error):.2g}")
        entries += [f'    "{dtype}": (', *(f"        {rounded(c, dtype)!r}," for c in coefficients), "    ),"]
        head = coefficients[0]
        rests.append(f'    "{dtype}": {rounded(head - rounded(head, dtype), dtype)!r},')
    lines += [f"{table.name}: Final = {{", *entries, "}", ""]
    if table.head_rest:
        lines += [
            "#: What rounding its first coefficient left out.",
            f"{table.name}_HEAD_REST: Final = {{",
            *rests,
            "}",
            "",
        ]
    return "\n".join(lines)


def page() -> str:
    """Return the whole module."""
    mp.dps = 50
    centre = f"#: Where the variable of ERFC is zero.\nERFC_CENTRE: Final = {float(ERFC_CENTRE)}\n"
    return "\n".join([HEAD, *[written(table) for table in TABLES], centre])


if __name__ == "__main__":
    PAGE.write_text(page())
