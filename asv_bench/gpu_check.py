"""Gradients on a GPU: gradloom on CuPy arrays against torch and jax, one short table.

Each library computes the same value and gradient; runs are interleaved, after warming up, and
each waits for the device. Medians of wall-clock time. Libraries that are not installed are left out.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np

import gradloom as gl
from gradloom.backend import backends

Run = Callable[[], float]
ROUNDS = 30
LAYERS = (512, 1024, 1024, 1)


def chain_data(size: int) -> Any:
    return np.linspace(-1.0, 1.0, size, dtype=np.float32)


def mlp_data(batch: int) -> tuple[list[Any], Any]:
    rng = np.random.default_rng(0)
    sizes = pairwise(LAYERS)
    weights = [(rng.normal(size=(m, n)) / np.sqrt(m)).astype(np.float32) for m, n in sizes]
    return weights, rng.normal(size=(batch, LAYERS[0])).astype(np.float32)


def chain(sin: Any, total: Any) -> Any:
    """Return ten times sin(x) * 2 + x, then the sum."""

    def loss(x: Any) -> Any:
        for _ in range(10):
            x = sin(x) * 2.0 + x
        return total(x)

    return loss


def mlp(tanh: Any, mean: Any) -> Any:
    """Return the mean square of a network with two hidden layers."""

    def loss(weights: Any, x: Any) -> Any:
        for w in weights[:-1]:
            x = tanh(x @ w)
        return mean((x @ weights[-1]) ** 2)

    return loss


def with_gradloom(jit: bool) -> dict[str, Callable[[Any], Run]]:
    cupy_backend = backends.get("cupy")
    reason = cupy_backend.unavailable()
    if reason is not None:
        raise ImportError(reason)
    import cupy

    def timed(function: Any, *args: Any) -> Run:
        step = gl.jit(gl.value_and_grad(function)) if jit else gl.value_and_grad(function)

        def run() -> float:
            value, _ = step(*args)
            cupy.cuda.get_current_stream().synchronize()
            return float(value)

        return run

    def run_chain(x: Any) -> Run:
        return timed(chain(np.sin, np.sum), cupy.asarray(x))

    def run_mlp(data: Any) -> Run:
        weights, x = data
        return timed(mlp(np.tanh, np.mean), [cupy.asarray(w) for w in weights], cupy.asarray(x))

    return {"chain": run_chain, "mlp": run_mlp}


def with_torch() -> dict[str, Callable[[Any], Run]]:
    import torch

    if not torch.cuda.is_available():
        raise ImportError("torch sees no device")

    def timed(function: Any, leaves: list[Any]) -> Run:
        def run() -> float:
            value = function()
            torch.autograd.grad(value, leaves)
            torch.cuda.synchronize()
            return float(value.detach())

        return run

    def leaf(array: Any) -> Any:
        return torch.tensor(array, device="cuda", requires_grad=True)

    def run_chain(data: Any) -> Run:
        x = leaf(data)
        return timed(lambda: chain(torch.sin, torch.sum)(x), [x])

    def run_mlp(data: Any) -> Run:
        weights = [leaf(w) for w in data[0]]
        x = torch.tensor(data[1], device="cuda")
        return timed(lambda: mlp(torch.tanh, torch.mean)(weights, x), weights)

    return {"chain": run_chain, "mlp": run_mlp}


def with_jax() -> dict[str, Callable[[Any], Run]]:
    import jax
    import jax.numpy as jnp

    if jax.default_backend() != "gpu":
        raise ImportError("jax sees no device")

    def timed(function: Any, *args: Any) -> Run:
        step = jax.jit(jax.value_and_grad(function))

        def run() -> float:
            value, _ = jax.block_until_ready(step(*args))
            return float(value)

        return run

    def run_chain(x: Any) -> Run:
        return timed(chain(jnp.sin, jnp.sum), jnp.asarray(x))

    def run_mlp(data: Any) -> Run:
        return timed(mlp(jnp.tanh, jnp.mean), [jnp.asarray(w) for w in data[0]], jnp.asarray(data[1]))

    return {"chain": run_chain, "mlp": run_mlp}


LIBRARIES: dict[str, Callable[[], dict[str, Callable[[Any], Run]]]] = {
    "gradloom": lambda: with_gradloom(jit=False),
    "gradloom.jit": lambda: with_gradloom(jit=True),
    "torch eager": with_torch,
    "jax.jit": with_jax,
}
CASES: dict[str, tuple[str, Callable[[], Any]]] = {
    "chain of 30 ops, 1e3 float32": ("chain", lambda: chain_data(1_000)),
    "chain of 30 ops, 1e7 float32": ("chain", lambda: chain_data(10_000_000)),
    "MLP 512-1024-1024-1, batch 32": ("mlp", lambda: mlp_data(32)),
    "MLP 512-1024-1024-1, batch 8192": ("mlp", lambda: mlp_data(8_192)),
}


def available() -> Iterator[tuple[str, dict[str, Callable[[Any], Run]]]]:
    """Yield the libraries that can run here; say why others cannot."""
    for name, library in LIBRARIES.items():
        try:
            yield name, library()
        except ImportError as error:
            print(f"{name}: left out ({error})")


def medians(runs: dict[str, Run]) -> dict[str, float]:
    """Return the median seconds of each run, interleaved; the values must agree."""
    values = {name: [run() for _ in range(3)][-1] for name, run in runs.items()}
    first = next(iter(values.values()))
    for name, value in values.items():
        if not np.isclose(value, first, rtol=2e-2, atol=1e-2 * max(abs(first), 1.0)):
            print(f"  {name} computes {value}, expected {first}")
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(ROUNDS):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in seconds.items()}


def main() -> int:
    """Print the table; return 1 if no library can run here."""
    libraries = dict(available())
    if not libraries:
        return 1
    print(f"{'value and gradient, median ms':34}" + "".join(f"{name:>14}" for name in libraries))
    for case, (kind, data) in CASES.items():
        arrays = data()
        times = medians({name: library[kind](arrays) for name, library in libraries.items()})
        print(f"{case:34}" + "".join(f"{1e3 * times[name]:14.3f}" for name in libraries), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
