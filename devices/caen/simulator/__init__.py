"""A simulated CAEN supply behind its real transport."""
