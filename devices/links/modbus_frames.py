"""Modbus RTU frames: what a request looks like on the wire and which bytes are the reply to it; no I/O.

A frame is unit, function, data and a CRC with its low byte first. A reply tells the unit and the function, and a
write also its address, but the reply to a read does not tell which address was read. An exception reply has 0x80 added
to the function and one byte of code.
"""

from __future__ import annotations

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
