"""The SciPy special-function ops."""
