"""What functions and ops refuse, they refuse with every field a caller can act on."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from gradloom import errors

CORE = Path(errors.__file__).parent
NAMES = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)}
FILES = sorted([*CORE.glob("functions/*.py"), *CORE.glob("ops/*.py"), CORE / "registry.py", CORE / "context.py"])


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_errors_name_argument_expected_and_got(path: Path) -> None:
    """And the op: ops leave that to the trace, which knows it."""
    wanted = {"argument", "expected", "got"} | ({"op"} if path.parent.name == "functions" else set())
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in NAMES:
            missing = wanted - {keyword.arg for keyword in node.keywords}
            assert not missing, f"{node.func.id} in line {node.lineno} lacks {', '.join(sorted(missing))}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_no_builtin_exceptions(path: Path) -> None:
    """They have no fields; ZeroDivisionError is NumPy's own in `numpy.average`."""
    builtin = {"ValueError", "TypeError", "IndexError", "RuntimeError", "NotImplementedError"}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            assert getattr(node.exc.func, "id", None) not in builtin, f"line {node.lineno}"
