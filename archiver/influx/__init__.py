"""Writers to InfluxDB."""
