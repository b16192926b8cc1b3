"""Progress bars: shown for what takes long, where it was asked for, and nowhere else."""

from __future__ import annotations

import asyncio
import contextvars
import io
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom.errors import ArgumentError, MissingPackageError
from gradloom.executor import SerialExecutor
from gradloom.observer import OBSERVER
from gradloom.progress import _SCREEN, DISPLAY
from gradloom_dask.threads import ThreadsExecutor

X = np.ones(3)


class Terminal(io.StringIO):
    """Takes what is written as a terminal would."""

    def isatty(self) -> bool:
        return True

    @contextmanager
    def progress(self, minimum: float = 0.0) -> Iterator[None]:
        """Ask for progress, with this as the standard error output (which pytest sets for each test)."""
        before, sys.stderr = sys.stderr, self
        try:
            with gl.progress(minimum=minimum):
                yield
        finally:
            while_drawing, sys.stderr = sys.stderr, before
        assert while_drawing is self  # rich puts something else there while it draws


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    """Stand in for a terminal; at the end nothing draws any more."""
    for name, value in {"TERM": "xterm-256color", "COLUMNS": "200"}.items():
        monkeypatch.setenv(name, value)
    for name in ("NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    yield Terminal()
    assert not _SCREEN._jobs
    assert _SCREEN._bars is None
    assert not [thread for thread in threading.enumerate() if thread.name == "gradloom-progress"]
    assert DISPLAY.get() is None
    assert OBSERVER.get() is None


def wait_for(text: str, where: Terminal, seconds: float = 20.0) -> None:
    """Wait until something was drawn."""
    end = time.monotonic() + seconds
    while text not in where.getvalue():
        assert time.monotonic() < end, f"{text!r} was not drawn, only {where.getvalue()!r}"
        time.sleep(0.01)


def with_kernel(action: Callable[[], None]) -> tuple[Any, list[Any]]:
    """Return a plan of three kernels, the second of which calls an action, and its inputs."""
    from gradloom.testing.executors import numpy_plan

    plan = numpy_plan(gl.make_graph(lambda x: np.sum(np.tanh(np.sin(x))))(X))
    kernel = plan.steps[1].kernel

    def acting(*args: Any, **attrs: Any) -> Any:
        action()
        return kernel(*args, **attrs)

    plan.steps[1] = plan.steps[1]._replace(kernel=acting)
    return plan, [X]


def run(plan: Any, inputs: list[Any], executor: Any = None) -> Any:
    from gradloom.context import execute

    with gl.scheduler(executor or SerialExecutor()):
        return execute(plan, inputs)


@pytest.mark.parametrize(
    "executor", [SerialExecutor(), ThreadsExecutor(workers=2, always=True)], ids=["serial", "threads"]
)
def test_a_long_run_is_shown_with_how_far_it_is(terminal: Terminal, executor: Any) -> None:
    """While the second of three kernels runs, one of three is done; afterwards the line is erased."""
    plan, inputs = with_kernel(lambda: wait_for("1/3 kernels", terminal))
    with terminal.progress():
        (value,) = run(plan, inputs, executor)
    assert value == np.sum(np.tanh(np.sin(X)))
    text = terminal.getvalue()
    assert f"running, {executor.name}" in text
    assert text.rstrip().endswith(("\x1b[2K", "\x1b[?25h"))  # the line erased, the cursor back


def test_short_runs_are_not_shown(terminal: Terminal) -> None:
    with terminal.progress(1.0):
        for _ in range(3):
            gl.grad(lambda x: np.sum(np.sin(x)))(X)
    assert terminal.getvalue() == ""


def test_what_takes_longer_than_estimated_is_shown_all_the_same(terminal: Terminal) -> None:
    """Nobody knows how far it is, as it runs compiled; but that it runs is shown."""
    plan, inputs = with_kernel(lambda: wait_for("running", terminal))
    with terminal.progress(0.2):
        run(plan, inputs)
    assert "kernels" not in terminal.getvalue()


def test_nothing_is_shown_where_it_was_not_asked_for(terminal: Terminal) -> None:
    plan, inputs = with_kernel(lambda: time.sleep(0.3))
    run(plan, inputs)
    with terminal.progress():
        pass
    run(plan, inputs)
    assert terminal.getvalue() == ""


def test_nothing_is_shown_where_there_is_no_terminal(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "isatty", lambda: False)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    plan, inputs = with_kernel(lambda: time.sleep(0.3))
    with terminal.progress():
        run(plan, inputs)
    assert terminal.getvalue() == ""


def test_tracing_is_shown(terminal: Terminal) -> None:
    """With and without jit; a function traced inside another is part of it."""

    def slow_to_trace(x: Any) -> Any:
        wait_for("tracing", terminal)
        return np.sum(np.sin(x))

    for transform in (gl.grad, lambda f: gl.jit(gl.grad(f)), gl.make_graph):
        terminal.seek(0)
        terminal.truncate()
        with terminal.progress():
            transform(slow_to_trace)(X)
        assert "slow_to_trace" in terminal.getvalue()


def test_jitted_functions_are_shown_after_their_first_call_too(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fast way of a jitted function tells nobody; it is not taken while somebody asks."""
    fast = gl.jit(lambda x: np.sum(np.sin(x)))
    expected = [fast(X) for _ in range(3)][-1]
    shown: list[str] = []
    add = _SCREEN.add
    monkeypatch.setattr(_SCREEN, "add", lambda job: (shown.append(job.what), add(job)))
    with terminal.progress():
        assert fast(X) == expected
    assert shown == ["running, auto"]
    assert fast(X) == expected
    assert len(shown) == 1


def test_an_error_leaves_the_terminal_as_it_was(terminal: Terminal) -> None:
    def fail() -> None:
        wait_for("1/3 kernels", terminal)
        raise ZeroDivisionError

    for executor in (SerialExecutor(), ThreadsExecutor(workers=2, always=True)):
        terminal.seek(0)
        terminal.truncate()
        plan, inputs = with_kernel(fail)
        with pytest.raises(ZeroDivisionError) as error, terminal.progress():
            run(plan, inputs, executor)
        assert any("gradloom: while running op" in note for note in error.value.__notes__)
        assert "\x1b[?25h" in terminal.getvalue()


def test_an_interrupt_leaves_the_terminal_as_it_was(terminal: Terminal) -> None:
    def interrupt() -> None:
        wait_for("1/3 kernels", terminal)
        raise KeyboardInterrupt

    plan, inputs = with_kernel(interrupt)
    with pytest.raises(KeyboardInterrupt), terminal.progress():
        run(plan, inputs)
    assert "\x1b[?25h" in terminal.getvalue()


def test_runs_inside_a_kernel_are_part_of_it(terminal: Terminal) -> None:
    """Their steps do not count, and they have no line of their own."""

    def inner() -> None:
        gl.grad(lambda x: np.sum(np.sin(np.cos(x))))(X)
        assert DISPLAY.get() is None
        wait_for("1/3 kernels", terminal)

    plan, inputs = with_kernel(inner)
    with terminal.progress():
        run(plan, inputs)
    assert "tracing" not in terminal.getvalue()


def test_threads_share_one_screen(terminal: Terminal) -> None:
    """Two runs of two threads that ask: two lines at once, drawn by one thread."""
    both = threading.Barrier(2, timeout=20)

    def together() -> None:
        both.wait()
        end = time.monotonic() + 20
        while len(_SCREEN._ids) < 2:
            assert time.monotonic() < end
            time.sleep(0.01)
        assert len([t for t in threading.enumerate() if t.name == "gradloom-progress"]) == 1
        both.wait()

    errors: list[BaseException] = []

    def ask() -> None:
        try:
            plan, inputs = with_kernel(together)
            with gl.progress(minimum=0.0):
                run(plan, inputs)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    with terminal.progress(1000.0):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not errors


def test_contexts_nest_and_do_not_leak(terminal: Terminal) -> None:
    seen: list[Any] = []
    with gl.progress():
        outer = DISPLAY.get()
        with gl.progress(minimum=5.0):
            inner = DISPLAY.get()
            assert inner is not outer
        assert DISPLAY.get() is outer
        thread = threading.Thread(target=lambda: seen.append(DISPLAY.get()))
        thread.start()
        thread.join()
        contextvars.copy_context().run(lambda: seen.append(DISPLAY.get()))

        async def task() -> Any:
            return DISPLAY.get()

        seen.append(asyncio.run(task()))
    assert seen == [None, outer, outer]


def test_a_run_that_outlives_the_context_ends_well(terminal: Terminal) -> None:
    """A thread with a copy of the context goes on after `with`: nothing is drawn any more, nothing hangs."""
    go_on = threading.Event()
    plan, inputs = with_kernel(lambda: go_on.wait(20))  # type: ignore[arg-type, return-value]
    results: list[Any] = []
    with terminal.progress():
        context = contextvars.copy_context()
        thread = threading.Thread(target=lambda: context.run(lambda: results.append(run(plan, inputs))))
        thread.start()
        wait_for("1/3 kernels", terminal)
    assert _SCREEN._bars is None
    go_on.set()
    thread.join()
    assert results == [[np.sum(np.tanh(np.sin(X)))]]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_shows_nothing(terminal: Terminal) -> None:
    plan, inputs = with_kernel(lambda: time.sleep(0.3))
    with terminal.progress():
        child = os.fork()
        if not child:
            try:
                before = len(terminal.getvalue())
                run(plan, inputs)
                os._exit(0 if len(terminal.getvalue()) == before and not _SCREEN._jobs else 3)
            except BaseException:
                os._exit(4)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_rich_is_imported_only_when_something_is_shown() -> None:
    code = (
        "import sys, numpy as np, gradloom as gl\n"
        "with gl.progress():\n"
        "    gl.grad(lambda x: np.sum(x**2))(np.ones(3))\n"
        "assert 'rich' not in sys.modules and 'dask' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_rich(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gradloom.context.installed", lambda name: False)
    with pytest.raises(MissingPackageError, match=r"pip install 'gradloom\[progress\]'"), gl.progress():
        pass


@pytest.mark.parametrize("minimum", [-1.0, float("nan")])
def test_minimum_is_checked(minimum: float) -> None:
    with pytest.raises(ArgumentError, match="minimum"), gl.progress(minimum=minimum):
        pass


def test_what_dask_computes_is_shown(terminal: Terminal) -> None:
    """Chunked data is computed by dask: its tasks are counted, also when one fails."""
    import dask
    import dask.array as da

    reached = threading.Event()

    def slow(block: Any) -> Any:
        if block[0] == 3.0:
            wait_for("tasks", terminal)
            reached.set()
        return block

    x = da.from_array(np.arange(6.0), chunks=1).map_blocks(slow, meta=np.empty(0))
    with terminal.progress():
        value, gradient = gl.value_and_grad(lambda x: np.sum(x**2))(x)
        assert dask.compute(value, gradient)[0] == np.sum(np.arange(6.0) ** 2)
    assert reached.is_set()
    assert "computing, dask" in terminal.getvalue()
    with terminal.progress(), pytest.raises(ZeroDivisionError):
        dask.compute(dask.delayed(lambda: 1 / 0)())
    assert DISPLAY.get() is None
