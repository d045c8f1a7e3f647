"""A Channel Access client on a bare socket, for what no library would ever send.

Messages are (command, data type, count, parameter 1, parameter 2, payload), as in the protocol specification.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

VERSION, EVENT_ADD, EVENT_CANCEL, READ, WRITE, SEARCH, EVENTS_OFF, EVENTS_ON = 0, 1, 2, 3, 4, 6, 8, 9
ERROR, CLEAR_CHANNEL, READ_NOTIFY, CREATE_CHAN, WRITE_NOTIFY = 11, 12, 15, 18, 19
CLIENT_NAME, HOST_NAME, ECHO, CREATE_CH_FAIL = 20, 21, 23, 26
ACCESS_RIGHTS = 22

_HEADER = struct.Struct(">HHHHII")


class Message(NamedTuple):
    """One message."""

    command: int
    data_type: int = 0
    count: int = 0
    parameter1: int = 0
    parameter2: int = 0
    payload: bytes = b""


def pack(message: Message) -> bytes:
    """Bytes of a message, its payload filled up to a multiple of 8."""
    payload = message.payload + bytes(-len(message.payload) % 8)
    return _HEADER.pack(message.command, len(payload), *message[1:5]) + payload


def unpack(data: bytes) -> tuple[Message, bytes] | None:
    """Cut the first message off; None while it is not complete."""
    if len(data) < _HEADER.size:
        return None
    command, size, data_type, count, parameter1, parameter2 = _HEADER.unpack_from(data)
    start = _HEADER.size
    if size == 0xFFFF and count == 0:
        if len(data) < start + 8:
            return None
        size, count = struct.unpack_from(">II", data, start)
        start += 8
    if len(data) < start + size:
        return None
    return Message(command, data_type, count, parameter1, parameter2, data[start : start + size]), data[start + size :]


def event_mask(mask: int) -> bytes:
    """Payload of an EVENT_ADD."""
    return struct.pack(">12xH2x", mask)


class RawCircuit:
    """A connection to a server on the loopback interface; to be used as a context manager."""

    def __init__(self, port: int, greeting: bool = True, user: str = "user", host: str = "host") -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), 5)
        self._data = b""
        self._cids = iter(range(1, 1 << 30))
        self.sids: dict[str, int] = {}
        self.rights: dict[str, int] = {}
        if greeting:
            self.send(
                Message(VERSION, count=13),
                Message(HOST_NAME, payload=host.encode() + b"\0"),
                Message(CLIENT_NAME, payload=user.encode() + b"\0"),
            )

    def __enter__(self) -> RawCircuit:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def hang_up(self) -> None:
        """End the connection in both directions, so that what waits at it goes on."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def send(self, *messages: Message | bytes) -> None:
        """Send messages, or bytes as they are, in one go."""
        self._socket.sendall(b"".join(one if isinstance(one, bytes) else pack(one) for one in messages))

    def until(self, wanted: Callable[[Message], bool], deadline: float = 10.0) -> list[Message]:
        """The messages that arrive up to the one that is wanted. Raises EOFError when the server hangs up before."""
        end = time.monotonic() + deadline
        got: list[Message] = []
        while True:
            while (cut := unpack(self._data)) is not None:
                message, self._data = cut
                got.append(message)
                if wanted(message):
                    return got
            self._socket.settimeout(max(end - time.monotonic(), 0.001))
            try:
                data = self._socket.recv(65536)
            except ConnectionError:
                data = b""
            if not data:
                raise EOFError(f"closed after {got}")
            self._data += data

    def channel(self, name: str) -> Message:
        """Make a channel, and remember its server id and access rights by name; the answer to CREATE_CHAN."""
        cid = next(self._cids)
        self.send(Message(CREATE_CHAN, parameter1=cid, parameter2=13, payload=name.encode("latin-1") + b"\0"))
        got = self.until(lambda one: one.command in (CREATE_CHAN, CREATE_CH_FAIL) and one.parameter1 == cid)
        for rights in (one for one in got if one.command == ACCESS_RIGHTS and one.parameter1 == cid):
            self.rights[name] = rights.parameter2
        answer = got[-1]
        if answer.command == CREATE_CHAN:
            self.sids[name] = answer.parameter2
        return answer

    def ask(self, *messages: Message | bytes) -> list[Message]:
        """Send messages; what comes back for them, up to the answer to an echo after them."""
        self.send(*messages, Message(ECHO, parameter1=4711))
        return self.until(lambda one: one.command == ECHO and one.parameter1 == 4711)[:-1]
