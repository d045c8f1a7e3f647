"""The sub-commands of labioc, those about one subject in one module."""
