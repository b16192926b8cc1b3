"""The cumulative ops."""
