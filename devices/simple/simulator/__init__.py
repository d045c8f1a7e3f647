"""Simulated simple devices: a table that answers."""
