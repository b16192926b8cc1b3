"""The examples run, and find what independent computations find."""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import gradloom as gl

EXAMPLES = Path(__file__).parents[2] / "examples"
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ModuleType]]:
    """Import examples as their own scripts do, and forget them afterwards."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    before = set(sys.modules)
    yield import_module
    for name in set(sys.modules) - before:
        if str(EXAMPLES) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def check_picture(path: Path) -> None:
    """Fail unless a file holds a PNG with something on it."""
    assert path.read_bytes()[:8] == PNG
    assert path.stat().st_size > 10_000


# -- linear regression -------------------------------------------------------------------


def sample_by_sample(data: ModuleType, weight: float, bias: float) -> list[float]:
    """Repeat the training of the graph example with a gradient written by hand."""
    n = data.TRAIN_X.size
    for _ in range(100):
        for x, y in zip(data.TRAIN_X, data.TRAIN_Y, strict=True):
            residual = weight * x + bias - y
            weight, bias = weight - 0.01 * residual * x / n, bias - 0.01 * residual / n
    return [weight, bias]


def all_at_once(data: ModuleType, weight: float, bias: float) -> list[float]:
    """Repeat the training of the function example with a gradient written by hand."""
    for _ in range(100):
        residuals = weight * data.TRAIN_X + bias - data.TRAIN_Y
        weight, bias = weight - 0.01 * np.mean(residuals * data.TRAIN_X), bias - 0.01 * np.mean(residuals)
    return [weight, bias]


@pytest.mark.parametrize(
    ("name", "by_hand"),
    [("linear_regression_graph", sample_by_sample), ("linear_regression_function", all_at_once)],
)
def test_linear_regression(
    example: Callable[[str], ModuleType],
    name: str,
    by_hand: Callable[..., list[float]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The fit is that of a gradient written by hand, and its errors are those of the line."""
    module, data = example(name), example("_linear_data")
    fit = module.main(["--output", str(tmp_path)])
    weight, bias = by_hand(data, *np.random.default_rng(0).normal(size=2))
    np.testing.assert_allclose([fit.weight, fit.bias], [weight, bias], rtol=1e-11)
    errors = [
        np.sum((weight * x + bias - y) ** 2) / (2 * x.size)
        for x, y in ((data.TRAIN_X, data.TRAIN_Y), (data.TEST_X, data.TEST_Y))
    ]
    np.testing.assert_allclose([fit.train_error, fit.test_error], errors, rtol=1e-11)
    assert np.all(np.diff(fit.losses) < 0)
    assert data.least_squares(data.TRAIN_X, data.TRAIN_Y)[2] < fit.train_error < 0.12
    printed = capsys.readouterr().out
    assert f"Weight={weight:.6f} Bias={bias:.6f}" in printed
    assert f"Train error={errors[0]:.6f}" in printed
    check_picture(tmp_path / f"{name}.png")


def test_least_squares_is_closed_form(example: Callable[[str], ModuleType]) -> None:
    """The line to compare with is the one that a solver finds."""
    data = example("_linear_data")
    design = np.stack([data.TRAIN_X, np.ones_like(data.TRAIN_X)], axis=1)
    solution, residual, _, _ = np.linalg.lstsq(design, data.TRAIN_Y)
    weight, bias, error = data.least_squares(data.TRAIN_X, data.TRAIN_Y)
    np.testing.assert_allclose([weight, bias], solution, rtol=1e-12)
    np.testing.assert_allclose(error, residual[0] / (2 * data.TRAIN_X.size), rtol=1e-12)


def test_gradient_descent_reaches_the_least_squares_line(example: Callable[[str], ModuleType]) -> None:
    """With enough steps of a suitable size, the gradient leads to the closed-form solution."""
    module, data = example("linear_regression_function"), example("_linear_data")
    gradient = gl.jit(gl.grad(module.loss))
    params = (np.float64(0.0), np.float64(0.0))
    for _ in range(6_000):
        d_weight, d_bias = gradient(params)
        params = (params[0] - 0.04 * d_weight, params[1] - 0.04 * d_bias)
    np.testing.assert_allclose(params, data.least_squares(data.TRAIN_X, data.TRAIN_Y)[:2], rtol=1e-8)


# -- gradients and tape --------------------------------------------------------------------


def test_gradients_and_tape(
    example: Callable[[str], ModuleType], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """a*b + c at 3, 2, 1 has the gradients 2, 3, 1, by each way."""
    found = example("gradients_and_tape").main(["--output", str(tmp_path)])
    assert found == ((2.0, 3.0, 1.0),) * 3
    assert capsys.readouterr().out.count("(2.0, 3.0, 1.0)") == 3
    ET.parse(tmp_path / "gradients_of_a_times_b_plus_c.svg")


def test_example_runs_as_a_script(tmp_path: Path) -> None:
    """As a reader starts it, with pictures in the folder ``pictures``."""
    script = str(EXAMPLES / "gradients_and_tape.py")
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "graph: (2.0, 3.0, 1.0)" in done.stdout
    assert [path.name for path in (tmp_path / "pictures").iterdir()] == ["gradients_of_a_times_b_plus_c.svg"]


# -- the network -----------------------------------------------------------------------------


def value_and_gradient_by_hand(params: Any, X: Any, y: Any) -> tuple[float, dict[str, Any]]:
    """Return loss and gradient of the network, derived with pencil and paper."""
    before = X @ params["W1"] + params["b1"]
    hidden = np.where(before > 0, before, 0.0)
    p = 1 / (1 + np.exp(-(hidden @ params["w2"] + params["b2"])))
    value = -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))
    d_out = (p - y) / len(y)
    d_hidden = np.outer(d_out, params["w2"]) * (before > 0)
    gradient = {"W1": X.T @ d_hidden, "b1": d_hidden.sum(axis=0), "w2": hidden.T @ d_out, "b2": d_out.sum()}
    return float(value), gradient


def test_network_gradient_is_the_one_derived_by_hand(example: Callable[[str], ModuleType]) -> None:
    """Value and gradient of the loss, at the start and elsewhere."""
    network = example("breast_cancer_network")
    data = network.load()
    for seed in (0, 1):
        params = network.initial_parameters(30, seed)
        value, gradient = gl.value_and_grad(network.loss)(params, data.train_rows, data.train_labels)
        expected, by_hand = value_and_gradient_by_hand(params, data.train_rows, data.train_labels)
        np.testing.assert_allclose(value, expected, rtol=1e-12)
        assert gradient.keys() == by_hand.keys()
        for name, g in gradient.items():
            np.testing.assert_allclose(g, by_hand[name], rtol=1e-10, atol=1e-15, err_msg=name)


def test_network_data_are_split_and_scaled(example: Callable[[str], ModuleType]) -> None:
    """No row is in both parts, and only the training rows set the scale."""
    data = example("breast_cancer_network").load()
    assert data.train_rows.shape == (399, 30)
    assert data.held_out_rows.shape == (170, 30)
    np.testing.assert_allclose(data.train_rows.mean(axis=0), 0.0, atol=1e-13)
    np.testing.assert_allclose(data.train_rows.std(axis=0), 1.0, rtol=1e-12)
    rows = {row.tobytes() for row in data.train_rows}
    assert not any(row.tobytes() in rows for row in data.held_out_rows)


def test_network_trains_and_reports(
    example: Callable[[str], ModuleType], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The main job: losses as by hand, accuracy on held-out rows, gradient check, branches, pictures."""
    network = example("breast_cancer_network")
    found = network.main(["--output", str(tmp_path)])

    data = network.load()
    params = network.initial_parameters(30)
    velocity = {name: np.zeros_like(p) for name, p in params.items()}
    losses = []
    for _ in range(network.STEPS):
        value, gradient = value_and_gradient_by_hand(params, data.train_rows, data.train_labels)
        losses.append(value)
        velocity = {name: 0.9 * v - 0.1 * gradient[name] for name, v in velocity.items()}
        params = {name: p + velocity[name] for name, p in params.items()}
    np.testing.assert_allclose(found.training.train_losses, losses, rtol=1e-8)
    for name, p in params.items():
        np.testing.assert_allclose(found.training.params[name], p, rtol=1e-6, atol=1e-9, err_msg=name)

    p = 1 / (1 + np.exp(-network.logits(params, data.held_out_rows)))
    right = np.mean((p > 0.5) == (data.held_out_labels == 1))
    assert found.accuracy == right > 0.95
    assert found.gradient_error < 1e-7

    printed = capsys.readouterr().out
    assert f"Accuracy: {right:.3f} on held-out rows" in printed
    assert "Gradient check: largest relative difference" in printed
    assert f"critical path: {len(found.branches)} operations" in printed
    assert f"at most {max(found.branches)} independent branches" in printed
    assert "executor: auto (branches side by side where" in printed
    for name in ("breast_cancer_loss.png", "breast_cancer_held_out.png"):
        check_picture(tmp_path / name)
    ET.parse(tmp_path / "breast_cancer_gradient.svg")


def test_branches_of_known_graphs(example: Callable[[str], ModuleType]) -> None:
    """A chain has width one; a sum of independent terms has a branch per term."""
    branches = example("breast_cancer_network").branches
    assert branches(gl.make_graph(lambda x: np.sin(np.cos(np.sin(x))))(1.0)) == [1, 1, 1]
    assert branches(gl.make_graph(lambda x, y: np.sin(x) + np.cos(y))(1.0, 1.0)) == [2, 1]
    assert branches(gl.make_graph(lambda x: x)(1.0)) == []


def test_progress_does_without_rich(example: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch) -> None:
    """The progress bar is an extra."""
    monkeypatch.setitem(sys.modules, "rich.progress", None)
    assert list(example("breast_cancer_network").progress(range(3))) == [0, 1, 2]


def test_wilson_interval(example: Callable[[str], ModuleType]) -> None:
    """The ends solve ``(share - p)^2 = z^2 p (1 - p) / n``, the equation the interval comes from."""
    for share, n in ((0.3, 10), (0.0, 10), (1.0, 4)):
        ends = np.array(example("breast_cancer_network").wilson_interval(share, n))
        np.testing.assert_allclose((share - ends) ** 2, 1.96**2 * ends * (1 - ends) / n, atol=1e-12)
