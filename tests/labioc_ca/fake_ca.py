"""A Channel Access server that misbehaves on request; messages are made from the specification, not with caproto."""

from __future__ import annotations

import asyncio
import struct
from collections import Counter
from collections.abc import Callable, Iterable
from typing import cast

from tests.softioc import free_port

HEADER = struct.Struct(">HHHHII")
READ, WRITE = 1, 2


def message(command: int, dbr_type: int = 0, count: int = 0, one: int = 0, two: int = 0, payload: bytes = b"") -> bytes:
    payload += bytes(-len(payload) % 8)
    return HEADER.pack(command, len(payload), dbr_type, count, one, two) + payload


class _Connection(asyncio.Protocol):
    def __init__(self, server: FakeCaServer) -> None:
        self.server = server
        self.data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.server.connections.append(self)
        self.server.accepted += 1
        self.server.accepted_at.append(asyncio.get_running_loop().time())
        self.transport.write(self.server.greeting)

    def connection_lost(self, exc: Exception | None) -> None:
        self.server.connections.remove(self)

    def data_received(self, data: bytes) -> None:
        self.data += data
        while len(self.data) >= 16:
            command, size, dbr_type, count, one, two = HEADER.unpack_from(self.data)
            if len(self.data) < 16 + size:
                return
            payload, self.data = self.data[16 : 16 + size], self.data[16 + size :]
            self.server.received[command] += 1
            if not self.server.deaf:
                self.server.answer(self, command, dbr_type, count, one, two, payload)


class FakeCaServer(asyncio.DatagramProtocol):
    """Serves names as long integers that count up; every attribute can be changed at any time."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = set(names)
        self.port = free_port()
        self.greeting = message(0, 0, 13)
        self.rights = READ | WRITE
        self.deaf = False  # takes everything, answers nothing
        self.create_fails = False
        self.subscription_error = b""
        self.status = 1  # of answers and events: ECA_NORMAL
        self.answers_with_errors = False  # CA_PROTO_ERROR in the place of an answer to a read or a put
        self.slow_to_clear = False
        self.cleared: list[Callable[[], None]] = []  # answers that are held back
        self.received: Counter[int] = Counter()
        self.searches: Counter[str] = Counter()
        self.searched = asyncio.Event()
        self.accepted = 0
        self.accepted_at: list[float] = []
        self.connections: list[_Connection] = []
        self.channels: dict[str, tuple[_Connection, int, int]] = {}  # name: connection, cid, subscription

    async def __aenter__(self) -> FakeCaServer:
        loop = asyncio.get_running_loop()
        self._udp, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", self.port))
        self._tcp = await loop.create_server(lambda: _Connection(self), "127.0.0.1", self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._udp.close()
        self._tcp.close()
        self.drop()
        await self._tcp.wait_closed()
        while self.connections:  # noqa: ASYNC110
            await asyncio.sleep(0)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def drop(self) -> None:
        for connection in self.connections:
            connection.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.udp = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        at = 0
        reply = message(0, 0, 13)
        while len(data) - at >= 16:
            command, size, _, _, number, _ = HEADER.unpack_from(data, at)
            if command == 6:
                name = data[at + 16 : at + 16 + size].split(b"\0", 1)[0].decode()
                self.searches[name] += 1
                self.searched.set()
                if name in self.names:
                    reply += message(6, self.port, 0, 0xFFFFFFFF, number, struct.pack(">H", 13))
            at += 16 + size
        if len(reply) > 16:
            self.udp.sendto(reply, addr)

    def answer(
        self, peer: _Connection, command: int, dbr_type: int, count: int, one: int, two: int, payload: bytes
    ) -> None:
        write = peer.transport.write
        if command == 18:
            name = payload.split(b"\0", 1)[0].decode()
            if self.create_fails or name not in self.names:
                write(message(26, 0, 0, one))
            else:
                self.channels[name] = (peer, one, 0)
                write(message(22, 0, 0, one, self.rights) + message(18, 5, 1, one, one + 1000))
        elif command == 1:
            name = next(name for name, (_, cid, _) in self.channels.items() if cid + 1000 == one)
            if self.subscription_error:
                request = HEADER.pack(command, len(payload), dbr_type, count, one, two)
                write(message(11, 0, 0, one - 1000, 0x180, request + self.subscription_error + b"\0"))
                return
            self.channels[name] = (peer, one - 1000, two)
            self.event(name, 0)
        elif command in (15, 19) and self.answers_with_errors:
            write(
                message(11, 0, 0, one - 1000, self.status, HEADER.pack(command, 0, dbr_type, count, one, two) + b"no\0")
            )
        elif command == 15:
            write(message(15, dbr_type, 1, self.status, two, bytes({19: 16, 33: 48}[dbr_type])))
        elif command == 19:
            write(message(19, dbr_type, count, self.status, two))
        elif command == 12:
            self.cleared.append(lambda: write(message(12, 0, 0, one, two)))
            if not self.slow_to_clear:
                self.clear()
        elif command == 23:
            write(message(23))

    def event(self, name: str, value: int, severity: int = 0) -> None:
        peer, _, subscription = self.channels[name]
        payload = struct.pack(">HHIIi", 0, severity, 1_160_000_000, value, value)
        peer.transport.write(message(1, 19, 1, self.status, subscription, payload))

    def send(self, name: str, data: bytes) -> None:
        self.channels[name][0].transport.write(data)

    def clear(self) -> None:
        """Tell that channels are cleared."""
        for tell in self.cleared:
            tell()
        self.cleared.clear()

    def destroy(self, name: str) -> None:
        peer, cid, _ = self.channels.pop(name)
        peer.transport.write(message(27, 0, 0, cid))
