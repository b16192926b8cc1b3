"""The contraction ops."""
