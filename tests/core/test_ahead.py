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


def test_what_is_needed_no_more_is_dropped() -> None:
    """What somebody else has done meanwhile ends at the next pause; what comes behind is done."""
    needed, done = [True], []

    def work() -> None:
        pause = ahead.pacemaker()
        assert pause is not None
        pause()
        done.append("began")
        needed.clear()
        pause()
        done.append("went on")

    ahead.add(work, lambda: bool(needed))
    ahead.add(lambda: done.append("next"))
    ahead.wait()
    assert done == ["began", "next"]


def test_pauses_after_each_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    """A piece is followed by a pause, and nobody else has a pacemaker."""
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    assert ahead.pacemaker() is None

    def work() -> None:
        pause = ahead.pacemaker()
        assert pause is not None
        monkeypatch.setattr(ahead, "PIECE", 1e9)
        pause()
        assert not pauses
        monkeypatch.setattr(ahead, "PIECE", 0.0)
        pause()
        assert pauses == [ahead.PAUSE]

    failed: list[BaseException] = []

    def checked() -> None:
        try:
            work()
        except AssertionError as error:
            failed.append(error)

    ahead.add(checked)
    ahead.wait()
    assert not failed
    assert pauses


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
