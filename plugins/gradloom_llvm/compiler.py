"""The compiler: which ops it takes, and kernels from regions."""

from __future__ import annotations

from typing import Any, final

from gradloom.backend import Kernel as AnyKernel
from gradloom.compiler import AbstractCompiler
from gradloom.graph import Graph
from gradloom.op import Op
from gradloom.spec import Spec

#: The ops that multiply matrices.
PRODUCTS = frozenset({"matmul", "annihilating_matmul"})


@final
class LLVMCompiler(AbstractCompiler):
    """Compiles regions of elementwise ops, reductions and narrow products for NumPy arrays; and other products."""

    name = "llvm"
    backend = "numpy"

    def unavailable(self) -> str | None:
        """Return why the compiler cannot run here, or None if it can."""
        from gradloom_llvm import entry, native

        return native.unavailable() or entry.unavailable()

    def forms(self, op: Op, specs: tuple[Spec, ...], attrs: tuple[Any, ...], out: Spec) -> int:
        """Return the forms in which a node can be compiled."""
        from gradloom_llvm.support import forms

        return forms(op, specs, attrs, out)

    def kernel(self, op: Op, specs: tuple[Spec, ...], plain: AnyKernel) -> AnyKernel:
        """Return the kernel of a node outside of regions: native code for products of matrices."""
        if op.name not in PRODUCTS:
            return plain
        from gradloom_llvm.products import product_kernel

        return product_kernel(op.name, specs, plain)

    def compile(self, region: Graph) -> AnyKernel:
        """Return the kernel of a region: on the tape where all values are small, else as loops."""
        from gradloom_llvm.kernel import Kernel
        from gradloom_llvm.support import TAPE
        from gradloom_llvm.tape_kernel import tape_kernel

        specs = region.specs
        for i, (op, inputs, attrs) in enumerate(region.nodes):
            if inputs and not self.forms(op, tuple([specs[j] for j in inputs]), attrs, specs[i]) & TAPE:
                return Kernel(region).function()
        return tape_kernel(region)
