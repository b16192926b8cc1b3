"""The workloads: each as plain NumPy code and, where a peer needs its own spelling, in that too.

A workload gives, per library, a function of no arguments that computes value and gradient
once. Peers that are not installed are left out.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np

import gradloom as gl

Call = Callable[[], Any]

TRAIN_X = np.array(
    [3.3, 4.4, 5.5, 6.71, 6.93, 4.168, 9.779, 6.182, 7.59, 2.167, 7.042, 10.791, 5.313, 7.997, 5.654, 9.27, 3.1]
)
TRAIN_Y = np.array(
    [1.7, 2.76, 2.09, 3.19, 1.694, 1.573, 3.366, 2.596, 2.53, 1.221, 2.827, 3.465, 1.65, 2.904, 2.42, 2.94, 1.3]
)


def installed(name: str) -> bool:
    """Return whether a peer can be imported."""
    return importlib.util.find_spec(name) is not None


def _peers(build: Callable[[str, Any], Call | None], names: tuple[str, ...]) -> dict[str, Call]:
    calls = {}
    for name in names:
        if installed(name.split(".")[0]):
            module = importlib.import_module("autograd.numpy" if name == "autograd" else name)
            call = build(name, module)
            if call is not None:
                calls[name] = call
    return calls


def _autograd_gradient(f: Callable[..., Any], *args: Any) -> Call:
    from autograd import value_and_grad

    gradient = value_and_grad(f)
    return lambda: gradient(*args)


def _torch_gradient(f: Callable[..., Any], *args: np.ndarray[Any, Any] | float) -> Call:
    import torch

    torch.set_num_threads(1)
    leaves = [torch.tensor(a, dtype=torch.float64, requires_grad=True) for a in args]

    def call() -> Any:
        out = f(*leaves)
        return out, torch.autograd.grad(out, leaves)

    return call


def _jax_gradient(f: Callable[..., Any], *args: Any) -> Call:
    import jax

    jax.config.update("jax_enable_x64", True)
    gradient = jax.jit(jax.value_and_grad(f))

    def call() -> Any:
        return jax.block_until_ready(gradient(*args))

    return call


def sine_chain() -> dict[str, Call]:
    """Gradient of 10 times ``sin(x) * 2 + x``, then ``sum``; 10 elements, 31 ops."""
    x = np.arange(10.0)

    def loss(xp: Any) -> Callable[[Any], Any]:
        def f(x: Any) -> Any:
            for _ in range(10):
                x = xp.sin(x) * 2.0 + x
            return xp.sum(x)

        return f

    gradient = gl.value_and_grad(loss(np))
    calls = {"gradloom": lambda: gradient(x)}

    def peer(name: str, xp: Any) -> Call:
        return (_torch_gradient if name == "torch" else _autograd_gradient)(loss(xp), x)

    return calls | _peers(peer, ("autograd", "torch"))


def linear_regression() -> dict[str, Call]:
    """Value and gradient of a least-squares loss on 17 points, traced anew at each call."""

    def loss(xp: Any, X: Any, Y: Any) -> Callable[[Any, Any], Any]:
        def f(w: Any, b: Any) -> Any:
            return xp.sum((X * w + b - Y) ** 2) / (2 * 17)

        return f

    gradient = gl.value_and_grad(loss(np, TRAIN_X, TRAIN_Y), (0, 1))
    w, b = np.array(0.3), np.array(0.1)
    calls = {"gradloom": lambda: gradient(w, b)}

    def peer(name: str, xp: Any) -> Call:
        if name == "torch":
            return _torch_gradient(loss(xp, xp.tensor(TRAIN_X), xp.tensor(TRAIN_Y)), 0.3, 0.1)
        return _autograd_gradient(lambda p: loss(xp, TRAIN_X, TRAIN_Y)(*p), (w, b))

    return calls | _peers(peer, ("autograd", "torch"))


def linear_regression_jit() -> dict[str, Call]:
    """Value and gradient of the same loss, traced once."""

    def loss(xp: Any) -> Callable[..., Any]:
        def f(p: Any, X: Any, Y: Any) -> Any:
            w, b = p
            return xp.sum((X * w + b - Y) ** 2) / (2 * 17)

        return f

    gradient = gl.jit(gl.value_and_grad(loss(np)))
    p = np.array(0.3), np.array(0.1)
    calls = {"gradloom": lambda: gradient(p, TRAIN_X, TRAIN_Y)}

    def peer(name: str, xp: Any) -> Call:
        return _jax_gradient(loss(xp), (xp.array(0.3), xp.array(0.1)), xp.array(TRAIN_X), xp.array(TRAIN_Y))

    return calls | _peers(peer, ("jax.numpy",))


def lotka_volterra() -> dict[str, Call]:
    """Value and gradient of 200 unrolled RK4 steps of the Lotka-Volterra equations."""

    def loss(stack: Callable[[list[Any]], Any]) -> Callable[..., Any]:
        def slope(state: Any, p: Any) -> Any:
            x, y = state[0], state[1]
            return stack([p[0] * x - p[1] * x * y, p[3] * x * y - p[2] * y])

        def f(p: Any, state: Any) -> Any:
            h = 0.05
            for _ in range(200):
                k1 = slope(state, p)
                k2 = slope(state + h / 2 * k1, p)
                k3 = slope(state + h / 2 * k2, p)
                k4 = slope(state + h * k3, p)
                state = state + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
            return (state**2).sum()

        return f

    p, start = np.array([1.5, 1.0, 3.0, 1.0]), np.array([1.0, 0.5])
    gradient = gl.value_and_grad(loss(np.stack))
    calls = {"gradloom": lambda: gradient(p, start)}

    def peer(name: str, xp: Any) -> Call:
        if name == "torch":
            return _torch_gradient(lambda q: loss(xp.stack)(q, xp.tensor(start)), p)

        def f(q: Any) -> Any:
            return xp.sum(loss(xp.stack)(q, start))

        return _autograd_gradient(f, p)

    return calls | _peers(peer, ("autograd", "torch"))


WORKLOADS: dict[str, Callable[[], dict[str, Call]]] = {
    "sine_chain": sine_chain,
    "linear_regression": linear_regression,
    "linear_regression_jit": linear_regression_jit,
    "lotka_volterra": lotka_volterra,
}
