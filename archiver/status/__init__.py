"""The state of the bridge: its PVs, its status page, its metrics."""
