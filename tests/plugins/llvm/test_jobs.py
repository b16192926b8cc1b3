"""Jobs: done once, by whichever thread comes to it first."""

from __future__ import annotations

import os
import threading
from typing import Any

import pytest

from gradloom.testing.compilers import threads_of_kernels
from gradloom_llvm import jobs
from gradloom_llvm.jobs import Job


def test_work_is_done_once_and_its_result_kept() -> None:
    done: list[int] = []
    job = Job(lambda: done.append(1) or object())
    with threads_of_kernels(2):
        for _ in range(3):
            job.begin()
    first = job.result()
    assert job.result() is first
    assert done == [1]


def test_nothing_begins_elsewhere_where_one_thread_is_allowed() -> None:
    job = Job(threading.get_ident)
    with threads_of_kernels(1):
        job.begin()
        assert job.result() == threading.get_ident()


def test_a_result_is_waited_for() -> None:
    """What another thread does already is not done again."""
    begun, go = threading.Event(), threading.Event()
    threads: list[int] = []

    def work() -> str:
        threads.append(threading.get_ident())
        begun.set()
        assert go.wait(30)
        return "done"

    job = Job(work)
    other = threading.Thread(target=job.result)
    other.start()
    assert begun.wait(30)
    threading.Timer(0.05, go.set).start()
    assert job.result() == "done"
    other.join()
    assert threads == [other.ident]


def test_an_error_is_raised_by_each_who_asks() -> None:
    def work() -> None:
        calls.append(1)
        raise ValueError("no")

    calls: list[int] = []
    job = Job(work)
    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            job.result()
    assert calls == [1]


def test_an_interrupted_job_can_be_done_by_the_next() -> None:
    def work() -> int:
        calls.append(1)
        if len(calls) == 1:
            raise KeyboardInterrupt
        return 7

    calls: list[int] = []
    job = Job(work)
    with pytest.raises(KeyboardInterrupt):
        job.result()
    assert job.result() == 7


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_fork_waits_for_what_runs() -> None:
    """In the child nothing is half done: what ran has its result, what had not begun can be done there."""
    begun, forking = threading.Event(), threading.Event()

    def work() -> str:
        begun.set()
        forking.wait(0.2)
        return "done"

    running: Any = Job(work)
    waiting = Job(lambda: "done there")
    thread = threading.Thread(target=running.result)
    thread.start()
    assert begun.wait(30)
    child = os.fork()
    if not child:
        os._exit(0 if running.result() == "done" and waiting.result() == "done there" else 1)
    thread.join()
    assert os.waitpid(child, 0)[1] == 0
    assert waiting.result() == "done there"


def test_who_waits_does_what_else_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one other thread does the job that is waited for, which goes on when the second one is done."""
    monkeypatch.setattr("gradloom.sharing.cores", lambda: 2)
    begun, second_is_done = threading.Event(), threading.Event()

    def first() -> bool:
        begun.set()
        return second_is_done.wait(20)

    job: Job[bool] = Job(first)
    other: Job[None] = Job(second_is_done.set)
    assert job.begin()
    assert begun.wait(20)
    assert other.begin(needed=True)
    assert job.result()
    assert other.done
    assert not jobs._running.needed  # or what was compiled would live on
