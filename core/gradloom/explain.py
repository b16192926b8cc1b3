"""`explain`: into which tasks a function is cut, what they take and where, and what more workers would gain."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gradloom.explanation import Explanation


def explain(
    f: Callable[..., Any],
    *args: Any,
    workers: int | Iterable[int] = (1, 2, 4, 8, 16),
    bandwidth: float | None = None,
    latency: float | None = None,
    filename: str | os.PathLike[str] | None = None,
    keep: bool = False,
) -> Explanation:
    """Run a function and tell how it is cut into tasks, what they take and where they run.

    Parameters
    ----------
    f : callable
        A function of arrays and numbers (in containers), written with NumPy; its gradient, say.
    *args
        What to call it with.
    workers : int or iterable of int, default (1, 2, 4, 8, 16)
        For how many workers to simulate the run; for an int, its powers of two and itself.
    bandwidth : float, optional
        Bytes a second between simulated workers.
    latency : float, optional
        Seconds until a message between simulated workers arrives. Where neither is given, workers are those of the
        scheduler: cores of this machine, or what its cluster is measured to be.
    filename : path, optional
        Where to save a picture of which task ran where, a name that ends in ``.svg``.
    keep : bool, default False
        Whether to keep in the calibration file how much longer each op took than predicted: estimates are
        corrected by it from then on.

    Returns
    -------
    Explanation
        Tasks, critical path, predicted and measured times; it prints as tables.

    Raises
    ------
    ArgumentError
        If an argument is out of range, or there is no file to keep corrections in.

    Notes
    -----
    What was compiled quickly is compiled well before anything is measured, except on workers of a cluster.
    The whole is run on one core, step by step, and twice at once on one core each: where the scheduler runs tasks, on
    a cluster by its workers. It is run by ``serial`` here, and by the scheduler that `gradloom.scheduler` or
    `gradloom.cluster` chose. The best of a few runs counts. What ran where is noted in a further run; on a cluster,
    with the times that its workers measured. `gradloom.simulate.simulate` says what a simulated run counts. Workers
    of the scheduler slow each other down as much as the two runs at once did; as many as it has are simulated with
    the very tasks that it runs.

    Examples
    --------
    >>> import numpy as np
    >>> import gradloom as gl
    >>> found = gl.explain(gl.grad(lambda x: np.sum(np.sin(x) ** 2)), np.ones(10))
    >>> len(found.tasks), found.in_branches
    (1, False)
    """
    # What measures, simulates and draws is imported when somebody asks.
    from gradloom.explaining import explained

    return explained(f, args, workers, bandwidth, latency, filename, keep)
