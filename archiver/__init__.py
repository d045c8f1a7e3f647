"""The bridge from PVs to InfluxDB."""
