"""The conformance suite: what every backend, executor and op must satisfy."""

from gradloom.testing.samples import Sample, layouts, rng

__all__ = ["Sample", "layouts", "rng"]
