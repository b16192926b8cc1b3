"""The cast ops."""
