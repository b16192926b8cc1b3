"""Traced counterparts of NumPy's functions that create arrays like another, written from ops."""
