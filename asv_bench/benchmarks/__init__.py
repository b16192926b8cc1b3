"""Benchmarks of gradloom beside HIPS autograd, PyTorch and JAX."""
