"""The Channel Access server: sockets, searches, beacons and the circuits of the clients.

Messages, status codes and filters are caproto's; addresses and ports are read as base reads them (ioc.server.network).
"""

from __future__ import annotations

import asyncio
import errno
import itertools
import logging
import os
import socket
from collections.abc import Sequence
from functools import partial
from typing import Final

from ioc.access import Policy
from ioc.records import RecordSet
from ioc.server.circuit import Circuit, Service
from ioc.server.network import ANY, LOOPBACK, LOOPBACK_BROADCAST, Network, broadcasts_of, network
from ioc.server.search import SearchResponder, search_socket
from ioc.server.wire import HEADER, PROTOCOL_VERSION, Command

log = logging.getLogger("labioc.server")

_MIN_BEACON_PERIOD: Final = 0.02
BACKLOG: Final = 512
"""Connections that wait to be taken: many clients come back at once when an IOC is restarted."""


class Server:
    """Serves a set of records.

    ``interfaces`` are the addresses to listen at (default: EPICS_CAS_INTF_ADDR_LIST, else all); ``port`` is that of
    searches and, when free, of TCP (default: EPICS_CAS_SERVER_PORT, EPICS_CA_SERVER_PORT, 5064; 0 picks a free one for
    both). With ``local_only`` other computers are not answered, so that a trial run can't be taken for the real thing.
    Raises NetworkError for an address or a variable of the environment that can't be used.
    """

    def __init__(
        self,
        records: RecordSet,
        policy: Policy | None = None,
        interfaces: Sequence[str] = (),
        port: int | None = None,
        local_only: bool = False,
        guest_port: int | None = None,
    ) -> None:
        self._guest_port = guest_port
        self.network: Network = network(os.environ, interfaces, port, local_only)
        self.service = Service(records, policy or Policy(), self.network.max_array_bytes, local_only)
        self.service.policy.on_change.append(self._rights_changed)
        records.on_regroup = self.service.policy.changed
        self._listeners: list[asyncio.Server] = []
        self._responders: list[asyncio.DatagramTransport] = []
        self._beacons: asyncio.Task[None] | None = None
        self.udp_port = 0

    @property
    def port(self) -> int:
        """TCP port, once started."""
        return self.service.port

    def _rights_changed(self) -> None:
        """Report new access rights, one client after the other in turns of the loop: each may have thousands of PVs."""
        circuits = list(self.service.circuits)

        def update_next() -> None:
            if circuits:
                asyncio.get_running_loop().call_soon(update_next)  # before: a fault here must not spare the others
                circuits.pop().update_rights()

        update_next()

    async def start(self) -> None:
        """Open the sockets and serve until ``stop``. Raises OSError when an address or port can't be had."""
        loop = asyncio.get_running_loop()
        sockets, service = self._bind(), self.service
        circuit = partial(Circuit, service)
        responder = partial(SearchResponder, service.knows, self.port, service.local_only, self.network.ignored)
        try:
            for sock in sockets:
                self._listeners.append(await loop.create_server(circuit, sock=sock, backlog=BACKLOG))
            for address, port in self._search_addresses():
                try:
                    sock = search_socket(address, port)
                except OSError as error:
                    if self._guest_port is None or port == self.port:
                        raise
                    log.info("no broadcasts to %s:%d: %s", address, port, error.strerror)
                    continue
                transport, _ = await loop.create_datagram_endpoint(responder, sock=sock)
                self._responders.append(transport)
        except OSError:
            await self.stop()
            raise
        self._beacons = loop.create_task(self._send_beacons(), name="beacons")
        served, ports = len(service.records), (self.port, self.udp_port)
        log.info("serving %d records on TCP port %d, searches on UDP port %d", served, *ports)

    def _bind(self) -> list[socket.socket]:
        """Bind TCP on every interface: on the wanted port if it is free, else on any, as a C IOC does."""
        wanted, guest = self.network.port, self._guest_port
        try:
            sockets = _listening_sockets(self.network.interfaces, wanted if guest is None else guest)
        except OSError as error:
            if guest is not None or not wanted or error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
            log.warning(
                "%s; another TCP port is used, searches stay on UDP port %d "
                "(at 127.0.0.1 one of several IOCs gets them, at 127.255.255.255 all)",
                error.strerror,
                wanted,
            )
            sockets = _listening_sockets(self.network.interfaces, 0)
        self.service.port = sockets[0].getsockname()[1]
        self.udp_port = wanted or self.port
        return sockets

    def _search_addresses(self) -> list[tuple[str, int]]:
        """Return where searches arrive: at an interface's own address and its broadcast address.

        A guest receives broadcasts there, and those that are sent to it alone at the number of its TCP port.
        """
        if self._guest_port is not None:
            received = {target for interface in self.network.interfaces for target in broadcasts_of(interface)}
            own = [(interface, self.port) for interface in self.network.interfaces]
            return own + [(target, self.udp_port) for target in sorted((received - {LOOPBACK}) | {LOOPBACK_BROADCAST})]
        found: dict[str, None] = {}
        for interface in self.network.interfaces:
            found |= dict.fromkeys((interface, *(() if interface == ANY else broadcasts_of(interface))))
        return [(address, self.udp_port) for address in found]

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
        for circuit in tuple(self.service.circuits):
            await circuit.finish_puts()
            circuit.close()
        self._responders.clear()
        self._listeners.clear()
        # Transports call connection_lost in the next turn of the loop.
        await asyncio.sleep(0)

    async def _send_beacons(self) -> None:
        """Announce the server: quickly at first, then at the beacon period.

        The address in the beacon is left open, so that a client takes the one from which the card sent it.
        """
        period = _MIN_BEACON_PERIOD
        failed: dict[tuple[str, int], int | None] = {}
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            sock.setblocking(False)
            if len(self.network.interfaces) == 1:
                sock.bind((self.network.interfaces[0], 0))
            for number in itertools.count(-1):
                count = max(number, 0) & 0xFFFFFFFF  # the first two beacons of a C IOC have number 0
                beacon = HEADER.pack(Command.RSRV_IS_UP, 0, PROTOCOL_VERSION, self.port, count, 0)
                for address in self.network.beacon_addresses():
                    try:
                        sock.sendto(beacon, address)
                    except OSError as error:
                        if error.errno != failed.get(address):
                            log.warning("no beacons to %s:%d: %s", *address, error.strerror)
                        failed[address] = error.errno
                    else:
                        if failed.pop(address, None):
                            log.info("beacons to %s:%d are sent again", *address)
                await asyncio.sleep(period)
                period = min(period * 2, self.network.beacon_period)


def _listening_sockets(interfaces: Sequence[str], port: int) -> list[socket.socket]:
    """Listen on the same port of every interface; port 0 takes whatever the first one gets.

    Raises OSError that names the address and port.
    """
    sockets: list[socket.socket] = []
    for interface in interfaces:
        number = port or (sockets[0].getsockname()[1] if sockets else 0)
        try:
            sockets.append(socket.create_server((interface, number), backlog=BACKLOG))
        except OSError as error:
            for sock in sockets:
                sock.close()
            raise OSError(error.errno, _why_not(interface, number, error.errno or 0)) from error
    return sockets


def _why_not(interface: str, port: int, number: int) -> str:
    """Return why a TCP port can't be had, by the number of the error, with who may hold it."""
    if number == errno.EADDRINUSE:
        return f"TCP port {port} of {interface} is taken, perhaps by another IOC"
    if number == errno.EADDRNOTAVAIL:
        return f"{interface} (TCP port {port}) is not an address of this computer now"
    if number == errno.EACCES:
        return f"TCP port {port} of {interface} needs rights that this user does not have"
    return f"TCP port {port} of {interface}: {os.strerror(number)}"
