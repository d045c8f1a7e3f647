"""Finding servers: name searches with a pause that doubles, begun again when a beacon tells of a new server.

Searches go by UDP to the addresses, and by TCP to the name servers, of the settings: servers of EPICS_CA_NAME_SERVERS,
gateways, IOCs that no broadcast reaches.

Messages: Channel Access Protocol Specification, "CA_PROTO_SEARCH", "CA_PROTO_RSRV_IS_UP", "CA_REPEATER_REGISTER". By
TCP a search is answered since protocol version 4.12, with the port of the IOC in the place of the data type and its
address, or all ones for that of the server, in the place of the first parameter.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import socket
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, cast

import caproto

from labioc_ca.environment import CONNECT_TIMEOUT, ECHO_TIMEOUT, Address, Settings

log = logging.getLogger("labioc.ca")

FIRST_PAUSE: Final = 0.05
LARGEST_DATAGRAM: Final = 1024
DATAGRAMS_AT_ONCE: Final = 16
PACE: Final = 0.01
"""Seconds between slices, so that the receive buffers of servers do not overflow."""

REGISTER_PAUSE: Final = 15.0
HURRY_PAUSE: Final = 1.0
VERSION: Final = 13
_VERSION_REQUEST: Final = bytes(caproto.VersionRequest(0, VERSION))
_HEADER: Final = struct.Struct(">HHHHII")
_SENDER: Final = "255.255.255.255"

FIRST_RETRY: Final = 0.2
LONGEST_RETRY: Final = 15.0
"""Seconds between attempts to connect; doubled each time, up to the longest."""

LARGEST_BACKLOG: Final = 1 << 20
"""Bytes that wait for a name server that does not read; what is searched meanwhile is searched again later."""

_TCP_SINCE: Final = 12
_ITS_OWN: Final = (0xFFFFFFFF, 0)
_LARGEST_PAYLOAD: Final = 0x4000
_ECHO: Final = bytes(caproto.EchoRequest())


class NameServer:
    """One name server; ``found`` gets the number of a name and who serves it.

    ``ready`` is called when it takes searches, at first and after each loss. ``timeout`` is how long a silent one is
    waited for, in seconds, before it is asked whether it lives.
    """

    def __init__(
        self,
        address: Address,
        timeout: float,
        found: Callable[[int, Address], None],
        ready: Callable[[NameServer], None],
    ) -> None:
        self.address = address
        self._timeout = timeout
        self._found = found
        self._ready = ready
        self._writer: asyncio.StreamWriter | None = None
        self._trouble = ""

    def search(self, requests: bytes) -> None:
        """Send search requests, if it takes any now."""
        if self._writer is not None and self._writer.transport.get_write_buffer_size() < LARGEST_BACKLOG:
            self._writer.write(requests)

    async def run(self) -> None:
        """Stay connected until cancelled."""
        pause = FIRST_RETRY
        while True:
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT):
                    reader, writer = await asyncio.open_connection(*self.address)
                try:
                    await self._talk(reader, writer)
                finally:
                    pause = FIRST_RETRY if self._writer is not None else pause
                    self._writer = None
                    writer.transport.abort()
            except TimeoutError:
                self._report("no answer")
            except EOFError:
                self._report("closed by the server")
            except (OSError, ValueError) as error:
                self._report(str(error))
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_RETRY)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take answers. Raises TimeoutError, EOFError, OSError, ValueError."""
        writer.write(_VERSION_REQUEST)
        while True:
            command, size, kind, count, address, number = _HEADER.unpack(await self._read(reader, writer))
            if size > _LARGEST_PAYLOAD:
                raise ValueError(f"message {command} with {size} bytes is no answer to a search")
            async with asyncio.timeout(ECHO_TIMEOUT):
                await reader.readexactly(size)
            if command == caproto.VersionResponse.ID and self._writer is None:
                if count < _TCP_SINCE:
                    raise ValueError(f"takes no searches by TCP (protocol version 4.{count})")
                self._writer = writer
                self._report("")
                self._ready(self)
            elif command == caproto.SearchResponse.ID and kind:
                host = self.address[0] if address in _ITS_OWN else socket.inet_ntoa(address.to_bytes(4, "big"))
                self._found(number, (host, kind))

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        """Wait for a header; ask a server that is silent for long, and give it up when it stays so."""
        try:
            async with asyncio.timeout(self._timeout):
                return await reader.readexactly(_HEADER.size)
        except TimeoutError:
            writer.write(_ECHO)
        async with asyncio.timeout(ECHO_TIMEOUT):
            return await reader.readexactly(_HEADER.size)

    def _report(self, trouble: str) -> None:
        """Log a change for the worse or for the better, once."""
        if trouble == self._trouble:
            return
        self._trouble = trouble
        if trouble:
            log.warning("name server %s:%d: %s, trying again", *self.address, trouble)
        else:
            log.info("name server %s:%d takes searches", *self.address)


@dataclass(slots=True)
class _Search:
    """A name that is looked for."""

    request: bytes
    due: float
    attempt: int = 0


class Searcher(asyncio.DatagramProtocol):
    """Looks for names, each known by a number, until stopped; ``found`` gets the number and who serves it.

    The pause between two searches for a name doubles up to ``settings.max_search_period`` seconds.
    """

    def __init__(self, settings: Settings, found: Callable[[int, Address], None]) -> None:
        self.beacons = 0
        self.garbage = 0
        self._settings = settings
        self._found = found
        self._broadcaster = caproto.Broadcaster(our_role=caproto.CLIENT)
        self._wanted: dict[int, _Search] = {}
        self._queue: list[tuple[float, int]] = []
        self._servers: dict[Address, int] = {}
        self._hurried = 0.0
        self._transport: asyncio.DatagramTransport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._name_servers = [
            NameServer(address, settings.connection_timeout, found, self._ask_for_all)
            for address in settings.name_servers
        ]
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Open the socket; raises OSError."""
        self._loop = asyncio.get_running_loop()
        self._closed = self._loop.create_future()
        await self._loop.create_datagram_endpoint(lambda: self, local_addr=("0.0.0.0", 0), allow_broadcast=True)
        self._tasks = [
            self._loop.create_task(server.run(), name="Channel Access name server {}:{}".format(*server.address))
            for server in self._name_servers
        ]
        self._tasks.append(self._loop.create_task(self._register(), name="Channel Access repeater"))
        self._schedule()

    async def stop(self) -> None:
        """Stop searching and close all sockets."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._transport.close()
            await self._closed

    def want(self, names: Iterable[tuple[int, str]], delay: float = 0.0) -> None:
        """Look for names, beginning after a delay in seconds."""
        due = asyncio.get_running_loop().time() + delay
        for number, name in names:
            search = self._wanted[number] = _Search(_request(number, name), due)
            self._put(number, search)
        self._schedule()

    def unwant(self, number: int) -> None:
        """Look for a name no more."""
        self._wanted.pop(number, None)

    def hurry(self) -> None:
        """Look for everything again at once, and often for a while."""
        now = self._loop.time()
        if now - self._hurried < HURRY_PAUSE:
            return
        self._hurried = now
        for number, search in self._wanted.items():
            if search.attempt:
                search.attempt, search.due = 0, now
                self._put(number, search)
        self._schedule()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to send."""
        self._transport = cast("asyncio.DatagramTransport", transport)
        self._broadcaster.client_address = transport.get_extra_info("sockname")

    def connection_lost(self, exc: Exception | None) -> None:
        """Let stop() return."""
        self._transport = None
        if not self._closed.done():
            self._closed.set_result(None)

    def error_received(self, exc: Exception) -> None:
        """Ignore that no server listens at one of the addresses: the next search shows it."""
        log.debug("search: %s", exc)

    def datagram_received(self, data: bytes, addr: Address) -> None:
        """Take answers, beacons and the repeater's word; count what is none of these."""
        try:
            commands = self._broadcaster.recv(data, addr)
            self._broadcaster.process_commands(commands)
            for command in commands:
                if isinstance(command, caproto.SearchResponse):
                    host = addr[0] if command.ip in (_SENDER, "0.0.0.0") else command.ip
                    if command.port:
                        self._found(command.cid, (host, command.port))
                elif isinstance(command, caproto.Beacon):
                    host = addr[0] if command.address == "0.0.0.0" else command.address
                    self._beacon((host, command.server_port), command.beacon_id)
        except (caproto.CaprotoError, ValueError, TypeError, IndexError) as error:
            self.garbage += 1
            log.debug("search: datagram from %s:%d not understood: %s", *addr, error)

    def _beacon(self, server: Address, number: int) -> None:
        self.beacons += 1
        last = self._servers.get(server)
        self._servers[server] = number
        if last is None or number < last:
            self.hurry()

    async def _register(self) -> None:
        """Ask the repeater of this machine for beacons; without one, servers are found by searching alone."""
        while self._transport is not None and not self._broadcaster.registered:
            request = self._broadcaster.send(self._broadcaster.register())
            self._transport.sendto(request, ("127.0.0.1", self._settings.repeater_port))
            await asyncio.sleep(REGISTER_PAUSE)

    def _ask_for_all(self, server: NameServer) -> None:
        """Search at a name server that has just begun to listen."""
        server.search(b"".join(search.request for search in self._wanted.values()))

    def _put(self, number: int, search: _Search) -> None:
        heapq.heappush(self._queue, (search.due, number))

    def _schedule(self, earliest: float = 0.0) -> None:
        if self._transport is None:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._queue:
            self._timer = self._loop.call_at(max(self._queue[0][0], earliest), self._send)

    def _send(self) -> None:
        """Send what is due, at most one slice, and come back for the rest."""
        self._timer = None
        if self._transport is None:
            return
        now = self._loop.time()
        for datagram in self._datagrams(now):
            for address in self._settings.addresses:
                self._transport.sendto(datagram, address)
            for server in self._name_servers:
                server.search(datagram[len(_VERSION_REQUEST) :])
        self._schedule(now + PACE)

    def _datagrams(self, now: float) -> list[bytes]:
        made: list[bytes] = []
        datagram = bytearray(_VERSION_REQUEST)
        while self._queue and self._queue[0][0] <= now and len(made) < DATAGRAMS_AT_ONCE:
            due, number = heapq.heappop(self._queue)
            search = self._wanted.get(number)
            if search is None or search.due != due:
                continue  # found meanwhile, or put forward
            datagram += search.request
            pause = min(FIRST_PAUSE * 2**search.attempt, self._settings.max_search_period)
            search.attempt = min(search.attempt + 1, 30)
            search.due = now + pause
            self._put(number, search)
            if len(datagram) > LARGEST_DATAGRAM - 96:
                made.append(bytes(datagram))
                datagram = bytearray(_VERSION_REQUEST)
        if len(datagram) > len(_VERSION_REQUEST):
            made.append(bytes(datagram))
        return made


def _request(number: int, name: str) -> bytes:
    """Make a search; caproto's constructor refuses names of 60 characters, which are allowed since base 3.15."""
    payload = name.encode() + b"\0"
    payload += bytes(-len(payload) % 8)
    return _HEADER.pack(caproto.SearchRequest.ID, len(payload), caproto.NO_REPLY, VERSION, number, number) + payload
