"""The benchmark workloads compute what they say: value and gradient as NumPy and differences find them."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

FOLDER = Path(__file__).parents[2] / "asv_bench"
sys.path.insert(0, str(FOLDER))
try:
    compare = importlib.import_module("benchmarks.compare")
    fresh = importlib.import_module("benchmarks.fresh")
    interleaved = importlib.import_module("benchmarks.interleaved")
    libraries = importlib.import_module("benchmarks.libraries")
    workloads = importlib.import_module("benchmarks.workloads")
finally:
    sys.path.remove(str(FOLDER))

WORKLOADS: dict[str, Any] = workloads.WORKLOADS
GRADLOOM = libraries.LIBRARIES["gradloom"]
#: Few samples, so that the tests are quick.
SAMPLES = 7
#: Steps of the differences; ten iterated sines have slopes up to 3**10.
STEP, STEPS = 1e-3, {"sine_chain_traced": 1e-6}


def small(name: str) -> Any:
    workload = WORKLOADS[name]
    return workload if workload.size is None else workload.at(SAMPLES)


def in_float64(arrays: Any) -> list[Any]:
    return [a.astype(np.float64) if a.dtype.kind == "f" else a for a in map(np.asarray, arrays)]


def slope(f: Callable[[float], float], h: float) -> float:
    """Return f'(0) by an eighth-order stencil."""
    weights = {1: 4 / 5, 2: -1 / 5, 3: 4 / 105, 4: -1 / 280}
    return sum(w * (f(k * h) - f(-k * h)) for k, w in weights.items()) / h


@pytest.mark.parametrize("name", WORKLOADS)
def test_value_and_gradient(name: str) -> None:
    """The value is what NumPy computes; the gradient is the slope in random directions."""
    workload = small(name)
    params, data = workload.arrays()
    value, *gradients = libraries.as_numpy(workload.call("gradloom")())
    loss = workload.loss(GRADLOOM)
    exact, data = in_float64(params), in_float64(data)
    rtol = 1e-12 if workload.rtol < 1e-6 else 1e-5
    np.testing.assert_allclose(value, loss(*exact, *data), rtol=rtol)
    rng = np.random.default_rng(1)
    for k, (gradient, param) in enumerate(zip(gradients, params, strict=True)):
        assert gradient.shape == param.shape
        assert gradient.dtype == param.dtype
        direction = rng.normal(size=param.shape)

        def along(t: float, k: int = k, u: Any = direction) -> float:
            return loss(*exact[:k], exact[k] + t * u, *exact[k + 1 :], *data)

        expected = slope(along, STEPS.get(name, STEP))
        scale = np.sqrt(np.sum(np.float64(gradient) ** 2)) + abs(expected)
        assert abs(np.sum(gradient * direction) - expected) <= max(100 * rtol, 1e-8) * scale


def test_linear_regression_by_hand() -> None:
    workload = WORKLOADS["linear_regression"]
    (w, b), (X, Y) = workload.arrays()
    error = w * X + b - Y
    found = libraries.as_numpy(workload.call("gradloom")())
    np.testing.assert_allclose(found, [error @ error / 34, error @ X / 17, error.sum() / 17], rtol=1e-13)


def test_logistic_regression_by_hand() -> None:
    workload = small("logistic_regression")
    (w, b), (X, y) = workload.arrays()
    z = X @ w + b
    residual = (1 / (1 + np.exp(-z)) - y) / len(y)
    value, gw, gb = libraries.as_numpy(workload.call("gradloom")())
    np.testing.assert_allclose(value, np.mean(np.log1p(np.exp(z)) - y * z), rtol=1e-13)
    np.testing.assert_allclose(gw, residual @ X, rtol=1e-12)
    np.testing.assert_allclose(gb, residual.sum(), rtol=1e-12)


def test_gaussian_mixture_by_the_sum_of_its_densities() -> None:
    """Of each component: weight times the normal density, whose precision is Q^T Q."""
    workload = small("gaussian_mixture_d10")
    (alphas, means, icf), (x, index) = workload.arrays()
    d = x.shape[1]
    densities = np.zeros(len(x))
    prior = 0.0
    for alpha, mean, row in zip(alphas, means, icf, strict=True):
        factor = np.append(np.append(np.exp(row[:d]), row[d:]), 0.0)[index]
        assert np.array_equal(factor, np.tril(factor))
        normal = np.exp(-0.5 * np.sum(((x - mean) @ factor.T) ** 2, 1)) * np.linalg.det(factor) / (2 * np.pi) ** (d / 2)
        densities += np.exp(alpha) / np.exp(alphas).sum() * normal
        prior -= 0.5 * np.sum(factor**2)
    value = libraries.as_numpy(workload.call("gradloom")())[0]
    module = sys.modules["benchmarks.workloads.gaussian_mixture"]
    sizes_only = module.constant(len(x), d, len(alphas)) - module.constant(len(x), d, 0)
    np.testing.assert_allclose(value, np.log(densities).sum() + prior + sizes_only, rtol=1e-12)


@pytest.mark.parametrize("wrong", ["value", "gradient", "dtype"])
def test_disagreement_raises(wrong: str) -> None:
    """Times of libraries that compute different things are not compared."""
    workload = WORKLOADS["linear_regression"]
    right = libraries.as_numpy(workload.call("gradloom")())
    other = [a.copy() for a in right]
    if wrong == "dtype":
        other[0] = other[0].astype(np.float32)
    else:
        other[wrong == "gradient"] *= 1 + 1e-7
    workload.check({"gradloom": right, "peer": right})
    with pytest.raises(workloads.DisagreementError, match=r"linear_regression: .* peer"):
        workload.check({"gradloom": right, "peer": other})


def test_samples_take_turns() -> None:
    calls: list[str] = []
    times = interleaved.samples({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, seconds=0.02)
    assert set(times) == {"a", "b"}
    assert all(len(t) >= interleaved.LEAST_ROUNDS and min(t) > 0 for t in times.values())
    turns = sum(one != two for one, two in pairwise(calls))
    assert turns >= interleaved.LEAST_ROUNDS


def test_ratio_to_the_best_peer() -> None:
    row = compare.row(WORKLOADS["mlp"], {"gradloom": [2.0, 9.0, 3.0], "jax": [6.0], "torch": [4.0, 5.0, 1.0]}, 1.0)
    assert row.ratio() == 3.0 / 4.0
    assert row.ratio("jax") == 6.0 / 4.0
    assert row.least_ratio() == 2.0 / 1.0
    assert compare.row(WORKLOADS["mlp"], {"gradloom": [2.0]}, None).ratio() is None


def test_measured_in_a_fresh_process() -> None:
    assert 0.0 < fresh.in_fresh_process("first_call", "linear_regression", "gradloom") < 60.0
    assert fresh.in_fresh_process("memory", "logsumexp", "gradloom") >= 8e6


def test_a_failing_process_says_why() -> None:
    with pytest.raises(RuntimeError, match=r"KeyError: 'nothing'"):
        fresh.in_fresh_process("memory", "nothing", "gradloom")


def test_ticks_of_the_plot() -> None:
    """Ratios of many powers of ten leave room for the powers alone; near 1 there is room for more."""
    labels = {ratio: compare.tick(ratio) for k in range(-4, 2) for ratio in (10.0**k, 2 * 10.0**k, 5 * 10.0**k)}
    assert [label for label in labels.values() if label] == "0.0001 0.001 0.01 0.1 0.2 0.5 1 2 5 10 20 50".split()
