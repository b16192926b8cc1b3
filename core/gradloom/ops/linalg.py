"""The linear-algebra ops."""
