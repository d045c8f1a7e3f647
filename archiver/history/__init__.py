"""Looking back: printing and drawing what was archived."""
