"""What all families do alike: demands, limits, read-backs, channels, trips, files of state."""
