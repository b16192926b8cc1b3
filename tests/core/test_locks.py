"""Locks: what another thread holds while this one forks is open in the child; interrupts leave none closed."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

import pytest
from alarms import alarms

from gradloom.locks import new_lock

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


def in_a_child(work: Callable[[], object]) -> int:
    """Return the exit code of ``work()`` in a fork; it has ten seconds."""
    child = os.fork()
    if not child:
        worker = threading.Thread(target=work, daemon=True)
        worker.start()
        worker.join(10)
        os._exit(worker.is_alive())
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_lock_that_another_thread_holds() -> None:
    lock, held, done = new_lock(), threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            done.wait(20)

    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(10)
    try:
        assert in_a_child(lock.acquire) == 0
    finally:
        done.set()
        holder.join()


def test_lock_that_the_forking_thread_holds() -> None:
    with (lock := new_lock()):
        child = os.fork()
        if not child:
            lock.release()  # its own still: who does not hold a lock cannot open it
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_interrupts() -> None:
    """Whenever an interrupt arrives, the block is left and the lock is open."""
    lock, free = new_lock(), []
    with alarms() as set_alarm:
        for _ in range(300):
            with pytest.raises(InterruptedError):  # noqa: PT012
                set_alarm(0.0003)
                while True:
                    with lock:
                        pass
    other = threading.Thread(target=lambda: free.append(lock.acquire(timeout=10)))
    other.start()
    other.join()
    assert free == [True]
