"""Finding servers: name searches with a pause that doubles, begun again when a beacon tells of a new server.

Searches go by UDP to the addresses, and by TCP to the name servers, of the settings.

Messages: Channel Access Protocol Specification, "CA_PROTO_SEARCH", "CA_PROTO_RSRV_IS_UP", "CA_REPEATER_REGISTER".
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, cast

import caproto

from labioc_ca.environment import Address, Settings
from labioc_ca.name_servers import NameServer

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
        self._register_timer: asyncio.TimerHandle | None = None
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
        self._register()
        self._schedule()

    async def stop(self) -> None:
        """Stop searching and close all sockets."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for timer in (self._timer, self._register_timer):
            if timer is not None:
                timer.cancel()
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

    def _register(self) -> None:
        """Ask the repeater of this machine for beacons; without one, servers are found by searching alone."""
        if self._transport is None or self._broadcaster.registered:
            return
        request = self._broadcaster.send(self._broadcaster.register())
        self._transport.sendto(request, ("127.0.0.1", self._settings.repeater_port))
        self._register_timer = self._loop.call_later(REGISTER_PAUSE, self._register)

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
