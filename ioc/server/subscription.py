"""A monitor of one client, encoded once for all clients that asked for the same form."""

from __future__ import annotations

import logging
import struct
from typing import Final

from ioc.server.channel import READABLE, Channel
from ioc.server.connection import Connection
from ioc.server.dbr import CannotConvert
from ioc.server.wire import ECA_GETFAIL, ECA_NORMAL, Command, pack

log = logging.getLogger("labioc.server")

_MASK: Final = struct.Struct(">12xH")


def mask_of(payload: bytes) -> int:
    """Event mask in the payload of an EVENT_ADD request; 0 when there is none."""
    return int(_MASK.unpack_from(payload)[0]) if len(payload) >= _MASK.size else 0


class Subscription:
    """One EVENT_ADD of a client.

    ``key`` names the form (type, count, modifiers) in which the payload is shared, as a number, which is found faster
    than a tuple; a filtered channel shares with no other.
    """

    __slots__ = ("_head", "_last", "_size", "channel", "circuit", "count", "dbr", "key", "mask", "subid")

    def __init__(self, circuit: Connection, channel: Channel, dbr: int, count: int, mask: int, subid: int) -> None:
        self.circuit = circuit
        self.channel = channel
        self.dbr = dbr
        self.count = count
        self.mask = mask
        self.subid = subid
        self.key: object = self if channel.filters is not None else (count << 8 | dbr) << 1 | channel.long_string
        self._last: float | None = None
        self._size = -1
        self._head = b""

    def send_now(self) -> None:
        """Queue the present value, or that the client may not read it."""
        self.event(self.mask, {})
        if not self.channel.rights & READABLE:
            denied = self.channel.without_right(Command.EVENT_ADD, self.dbr, self.count, self.subid)
            self.circuit.send_event(self, denied)

    def event(self, mask: int, shared: dict[object, bytes]) -> None:
        """Queue the present value for the client, if it may read."""
        if not self.channel.rights & READABLE:
            return
        if self.channel.filters is not None:
            through, self._last = self.channel.passes(self._last, mask)
            if not through:
                return
        message = shared.get(self.key)
        if message is None:
            try:
                message = shared[self.key] = self.encode()
            except Exception:
                # A mistake in one client's form of the value must not stop the record, nor its other monitors.
                log.exception("%s: event can't be encoded as DBR type %d", self.channel.name, self.dbr)
                return
        elif len(message) < 0xFFFF:
            # Only the subscription id differs between clients: the last word of the header.
            message = message[:12] + self.subid.to_bytes(4, "big") + message[16:]
        else:
            message = self.encode()
        self.circuit.send_event(self, message)

    def encode(self) -> bytes:
        """Encode the present value as a complete message."""
        try:
            payload, elements = self.channel.read(self.dbr, self.count)
        except CannotConvert:
            return pack(Command.EVENT_ADD, self.dbr, 0, ECA_GETFAIL, self.subid)
        size = len(payload)
        if size == self._size:
            return self._head + payload
        message = pack(Command.EVENT_ADD, self.dbr, elements, ECA_NORMAL, self.subid, payload)
        if size % 8 == 0:  # nothing fills it up behind; in one form, the same size means the same header
            self._size, self._head = size, message[: len(message) - size]
        return message
