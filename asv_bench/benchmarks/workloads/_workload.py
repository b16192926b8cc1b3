"""What a workload is: a loss in plain NumPy code, its inputs, and how libraries run it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from benchmarks.libraries import LIBRARIES, PEERS, AbstractLibrary, Arrays, Call, as_numpy

#: ``make(xp, special)`` returns the loss of ``(*params, *data)`` for an array module.
Make = Callable[[Any, Any], Callable[..., Any]]


class DisagreementError(AssertionError):
    """Two libraries compute different values or gradients."""


@dataclass(frozen=True)
class Workload:
    """A loss, the arrays it is given, and what is asked of its gradient."""

    name: str
    make: Make
    #: Returns ``(params, data)``: the arrays to differentiate by, and the others. Takes the size, if there is one.
    inputs: Callable[..., tuple[Arrays, Arrays]]
    #: How many samples, where that can vary.
    size: int | None = None
    #: Spellings of libraries that lack a function, or that have a faster one.
    spellings: Mapping[str, Make] = field(default_factory=dict)
    peers: tuple[str, ...] = PEERS
    #: False: traced at each call (peers that compile are then left out of ``peers``).
    jit: bool = True
    rtol: float = 1e-8
    #: The largest ratio to the best peer that we are content with.
    target: float | None = None

    def arrays(self) -> tuple[Arrays, Arrays]:
        """Return ``(params, data)``."""
        return self.inputs() if self.size is None else self.inputs(self.size)

    def at(self, size: int) -> Workload:
        """Return the same workload with another number of samples."""
        return replace(self, name=f"{self.name}, n={size:,}", size=size, target=None)

    def loss(self, library: AbstractLibrary) -> Callable[..., Any]:
        """Return the loss, spelled for a library."""
        return self.spellings.get(library.name, self.make)(library.xp, library.special)

    def call(self, library: str) -> Call:
        """Return value and gradient once, for one library, as a function of no arguments."""
        way = LIBRARIES[library]
        return way.call(self.loss(way), *self.arrays(), self.jit)

    def cold_call(self, library: str) -> Call:
        """Return the same on NumPy arrays, with nothing started."""
        way = LIBRARIES[library]
        return way.cold_call(self.loss(way), *self.arrays(), self.jit)

    def libraries(self) -> list[str]:
        """Return gradloom and the peers that are installed."""
        return [name for name in ("gradloom", *self.peers) if LIBRARIES[name].installed()]

    def calls(self) -> dict[str, Call]:
        """Return the calls of gradloom and of its peers, which have been found to agree.

        This sets the number of threads of PyTorch, for the whole process.
        """
        calls = {name: self.call(name) for name in self.libraries()}
        self.check({name: as_numpy(call()) for name, call in calls.items()})
        if "torch" in calls:
            LIBRARIES["torch"].choose_threads(calls["torch"])  # type: ignore[attr-defined]
        return calls

    def check(self, results: Mapping[str, list[np.ndarray[Any, Any]]]) -> None:
        """Raise unless all libraries found the same value and gradients, relative to their size."""
        expected = results["gradloom"]
        for name, found in results.items():
            for k, (a, b) in enumerate(zip(expected, found, strict=True)):
                what = "value" if k == 0 else f"gradient {k - 1}"
                if a.shape != b.shape or a.dtype != b.dtype:
                    raise DisagreementError(
                        f"{self.name}: {what} is {a.dtype}{a.shape} in gradloom, {b.dtype}{b.shape} in {name}"
                    )
                error = np.max(np.abs(a - b), initial=0.0)
                if not error <= self.rtol * np.max(np.abs(b), initial=0.0):
                    raise DisagreementError(f"{self.name}: {what} of gradloom and {name} differ by {error:.3g}")
