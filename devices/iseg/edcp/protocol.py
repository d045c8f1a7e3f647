"""EDCP, the CAN protocol of iseg high-voltage modules: frames to messages and back, no I/O.

Source: iseg CAN EDCP Programmers guide 2.4, and two programs that speak it (drvAsynCan, isegcan) where it is
silent or contradicts itself. 11-bit identifiers, no remote frames. With A for the address of a module:

    0x200 + 8 A   data: a write by the host or the module's answer, which look the same
    0x201 + 8 A   a request to read; also the announcement of a module that is not registered
    0x000 + 8 A   active frame: the module reports that an event happened
    0x004         broadcast to all modules (NMT)
    0x600, 0x601  crate controller: data, request or announcement; its answers come as 0x604 or 0x600

Nothing acknowledges a write, nothing refuses a request: a module that does not accept one stays silent. Answers are
matched by module, DATA_ID and channel (``Key``); nothing tells the answer to a repeated request from a late one.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from devices.errors import Garbled, OutOfLimits, Refused
from devices.iseg.edcp.bits import GeneralDetail, GeneralStatus
from devices.iseg.edcp.items import Index, Item, Scope, item_of, pack, unpack
from devices.links.can_frame import Frame
from devices.model import Value

MODULES = 64  # addresses 0 to 63
CRATE = 64
"""Stands for the crate controller wherever an address is asked for."""

BASE = 0x200
"""Identifier base of ordinary traffic; 0x000 on modules set to the message configuration 2."""

NMT_ID = 0x004

_CRATE_BIT, _PRIORITY_BIT, _NMT_BIT, _REPLY_BIT, _READ_BIT = 0x400, 0x200, 0x4, 0x2, 0x1

GENERAL_ID, LOG_ON_ID = 0xC0, 0xD8
"""Items of the older protocol that EDCP modules still use: one byte."""


@dataclass(frozen=True, slots=True)
class Key:
    """What an answer is matched by; ``index`` is the channel, offset or sensor, None where there is none."""

    address: int
    data_id: int
    index: int | None = None


@dataclass(frozen=True, slots=True)
class Data:
    """A value: written by a host, or the answer of a module. ``data_id`` is 0x6xxx in answers for many channels."""

    address: int
    data_id: int
    item: Item
    index: int | None
    value: Value


@dataclass(frozen=True, slots=True)
class Request:
    """A request to read. ``members`` is the mask of a request for many channels (0: all), then ``index`` its offset."""

    address: int
    data_id: int
    item: Item
    index: int | None
    members: int | None = None


@dataclass(frozen=True, slots=True)
class GeneralRequest:
    """A request for the general status."""

    address: int


@dataclass(frozen=True, slots=True)
class General:
    """General status. ``active``: sent unasked because an event happened; a trigger, not to be taken literally."""

    address: int
    status: GeneralStatus
    detail: GeneralDetail
    active: bool


@dataclass(frozen=True, slots=True)
class Announcement:
    """A module or crate that is not registered: it came up, was reset, or has not been spoken to for a minute."""

    address: int
    status: GeneralStatus
    device_class: int
    base: int


@dataclass(frozen=True, slots=True)
class Registration:
    """A host registers or releases a module."""

    address: int
    on: bool


class Service(IntEnum):
    """Broadcast services; the low two bits of the byte on the wire are reserved."""

    START = 0xC4
    STOP = 0xC8
    RESET_CAN = 0xCC
    RESET = 0xD0
    BIT_RATE = 0xD4
    MODE = 0xE0
    PROTOCOL = 0xE4
    SET_CHANNELS = 0xE8
    SET_MODULES = 0xEC


@dataclass(frozen=True, slots=True)
class Broadcast:
    """A broadcast to every module; ``payload`` is what follows the service byte."""

    service: Service
    payload: bytes


@dataclass(frozen=True, slots=True)
class Foreign:
    """A frame of other nodes, none of this protocol's business."""


@dataclass(frozen=True, slots=True)
class Unexplained:
    """A frame on an identifier of this protocol that no rule explains; to be counted.

    ``key`` is known when only the value makes no sense: the request that it answers was received, then.
    """

    reason: str
    key: Key | None = None


Message = Data | Request | GeneralRequest | General | Announcement | Registration | Broadcast | Foreign | Unexplained


def module_frame(address: int, data: bytes, *, read: bool, base: int = BASE) -> Frame:
    """Return a frame to or from a module, ``data`` as it stands.

    Raises OutOfLimits for an address that does not exist.
    """
    if not 0 <= address <= CRATE:
        raise OutOfLimits(f"{address} is not an address on the bus (0 to {MODULES - 1})")
    if address == CRATE:
        return Frame(_CRATE_BIT | _PRIORITY_BIT | read, data)
    return Frame(base | address << 3 | read, data)


def read(address: int, item: Item, index: int | None = None, *, base: int = BASE) -> Frame:
    """Return the request for an item.

    ``index`` is the channel, the offset (default 0), the number of a group, or the sensor (default: all of them).
    Raises Refused for an item that cannot be read, OutOfLimits for an index that does not fit.
    """
    if not item.readable:
        raise Refused(f"{item.name} cannot be read")
    data, width = item.id.to_bytes(2, "big"), item.index.asked[-1]
    if width and not (item.index is Index.SENSOR and index is None):
        data += _index(item, index).ljust(width, b"\0")
    return module_frame(address, data, read=True, base=base)


def read_channels(address: int, item: Item, members: int = 0, offset: int = 0, *, base: int = BASE) -> Frame:
    """Return the request that asks for an item of many channels; every one of them answers with its own frame.

    Bit n of ``members`` is channel ``offset`` + n; 0 means every channel, which old firmware does not understand.
    """
    if item.scope is not Scope.CHANNEL:
        raise Refused(f"{item.name} is not an item of channels")
    if not 0 <= members <= 0xFFFF or not 0 <= offset <= 0xFF:
        raise OutOfLimits(f"members {members:#x} with offset {offset} cannot be asked for")
    data = item.many_id.to_bytes(2, "big") + members.to_bytes(2, "big") + bytes([offset])
    return module_frame(address, data, read=True, base=base)


def write(address: int, item: Item, value: Value, index: int | None = None, *, base: int = BASE) -> Frame:
    """Return the frame that sets an item. Raises Refused for a read-only item, OutOfLimits for an impossible value."""
    if not item.settable:
        raise Refused(f"{item.name} cannot be set")
    return answer(address, item, value, index, base=base)


def answer(
    address: int, item: Item, value: Value, index: int | None = None, *, many: bool = False, base: int = BASE
) -> Frame:
    """Return what a module answers to a request; ``many`` when the request was for many channels."""
    data = (item.many_id if many else item.id).to_bytes(2, "big")
    if item.index is not Index.NONE:
        data += _index(item, index)
    return module_frame(address, data + pack(item, value), read=False, base=base)


def _index(item: Item, index: int | None) -> bytes:
    if index is None and item.index not in (Index.OFFSET, Index.SELECTOR):
        raise OutOfLimits(f"{item.name} of which {item.index.word}?")
    number, width = index or 0, item.index.width
    if not 0 <= number < 1 << 8 * width:
        raise OutOfLimits(f"{number} is not a {item.index.word} of {item.name}")
    return number.to_bytes(width, "big")


def general_request(address: int, *, base: int = BASE) -> Frame:
    """Return the request for the general status, an item of the older protocol."""
    return module_frame(address, bytes([GENERAL_ID]), read=True, base=base)


def general(
    address: int, status: GeneralStatus, detail: GeneralDetail, *, active: bool = False, base: int = BASE
) -> Frame:
    """Return the general status: an answer, or an active frame."""
    return module_frame(address, bytes([GENERAL_ID, status, detail]), read=False, base=0 if active else base)


def announcement(address: int, status: GeneralStatus, device_class: int, *, base: int = BASE) -> Frame:
    """Return what a module sends every second or so until it is registered."""
    return module_frame(address, bytes([LOG_ON_ID, status, device_class]), read=True, base=base)


def registration(address: int, on: bool, *, base: int = BASE) -> Frame:
    """Return the frame that registers or releases a module; outputs do not care."""
    return module_frame(address, bytes([LOG_ON_ID, on]), read=False, base=base)


def broadcast(service: Service, payload: bytes = b"") -> Frame:
    """Return a broadcast. It reaches every module of the segment, those of other users too."""
    return Frame(NMT_ID, bytes([service]) + payload)


def broadcast_setting(payload: bytes) -> tuple[int, Item, Value]:
    """Return group, item and value of a SET_CHANNELS or SET_MODULES payload. Raises Garbled."""
    item = item_of(int.from_bytes(payload[1:3], "big"))
    if len(payload) < 4 or item is None:
        raise Garbled(f"broadcast of nothing known: {payload.hex()}")
    return payload[0], item, unpack(item, payload[3:])


def decode(frame: Frame) -> Message:
    """Read one frame; never raises, whatever the bytes.

    Data frames of hosts and of modules cannot be distinguished, so both decode alike; likewise an announcement of base
    0x000 and one of 0x200, which differ in ``base`` only.
    """
    if frame.error or frame.extended or frame.remote or not 0 <= frame.id <= 0x7FF:
        return Foreign()
    if frame.id == NMT_ID:
        return _broadcast(frame.data)
    crate = bool(frame.id & _CRATE_BIT)
    if crate and frame.id not in (0x600, 0x601, 0x604):
        return Foreign()
    if not crate and frame.id & (_NMT_BIT | _REPLY_BIT):
        return Unexplained(f"identifier {frame.id:#05x} with reserved bits")
    address = CRATE if crate else frame.id >> 3 & 0x3F
    reading, data = bool(frame.id & _READ_BIT), bytes(frame.data)
    if not data or len(data) > 8:
        return Unexplained(f"{len(data)} data bytes")
    if data[0] & 0x80:
        return _one_byte_item(address, data, reading, frame.id & _PRIORITY_BIT)
    item = item_of(int.from_bytes(data[:2], "big")) if len(data) > 1 else None
    if item is None:
        return Unexplained(f"unknown item {data[:2].hex()}")
    try:
        return _request(address, item, data) if reading else _data(address, item, data)
    except Garbled as reason:
        return Unexplained(str(reason))


def _one_byte_item(address: int, data: bytes, reading: bool, base: int) -> Message:
    match (data[0], reading, len(data)):
        case (0xD8, True, 3):
            return Announcement(address, GeneralStatus(data[1]), data[2], base)
        case (0xD8, False, 2) if data[1] < 2:
            return Registration(address, bool(data[1]))
        case (0xC0, True, 1):
            return GeneralRequest(address)
        case (0xC0, False, 2 | 3):
            detail = GeneralDetail(data[2] if len(data) == 3 else 0)
            return General(address, GeneralStatus(data[1]), detail, active=not base)
    return Unexplained(f"unknown one-byte item {data.hex()}")


def _request(address: int, item: Item, data: bytes) -> Message:
    data_id, rest = int.from_bytes(data[:2], "big"), data[2:]
    if data_id != item.id:
        if len(rest) != 3:
            raise Garbled(f"request for {item.name} of many channels with {len(rest)} bytes instead of 3")
        return Request(address, data_id, item, rest[2], int.from_bytes(rest[:2], "big"))
    if len(rest) not in item.index.asked:
        raise Garbled(f"request for {item.name} with {len(rest)} bytes behind the item")
    without = 0 if item.index is Index.OFFSET else None
    return Request(address, data_id, item, int.from_bytes(rest[: item.index.width], "big") if rest else without)


def _data(address: int, item: Item, data: bytes) -> Message:
    data_id, rest = int.from_bytes(data[:2], "big"), data[2:]
    width = item.index.width
    if item.index is Index.OFFSET and len(rest) in (2, 4):
        # Some hosts and modules leave the offset out; the words themselves are 2 or 4 bytes long.
        width = 0
    if len(rest) <= width and width:
        raise Garbled(f"{item.name} without a value")
    index = int.from_bytes(rest[:width], "big") if width else 0 if item.index is Index.OFFSET else None
    try:
        return Data(address, data_id, item, index, unpack(item, rest[width:]))
    except Garbled as reason:
        return Unexplained(str(reason), Key(address, data_id, index))


def _broadcast(data: bytes) -> Message:
    try:
        return Broadcast(Service(data[0] & 0xFC), bytes(data[1:]))
    except (IndexError, ValueError):
        return Unexplained(f"unknown broadcast {data.hex()}")


def join_text(parts: list[str]) -> str | None:
    """Return a text that came in several frames, None while its closing zero is missing."""
    text, end, _ = "".join(parts).partition("\0")
    return text.strip() if end else None
