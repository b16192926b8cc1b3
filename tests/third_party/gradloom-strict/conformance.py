"""What this distribution tests: the conformance suite, and the table of its known gaps."""

from __future__ import annotations

from typing import ClassVar

from gradloom.testing.backends import BackendConformance

SPECIAL = (
    "beta betainc betaln dawsn entr erf erfc erfcinv erfcx erfi erfinv exp1 expi gamma gammainc gammaincc gammaln "
    "gammasgn i0 i0e i1 i1e iv ive j0 j1 jv k0 k1 kl_div kv log_expit log_ndtr loggamma logit ndtr ndtri polygamma psi "
    "rel_entr rgamma xlog1py xlogy y0 y1 yn yv"
).split()


class TestStrict(BackendConformance):
    backend = "strict"
    rtol = 1e-12
    missing: ClassVar = {
        **dict.fromkeys(SPECIAL, "the array API standard has no special functions"),
        "complex": "the array API standard has no way to make complex numbers of infinite parts",
        "eig": "the array API standard has no eigenvalues of matrices that are not Hermitian",
    }
