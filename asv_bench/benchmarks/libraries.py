"""The libraries, each behind one interface: its array module, and value and gradient of a function.

Importing this module imports none of them.
"""

from __future__ import annotations

import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, final

import numpy as np

Call = Callable[[], Any]
Arrays = Sequence[np.ndarray[Any, Any]]


class AbstractLibrary(ABC):
    """A way to compute value and gradient.

    ``xp`` is the array module that a loss is written with, ``special`` has ``erf`` and
    ``logsumexp``. ``call(...)()`` returns ``(value, gradients)``, in arrays of the library.
    """

    name: str
    #: What must be importable; imported before a first call is timed.
    modules: tuple[str, ...]

    def installed(self) -> bool:
        """Return whether the library is there."""
        return all(importlib.util.find_spec(name.split(".")[0]) is not None for name in self.modules)

    @property
    @abstractmethod
    def xp(self) -> Any:
        """The array module."""

    @property
    @abstractmethod
    def special(self) -> Any:
        """The module of special functions."""

    @abstractmethod
    def call(self, loss: Callable[..., Any], params: Arrays, data: Arrays, jit: bool) -> Call:
        """Return a call of value and gradient with respect to ``params`` of ``loss(*params, *data)``.

        It is ready when this returns: arrays converted, nothing traced or compiled.
        """

    def cold_call(self, loss: Callable[..., Any], params: Arrays, data: Arrays, jit: bool) -> Call:
        """Return the same on NumPy arrays, nothing of the library started yet but what importing it starts."""
        return self.call(loss, params, data, jit)


@final
class Gradloom(AbstractLibrary):
    """Gradloom itself."""

    name = "gradloom"
    modules = ("numpy", "gradloom")

    @property
    def xp(self) -> Any:
        return np

    @property
    def special(self) -> Any:
        return _Special()

    def call(self, loss: Callable[..., Any], params: Arrays, data: Arrays, jit: bool) -> Call:
        import gradloom as gl

        gradient = gl.value_and_grad(loss, argnums(params))
        if jit:
            gradient = gl.jit(gradient)
        args = (*params, *data)
        return lambda: gradient(*args)


@final
class _Special:
    """Special functions of NumPy arrays, from where a user of gradloom has them."""

    @cached_property
    def erf(self) -> Any:
        import scipy.special

        return scipy.special.erf

    @cached_property
    def logsumexp(self) -> Any:
        from gradloom.special import logsumexp

        return logsumexp


@final
class Jax(AbstractLibrary):
    """JAX, compiled; the result is waited for."""

    name = "jax"
    modules = ("jax", "jax.numpy", "jax.scipy.special")

    @property
    def xp(self) -> Any:
        import jax

        jax.config.update("jax_enable_x64", True)
        return jax.numpy

    @property
    def special(self) -> Any:
        import jax.scipy.special

        return jax.scipy.special

    def call(self, loss: Callable[..., Any], params: Arrays, data: Arrays, jit: bool) -> Call:
        as_jax = self.xp.array
        return self.cold_call(loss, [as_jax(a) for a in params], [as_jax(a) for a in data], jit)

    def cold_call(self, loss: Callable[..., Any], params: Arrays, data: Arrays, jit: bool) -> Call:
        import jax

        gradient = jax.value_and_grad(loss, argnums(params))
        if jit:
            gradient = jax.jit(gradient)
        args = (*params, *data)
        return lambda: jax.block_until_ready(gradient(*args))


@final
class Torch(AbstractLibrary):
    """PyTorch as its users write it, on as many threads as serve the workload best.

    The number of threads holds for the whole process: one workload at a time.
    """

    name = "torch"
    modules = ("torch",)

    @property
    def xp(self) -> Any:
        import torch

        return torch

    @property
    def special(self) -> Any:
        import torch

        return torch.special

    def call(self, loss: Callable[..., Any], params: Arrays, data: Arrays, jit: bool) -> Call:
        import torch

        leaves = [torch.tensor(a, requires_grad=True) for a in params]
        args = [*leaves, *(torch.tensor(a) for a in data)]

        def call() -> Any:
            value = loss(*args)
            return value, torch.autograd.grad(value, leaves)

        return call

    def choose_threads(self, call: Call) -> int:
        """Set the number of threads, one or all, that makes a call faster; return it."""
        import os

        import torch

        from benchmarks.interleaved import least

        seconds = {}
        for threads in (os.cpu_count() or 1, 1):
            torch.set_num_threads(threads)
            call()
            seconds[threads] = least(call, 7, max(1, int(1e-3 / least(call, 2))))
        best = min(seconds, key=lambda threads: seconds[threads])
        torch.set_num_threads(best)
        return best


@final
class Autograd(AbstractLibrary):
    """HIPS autograd, which traces at each call."""

    name = "autograd"
    modules = ("autograd", "autograd.numpy", "autograd.scipy.special")

    @property
    def xp(self) -> Any:
        import autograd.numpy

        return autograd.numpy

    @property
    def special(self) -> Any:
        import autograd.scipy.special

        return autograd.scipy.special

    def call(self, loss: Callable[..., Any], params: Arrays, data: Arrays, jit: bool) -> Call:
        import autograd

        gradient = autograd.value_and_grad(loss, argnums(params))
        args = (*params, *data)
        return lambda: gradient(*args)


def argnums(params: Arrays) -> int | tuple[int, ...]:
    """Return the positions of the parameters, which come first."""
    return 0 if len(params) == 1 else tuple(range(len(params)))


LIBRARIES: dict[str, AbstractLibrary] = {library.name: library for library in (Gradloom(), Jax(), Torch(), Autograd())}
PEERS = tuple(name for name in LIBRARIES if name != "gradloom")


def as_numpy(result: Any) -> list[np.ndarray[Any, Any]]:
    """Return value and gradients of any library as NumPy arrays."""
    value, gradients = result
    leaves = gradients if isinstance(gradients, (tuple, list)) else (gradients,)
    return [np.asarray(leaf.detach() if hasattr(leaf, "detach") else leaf) for leaf in (value, *leaves)]
