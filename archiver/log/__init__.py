"""The durable log of points on disk."""
