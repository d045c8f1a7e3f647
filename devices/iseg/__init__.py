"""Iseg high-voltage modules on a CAN bus (EDCP)."""
