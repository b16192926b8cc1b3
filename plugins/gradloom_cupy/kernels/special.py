"""Kernels of the special functions: CuPy's, and SciPy's on the host for those it lacks."""

from __future__ import annotations

from functools import partial
from typing import Any

import cupy

from gradloom.backend import Kernel, Specialised
from gradloom.errors import MissingKernelError

_ON_DEVICE = (
    "beta betainc betaln entr erf erfc erfcinv erfcx erfinv exp1 expi gamma gammainc gammaincc gammaln "
    "i0 i0e i1 i1e j0 j1 k0 k1 kl_div log_expit log_ndtr logit ndtr ndtri psi rel_entr rgamma "
    "xlog1py xlogy y0 y1"
).split()
#: Functions that CuPy lacks: the arguments are copied to the host and the result back.
_ON_HOST = ("dawsn", "erfi", "gammasgn", "iv", "ive", "jv", "kv", "loggamma", "yn", "yv")


def on_device(name: str) -> Kernel:
    """Return a function of cupyx.scipy.special."""
    import cupyx.scipy.special

    kernel: Kernel = getattr(cupyx.scipy.special, name)
    return kernel


def on_host(name: str) -> Kernel:
    """Return a kernel that computes with SciPy on the host."""
    try:
        import scipy.special
    except ImportError as error:
        raise MissingKernelError(
            f"CuPy has no {name}, and SciPy, which has, cannot be imported", op=name, remedy="pip install scipy"
        ) from error
    function = getattr(scipy.special, name)

    def kernel(*args: Any) -> Any:
        return cupy.asarray(function(*[cupy.asnumpy(x) for x in args]))

    return kernel


def polygamma(*, n: int) -> Kernel:
    """Return the kernel of one derivative of the digamma function."""
    function = on_device("polygamma")

    def kernel(x: Any) -> Any:
        return function(cupy.asarray(n), x).astype(x.dtype, copy=False)

    return kernel


KERNELS: dict[str, Kernel | Specialised] = {
    "polygamma": Specialised(polygamma),
    **{name: Specialised(partial(on_device, name)) for name in _ON_DEVICE},
    **{name: Specialised(partial(on_host, name)) for name in _ON_HOST},
}
