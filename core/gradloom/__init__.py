"""gradloom: gradients of NumPy code, as one dataflow graph that runs in parallel."""

from gradloom import discovery, functions, ops, special  # noqa: F401  (these register what they define)
from gradloom.api import elementwise_grad, grad, value_and_grad
from gradloom.check import check_grads
from gradloom.context import backend, cluster, device, progress, scheduler
from gradloom.custom import custom_gradient, stop_gradient
from gradloom.doctor import backends
from gradloom.explain import explain
from gradloom.jacobian import hessian, jacobian
from gradloom.jit import jit
from gradloom.lazy import compute, tensor
from gradloom.linear import hvp, jvp, linearize, vjp
from gradloom.tape import Tape, gradients
from gradloom.tensor import Tensor
from gradloom.tracing import make_graph
from gradloom.vectorize import vmap
from gradloom.visualize import visualize

__all__ = [
    "Tape",
    "Tensor",
    "backend",
    "backends",
    "check_grads",
    "cluster",
    "compute",
    "custom_gradient",
    "device",
    "elementwise_grad",
    "explain",
    "grad",
    "gradients",
    "hessian",
    "hvp",
    "jacobian",
    "jit",
    "jvp",
    "linearize",
    "make_graph",
    "progress",
    "scheduler",
    "special",
    "stop_gradient",
    "tensor",
    "value_and_grad",
    "visualize",
    "vjp",
    "vmap",
]
__version__ = "0.1.0"
