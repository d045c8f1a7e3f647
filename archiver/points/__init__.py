"""From an event of a PV to a point of a series."""
