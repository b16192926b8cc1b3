"""Kernels of the special functions: SciPy's, imported when a plan first needs one."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from gradloom.backend import Kernel, Specialised
from gradloom.errors import MissingKernelError


def scipy_special() -> Any:
    """Return the module scipy.special."""
    try:
        import scipy.special
    except ImportError as error:
        raise MissingKernelError(
            "the NumPy backend takes its special functions from SciPy", remedy="pip install scipy"
        ) from error
    return scipy.special


def _ufunc(name: str) -> Kernel:
    kernel: Kernel = getattr(scipy_special(), name)
    return kernel


def polygamma(*, n: int) -> Kernel:
    """Return the kernel of one derivative of the digamma function."""
    function = scipy_special().polygamma

    def kernel(x: Any) -> Any:
        return np.asarray(function(n, x)).astype(x.dtype, copy=False)[()]

    return kernel


_UFUNCS = (
    "beta betainc betaln dawsn entr erf erfc erfcinv erfcx erfi erfinv exp1 expi gamma gammainc gammaincc gammaln "
    "gammasgn i0 i0e i1 i1e iv ive j0 j1 jv k0 k1 kl_div kv log_expit log_ndtr loggamma logit ndtr ndtri psi "
    "rel_entr rgamma xlog1py xlogy y0 y1 yn yv"
).split()

KERNELS: dict[str, Kernel | Specialised] = {
    "polygamma": Specialised(polygamma),
    **{name: Specialised(partial(_ufunc, name)) for name in _UFUNCS},
}
