"""Scanning: when a device is read, and what becomes of its readings."""
