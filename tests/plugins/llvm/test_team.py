"""The team: every piece is done once, by whoever comes; nobody waits for helpers that do not."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from typing import Any

import numpy as np
import pytest

from gradloom.sharing import keep_off_this_core
from gradloom_llvm.engine import Host, assembly, load
from gradloom_llvm.entry import builtin, opening, prelude
from gradloom_llvm.team import BUSY, Team, source, team

#: ``job(mailbox, counts, workers)``: each piece counts in its own word and, for a while, does nothing else.
JOB = (
    prelude()
    + """
@gradloom.misfit = private constant [7 x i8] c"misfit\\00"
"""
    + opening("job", 3)
    + """
  %mailbox = call ptr @array_data(ptr %arg0)
  %counts = call ptr @array_data(ptr %arg1)
  %pieces = call i64 @array_size(ptr %arg1, i64 0)
  %words = call ptr @array_data(ptr %arg2)
  %workers = load i64, ptr %words
  %run = load ptr, ptr %mailbox
  %state = call ptr @release_gil(i1 true)
  call void %run(ptr %mailbox, ptr @piece, ptr %arg1, i64 %pieces, i64 %workers)
  call void @take_gil(ptr %state)
  %none = call ptr @none()
  ret ptr %none
}
define internal void @piece(ptr %object, i64 %number, i64 %worker) nounwind {
  %counts = call ptr @array_data(ptr %object)
  %place = getelementptr i64, ptr %counts, i64 %number
  %one = shl i64 %worker, 32
  %more = add i64 %one, 1
  %before = atomicrmw add ptr %place, i64 %more monotonic
  br label %loop
loop:
  %i = phi i64 [ 0, %0 ], [ %i.next, %loop ]
  %i.next = add i64 %i, 1
  %spun = load volatile i64, ptr %place
  %over = icmp eq i64 %i.next, 20000
  br i1 %over, label %end, label %loop
end:
  ret void
}
"""
)


def job() -> Any:
    return builtin(load(JOB), "job")


def run(own: Team, pieces: int, workers: int) -> Any:
    """Return how often each piece was done, and by which worker."""
    counts = np.zeros(pieces, np.int64)
    job()(own.mailbox(workers), counts, np.array([workers], np.int64))
    return counts & 0xFFFFFFFF, counts >> 32


@pytest.fixture
def own() -> Any:
    made = Team()
    yield made
    made.stop()


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_each_piece_is_done_once(own: Team, workers: int) -> None:
    for pieces in (0, 1, 2, 7, 64):
        for _ in range(20):
            done, by = run(own, pieces, workers)
            np.testing.assert_array_equal(done, 1)
            assert np.all(by < workers)


def test_helpers_take_pieces_and_sleep_between_jobs(own: Team) -> None:
    """They come again after a pause in which they went to sleep; on a busy machine, some jobs later."""
    watchdog = time.monotonic() + 60.0
    for _ in range(3):
        came: set[int] = set()
        while not {1, 2} <= came:
            came |= set(run(own, 640, 3)[1].tolist())
            assert time.monotonic() < watchdog
        while not all(helper.asleep for helper in own._helpers):
            time.sleep(0.001)
            assert time.monotonic() < watchdog


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="cores are chosen on Linux alone")
def test_helpers_wake_on_another_core(own: Team) -> None:
    cores = os.sched_getaffinity(0)
    for core in sorted(cores)[:2]:
        os.sched_setaffinity(0, {core})
        try:
            own.mailbox(2)
            keep_off_this_core(own._helpers[0].native_id)
            kept_to = os.sched_getaffinity(own._helpers[0].native_id or 0)
        finally:
            os.sched_setaffinity(0, cores)
        assert kept_to  # with one core allowed, there is no other to go to
        keep_off_this_core(own._helpers[0].native_id)
        assert len(cores) == 1 or len(os.sched_getaffinity(own._helpers[0].native_id or 0)) == len(cores) - 1


def test_helpers_beyond_what_a_job_allows_stay_away(own: Team) -> None:
    run(own, 64, 4)
    for _ in range(50):
        assert np.all(run(own, 64, 2)[1] <= 1)


def test_jobs_of_many_threads(own: Team) -> None:
    """One has the team; the others do their pieces themselves."""
    wrong = []

    def work() -> None:
        for _ in range(100):
            done, _ = run(own, 16, 3)
            if np.any(done != 1):
                wrong.append(done)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert own.mailbox(1)[BUSY] == 0


def test_a_team_that_is_taken_is_not_waited_for(own: Team) -> None:
    own.mailbox(3)[BUSY] = 1
    done, by = run(own, 16, 3)
    np.testing.assert_array_equal(done, 1)
    np.testing.assert_array_equal(by, 0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_child_of_a_fork_has_its_own() -> None:
    mailbox = team.mailbox(2)
    mailbox[BUSY] = 1  # as if another thread were at work
    try:
        child = os.fork()
        if child == 0:  # pragma: no cover
            done, _ = run(team, 16, 2)
            os._exit(0 if np.all(done == 1) and team.mailbox(1) is not mailbox else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        mailbox[BUSY] = 0


def test_the_process_ends_while_helpers_look_for_work() -> None:
    code = "from gradloom_llvm.team import team; team.mailbox(4); print('ends')"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert found.stdout == "ends\n"
    assert found.stderr == ""


@pytest.mark.parametrize(("target", "hint"), [("aarch64-linux-gnu", "yield"), ("x86_64-linux-gnu", "pause")])
def test_other_machines(target: str, hint: str) -> None:
    assert hint in assembly(source(target), Host(target, "generic" if target[0] == "a" else "haswell"))
