"""A simulated Eurotherm 3200 with its furnace, behind a pseudo terminal."""
