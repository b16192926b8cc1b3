"""The selection ops."""
