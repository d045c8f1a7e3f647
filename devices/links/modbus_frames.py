"""Modbus RTU frames: what a request looks like on the wire, which bytes are the reply to it, numbers in words; no I/O.

A frame is unit, function, data and a CRC with its low byte first. A reply tells the unit and the function, and a
write also its address, but the reply to a read does not tell which address was read. An exception reply has 0x80 added
to the function and one byte of code.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass

from devices.errors import Refused

READ, WRITE_ONE, WRITE = 3, 6, 16
LONGEST = {READ: 125, WRITE_ONE: 1, WRITE: 123}  # words
LAST_ADDRESS = 0xFFFF
EXCEPTION = 0x80
EXCEPTION_LENGTH = 5  # bytes
ACKNOWLEDGED, BUSY = 5, 6
CODE_TEXTS = {
    1: "function not supported",
    2: "no such address, or not writable",
    3: "value not allowed, or too many words",
    4: "instrument failure",
    ACKNOWLEDGED: "accepted, but not done yet",
    BUSY: "busy",
    8: "memory error in the instrument",
}

FULL_SCALE = 32767
IEEE_AREA = 0x8000
LAST_WORD = 0x3FFF  # from 0x4000 the family keeps the permissions of its display, which must not be written


def _crc_row(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ 0xA001 if byte & 1 else byte >> 1
    return byte


_CRC_TABLE = tuple(_crc_row(byte) for byte in range(256))


def crc16(data: bytes) -> bytes:
    """Return the two CRC bytes as they follow data on the wire."""
    register = 0xFFFF
    for byte in data:
        register = register >> 8 ^ _CRC_TABLE[(register ^ byte) & 0xFF]
    return register.to_bytes(2, "little")


def with_crc(data: bytes) -> bytes:
    """Return data as a complete frame."""
    return data + crc16(data)


def is_frame(data: bytes) -> bool:
    """Whether the last two bytes are the CRC of the others."""
    return len(data) > 3 and crc16(data[:-2]) == data[-2:]


class ModbusRefusal(Refused):
    """An exception reply; ``code`` is that of the Modbus specification."""

    def __init__(self, request: Request, code: int) -> None:
        super().__init__(f"{request}: refused ({CODE_TEXTS.get(code, 'exception')}, code {code:02d})")
        self.code = code


@dataclass(frozen=True, slots=True)
class Request:
    """Function 3 (``count`` words from ``address``), 6 (one word) or 16 (``words`` from ``address`` on).

    Raises ValueError when an address, count or word is outside what a frame can carry.
    """

    unit: int
    function: int
    address: int
    count: int = 1
    words: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        last, longest = self.address + self.count - 1, LONGEST[self.function]
        if not 0 <= self.address <= last <= LAST_ADDRESS or self.count > longest:
            raise ValueError(f"{self}: allowed are 1 to {longest} words at 0 to {LAST_ADDRESS}")
        if not all(0 <= word <= LAST_ADDRESS for word in self.words):
            raise ValueError(f"{self}: allowed are words of 0 to {LAST_ADDRESS}")

    def __str__(self) -> str:
        if self.function == READ:
            return f"unit {self.unit}: read of {self.count} words at {self.address}"
        return f"unit {self.unit}: write of {', '.join(map(str, self.words))} to {self.address}"

    @property
    def frame(self) -> bytes:
        """The bytes on the wire."""
        start = struct.pack(">BBH", self.unit, self.function, self.address)
        data = struct.pack(f">{len(self.words)}H", *self.words)
        if self.function == READ:
            return with_crc(start + struct.pack(">H", self.count))
        if self.function == WRITE_ONE:
            return with_crc(start + data)
        return with_crc(start + struct.pack(">HB", len(self.words), len(data)) + data)

    @property
    def head(self) -> bytes:
        """What the reply begins with; two requests with the same head cannot be distinguished by their replies."""
        if self.function == READ:
            return bytes((self.unit, self.function, 2 * self.count))
        return self.frame[:6]

    @property
    def reply_length(self) -> int:
        """Bytes of the reply, unless it is an exception."""
        return 5 + 2 * self.count if self.function == READ else 8


@dataclass(frozen=True, slots=True)
class Found:
    """Outcome of a search: the reply or the code of an exception, or how many bytes nothing explains."""

    reply: bytes = b""
    exception: int = 0
    strange: int = 0


def find_reply(request: Request, data: bytes) -> Found:
    """Look for the reply to a request in all bytes that have arrived since it was sent.

    Complete frames with a right CRC that are not the reply are passed over (late replies of other lengths or units,
    frames that an instrument broadcasts by itself), and so is noise before and between frames.
    """
    head, length = request.head, request.reply_length
    refusal = bytes((request.unit, request.function | EXCEPTION))
    at = strange = 0
    while at < len(data):
        rest = data[at:]
        if rest.startswith(head):
            if len(rest) < length:
                break
            if is_frame(rest[:length]):
                return Found(reply=rest[:length])
        elif rest.startswith(refusal):
            if len(rest) < EXCEPTION_LENGTH:
                break
            if is_frame(rest[:EXCEPTION_LENGTH]):
                return Found(exception=rest[2])
        if foreign := _frame_length(rest):
            at += foreign
        else:
            at, strange = at + 1, strange + 1
    return Found(strange=strange)


def _frame_length(data: bytes) -> int:
    """Return the length of the complete reply or short request that data begins with; 0 when it is none."""
    if len(data) < EXCEPTION_LENGTH:
        return 0
    function = data[1]
    if function & EXCEPTION:
        lengths: tuple[int, ...] = (EXCEPTION_LENGTH,)
    elif function in (READ, 4):
        lengths = (5 + data[2], 8)
    elif function in (WRITE_ONE, 8, WRITE):
        lengths = (8,)
    else:
        return 0
    return next((n for n in lengths if len(data) >= n and is_frame(data[:n])), 0)


# Numbers in words, as Eurotherm instruments send them: signed, scaled, IEEE singles, times.
# Two words stand high word first (2000 Series Communications Handbook HA026230).


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
