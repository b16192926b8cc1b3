"""The complex-number ops."""
