"""Every field and event of the C softIoc, compared with those of labioc."""
