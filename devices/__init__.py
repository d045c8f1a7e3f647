"""Protocols, links, drivers and simulators of the hardware; knows nothing about EPICS."""
