"""Numbers in 16-bit words, as Eurotherm instruments send them over Modbus: signed, scaled, IEEE singles, times.

Two words stand high word first (2000 Series Communications Handbook HA026230).
"""

from __future__ import annotations

import math
import struct

FULL_SCALE = 32767
IEEE_AREA = 0x8000
LAST_WORD = 0x3FFF  # from 0x4000 the family keeps the permissions of its display, which must not be written


def signed(word: int) -> int:
    """Return a 16-bit word as a two's complement number."""
    return word - 0x10000 if word & 0x8000 else word


def unsigned(number: int) -> int:
    """Return the word for a number; raises ValueError outside -32767..32767, which is all the family sends."""
    if not -FULL_SCALE <= number <= FULL_SCALE:
        raise ValueError(f"{number} does not fit a word")
    return number & 0xFFFF


def number_from(word: int, decimals: int) -> float:
    """Return the number in a scaled word."""
    return signed(word) / 10.0**decimals


def word_from(number: float, decimals: int) -> int:
    """Return the scaled word nearest to a number; raises ValueError when it does not fit or is not finite."""
    if not math.isfinite(number):
        raise ValueError(f"{number} is not a number")
    scaled = number * 10.0**decimals
    return unsigned(math.floor(scaled + 0.5) if scaled >= 0 else math.ceil(scaled - 0.5))


def float_from(high: int, low: int) -> float:
    """Return the IEEE single in two words; NaN and infinities come through, which mean no reading."""
    return float(struct.unpack(">f", struct.pack(">HH", high, low))[0])


def words_from_float(number: float) -> tuple[int, int]:
    """Return the two words of an IEEE single; raises ValueError for NaN, infinities and what does not fit."""
    if not math.isfinite(number):
        raise ValueError(f"{number} is not a number")
    try:
        high, low = struct.unpack(">HH", struct.pack(">f", number))
    except OverflowError as error:
        raise ValueError(f"{number} does not fit an IEEE single") from error
    return int(high), int(low)


def seconds_from(high: int, low: int) -> float:
    """Return the time in two words, which hold signed milliseconds."""
    return (signed(high) * 0x10000 + low) / 1000


def words_from_seconds(seconds: float) -> tuple[int, int]:
    """Return the two words of a time; raises ValueError when it is negative, not finite, or above 24 days."""
    if not math.isfinite(seconds) or not 0 <= seconds * 1000 <= 0x7FFFFFFF:
        raise ValueError(f"{seconds} s is not a time that fits")
    return divmod(round(seconds * 1000), 0x10000)


def twin_of(address: int) -> int:
    """Return where the IEEE twin of an address begins; raises ValueError beyond the plain parameters."""
    if not 0 <= address <= LAST_WORD:
        raise ValueError(f"address {address} has no twin in the IEEE area")
    return IEEE_AREA + 2 * address
