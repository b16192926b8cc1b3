"""Locks: nothing loops in a block that holds one.

From Python 3.12 on the jump back of a loop, or of a comprehension, with a condition may be outside of what ``with``
guards. An interrupt can come just there, and would leave the lock closed.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = [file for room in ("core", "plugins", "scheduler") for file in sorted((ROOT / room).rglob("*.py"))]
LOOPS = (ast.For, ast.While, ast.ListComp, ast.SetComp, ast.DictComp)


def loops_with_locks(text: str) -> list[int]:
    """Return the lines of loops in blocks that hold a lock."""
    blocks = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.With) and holds_lock(node)]
    parts = [part for block in blocks for part in block.body]
    return [node.lineno for part in parts for node in ast.walk(part) if isinstance(node, LOOPS)]


def holds_lock(block: ast.With) -> bool:
    """Return whether a block holds a lock, by its name."""
    return any("lock" in ast.unparse(item.context_expr).lower() for item in block.items)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_no_loops_while_a_lock_is_held(file: Path) -> None:
    assert loops_with_locks(file.read_text()) == []


def test_they_are_found() -> None:
    assert loops_with_locks("with self._lock:\n    x = [v for v in y if v]\nfor v in y:\n    pass") == [2]
