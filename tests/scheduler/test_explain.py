"""`gl.explain`: tasks, times, what ran where, simulated workers, and what is kept of it."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom.backend import backends
from gradloom.calibration import FILE, rates
from gradloom.errors import ArgumentError
from gradloom.explaining import _critical_path
from gradloom.explanation import Explanation
from gradloom.observer import Span
from gradloom.plan import Plan
from gradloom.progress import Job
from gradloom.tasks import Task
from gradloom.timeline import tick_step
from gradloom_dask.threads import ThreadsExecutor

SVG = "{http://www.w3.org/2000/svg}"
X = np.random.default_rng(0).normal(size=(300, 300)) / 17


def branches(x: Any) -> Any:
    a, b = x, x.T
    for _ in range(4):
        a, b = np.tanh(a @ x), np.tanh(b @ x)
    return np.sum(a * b)


@pytest.fixture(scope="module")
def found() -> Explanation:
    """Two branches, run in two threads whatever the estimate says."""
    with gl.scheduler(ThreadsExecutor(workers=2, always=True)):
        return gl.explain(branches, X, workers=8)


def test_branches(found: Explanation) -> None:
    """Two heavy tasks, one of them on the critical path; workers beyond the branches gain nothing."""
    assert set(found.simulated) == set(found.predicted) == {1, 2, 4, 8}
    heavy = [task for task in found.tasks if task.measured > 0.2 * found.simulated[1]]
    assert len(heavy) == 2
    assert all("matmul" in task.ops and __file__ in task.line for task in heavy)
    assert any(task.critical for task in heavy)
    # As much faster as two cores are than one at the time.
    assert found.simulated[2] * found.capacity < 1.6 * found.simulated[1]
    # One task on one core is as good where two cores do no more than one, as others use them.
    assert found.simulated[8] == pytest.approx(min(found.simulated[1], found.simulated[2]), rel=0.05)
    assert found.critical_path <= found.simulated[8]
    assert found.in_branches
    assert found.lanes == 2
    text = str(found)
    assert all(
        word in text for word in ("critical path", "matmul", "predicted", "speed-up", "threads, 2 tasks at once")
    )


def test_times_add_up(found: Explanation) -> None:
    """What is told of tasks, of ops and of one simulated worker is the same work."""
    work = sum([report.measured for report in found.ops])
    assert sum([step.measured for step in found.steps]) == pytest.approx(work)
    assert found.simulated[1] == pytest.approx(work)
    assert found.one_core == pytest.approx(work)
    assert found.predicted[1] == pytest.approx(sum([report.predicted for report in found.ops]))
    assert {report.op for report in found.ops} == {step.op for step in found.steps}
    assert found.achieved_speedup == found.one_core / found.achieved
    assert found.predicted_speedup == found.one_core / found.simulated[2]
    assert found.capacity == 2.0 * found.one_core / found.twice_at_once


def test_every_step_ran_once_and_somewhere(found: Explanation) -> None:
    seen = sorted([k for span in found.spans for k in span.steps])
    assert set(seen) == set(range(len(found.steps)))
    assert all(span.start <= span.end for span in found.spans)
    assert {span.lane.partition("_")[0] for span in found.spans} <= {"MainThread", "gradloom"}
    after = {n: task.after for n, task in enumerate(found.tasks)}
    start = {n: min(s.start for s in found.spans if set(s.steps) <= set(found.tasks[n].steps)) for n in after}
    end = {n: max(s.end for s in found.spans if s.steps == found.tasks[n].steps[-1:]) for n in after}
    assert all(end[other] <= start[n] for n, others in after.items() for other in others)


def test_small_functions_are_one_task() -> None:
    found = gl.explain(gl.grad(lambda x: np.sum(np.sin(x) ** 2)), np.ones(10), workers=[3])
    assert len(found.tasks) == 1
    assert not found.in_branches
    assert found.simulated[3] == found.simulated[1]
    assert "step by step" in found.summary()
    assert "too little time to tell what two cores do" in replace(found, one_core=1e-4).summary()
    assert "Two cores do" in replace(found, one_core=1e-2).summary()


def test_critical_path() -> None:
    tasks = [Task((0,), (), 1.0), Task((1,), (0,), 5.0), Task((2,), (0,), 2.0), Task((3,), (1, 2), 1.0)]
    assert _critical_path(tasks) == (7.0, {0, 1, 3})
    assert _critical_path([]) == (0.0, set())
    late = [Task((0,), (1,), 1.0), Task((1,), (2,), 1.0), Task((2,), (), 1.0)]  # a task may wait for a later one
    assert _critical_path(late) == (3.0, {0, 1, 2})


def test_a_slow_link_takes_the_gain() -> None:
    """Between workers that need seconds to reach each other, branches stay on one."""
    found = gl.explain(branches, X, workers=[4], bandwidth=1e3, latency=2.0)
    assert found.simulated[4] == pytest.approx(found.simulated[1])
    assert found.simulated[1] >= 4.0


@pytest.mark.parametrize(
    ("argument", "options"),
    [
        ("workers", {"workers": 0}),
        ("workers", {"workers": [2, -1]}),
        ("bandwidth", {"bandwidth": 0.0}),
        ("bandwidth", {"bandwidth": float("nan")}),
        ("latency", {"latency": -1.0}),
        ("latency", {"latency": float("inf")}),
    ],
)
def test_arguments_are_checked(argument: str, options: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError, match=argument) as error:
        gl.explain(branches, X, **options)
    assert error.value.argument == argument


# -- the picture ---------------------------------------------------------------------------------


def panels(root: ET.Element) -> list[str]:
    return [text.text or "" for text in root.iter(f"{SVG}text") if text.get("class") == "panel"]


def boxes(root: ET.Element) -> list[tuple[float, float, float]]:
    """Return top, left and right of each box that is not in the legend."""
    found = []
    for group in root.iter(f"{SVG}g"):
        if "task" in (group.get("class") or "").split():
            (box,) = group.findall(f"{SVG}rect")
            x, width = float(box.attrib["x"]), float(box.attrib["width"])
            found.append((float(box.attrib["y"]), x, x + width))
    return found


def test_the_picture_is_self_contained_and_readable(found: Explanation, tmp_path: Path) -> None:
    found.save(tmp_path / "run.svg")
    text = (tmp_path / "run.svg").read_text()
    root = ET.fromstring(text)
    assert "<script" not in text
    assert text.count("http") == 1  # the name of SVG itself
    assert [panel.split(",")[0].split(":")[0] for panel in panels(root)] == [
        "on one core",
        "by threads",
        "simulated",
    ]
    lanes = [t.text for t in root.iter(f"{SVG}text") if t.get("class") == "lane"]
    assert lanes == ["one core", *sorted({span.lane for span in found.spans}), "worker 1", "worker 2"]
    hovers = [title.text or "" for title in root.iter(f"{SVG}title")]
    assert any("matmul" in hover and __file__ in hover and " ms" in hover for hover in hovers)
    width = float(root.attrib["width"])
    rows: dict[float, list[tuple[float, float]]] = {}
    for y, left, right in boxes(root):
        assert 0 <= left < right <= width
        rows.setdefault(y, []).append((left, right))
    for own in rows.values():
        own.sort()
        # A box is at least 0.6 wide, and numbers are rounded to 0.1.
        assert all(one[1] <= other[0] + 0.75 for one, other in pairwise(own))
    axis = [t.text for t in root.iter(f"{SVG}text") if t.get("class") == "tick"]
    assert axis[-1] in ("time, ms", "time, us")
    assert 5 <= len(axis) - 1 <= 14


def test_the_file_must_be_svg(found: Explanation, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=r"\.svg"):
        found.save(tmp_path / "run.png")


@pytest.mark.parametrize("seconds", [1e-6, 0.00021, 0.1, 0.25, 1.0, 7.0, 9.99, 1234.0])
def test_ticks(seconds: float) -> None:
    step = tick_step(seconds)
    assert 3 <= seconds / step <= 12
    assert round(float(f"{step:.3e}".split("e")[0])) in (1, 2, 5)


# -- corrections ---------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv(FILE, str(tmp_path / "rates.json"))
    rates.cache_clear()
    yield tmp_path / "rates.json"
    rates.cache_clear()


def test_kept_corrections_make_predictions_right(file: Path) -> None:
    """The second prediction is that of the first run's measured times."""

    def f(x: Any) -> Any:
        return np.sum(np.linalg.eigh(x @ x.T)[0])

    first = gl.explain(f, X, keep=True)
    assert {"eigh", "matmul"} <= set(rates().corrections)
    assert "corrections" in json.loads(file.read_text()).popitem()[1]
    second = gl.explain(f, X)
    measured = {report.op: report.measured for report in first.ops}
    for report in second.ops:
        if report.op in rates().corrections:
            assert report.predicted == pytest.approx(measured[report.op])


# -- clusters ------------------------------------------------------------------------------------


SMALL = np.random.default_rng(1).normal(size=(80, 80))


def two_eigh(x: Any) -> Any:
    """Two branches of a small input, which no worker holds already."""
    return np.linalg.eigh(np.tile(x @ x.T, (5, 5)))[0], np.linalg.eigh(np.tile(x.T @ x, (5, 5)))[0]


def test_a_cluster_tells_what_ran_on_which_worker(workers: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both workers take part, and take the times themselves."""
    monkeypatch.setenv(FILE, "")
    rates.cache_clear()

    with gl.scheduler(workers):
        found = gl.explain(two_eigh, SMALL, latency=1e-3, bandwidth=1e9)
    assert found.scheduler == "distributed"
    assert found.lanes == 2
    assert len(found.tasks) > 1
    runs = [span for span in found.spans if not span.moving]
    assert sorted([span.steps for span in runs]) == sorted([task.steps for task in found.tasks])
    assert len({span.lane for span in runs}) == 2
    assert all(span.lane.startswith("127.0.0.1:") for span in runs)
    assert all(span.start < span.end for span in found.spans)
    root = ET.fromstring(found.timeline().svg)
    assert any("distributed" in panel for panel in panels(root))


def test_a_cluster_is_simulated_as_it_is(workers: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the tasks that it runs, what they take on a worker, and what lies between: all of that is measured there."""
    monkeypatch.setenv(FILE, "")
    rates.cache_clear()
    with gl.scheduler(workers):
        found = gl.explain(two_eigh, SMALL, workers=2)
    assert {span.steps for span in found.planned if not span.moving} == {task.steps for task in found.tasks}
    assert found.one_core == pytest.approx(sum([step.measured for step in found.steps]))
    assert found.simulated[1] > found.one_core  # messages take time
    assert found.critical_path < found.simulated[2]
    rates.cache_clear()


def test_the_site_of_a_cluster(workers: Any) -> None:
    """Each step of a plan is timed on a worker, and each part of a link is found."""
    plan = Plan(gl.make_graph(two_eigh)(X), backends.get("numpy"))
    site = workers.site(plan, [X])
    whole, steps = site.alone()
    assert len(steps) == len(plan.steps)
    assert 0.0 < min(steps) <= whole
    assert site.at_once() > 0.0
    link = site.link()
    assert all([0.0 <= value < float("inf") for value in link])
    assert min(link.latency, link.task_seconds, link.bandwidth) > 0.0
    with_one = gl.make_graph(lambda x: np.sum(x))(np.ones(3))
    assert ThreadsExecutor().site(Plan(with_one, backends.get("numpy")), [np.ones(3)]) is None  # this process


def test_progress_on_a_cluster(workers: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has run on the workers is counted here, while the rest runs; nothing is shown there."""
    monkeypatch.setenv(FILE, "")
    rates.cache_clear()
    noted: list[tuple[int, int]] = []
    note = Job.note

    def noting(job: Job, span: Span) -> None:
        note(job, span)
        noted.append((job.steps, job.count))

    monkeypatch.setattr(Job, "note", noting)
    with gl.progress(minimum=0.0), gl.scheduler(workers):
        gl.jit(two_eigh)(SMALL)
        noted.clear()
        gl.jit(two_eigh)(SMALL)
    assert len(noted) > 1
    assert noted[-1][0] == noted[-1][1] > noted[0][0] > 0
    rates.cache_clear()
