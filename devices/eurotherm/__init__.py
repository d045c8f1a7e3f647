"""Eurotherm 3200 furnace controllers on Modbus RTU."""
