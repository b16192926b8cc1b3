"""AbstractCompiler: what turns a region, a fusible part of a graph, into one kernel."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from gradloom.backend import Kernel
from gradloom.graph import Graph
from gradloom.op import Op
from gradloom.registry import Registry
from gradloom.spec import Spec


class AbstractCompiler(ABC):
    """Compiles regions for one backend.

    Laws, checked by `gradloom.testing`:

    - The kernel of a region returns, for any inputs of its specs, what the backend's own
      kernels return one after the other, within the stated bound of each op; NaN, inf and the
      sign of zero are those of the backend's kernels. Layout does not matter: strided, Fortran
      ordered, unaligned and read-only arrays give the values of their C-ordered copies.
    - It changes none of its arguments, and its results share memory with nothing else.
    - It gives the same bits for every number of threads.
    - It may have an attribute ``into``, which takes the outputs behind the inputs, C-contiguous arrays that share no
      memory with these, and writes the results there. Attrs are keywords. Plans use it, and `AbstractBackend.arena`,
      for what does not leave them.
    """

    #: The compiler's name.
    name: str
    #: The name of the backend whose arrays its kernels take and return.
    backend: str

    def unavailable(self) -> str | None:
        """Return why the compiler cannot run here, or None if it can."""
        return None

    def unfit(self) -> str | None:
        """Return why the compiler cannot run here, as far as that is known at once; `unavailable` may wait to see."""
        return self.unavailable()

    def prepare(self) -> None:
        """Begin, on other threads, with what takes long and is done once; what is traced next will be compiled."""
        return

    def expect(self, graph: Graph) -> None:
        """Begin, on other threads, with what kernels of a graph are likely to need: it is simplified, then compiled."""
        return

    @abstractmethod
    def forms(self, op: Op, specs: tuple[Spec, ...], attrs: tuple[Any, ...], out: Spec) -> int:
        """Return in which forms a region may hold a node, an op of inputs of some specs, as bit flags.

        The nodes of one region have at least one form in common. What the forms are is the
        compiler's affair, but that form 1 is the general one; 0 means that it does not take the node.
        """

    def kernel(self, op: Op, specs: tuple[Spec, ...], attrs: tuple[Any, ...], plain: Kernel) -> Kernel:
        """Return the kernel of a node outside of regions, an op of inputs of some specs.

        It is the backend's own, ``plain``, or one that takes the same arguments and is faster.
        """
        return plain

    def replaces(self, op: Op) -> bool:
        """Return whether `kernel` may return another one than the backend's for an op, for inputs of some specs."""
        return True

    def begin_kernel(self, op: Op, specs: tuple[Spec, ...]) -> None:
        """Begin with what `kernel` needs for a node; those of a plan are all begun before the first is asked for."""
        return

    @abstractmethod
    def compile(self, region: Graph) -> Kernel:
        """Return a kernel that takes the region's inputs and returns its output, a tuple if it has several.

        Raises
        ------
        Exception
            Of any kind: then the region runs by the backend's own kernels, with one warning.
        """

    def begin(self, region: Graph) -> Callable[[], Kernel]:
        """Begin to compile a region, and return what waits for its kernel.

        Those of a plan are all begun before the first is waited for, so a compiler can work on several at once.
        """
        return lambda: self.compile(region)

    def finish(self, kernel: Kernel) -> None:
        """Wait until a kernel made here is as fast as it gets, where one that runs often becomes faster."""
        return


#: All compilers, by name.
compilers: Registry[AbstractCompiler] = Registry("compiler", AbstractCompiler)  # type: ignore[type-abstract]


def compiler_for(backend: str) -> AbstractCompiler | None:
    """Return the first compiler for a backend that can run here, or None."""
    return next((compiler for compiler in _compilers_for(backend) if compiler.unavailable() is None), None)


def likely_compiler(backend: str) -> AbstractCompiler | None:
    """Return what `compiler_for` is likely to return, without waiting for what takes long to start."""
    return next((compiler for compiler in _compilers_for(backend) if compiler.unfit() is None), None)


def prepare_compilers(backend: str) -> None:
    """Let the compilers for a backend prepare themselves."""
    for compiler in _compilers_for(backend):
        compiler.prepare()


def expect_graph(backend: str, graph: Graph) -> None:
    """Let the compilers for a backend begin with what a graph will need."""
    for compiler in _compilers_for(backend):
        compiler.expect(graph)


def _compilers_for(backend: str) -> list[AbstractCompiler]:
    return [compiler for compiler in compilers if compiler.backend == backend]
