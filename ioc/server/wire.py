"""Messages of Channel Access on TCP: cut out of the byte stream, and put together.

Header layout and command numbers: Channel Access Protocol Specification, sections "Message Structure" and "Commands".
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import Final, NamedTuple

from caproto import CAStatus

PROTOCOL_VERSION: Final = 13
#: Stands for a channel in an error that concerns none.
NO_CHANNEL: Final = 0xFFFFFFFF

HEADER: Final = struct.Struct(">HHHHII")
_LARGE: Final = struct.Struct(">II")
_EXTENDED_SIZE: Final = 0xFFFF

ECA_NORMAL: Final = CAStatus.ECA_NORMAL.value.code_with_severity
ECA_GETFAIL: Final = CAStatus.ECA_GETFAIL.value.code_with_severity
ECA_PUTFAIL: Final = CAStatus.ECA_PUTFAIL.value.code_with_severity
ECA_NORDACCESS: Final = CAStatus.ECA_NORDACCESS.value.code_with_severity
ECA_NOWTACCESS: Final = CAStatus.ECA_NOWTACCESS.value.code_with_severity
ECA_BADTYPE: Final = CAStatus.ECA_BADTYPE.value.code_with_severity
ECA_BADCOUNT: Final = CAStatus.ECA_BADCOUNT.value.code_with_severity
ECA_BADCHID: Final = CAStatus.ECA_BADCHID.value.code_with_severity
ECA_INTERNAL: Final = CAStatus.ECA_INTERNAL.value.code_with_severity


class Command(IntEnum):
    """Numbers of the messages that a server meets."""

    VERSION = 0
    EVENT_ADD = 1
    EVENT_CANCEL = 2
    READ = 3
    WRITE = 4
    SEARCH = 6
    EVENTS_OFF = 8
    EVENTS_ON = 9
    READ_SYNC = 10
    ERROR = 11
    CLEAR_CHANNEL = 12
    RSRV_IS_UP = 13
    NOT_FOUND = 14
    READ_NOTIFY = 15
    CREATE_CHAN = 18
    WRITE_NOTIFY = 19
    CLIENT_NAME = 20
    HOST_NAME = 21
    ACCESS_RIGHTS = 22
    ECHO = 23
    CREATE_CH_FAIL = 26


class Message(NamedTuple):
    """One message; what the two parameters mean depends on the command."""

    command: int
    data_type: int
    elements: int
    parameter1: int
    parameter2: int
    payload: bytes


class BrokenStream(Exception):
    """The bytes are no Channel Access, or a message is larger than allowed; the circuit must be closed."""


def pack(command: int, data_type: int, count: int, parameter1: int, parameter2: int, payload: bytes = b"") -> bytes:
    """Put a message together; the payload is filled up to a multiple of 8 bytes."""
    size = len(payload)
    fill = -size % 8
    if fill:
        payload += bytes(fill)
        size += fill
    if size < _EXTENDED_SIZE and count < _EXTENDED_SIZE:
        return HEADER.pack(command, size, data_type, count, parameter1, parameter2) + payload
    head = HEADER.pack(command, _EXTENDED_SIZE, data_type, 0, parameter1, parameter2)
    return head + _LARGE.pack(size, count) + payload


def error(message: Message, cid: int, status: int, text: str) -> bytes:
    """Report a request that failed to its client: the header of the request comes back with the reason."""
    size, count = (min(number, _EXTENDED_SIZE - 1) for number in (len(message.payload), message.elements))
    echo = HEADER.pack(message.command, size, message.data_type, count, message.parameter1, message.parameter2)
    return pack(Command.ERROR, 0, 0, cid, status, echo + text.encode("utf-8", "replace")[:500] + b"\0")


class MessageReader:
    """Collects bytes and hands out complete messages; owns no socket.

    ``limit`` bounds the payload of a message in bytes, and so the memory that a client can take.
    """

    def __init__(self, limit: int) -> None:
        self._buffer = bytearray()
        self._limit = limit

    def feed(self, data: bytes) -> Iterator[Message]:
        """Yield the messages completed by ``data``. Raises BrokenStream."""
        self._buffer += data
        buffer = self._buffer
        position = 0
        try:
            while len(buffer) - position >= HEADER.size:
                command, size, data_type, count, parameter1, parameter2 = HEADER.unpack_from(buffer, position)
                start = position + HEADER.size
                if size == _EXTENDED_SIZE:
                    if len(buffer) - start < _LARGE.size:
                        break
                    size, count = _LARGE.unpack_from(buffer, start)
                    start += _LARGE.size
                if size > self._limit:
                    raise BrokenStream(f"a message of {size} bytes, at most {self._limit} are allowed")
                if len(buffer) - start < size:
                    break
                position = start + size
                yield Message(command, data_type, count, parameter1, parameter2, bytes(buffer[start:position]))
        finally:
            del buffer[:position]


def text_of(payload: bytes) -> str:
    """Text in a payload up to its closing NUL."""
    return payload.split(b"\0", 1)[0].decode("utf-8", "replace")


def name_of(payload: bytes) -> str:
    """Name of a user or computer in a payload; what cannot be printed is replaced: names get into logs and lists."""
    return "".join(letter if letter.isprintable() else "?" for letter in text_of(payload))
