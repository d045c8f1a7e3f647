"""What a high-voltage channel means, whoever made it."""

STATES: tuple[str, ...] = (
    "OFF",
    "ON",
    "RAMP UP",
    "RAMP DOWN",
    "LIMITING",
    "DEVIATING",
    "RECOVERING",
    "INHIBITED",
    "KILLED / EMERGENCY OFF",
    "TRIPPED",
    "FAULT",
    "UNKNOWN",
)
