"""gradloom: gradients of NumPy code, as one dataflow graph that runs in parallel."""

from gradloom import discovery, functions, ops  # noqa: F401  (each registers what it defines)
from gradloom.api import elementwise_grad, grad, value_and_grad
from gradloom.context import backend, scheduler
from gradloom.jit import make_graph
from gradloom.linear import hvp, jvp, linearize, vjp

__all__ = ["backend", "elementwise_grad", "grad", "hvp", "jvp", "linearize", "make_graph", "scheduler", "value_and_grad", "vjp"]
