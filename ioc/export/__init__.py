"""Files for other programs, generated from the expanded database."""
