"""Small results come with the note that they are there; large ones are fetched."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import dask
import numpy as np
import pytest
from distributed import Client

import gradloom as gl
from gradloom_dask.replies import SMALL

LARGE = SMALL // 8 + 1


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Note how many results are fetched at a time."""
    counts: list[int] = []
    gather = Client.gather

    def noted(self: Client, futures: Any, *args: Any, **options: Any) -> Any:
        counts.append(len(futures))
        return gather(self, futures, *args, **options)

    monkeypatch.setattr(Client, "gather", noted)
    return counts


@pytest.mark.parametrize(("n", "fetches"), [(8, []), (SMALL // 8, []), (LARGE, [1])])
def test_results(workers: Any, fetched: Sequence[int], n: int, fetches: list[int]) -> None:
    x = np.arange(float(n))
    f = gl.jit(np.sin, scheduler=workers)
    for _ in range(3):
        fetched[:] = []  # type: ignore[index]
        result = f(x)
        assert np.array_equal(result, np.sin(x))
        assert list(fetched) == fetches
        result[0] = 7.0  # it is the user's
    assert workers._connection._replies._found == {}


def test_results_of_threads_are_copies() -> None:
    with gl.cluster(n_workers=1, processes=False) as executor:
        executor.always = True  # type: ignore[attr-defined]
        x = np.arange(8.0)
        f = gl.jit(lambda x: (x + 1.0, np.sum(x)), scheduler=executor)
        first, _ = f(x)
        first[:] = 0.0
        assert np.array_equal(f(x)[0], x + 1.0)


def test_errors_are_fetched(workers: Any, fetched: Sequence[int]) -> None:
    f = gl.jit(lambda x: np.linalg.inv(x), scheduler=workers)
    with pytest.raises(np.linalg.LinAlgError, match="Singular"):
        f(np.zeros((3, 3)))
    assert list(fetched) == [1]
    assert np.array_equal(f(np.eye(3)), np.eye(3))


def test_the_configuration_of_dask_is_left_alone(workers: Any) -> None:
    """Other threads compute meanwhile, by whatever is configured."""
    f, x = gl.jit(np.sin, scheduler=workers), np.arange(8.0)
    thread = threading.Thread(target=lambda: [f(x) for _ in range(20)])
    seen = {dask.config.get("scheduler", None)}
    thread.start()
    while thread.is_alive():
        seen.add(dask.config.get("scheduler", None))
    assert seen == {None}
