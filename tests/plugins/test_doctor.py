"""`gl.backends()` and ``python -m gradloom doctor`` on a healthy installation."""

from __future__ import annotations

import sys
from typing import Any

import pytest

import gradloom as gl
from gradloom.__main__ import main
from gradloom.doctor import Row, Table


def test_table_prints_in_columns() -> None:
    table = Table([Row("numpy", "gradloom", "ready", ""), Row("x", "some-dist", "broken", "it is.")])
    assert str(table).splitlines() == [
        "name   owner      status  reason",
        "numpy  gradloom   ready",
        "x      some-dist  broken  it is.",
    ]


def test_numpy_is_ready() -> None:
    (row,) = [row for row in gl.backends() if row.name == "numpy"]
    assert row == ("numpy", "gradloom", "ready", "")


def test_doctor_is_healthy(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "backends\n" in out
    assert "compilers\n" in out
    assert "llvm  gradloom  ready" in out
    assert "schedulers\n" in out
    assert "numpy   gradloom  ready" in out or "numpy  gradloom  ready" in out


def test_rich_table_on_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal rich draws the table."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert main(["doctor"]) == 0
    assert "━" in capsys.readouterr().out


def test_terminal_without_rich(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """rich is not required."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setitem(sys.modules, "rich.console", None)
    assert main(["doctor"]) == 0
    assert "name " in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["surgeon"]])
def test_usage(capsys: pytest.CaptureFixture[Any], arguments: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert "usage: python -m gradloom" in capsys.readouterr().err
