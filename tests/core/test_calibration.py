"""Rates of the machine: measured once, kept in a file that may hold anything, corrected by what was measured."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom import calibration
from gradloom.cache_files import FOLDER
from gradloom.calibration import FILE, Rates, correct, measure, rates
from gradloom.cost import Cost
from gradloom.errors import ArgumentError
from gradloom.tasks import step_costs
from gradloom.testing.executors import numpy_plan

FAST = Rates(1e-6, 1e9, 1e10, 1e10)


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Name a file in a folder that does not exist yet; what this process knows is forgotten before and after."""
    path = tmp_path / "new" / "rates.json"
    monkeypatch.setenv(FILE, str(path))
    rates.cache_clear()
    yield path
    rates.cache_clear()


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count measurements, which give fixed rates."""
    counts: list[int] = []

    def count() -> Rates:
        counts.append(1)
        return FAST

    monkeypatch.setattr(calibration, "measure", count)
    return counts


def test_measured_once_and_kept(file: Path, measured: list[int]) -> None:
    assert rates() == FAST
    rates.cache_clear()
    assert rates() == FAST
    assert len(measured) == 1
    assert list(file.parent.iterdir()) == [file]  # nothing temporary stays


def test_rates_are_those_of_a_computer() -> None:
    found = measure()
    assert 1e-8 < found.call < 1e-3
    assert all(1e7 < speed < 1e14 for speed in (found.flops, found.blas, found.bytes))


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[1, 2]",
        "{",
        "null",
        {"call": 1.0},
        {"call": "fast", "flops": 1.0, "blas": 1.0, "bytes": 1.0},
        {"call": 1e-6, "flops": 0.0, "blas": 1e9, "bytes": 1e9},
        {"call": 1e-6, "flops": -1e9, "blas": 1e9, "bytes": 1e9},
        {"call": 1e-6, "flops": float("nan"), "blas": 1e9, "bytes": 1e9},
        {"call": 1e-6, "flops": 1e9, "blas": 1e9, "bytes": 1e9, "corrections": {"eigh": "slow"}},
        {"call": 1e-6, "flops": 1e9, "blas": 1e9, "bytes": 1e9, "corrections": [2.0]},
        7,
    ],
)
def test_what_is_no_rates_is_measured_anew(file: Path, measured: list[int], content: Any) -> None:
    file.parent.mkdir()
    if not isinstance(content, str):
        content = json.dumps({calibration._machine(): content, "another machine": {"kept": True}})
    file.write_text(content)
    assert rates() == FAST
    assert len(measured) == 1
    kept = json.loads(file.read_text())
    assert kept[calibration._machine()]["call"] == FAST.call
    assert ("another machine" in kept) == ("another machine" in content)


def test_a_place_that_cannot_be_written_is_no_error(
    tmp_path: Path, measured: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a file").write_text("")
    monkeypatch.setenv(FILE, str(tmp_path / "a file" / "rates.json"))
    rates.cache_clear()
    assert rates() == FAST
    rates.cache_clear()


def test_nothing_is_measured_or_kept_where_the_name_is_empty(
    measured: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FILE, "")
    rates.cache_clear()
    assert rates() == Rates()
    assert not measured
    with pytest.raises(ArgumentError, match=FILE):
        correct({"eigh": 2.0})
    rates.cache_clear()


def test_default_file(measured: list[int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In the folder of the cache; where there is none, rates are measured and not kept."""
    monkeypatch.delenv(FILE, raising=False)
    for folder in (str(tmp_path / "cache"), "off"):
        monkeypatch.setenv(FOLDER, folder)
        rates.cache_clear()
        assert rates() == FAST
    rates.cache_clear()
    assert len(measured) == 2
    assert [path.name for path in tmp_path.rglob("*.json")] == ["calibration.json"]
    with pytest.raises(ArgumentError, match="nothing is kept"):
        correct({"eigh": 2.0})


def test_corrections_multiply_and_stay(file: Path, measured: list[int]) -> None:
    cost = Cost(1e10, 0.0, blas=True, op="eigh")
    before = cost.seconds(rates())
    correct({"eigh": 3.0})
    correct({"eigh": 0.5, "inv": 2.0})
    for _ in range(2):  # in this process, and in the next
        assert cost.seconds(rates()) == pytest.approx(1.5 * before)
        assert cost._replace(op="qr").seconds(rates()) == pytest.approx(before)
        rates.cache_clear()
    assert len(measured) == 1


@pytest.mark.parametrize("factor", [0.0, -1.0, float("nan"), float("inf")])
def test_a_factor_that_is_no_speed_is_refused(file: Path, measured: list[int], factor: float) -> None:
    with pytest.raises(ArgumentError, match="positive"):
        correct({"eigh": factor})
    assert rates().corrections == {}


def test_concurrent_first_uses_agree(file: Path, measured: list[int]) -> None:
    found: list[Rates] = []
    threads = [threading.Thread(target=lambda: found.append(rates())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [FAST] * 8
    assert calibration._checked(json.loads(file.read_text())[calibration._machine()]) == FAST


def test_every_step_knows_its_op() -> None:
    """Else nothing could be corrected."""
    plan = numpy_plan(gl.make_graph(lambda x: np.sum(np.linalg.inv(x) @ np.tanh(x)))(np.eye(5)))
    assert [cost.op for cost in step_costs(plan)] == ["inv", "tanh", "matmul", "sum"]


def test_large_kernels_are_estimated_with_all_cores() -> None:
    """A product of 600 x 600 is cut into four pieces; a decomposition, and what is small, take one core."""
    product = Cost(2.0 * 600**3, 0.0, blas=True, op="matmul")
    alone = product.seconds(FAST)
    assert product.shared_seconds(FAST, 1) == alone
    assert alone / 2.0 <= product.shared_seconds(FAST, 2) <= alone / 1.5
    assert product.shared_seconds(FAST, 64) == product.shared_seconds(FAST, 4)
    for other in (product._replace(op="eigh"), Cost(2.0 * 100**3, 0.0, blas=True, op="matmul")):
        assert other.shared_seconds(FAST, 8) == other.seconds(FAST)
    region = Cost(1e8, 0.0, op="region")
    assert region.seconds(FAST) / 2.0 <= region.shared_seconds(FAST, 2) <= region.seconds(FAST) / 1.5
