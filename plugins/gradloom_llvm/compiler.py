"""The compiler: which ops it takes, and kernels from regions."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Final, final

from gradloom.backend import Kernel as AnyKernel
from gradloom.backend import backends
from gradloom.compiler import AbstractCompiler
from gradloom.graph import Graph
from gradloom.op import Op
from gradloom.plan import Plan
from gradloom.polymorphic import Shared
from gradloom.spec import Spec
from gradloom_llvm.jobs import Job
from gradloom_llvm.statements import INDEXING, PRODUCTS


@cache
def _support() -> Any:
    """Return the module of that name, which is imported when first needed; it is asked about each node."""
    from gradloom_llvm import support

    return support


@final
class LLVMCompiler(AbstractCompiler):
    """Compiles regions of elementwise ops, reductions and narrow products for NumPy arrays; and other products.

    Parameters
    ----------
    stacks : bool, default True
        Whether regions may hold stacks of products of matrices.
    """

    name = "llvm"
    backend = "numpy"

    def __init__(self, stacks: bool = True) -> None:
        self._stacks = stacks
        #: Regions that differ in sizes alone share what it takes to find this.
        self._outline = Shared(self._outlined)

    def unavailable(self) -> str | None:
        """Return why the compiler cannot run here, or None if it can; LLVM is waited for."""
        reason = self.unfit()
        if reason is not None:
            return reason
        from gradloom_llvm import entry, native

        return entry.unavailable() or native.unavailable()

    def unfit(self) -> str | None:
        """Return why llvmlite cannot be used here, or None if LLVM is worth a try."""
        from gradloom_llvm import native

        return native.unfit()

    def prepare(self) -> None:
        """Begin to start LLVM, and then to warm it up, and its linker."""
        if self.unfit() is None:
            STARTING.begin()

    def expect(self, graph: Graph) -> None:
        """Begin with the tape's machine where all values are small, else with what products and threads share."""
        if self.unfit() is not None:
            return
        from gradloom_llvm.scalars import begin_machine, fits_tape

        specs = graph.specs
        if all([type(spec) is tuple or fits_tape(spec) for spec in specs]):
            begin_machine({op.name for op, inputs, _ in graph.nodes if inputs})
            return
        # What each plan of loops needs is imported while LLVM starts.
        from gradloom_llvm import kernel  # noqa: F401

        products = [(i, node) for i, node in enumerate(graph.nodes) if node[0].name in PRODUCTS]
        # The steps of an unrolled loop have the same ones.
        for op, operands, attrs, out in dict.fromkeys(
            [(op, tuple([specs[j] for j in inputs]), attrs, specs[i]) for i, (op, inputs, attrs) in products]
        ):
            if not self.forms(op, operands, attrs, out):
                self.begin_kernel(op, operands)

    def forms(self, op: Op, specs: tuple[Spec, ...], attrs: tuple[Any, ...], out: Spec) -> int:
        """Return the forms in which a node can be compiled."""
        support = _support()
        found: int = support.forms(op, specs, attrs, out)
        return found if self._stacks or not support.is_stack(op, out) else found & ~support.LOOPS

    def kernel(self, op: Op, specs: tuple[Spec, ...], attrs: tuple[Any, ...], plain: AnyKernel) -> AnyKernel:
        """Return the kernel of a node outside of regions: native code for products of matrices, and for indices."""
        if op.name in PRODUCTS:
            from gradloom_llvm.products import product_kernel

            return product_kernel(op.name, specs, plain)
        if op.name in INDEXING:
            from gradloom_llvm.indexing import indexing_kernel

            return indexing_kernel(op.name, specs, attrs, plain)
        return plain

    def replaces(self, op: Op) -> bool:
        """Return whether `kernel` may return native code for an op."""
        return op.name in PRODUCTS or op.name in INDEXING

    def begin_kernel(self, op: Op, specs: tuple[Spec, ...]) -> None:
        """Begin to compile the code that products of matrices share."""
        if op.name in PRODUCTS:
            from gradloom_llvm.products import begin_product

            begin_product(specs)

    def compile(self, region: Graph) -> AnyKernel:
        """Return the kernel of a region."""
        return self.begin(region)()

    def begin(self, region: Graph) -> Callable[[], AnyKernel]:
        """Begin to compile a region: for the tape where all values are small, else as loops."""
        form, *measures = self._outline(region)
        if form == "tape":
            from gradloom_llvm.tape_kernel import TapeKernel

            return TapeKernel(region).function
        if form == "apart":
            return lambda: _apart(region)
        from gradloom_llvm.kernel import Kernel, Measures

        return Kernel(region, Measures(*measures)).function

    def _outlined(self, region: Graph) -> tuple[Any, ...]:
        """Return the form in which a region is compiled, and for loops their measures."""
        from gradloom_llvm.support import TAPE, is_stack

        specs = region.specs
        nodes = list(enumerate(region.nodes))
        if all(
            self.forms(op, tuple([specs[j] for j in args]), attrs, specs[i]) & TAPE
            for i, (op, args, attrs) in nodes
            if args
        ):
            return ("tape",)
        from gradloom_llvm.kernel import measured
        from gradloom_llvm.loops import Loops

        loops = Loops(region)
        if any([is_stack(op, specs[i]) for i, (op, _, _) in nodes]) and not loops.tiles_pay():
            return ("apart",)
        return "loops", *measured(loops)

    def finish(self, kernel: AnyKernel) -> None:
        """Wait until a kernel runs by code that is compiled well."""
        finish = getattr(kernel, "finish", None)
        if finish is not None:
            finish()


def _start() -> None:
    from gradloom_llvm import native

    native.WARM_UP.result()
    from gradloom_llvm.engine import LINKER

    LINKER.result()


#: Starts LLVM, by one thread: another would wait for the library that this one loads.
STARTING: Final = Job(_start)


def _apart(region: Graph) -> AnyKernel:
    """Return a region's kernel in which the products are those of BLAS."""
    plan = Plan(region, backends.get("numpy"), LLVMCompiler(stacks=False))
    single = len(region.outputs) == 1

    def kernel(*arrays: Any) -> Any:
        results = plan.run(arrays)
        return results[0] if single else tuple(results)

    made: Any = kernel
    made.finish = plan.finish
    return made  # type: ignore[no-any-return]
