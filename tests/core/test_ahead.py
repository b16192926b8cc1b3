"""Work ahead: one thread, a little at a time, as long as there is work and a process."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import pytest

from gradloom import ahead


def test_one_thread_works_in_turn_and_ends() -> None:
    """What fails is dropped; what comes meanwhile is done; then there is no thread."""
    done: list[int] = []
    threads = set()

    def work(k: int) -> None:
        threads.add(threading.get_ident())
        done.append(k)
        if k == 0:
            ahead.add(lambda: work(3))
        if k == 1:
            raise ValueError

    for k in range(3):
        ahead.add(lambda k=k: work(k))
    ahead.wait()
    assert sorted(done) == [0, 1, 2, 3]
    assert threading.get_ident() not in threads
    assert "gradloom-ahead" not in [thread.name for thread in threading.enumerate()]
    ahead.add(lambda: work(4))
    ahead.wait()
    assert done[-1] == 4


def test_lets_go_after_each_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a piece it looks whether others want to run, and pauses if they do; nobody else has a pacemaker."""
    assert ahead.pacemaker() is None
    clock, others = [0.0], [0.0]
    sleeps: list[float] = []

    def sleep(seconds: float) -> None:
        sleeps.append(seconds)
        clock[0] += seconds + others[0]

    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(time, "sleep", sleep)
    found: list[list[float]] = []

    def work() -> None:
        pause = ahead.pacemaker()
        assert pause is not None
        for piece, busy in ((0.0, 0.0), (0.6 * ahead.PIECE, 0.0), (0.6 * ahead.PIECE, 0.0), (ahead.PIECE, 0.005)):
            clock[0] += piece
            others[0] = busy
            sleeps.clear()
            pause()
            found.append(list(sleeps))

    ahead.add(work)
    ahead.wait()
    assert found == [[], [], [ahead.LOOK], [ahead.LOOK, ahead.PAUSE]]


ENDLESS = """
from gradloom import ahead
def work():
    pause = ahead.pacemaker()
    while True:
        pause()
ahead.add(work)
"""


def test_the_end_of_a_process_drops_it() -> None:
    """Nobody waits for what nobody needs."""
    subprocess.run([sys.executable, "-c", ENDLESS], check=True, timeout=60)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks")
def test_a_child_of_a_fork_has_none_of_it() -> None:
    """Its parent's thread is not there; it may have its own."""
    code = """
import os
pid = os.fork()
if pid:
    os._exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
ahead.wait()
done = []
ahead.add(lambda: done.append(1))
ahead.wait()
os._exit(0 if done else 1)
"""
    subprocess.run([sys.executable, "-c", ENDLESS + code], check=True, timeout=60)
