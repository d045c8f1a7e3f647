"""Settings of a site saved to a file, compared with what is in force, and restored in a safe order."""
