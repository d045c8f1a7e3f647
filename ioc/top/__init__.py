"""``labioc top``: the state of a whole site in a terminal, live."""
