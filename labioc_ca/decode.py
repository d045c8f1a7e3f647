"""Monitor events straight out of the bytes of a Channel Access circuit; everything else is cut out and handed on.

Layouts: Channel Access Protocol Specification, "Message Structure", "CA_PROTO_EVENT_ADD" and "Payload Data Types";
db_access.h of EPICS base (``dbr_time_*``). All numbers on the wire are big-endian. A ``dbr_time_*`` structure is status
and severity (16 bits each), seconds since 1990 and nanoseconds (32 bits each), padding, value.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from struct import Struct
from typing import Any, Final

from labioc_ca.events import EPICS_EPOCH, Event, Kind, Value

EVENT_ADD: Final = 1
READ_NOTIFY: Final = 15
TIME: Final = 14
"""Add a native type to it for the DBR_TIME type."""

ECA_NORMAL: Final = 1
LARGEST_CONTROL: Final = 0x4000
"""Bytes of a message that carries no data; the longest is an error with its text."""

_HEADER: Final = Struct(">HHHHII")
_LARGE: Final = Struct(">II")
_EXTENDED: Final = 0xFFFF
_STAMP: Final = Struct(">HHII")
_SCALARS: Final = {
    Kind.SHORT: Struct(">HHII2xh"),
    Kind.FLOAT: Struct(">HHIIf"),
    Kind.ENUM: Struct(">HHII2xH"),
    Kind.CHAR: Struct(">HHII3xB"),
    Kind.LONG: Struct(">HHIIi"),
    Kind.DOUBLE: Struct(">HHII4xd"),
}
_DOUBLE: Final = Struct(">12sIHHII4xd")  # a whole message: header, number of the subscription, dbr_time_double
_DOUBLE_HEAD: Final = _HEADER.pack(EVENT_ADD, 24, TIME + Kind.DOUBLE, 1, ECA_NORMAL, 0)[:12]
_ARRAYS: Final = {Kind.SHORT: "h", Kind.FLOAT: "f", Kind.ENUM: "H", Kind.LONG: "i", Kind.DOUBLE: "d"}
_STRING_SIZE: Final = 40
_NS: Final = 1_000_000_000
_EPOCH_NS: Final = EPICS_EPOCH * _NS


class BrokenStream(Exception):
    """The bytes are no Channel Access; nothing that follows can be understood, the circuit must be closed."""


@dataclass(frozen=True, slots=True)
class Message:
    """A message, whole, with its header, that is no event of a subscription, or an event without a value."""

    command: int
    parameter1: int
    parameter2: int
    raw: bytes


class EventDecoder:
    """Takes the bytes of one circuit as they come.

    Events are collected in ``events`` until they are taken; ``control`` gets each other message when all events
    before it are in ``events``. ``limit`` bounds a message in bytes: a larger event is left out and reported to
    ``control`` with an empty ``raw``.
    """

    def __init__(self, control: Callable[[Message], None], limit: int) -> None:
        self.events: list[Event] = []
        self.left_out = 0
        self._control = control
        self._limit = limit
        self._subscriptions: dict[int, tuple[str, int, int, int, Any]] = {}
        self._doubles: dict[int, str] = {}
        self._chunks: list[bytes] = []
        self._held = 0
        self._needed = _HEADER.size
        self._skip = 0

    def subscribe(self, number: int, pv: str, native: int, count: int) -> None:
        """Expect events of a subscription as DBR_TIME of a native type; count is that of the channel."""
        self.forget(number)  # it may have been of another type
        layout = _SCALARS.get(Kind(native)) if count == 1 else None
        if layout is None:
            self._subscriptions[number] = (pv, native, TIME + native, _STAMP.size, None)
        else:
            self._subscriptions[number] = (pv, native, TIME + native, layout.size, layout.unpack_from)
            if native == Kind.DOUBLE:
                self._doubles[number] = pv

    def forget(self, number: int) -> None:
        """Expect no more events of a subscription; late ones are ignored."""
        self._subscriptions.pop(number, None)
        self._doubles.pop(number, None)

    def feed(self, data: bytes) -> None:
        """Decode what is complete. Raises BrokenStream."""
        if self._skip:
            skipped = min(self._skip, len(data))
            self._skip -= skipped
            data = data[skipped:]
        if self._chunks:
            # A large array comes in many pieces: they are put together once, when all are there.
            self._chunks.append(data)
            self._held += len(data)
            if self._held < self._needed:
                return
            data = b"".join(self._chunks)
            self._chunks = []
        rest = self._decode(data)
        if rest < len(data):
            self._chunks.append(data[rest:] if rest else data)
            self._held = len(data) - rest

    def _decode(self, data: bytes) -> int:
        """Decode the messages in data; return where the first incomplete one begins."""
        unpack, subscriptions, add = _HEADER.unpack_from, self._subscriptions.get, self.events.append
        at, end = 0, len(data)
        self._needed = _HEADER.size
        while end - at >= 16:
            if data.startswith(_DOUBLE_HEAD, at) and (after := self._take_doubles(data, at)) > at:
                at = after
                continue
            command, size, dbr_type, count, parameter1, parameter2 = unpack(data, at)
            start = at + 16
            if size == 0xFFFF:
                if end - at < 24:
                    self._needed = 24
                    break
                size, count = _LARGE.unpack_from(data, start)
                start += 8
            stop = start + size
            if stop > end and self._too_large(command, size, parameter1, parameter2):
                self._skip = stop - end
                return end
            if stop > end:
                self._needed = stop - at
                break
            expected = subscriptions(parameter2) if command == EVENT_ADD and parameter1 == ECA_NORMAL and size else None
            if expected is None:
                self._control(Message(command, parameter1, parameter2, data[at:stop]))
                # The events may have been taken with the message.
                add = self.events.append
                at = stop
                continue
            pv, kind, wanted, least, layout = expected
            if dbr_type != wanted or size < least:
                raise BrokenStream(f"{pv}: event of type {dbr_type} with {size} bytes, type {wanted} was asked for")
            if layout is not None and count == 1:
                status, severity, seconds, nanoseconds, value = layout(data, start)
            else:
                status, severity, seconds, nanoseconds = _STAMP.unpack_from(data, start)
                value = _array(kind, count, data, start, stop)
            stamp = seconds * _NS + _EPOCH_NS + nanoseconds
            add(Event(pv, kind, value, stamp, severity, status))
            at = stop
        return at

    def _take_doubles(self, data: bytes, at: int) -> int:
        """Decode the single doubles that follow one another from there on; return where they end.

        They are nearly all of the traffic: nothing is called for one but what is written in C.
        """
        events, pvs, new = self.events, self._doubles.get, object.__new__
        before = len(events)
        whole = (len(data) - at) // _DOUBLE.size * _DOUBLE.size
        for head, number, status, severity, seconds, nanoseconds, value in _DOUBLE.iter_unpack(
            memoryview(data)[at : at + whole]
        ):
            pv = pvs(number)
            if head != _DOUBLE_HEAD or pv is None:
                break
            event = new(Event)
            event.pv = pv
            event.kind = 6  # Kind.DOUBLE; a look-up of the member would cost as much as all the rest
            event.value = value
            event.seconds_ns = seconds * _NS + _EPOCH_NS + nanoseconds
            event.severity = severity
            event.status = status
            event.connected = True
            events.append(event)
        return at + _DOUBLE.size * (len(events) - before)

    def _too_large(self, command: int, size: int, parameter1: int, parameter2: int) -> bool:
        """Whether a message that is not complete is an event to be left out; other long ones are an error."""
        if command != EVENT_ADD and size > (self._limit if command == READ_NOTIFY else LARGEST_CONTROL):
            raise BrokenStream(f"message {command} with {size} bytes")
        if size <= self._limit:
            return False
        self.left_out += 1
        self._control(Message(command, parameter1, parameter2, b""))
        return True


def _array(kind: int, count: int, data: bytes, start: int, stop: int) -> Value:
    """Read the values of an event that is no single number. Raises BrokenStream."""
    if kind == Kind.STRING:
        return _strings(count, data[start + _STAMP.size : stop])
    if kind == Kind.CHAR:
        first = start + _STAMP.size + 3
        if first + count > stop:
            raise BrokenStream(f"{count} characters in {stop - start} bytes")
        return text_of(data[first : first + count])
    layout = _SCALARS[Kind(kind)]
    values: array[Any] = array(_ARRAYS[Kind(kind)])
    first = start + layout.size - values.itemsize
    last = first + count * values.itemsize
    if last > stop:
        raise BrokenStream(f"{count} values of type {kind} in {stop - start} bytes")
    values.frombytes(data[first:last])
    if sys.byteorder == "little":
        values.byteswap()
    return values


def _strings(count: int, payload: bytes) -> Value:
    # A single string comes without the bytes behind its NUL.
    if count == 1:
        return text_of(payload[:_STRING_SIZE])
    if count * _STRING_SIZE > len(payload):
        raise BrokenStream(f"{count} strings in {len(payload)} bytes")
    return tuple(text_of(payload[i : i + _STRING_SIZE]) for i in range(0, count * _STRING_SIZE, _STRING_SIZE))


def text_of(raw: bytes) -> str:
    """Text up to its closing NUL: UTF-8, or latin-1 as older IOCs write it."""
    raw = raw.split(b"\0", 1)[0]
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")
