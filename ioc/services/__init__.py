"""What the IOC does beside scanning: statistics, what clients tune, the text interface."""
