"""The Channel Access server: sockets, searches, beacons and the circuits of the clients.

It is caproto's asyncio context with its own circuits: addresses, environment, ports and beacons are caproto's, the
paths of searches, requests and monitors are those of this package.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import socket
from collections.abc import Sequence
from typing import Final

import caproto as ca
from caproto.asyncio.server import Context

from ioc.records import Record, RecordSet
from ioc.server.channel import Policy, resolve
from ioc.server.circuit import Circuit
from ioc.server.search import SearchResponder, search_addresses, search_socket

log = logging.getLogger("labioc.server")

_MIN_BEACON_PERIOD: Final = 0.02
_MAX_ARRAY_DEFAULT: Final = 16_000_000


class Everybody:
    """The policy without any rule: who reaches the server may write."""

    def may_put(self, record: Record, field: str, user: str, host: str) -> str | None:
        """Allow it."""
        return None


class Server(Context):  # type: ignore[misc]
    """Serves a set of records.

    ``interfaces`` are the addresses to listen at (default: EPICS_CAS_INTF_ADDR_LIST, else all); ``port`` is that of
    searches and, when free, of TCP (default: EPICS_CA_SERVER_PORT; 0 picks a free one for both). With ``local_only``
    other computers are not answered, so that a trial run can't be taken for the real thing.
    """

    REPLY_WANTED: Final = 10

    def __init__(
        self,
        records: RecordSet,
        policy: Policy | None = None,
        interfaces: Sequence[str] | None = None,
        port: int | None = None,
        local_only: bool = False,
    ) -> None:
        super().__init__({}, list(interfaces) if interfaces else None)
        self.records = records
        self.local_only = local_only
        self.policy: Policy = policy or Everybody()
        self.circuits: set[Circuit] = set()
        self.max_array_bytes = max(int(self.environ["EPICS_CA_MAX_ARRAY_BYTES"] or 0), _MAX_ARRAY_DEFAULT)
        if port is not None:
            self.ca_server_port = port
        self._sids = itertools.count(1)
        self._listeners: list[asyncio.Server] = []
        self._responders: list[asyncio.DatagramTransport] = []
        self._beacons: asyncio.Task[None] | None = None
        self.udp_port = 0

    def new_sid(self) -> int:
        """Return a channel number that no circuit uses."""
        return next(self._sids) & 0xFFFFFFFF

    def knows(self, name: str) -> bool:
        """Whether a channel of this name can be made."""
        return name in self.records or resolve(self.records, name) is not None

    async def start(self) -> None:
        """Open the sockets and serve until ``stop``. Raises OSError when an address or port can't be had."""
        loop = asyncio.get_running_loop()
        self.port, sockets = self._bind()
        try:
            for sock in sockets:
                self._listeners.append(await loop.create_server(lambda: Circuit(self), sock=sock))
            for interface in self.interfaces:
                for address in search_addresses(interface):
                    sock = search_socket(address, self.udp_port)
                    transport, _ = await loop.create_datagram_endpoint(
                        lambda: SearchResponder(self.knows, self.port, self.local_only, self.ignore_addresses),
                        sock=sock,
                    )
                    self._responders.append(transport)
        except OSError:
            await self.stop()
            raise
        self._beacons = loop.create_task(self._send_beacons(), name="beacons")
        log.info(
            "serving %d records on TCP port %d, searches on UDP port %d", len(self.records), self.port, self.udp_port
        )

    def _bind(self) -> tuple[int, list[socket.socket]]:
        """Bind TCP on every interface: on the wanted port if it is free, else on any, as a C IOC does."""
        wanted = self.ca_server_port
        try:
            sockets = _listening_sockets(self.interfaces, wanted)
        except OSError:
            if not wanted:
                raise
            log.info("TCP port %d is taken, another one is used", wanted)
            sockets = _listening_sockets(self.interfaces, 0)
        port = sockets[0].getsockname()[1]
        self.udp_port = wanted or port
        return port, sockets

    async def stop(self) -> None:
        """Close everything; puts that have begun at a device are waited for."""
        if self._beacons is not None:
            self._beacons.cancel()
            await asyncio.gather(self._beacons, return_exceptions=True)
            self._beacons = None
        for responder in self._responders:
            responder.close()
        for listener in self._listeners:
            listener.close()
        for circuit in tuple(self.circuits):
            await circuit.finish_puts()
            circuit.close()
        self._responders.clear()
        self._listeners.clear()
        # Transports call connection_lost in the next turn of the loop.
        await asyncio.sleep(0)

    async def _send_beacons(self) -> None:
        """Announce the server: quickly at first, then at EPICS_CAS_BEACON_PERIOD."""
        period = _MIN_BEACON_PERIOD
        longest = float(self.environ["EPICS_CAS_BEACON_PERIOD"])
        complained: set[tuple[str, int]] = set()
        addresses = ca.get_beacon_address_list()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            sock.setblocking(False)
            for number in itertools.count():
                beacon = bytes(ca.Beacon(ca.DEFAULT_PROTOCOL_VERSION, self.port, number & 0xFFFFFFFF, "0.0.0.0"))
                for address in addresses:
                    try:
                        sock.sendto(beacon, address)
                    except OSError as error:
                        if address not in complained:
                            complained.add(address)
                            log.info("no beacons to %s:%d: %s", *address, error)
                await asyncio.sleep(period)
                period = min(period * 2, longest)


def _listening_sockets(interfaces: Sequence[str], port: int) -> list[socket.socket]:
    """Listen on the same port of every interface; port 0 takes whatever the first one gets."""
    sockets: list[socket.socket] = []
    try:
        for interface in interfaces:
            sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            sockets.append(sock)
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((interface, port or (sockets[0].getsockname()[1] if len(sockets) > 1 else 0)))
            sock.listen(512)
    except OSError:
        for sock in sockets:
            sock.close()
        raise
    return sockets
