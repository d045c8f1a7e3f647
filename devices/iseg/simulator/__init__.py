"""Simulated Iseg modules on a CAN bus."""
