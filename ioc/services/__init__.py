"""What the IOC does beside scanning: statistics, tuned fields, the text interface."""
