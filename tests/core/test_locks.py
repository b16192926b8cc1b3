"""Locks: what another thread holds while this one forks is open in the child."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from gradloom.locks import Lock


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
    lock, held, done = Lock(), threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            done.wait(20)

    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(10)
    try:
        assert in_a_child(lock.__enter__) == 0
    finally:
        done.set()
        holder.join()


def test_lock_that_the_forking_thread_holds() -> None:
    with (lock := Lock()):
        child = os.fork()
        if not child:
            lock.__exit__()  # its own still: who does not hold a lock cannot open it
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
