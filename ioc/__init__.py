"""The IOC: site file, records, scans, puts and the Channel Access server."""
