"""A network with one hidden layer, trained on the breast cancer data of scikit-learn.

30 measurements of a cell sample go through 16 rectified units and one sigmoid unit to the
probability that it is benign. The loss is the binary cross-entropy; its gradient comes from
`gl.value_and_grad`, compiled once with `gl.jit`.

    python examples/breast_cancer_network.py --output pictures
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from _pictures import BLUE, GREY, ORANGE, figure, output_folder
from sklearn.datasets import load_breast_cancer  # type: ignore[import-untyped]

import gradloom as gl
from gradloom.context import current_executor
from gradloom.graph import INPUT, LITERAL, Graph, live_nodes
from gradloom.pytree import flatten, tree_map, unflatten

Array = np.ndarray[Any, Any]

HIDDEN = 16
STEPS = 100
LEARNING_RATE = 0.1
MOMENTUM = 0.9


# -- data ----------------------------------------------------------------------------------


class Data(NamedTuple):
    """Standardised measurements and labels (1 for benign), split in two."""

    train_rows: Array
    train_labels: Array
    held_out_rows: Array
    held_out_labels: Array


def load(seed: int = 0) -> Data:
    """Load the data, hold three tenths of the rows out, and scale all by the rest."""
    X, y = load_breast_cancer(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(y))
    held_out, train = np.split(order, [len(y) * 3 // 10])
    mean, deviation = X[train].mean(axis=0), X[train].std(axis=0)
    X = (X - mean) / deviation
    return Data(X[train], y[train].astype(float), X[held_out], y[held_out].astype(float))


# -- the model: plain NumPy ------------------------------------------------------------------


def initial_parameters(inputs: int, seed: int = 0) -> dict[str, Array]:
    """Return random weights, scaled by the number of inputs of each unit, and zero biases."""
    rng = np.random.default_rng(seed)
    return {
        "W1": rng.normal(size=(inputs, HIDDEN)) * np.sqrt(2 / inputs),
        "b1": np.zeros(HIDDEN),
        "w2": rng.normal(size=HIDDEN) * np.sqrt(1 / HIDDEN),
        "b2": np.zeros(()),
    }


def logits(params: Any, X: Any) -> Any:
    """Return the log-odds of the output unit, one per row."""
    hidden = np.maximum(X @ params["W1"] + params["b1"], 0.0)
    return hidden @ params["w2"] + params["b2"]


def probabilities(params: Any, X: Any) -> Any:
    """Return the output of the sigmoid unit, one per row."""
    return 1.0 / (1.0 + np.exp(-logits(params, X)))


def loss(params: Any, X: Any, y: Any) -> Any:
    """Return the mean binary cross-entropy.

    ``-y log(p) - (1 - y) log(1 - p)`` with ``p = sigmoid(z)`` is ``log(1 + exp(z)) - y z``,
    which does not overflow.
    """
    z = logits(params, X)
    return np.mean(np.logaddexp(0.0, z) - y * z)


# -- training --------------------------------------------------------------------------------


class Training(NamedTuple):
    """Trained parameters, the losses after each step, and the seconds of a step."""

    params: dict[str, Array]
    train_losses: list[float]
    held_out_losses: list[float]
    step_seconds: float


def train(data: Data, steps: int = STEPS, seed: int = 0) -> Training:
    """Minimise the loss with gradient descent and momentum."""
    params = initial_parameters(data.train_rows.shape[1], seed)
    velocity = tree_map(np.zeros_like, params)
    value_and_gradient = gl.jit(gl.value_and_grad(loss))
    train_losses, held_out_losses, seconds = [], [], []
    for _ in progress(range(steps)):
        start = time.perf_counter()
        value, gradient = value_and_gradient(params, data.train_rows, data.train_labels)
        seconds.append(time.perf_counter() - start)
        train_losses.append(float(value))
        held_out_losses.append(float(loss(params, data.held_out_rows, data.held_out_labels)))
        velocity = tree_map(lambda v, g: MOMENTUM * v - LEARNING_RATE * g, velocity, gradient)
        params = tree_map(np.add, params, velocity)
    return Training(params, train_losses, held_out_losses, float(np.median(seconds)))


def progress(steps: Iterable[int]) -> Iterable[int]:
    """Show a progress bar if rich is installed."""
    try:
        from rich.progress import track
    except ImportError:
        return steps
    return track(steps, description="training")


def accuracy(params: Any, X: Array, y: Array) -> float:
    """Return the share of rows on the right side of one half."""
    return float(np.mean((probabilities(params, X) > 0.5) == (y > 0.5)))


# -- gradient check --------------------------------------------------------------------------


def check_gradient(params: Any, X: Array, y: Array, directions: int = 10, step: float = 1e-6) -> float:
    """Compare the gradient with central differences along random directions.

    Returns
    -------
    float
        The largest difference, relative to the size of the gradient.
    """
    gradient, structure = flatten(gl.grad(loss)(params, X, y))
    size = np.sqrt(sum(np.sum(g**2) for g in gradient))
    rng = np.random.default_rng(0)
    worst = 0.0
    for _ in range(directions):
        direction = [rng.normal(size=g.shape) for g in gradient]
        length = np.sqrt(sum(np.sum(d**2) for d in direction))
        direction = [d / length for d in direction]
        forth, back = (
            loss(tree_map(lambda p, d, s=sign: p + s * step * d, params, unflatten(structure, direction)), X, y)
            for sign in (1, -1)
        )
        slope = sum(np.sum(g * d) for g, d in zip(gradient, direction, strict=True))
        worst = max(worst, float(abs((forth - back) / (2 * step) - slope) / size))
    return worst


# -- the graph's independent branches ----------------------------------------------------------


def branches(graph: Graph) -> list[int]:
    """Return how many operations stand at each depth of a graph.

    The depth of an operation is the length of the longest chain of operations before it. What
    stands at one depth is independent of each other and could run at the same time; the
    number of depths is the critical path, which nothing can shorten.
    """
    live = live_nodes(graph.nodes, graph.outputs)
    depths = [0] * len(graph.nodes)
    counts: list[int] = []
    for i, (op, inputs, _) in enumerate(graph.nodes):
        if live[i] and op is not INPUT and op is not LITERAL:
            depths[i] = 1 + max((depths[j] for j in inputs), default=0)
            counts += [0] * (depths[i] - len(counts))
            counts[depths[i] - 1] += 1
    return counts


def report_branches(counts: Sequence[int], seconds: float) -> None:
    """Print how the graph's independent branches ran."""
    print(f"\nGraph of the loss and its gradient: {sum(counts)} operations")
    print(f"  critical path: {len(counts)} operations, one after the other")
    print(f"  width: at most {max(counts)} independent branches; {sum(counts) / len(counts):.2f} on average")
    print("  depth  branches")
    for depth, count in enumerate(counts, start=1):
        print(f"  {depth:>5}  {count:>8}  {'#' * count}")
    executor = current_executor().name
    how = {
        "serial": "one operation after the other, in one thread",
        "auto": "branches side by side where that is estimated to pay, else one operation after the other",
    }.get(executor, "see its documentation")
    print(f"  executor: {executor} ({how})")
    print(f"  value and gradient: {seconds * 1e6:.0f} us (median of the training steps)")


# -- pictures ----------------------------------------------------------------------------------


def loss_picture(path: Path, training: Training) -> None:
    """Save the loss curves."""
    fig, (ax,) = figure()
    ax.plot(training.train_losses, color=BLUE, linewidth=2, label="train")
    ax.plot(training.held_out_losses, color=ORANGE, linewidth=2, label="held out")
    ax.set(xlabel="step", ylabel="binary cross-entropy", title="Loss", yscale="log")
    ax.legend(frameon=False)
    fig.savefig(path)


def held_out_picture(path: Path, z: Array, y: Array) -> None:
    """Save what the network says about the held-out rows, and how often it is right.

    Parameters
    ----------
    path : Path
    z : array, shape (rows,)
        Log-odds of benign.
    y : array, shape (rows,)
        1 for benign, 0 for malignant.
    """
    fig, (decision, calibration) = figure(2)
    bins = np.linspace(np.floor(z.min()), np.ceil(z.max()), 41).tolist()
    decision.hist(z[y == 0], bins, color=ORANGE, alpha=0.8, label=f"malignant ({np.sum(y == 0):.0f} rows)")
    decision.hist(z[y == 1], bins, color=BLUE, alpha=0.65, label=f"benign ({np.sum(y == 1):.0f} rows)")
    decision.axvline(0.0, color=GREY, linestyle="--", linewidth=1.2, label="decision")
    decision.set(xlabel="predicted log-odds of benign", ylabel="held-out rows", title="Decision")
    decision.legend(frameon=False)

    p = 1 / (1 + np.exp(-z))
    group = np.digitize(p, [0.05, 0.5, 0.95])
    calibration.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1.2, label="perfectly calibrated")
    for k in np.unique(group):
        members = group == k
        n, said, was = int(members.sum()), p[members].mean(), y[members].mean()
        low, high = wilson_interval(was, n)
        calibration.plot([said, said], [low, high], color=BLUE, linewidth=1.5)
        calibration.plot(said, was, "o", color=BLUE, markersize=4 + np.sqrt(n) / 2)
        calibration.annotate(f"{n} rows", (said, was), (12, -3) if said < 0.7 else (-12, 4), textcoords="offset points",
                             ha="left" if said < 0.7 else "right")  # fmt: skip
    calibration.set(xlabel="mean predicted probability of benign", ylabel="share of benign rows", title="Calibration")
    calibration.legend(frameon=False, loc="upper left")
    fig.savefig(path)


def wilson_interval(share: float, n: int, deviations: float = 1.96) -> tuple[float, float]:
    """Return the 95 % confidence interval of a share of ``n`` rows (Wilson 1927)."""
    square = deviations**2 / n
    middle = (share + square / 2) / (1 + square)
    half = deviations / (1 + square) * np.sqrt(share * (1 - share) / n + square / (4 * n))
    return max(middle - half, 0.0), min(middle + half, 1.0)


class Result(NamedTuple):
    """What the example found."""

    accuracy: float
    train_accuracy: float
    held_out_loss: float
    gradient_error: float
    branches: list[int]
    training: Training


def main(arguments: Sequence[str] | None = None) -> Result:
    """Train, check, print and save pictures."""
    folder = output_folder(__doc__, arguments)
    data = load()
    start = initial_parameters(data.train_rows.shape[1])
    gradient_error = check_gradient(start, data.train_rows, data.train_labels)
    training = train(data)
    right = accuracy(training.params, data.held_out_rows, data.held_out_labels)
    right_train = accuracy(training.params, data.train_rows, data.train_labels)
    held_out_loss = float(loss(training.params, data.held_out_rows, data.held_out_labels))

    print(f"Rows: {len(data.train_labels)} to train on, {len(data.held_out_labels)} held out")
    print(f"Loss: {training.train_losses[0]:.4f} at the start, {training.train_losses[-1]:.4f} after {STEPS} steps")
    print(f"Held-out loss: {held_out_loss:.4f}")
    print(f"Accuracy: {right:.3f} on held-out rows, {right_train:.3f} on training rows")
    print(f"Gradient check: largest relative difference from central differences {gradient_error:.1e}")

    gradient: Callable[..., Any] = gl.value_and_grad(loss)
    counts = branches(gl.make_graph(gradient)(start, data.train_rows, data.train_labels))
    report_branches(counts, training.step_seconds)

    loss_picture(folder / "breast_cancer_loss.png", training)
    z = logits(training.params, data.held_out_rows)
    held_out_picture(folder / "breast_cancer_held_out.png", z, data.held_out_labels)
    gl.visualize(gradient, start, data.train_rows, data.train_labels, filename=folder / "breast_cancer_gradient.svg")
    print("\nPictures:")
    for name in ("breast_cancer_loss.png", "breast_cancer_held_out.png", "breast_cancer_gradient.svg"):
        print(f"  {folder / name}")
    return Result(right, right_train, held_out_loss, gradient_error, counts, training)


if __name__ == "__main__":
    main()
