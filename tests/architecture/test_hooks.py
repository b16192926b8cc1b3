"""Every hook is typed, documented and exercised."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gradloom import hookspecs

ROOT = Path(__file__).parents[2]
HOOKS: dict[str, Callable[..., Any]] = {n: f for n, f in vars(hookspecs).items() if n.startswith("gradloom_")}
PAGES = [path.read_text() for path in (ROOT / "docs").rglob("*.md")]
TESTS = [path.read_text() for path in (ROOT / "tests" / "plugins").glob("test_*.py")]


def test_there_are_hooks() -> None:
    assert {"gradloom_backends", "gradloom_compilers", "gradloom_executors", "gradloom_ops"} <= set(HOOKS)


@pytest.mark.parametrize("name", HOOKS)
class TestHook:
    def test_is_typed_and_has_a_docstring(self, name: str) -> None:
        assert inspect.getdoc(HOOKS[name])
        assert set(HOOKS[name].__annotations__) == {*inspect.signature(HOOKS[name]).parameters, "return"}

    def test_is_documented_with_its_signature(self, name: str) -> None:
        signature = f"{name}({', '.join(inspect.signature(HOOKS[name]).parameters)})"
        assert any(signature in page for page in PAGES), f"no page under docs/ has {signature}"

    def test_is_exercised(self, name: str) -> None:
        assert any(f"def {name}(" in text for text in TESTS)
