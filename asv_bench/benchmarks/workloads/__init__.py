"""The workloads: what gradloom and its peers are asked to differentiate."""

from benchmarks.workloads import (
    black_scholes,
    gaussian_mixture,
    linear_regression,
    logistic_regression,
    logsumexp,
    lotka_volterra,
    mlp,
    rnn,
    sine_chain,
)
from benchmarks.workloads._workload import DisagreementError, Workload

__all__ = ["WORKLOADS", "DisagreementError", "Workload"]

_FAMILIES = (
    linear_regression,
    black_scholes,
    logistic_regression,
    mlp,
    gaussian_mixture,
    rnn,
    lotka_volterra,
    logsumexp,
    sine_chain,
)
WORKLOADS: dict[str, Workload] = {w.name: w for family in _FAMILIES for w in family.WORKLOADS}
