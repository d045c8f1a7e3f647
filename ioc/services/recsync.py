"""The messages of RecSync, by which an IOC tells a receiver, and with it ChannelFinder, what it serves; no I/O.

All numbers are big-endian. A receiver announces itself over UDP; the IOC connects over TCP and sends what it has
(recsync, ``client/castApp/src/caster.c`` and ``server/recceiver/protocol``).
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final, NamedTuple

MAGIC: Final = 0x5243
HEADER: Final = struct.Struct(">HHI")
_ANNOUNCEMENT: Final = struct.Struct(">HH4sHxxI")
_GREETING: Final = struct.Struct(">BBxxI")
_RECORD: Final = struct.Struct(">IBBH")
_INFO: Final = struct.Struct(">IBxH")
_NUMBER: Final = struct.Struct(">I")
_SENDER: Final = b"\xff\xff\xff\xff"
_LONGEST_KEY, _LONGEST_TEXT = 0xFF, 0xFFFF
LONGEST_BODY: Final = 1024
"""Bytes of a message of a receiver; its longest one has four today."""


class FromServer(IntEnum):
    """Messages of a receiver that an IOC has to know."""

    GREETING = 0x8001
    PING = 0x8002


class _FromClient(IntEnum):
    GREETING = 0x0001
    PONG = 0x0002
    ADD_RECORD = 0x0003
    DONE = 0x0005
    ADD_INFO = 0x0006


class Announcement(NamedTuple):
    """Where a receiver is; ``key`` is given back to it in the greeting."""

    host: str
    port: int
    key: int


def announcement(data: bytes, sender: str) -> Announcement | None:
    """Read a datagram of a receiver at the address ``sender``; None when it is none, or of a later version."""
    if len(data) < _ANNOUNCEMENT.size:
        return None
    magic, version, host, port, key = _ANNOUNCEMENT.unpack_from(data)
    if magic != MAGIC or version != 0 or port == 0:
        return None
    return Announcement(sender if host == _SENDER else ".".join(map(str, host)), port, key)


def body_length(header: bytes) -> tuple[int, int]:
    """Read the head of a message: which one, and how many bytes follow. Raises ValueError when it is none."""
    magic, message, length = HEADER.unpack(header)
    if magic != MAGIC:
        raise ValueError(f"not a message of RecSync: {header.hex()}")
    if length > LONGEST_BODY:
        raise ValueError(f"a message of {length} bytes")
    return message, length


def greeting(key: int) -> bytes:
    """Return the first message of an IOC: protocol version 0, client type 0."""
    return _message(_FromClient.GREETING, _GREETING.pack(0, 0, key))


def pong(ping: bytes) -> bytes:
    """Answer a ping, given its body. Raises ValueError when that is too short."""
    if len(ping) < _NUMBER.size:
        raise ValueError("a ping without number")
    return _message(_FromClient.PONG, ping[: _NUMBER.size])


def add_record(number: int, rtyp: str, name: str) -> bytes:
    """Name a record; ``number``, from 1, is what aliases and infos refer to."""
    kind, text = rtyp.encode(), name.encode()
    return _message(_FromClient.ADD_RECORD, _RECORD.pack(number, 0, len(kind), len(text)) + kind + text)


def add_alias(number: int, name: str) -> bytes:
    """Name an alias of a record."""
    text = name.encode()
    return _message(_FromClient.ADD_RECORD, _RECORD.pack(number, 1, 0, len(text)) + text)


def add_info(number: int, key: str, value: str) -> bytes:
    """Give a record, or with number 0 the IOC, a piece of information; longer texts are cut."""
    name, text = _cut(key, _LONGEST_KEY), _cut(value, _LONGEST_TEXT)
    return _message(_FromClient.ADD_INFO, _INFO.pack(number, len(name), len(text)) + name + text)


def done() -> bytes:
    """Say that everything has been sent."""
    return _message(_FromClient.DONE, _NUMBER.pack(0))


def _message(number: int, body: bytes) -> bytes:
    return HEADER.pack(MAGIC, number, len(body)) + body


def _cut(text: str, longest: int) -> bytes:
    """Encode a text of at most so many bytes, without a part of a letter at the end."""
    return text.encode("utf-8", "replace")[:longest].decode(errors="ignore").encode()
