"""The conformance suite: what every backend, executor and op must satisfy."""

from gradloom.testing.sample import Sample, layouts, rng

__all__ = ["Sample", "layouts", "rng"]
