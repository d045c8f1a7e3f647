"""The self-test: reads everything of a site, changes nothing, and says what is wrong."""
