"""Words that an expert typed, as numbers; shared by the families' raw access."""

from __future__ import annotations

import math

from devices.errors import OutOfLimits


def whole_number(what: str, word: str, low: int, high: int) -> int:
    """Read a decimal or 0x number. Raises OutOfLimits when it is none, or outside ``low`` to ``high``."""
    try:
        number = int(word, 16) if word.lower().startswith(("0x", "-0x")) else int(word)
    except ValueError:
        raise OutOfLimits(f"{word!a} is not a {what}, {low} to {high}") from None
    if "_" in word or not low <= number <= high:
        raise OutOfLimits(f"{word!a} is not a {what}, {low} to {high}")
    return number


def number_in(what: str, word: str) -> int | float:
    """Read a finite number, whole when it is written so (0x allowed). Raises OutOfLimits for anything else."""
    try:
        if "_" in word:
            raise ValueError
        if word.lower().startswith(("0x", "-0x")):
            return int(word, 16)
        number = float(word)
        if not math.isfinite(number):
            raise ValueError
        return int(word) if word.strip().lstrip("+-").isdecimal() else number
    except ValueError:
        raise OutOfLimits(f"{what}: {word!a} is not a number") from None
