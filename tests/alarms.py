"""Alarms: interrupts wherever the program is, as the handlers of signals raise them."""

from __future__ import annotations

import gc
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

#: Seconds after which an alarm that was not heard rings again.
AGAIN = 0.1


@contextmanager
def alarms() -> Iterator[Callable[[float], None]]:
    """Give a function that sets an alarm: so many seconds later it raises InterruptedError, once.

    It rings until it is heard, as Python 3.12 may overlook a signal until the next: its flag that there is something
    to do is computed and stored in two steps, and a signal that comes between them sets it in vain. An exception that
    somebody swallows does not come again.
    """

    def interrupt(*_: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        raise InterruptedError

    def set_alarm(seconds: float) -> None:
        signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN)

    previous = signal.signal(signal.SIGALRM, interrupt)
    gc.disable()  # hypothesis has a callback for collections, which swallows interrupts
    try:
        yield set_alarm
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        gc.enable()
        signal.signal(signal.SIGALRM, previous)
