"""Programs of independent branches, for the executors: what each computes, and calls of it under a scheduler."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from threading import Thread
from typing import Any, NamedTuple

import numpy as np

import gradloom as gl
from benchmarks.libraries import LIBRARIES, AbstractLibrary, Call, Torch, argnums
from gradloom.blas import one_thread_each
from gradloom.sharing import keep_off_this_core, kernel_threads

Arrays = list[np.ndarray[Any, Any]]


class Program(NamedTuple):
    """A loss of parameters alone, of several branches.

    Attributes
    ----------
    loss : callable
        Takes a library; returns a function of the parameters.
    params : callable
        Returns the parameters.
    peers : tuple of str
        Libraries to compare with.
    """

    loss: Callable[[AbstractLibrary], Callable[..., Any]]
    params: Callable[[], Arrays]
    peers: tuple[str, ...] = ()

    def call(self, scheduler: str, one_core: bool = False) -> Call:
        """Return a call of value and gradient under a scheduler; each kernel may be held to one core."""
        params = self.params()
        gradient = gl.jit(gl.value_and_grad(self.loss(LIBRARIES["gradloom"]), argnums(params)))

        def call() -> Any:
            token = kernel_threads.set(1 if one_core else None)
            try:
                with gl.scheduler(scheduler), one_thread_each() if one_core else nullcontext():
                    return gradient(*params)
            finally:
                kernel_threads.reset(token)

        return call

    def calls(self) -> dict[str, Call]:
        """Return the calls to compare: those of gradloom by scheduler, and of the peers that are installed."""
        one, other = [self.call("serial", one_core=True) for _ in range(2)]
        found = {"serial, 1 core": one, "the same, twice at once": at_once(one, other)}
        found |= {name: self.call(name) for name in ("serial", "threads", "auto")}
        for name in self.peers:
            library = LIBRARIES[name]
            if library.installed():
                found[name] = library.call(self.loss(library), self.params(), [], jit=True)
                if isinstance(library, Torch):
                    library.choose_threads(found[name])
        return found


def at_once(one: Call, other: Call) -> Call:
    """Return a call of two others at the same time: what it takes tells what a second core has to give now."""

    def both() -> None:
        thread = Thread(target=other)
        thread.start()
        keep_off_this_core(thread.native_id)
        one()
        thread.join()

    return both


def _normal(shapes: Sequence[tuple[int, ...]], seed: int = 0) -> Arrays:
    generator = np.random.default_rng(seed)
    return [generator.normal(size=shape) / shape[-1] ** 0.5 for shape in shapes]


LAYERS, WIDTH = 8, 600


def _two_towers(library: AbstractLibrary) -> Callable[..., Any]:
    xp = library.xp

    def loss(*params: Any) -> Any:
        total = 0.0
        for first in (0, LAYERS + 1):
            y = params[first]
            for w in params[first + 1 : first + 1 + LAYERS]:
                y = xp.tanh(y @ w)
            total = total + xp.sum(y * y)
        return total

    return loss


ORDER, BRANCHES = 250, 6


def _decompositions(library: AbstractLibrary) -> Callable[..., Any]:
    xp = library.xp

    def loss(*params: Any) -> Any:
        total = 0.0
        for a in params:
            values, vectors = xp.linalg.eigh(a + a.T)
            total = total + xp.sum(xp.tanh(values)) + xp.sum(vectors[0] ** 4)
            total = total + xp.sum(xp.linalg.inv(a) ** 2) + xp.linalg.slogdet(a)[1]
        return total

    return loss


def _well_conditioned() -> Arrays:
    return [a + 4.0 * np.eye(ORDER) for a in _normal([(ORDER, ORDER)] * BRANCHES)]


SAMPLES, FEATURES = 4_000, 48
HIDDEN = tuple(range(64, 64 + 8 * 16, 16))


def _ensemble(library: AbstractLibrary) -> Callable[..., Any]:
    xp = library.xp
    activations = [xp.tanh, xp.sin, lambda z: z / (1.0 + z * z), lambda z: xp.exp(-z * z)]

    def loss(x: Any, *params: Any) -> Any:
        total = 0.0
        for k in range(len(HIDDEN)):
            w, v = params[2 * k : 2 * k + 2]
            z = activations[k % 4](x @ w)
            total = total + xp.mean((activations[(k + 1) % 4](z @ w.T @ w) @ v) ** 2)
        return total

    return loss


PROGRAMS: dict[str, Program] = {
    "two_towers": Program(_two_towers, lambda: _normal([(WIDTH, WIDTH)] * (2 * LAYERS + 2)), ("torch", "jax")),
    "decompositions": Program(_decompositions, _well_conditioned, ("torch", "jax")),
    "ensemble": Program(
        _ensemble,
        lambda: _normal([(SAMPLES, FEATURES), *[s for h in HIDDEN for s in ((FEATURES, h), (h, 1))]]),
        ("torch", "jax"),
    ),
}
