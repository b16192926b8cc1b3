"""What the examples' pictures share: the look, and the picture of a fitted line."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Array = np.ndarray[Any, Any]

BLUE, ORANGE, GREEN, GREY = "#3b6fb6", "#c2621b", "#3a8a4d", "#6b7280"


def output_folder(description: str | None, arguments: Sequence[str] | None) -> Path:
    """Return the folder named with ``--output``, made if it is missing."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--output", type=Path, default=Path("pictures"), help="folder for pictures (default: pictures)")
    folder: Path = parser.parse_args(arguments).output
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def figure(panels: int = 1) -> tuple[Figure, list[Axes]]:
    """Return a figure with panels side by side."""
    figure = Figure(figsize=(5.4 * panels, 4.0), dpi=130, layout="constrained")
    axes = [figure.add_subplot(1, panels, k + 1) for k in range(panels)]
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(color="#e5e7eb", linewidth=0.8)
        ax.set_axisbelow(True)
    return figure, axes


def regression_picture(
    path: Path,
    train: tuple[Array, Array],
    test: tuple[Array, Array],
    weight: float,
    bias: float,
    losses: Sequence[float],
    best: tuple[float, float, float],
) -> None:
    """Save the fitted line beside the loss curve.

    Parameters
    ----------
    path : Path
    train, test : tuple of arrays, each of shape (n,)
        Points (x, y).
    weight, bias : float
        The fitted line.
    losses : sequence of float
        Train error after each epoch.
    best : tuple of float
        Weight, bias and train error of the least-squares line.
    """
    fig, (fit, curve) = figure(2)
    ends = np.array([min(train[0].min(), test[0].min()) - 0.5, max(train[0].max(), test[0].max()) + 0.5])
    fit.plot(*train, "o", color=BLUE, label="train")
    fit.plot(*test, "s", color=ORANGE, markerfacecolor="white", label="test")
    fit.plot(ends, weight * ends + bias, color=GREEN, linewidth=2, label=f"y = {weight:.3f} x + {bias:.3f}")
    fit.plot(ends, best[0] * ends + best[1], color=GREY, linestyle="--", linewidth=1.2, label="least squares")
    fit.set(xlabel="x", ylabel="y", title="Fitted line")
    fit.legend(frameon=False)
    curve.plot(range(1, len(losses) + 1), losses, color=BLUE, linewidth=2, label="train error")
    curve.axhline(best[2], color=GREY, linestyle="--", linewidth=1.2, label="least squares")
    curve.set(xlabel="epoch", ylabel="squared error / 2n", title="Loss", yscale="log")
    curve.legend(frameon=False)
    fig.savefig(path)
