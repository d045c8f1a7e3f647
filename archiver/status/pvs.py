"""``<P>:ARCH:*``: the bridge as process variables, served by a small caproto server of its own.

An IOC usually runs on the same computer and owns the Channel Access port. This server never takes a search away from
it: at that port it listens to broadcasts only, which reach every server, and unicast searches it answers at the number
of its own TCP port.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import logging
import socket
from typing import Any, Final

import caproto
from caproto import AlarmSeverity, AlarmStatus, ChannelType
from caproto.asyncio.server import Context, VirtualCircuit
from caproto.asyncio.utils import (
    _create_bound_tcp_socket,
    _create_udp_socket,
    _DatagramProtocol,
    _TransportWrapper,
    _UdpTransportWrapper,
)
from caproto.server import PVGroup, pvproperty

from archiver.ca.environment import broadcast_addresses
from archiver.status.snapshot import BridgeState, Snapshot

log = logging.getLogger("labioc.archiver")

LAG_ALARM = 60.0
"""Seconds of ARCH:LAG above which it is in MINOR alarm."""

_LOOPBACK_BROADCAST = "127.255.255.255"
_EVERYWHERE = "255.255.255.255"
_FIRST_BEACON_PAUSE: Final = 0.02
"""Seconds; doubled each time, up to EPICS_CAS_BEACON_PERIOD, as the Channel Access Protocol Specification asks."""

_NONE, _MINOR, _MAJOR = AlarmSeverity.NO_ALARM, AlarmSeverity.MINOR_ALARM, AlarmSeverity.MAJOR_ALARM
_STATE_SEVERITY = {BridgeState.OK: _NONE, BridgeState.SPOOLING: _MINOR, BridgeState.LOSING: _MAJOR}
_LARGEST_LONG = 2**31 - 1


def _pv(name: str, value: Any, record: str, text: str, **options: Any) -> Any:
    return pvproperty(name=name, value=value, record=record, doc=text, alarm_group=name, read_only=True, **options)


class _Pvs(PVGroup):  # type: ignore[misc]
    """The records; each has an alarm of its own."""

    state = _pv(
        "STATE",
        0,
        "mbbi",
        "Bridge to InfluxDB",
        dtype=ChannelType.ENUM,
        enum_strings=[state.name for state in BridgeState],
    )
    queue = _pv("QUEUE", 0, "longin", "Points waiting for the slowest server")
    spool = _pv("SPOOL", 0.0, "ai", "Size of the log", units="MB", precision=1)
    lost = _pv("LOST", 0, "longin", "Points lost since the start")
    lag = _pv("LAG", 0.0, "ai", "Age of the oldest waiting point", units="s", precision=1)
    rate = _pv("RATE", 0.0, "ai", "Events received", units="1/s", precision=1)
    refused = _pv("REFUSED", 0, "longin", "Points refused by servers since start")
    conflicts = _pv("CONFLICTS", 0, "longin", "Fields that servers hold with another type")


class StatusPvs:
    """Serves the PVs, if asked for this computer only; ``port`` is that of circuits and unicast searches, 0 for any."""

    def __init__(self, prefix: str, port: int = 0, local_only: bool = False) -> None:
        self._pvs = _Pvs(prefix=f"{prefix}:ARCH:")
        self._context = _Context(self._pvs.pvdb, port, local_only)
        self._task: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """The port of the circuits and of unicast searches, once started."""
        return int(self._context.port or 0)

    async def start(self) -> None:
        """Serve. Raises OSError when the port is taken."""
        self._task = asyncio.create_task(self._context.run(), name="ARCH PVs")
        ready = asyncio.create_task(self._context.ready.wait(), name="ARCH PVs start")
        await asyncio.wait((self._task, ready), return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await ready
        if self._task.done():
            try:
                self._task.result()
            except (OSError, caproto.CaprotoError) as error:
                raise OSError(f"can't serve the ARCH PVs: {error.__cause__ or error}") from error

    async def stop(self) -> None:
        """End the server."""
        if self._task is not None:
            self._context.close()
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def show(self, snapshot: Snapshot) -> None:
        """Post the values of a snapshot."""
        pvs = self._pvs
        lag = _MINOR if snapshot.lag > LAG_ALARM else _NONE
        lost = _MAJOR if snapshot.state is BridgeState.LOSING else _NONE
        state = max(_STATE_SEVERITY[snapshot.state], _MINOR if snapshot.refusing else _NONE)
        await self._write(pvs.state, snapshot.state.name, state, AlarmStatus.STATE)
        await self._write(pvs.queue, min(snapshot.queue, _LARGEST_LONG), _NONE)
        await self._write(pvs.spool, snapshot.spool / 1e6, _NONE)
        await self._write(pvs.lost, min(snapshot.lost, _LARGEST_LONG), lost, AlarmStatus.HIGH)
        await self._write(pvs.lag, snapshot.lag, lag, AlarmStatus.HIGH)
        await self._write(pvs.rate, snapshot.rate, _NONE)
        await self._write(pvs.refused, min(snapshot.refused_points, _LARGEST_LONG), _NONE)
        await self._write(pvs.conflicts, min(snapshot.conflicts, _LARGEST_LONG), _NONE)

    async def _write(self, pv: Any, value: Any, severity: AlarmSeverity, status: Any = AlarmStatus.NO_ALARM) -> None:
        status = status if severity else AlarmStatus.NO_ALARM
        # verify_value would run caproto's own alarm limits after ours and undo them.
        await pv.write(value, severity=severity, status=status, verify_value=False)


class _Newest(asyncio.Queue[Any]):
    """Events for one client; of one that does not take them the newest are kept."""

    async def put(self, item: Any) -> None:
        """Never wait: all other clients, and their events in memory, would wait too."""
        while self.full():
            self.get_nowait()
        self.put_nowait(item)


class _Circuit(VirtualCircuit):  # type: ignore[misc]
    """caproto's circuit, which holds up no other."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.subscription_queue: asyncio.Queue[Any] = _Newest(caproto.MAX_TOTAL_SUBSCRIPTION_BACKLOG)


class _Context(Context):  # type: ignore[misc]
    """caproto's server with its own ideas of ports; the class it comes from offers no other way to say them."""

    CircuitClass = _Circuit

    def __init__(self, pvdb: Any, port: int, local_only: bool) -> None:
        super().__init__(pvdb, ["127.0.0.1"] if local_only else None)
        local_only = local_only or all(interface.startswith("127.") for interface in self.interfaces)
        self._broadcasts = {_LOOPBACK_BROADCAST, *(() if local_only else broadcast_addresses())}
        self.ready = asyncio.Event()
        self._local_only = local_only
        self._no_beacons: set[tuple[str, int]] = set()
        self._own_port = port
        self._open: list[asyncio.DatagramTransport] = []
        self._listeners: list[asyncio.Server] = []

    async def _bind_tcp_sockets_with_consistent_port_number(self, make_socket: Any) -> tuple[int, dict[str, Any]]:
        """Take the port that was asked for, or any; never begin with that of the IOC."""
        sockets: dict[str, Any] = {}
        port = self._own_port
        for interface in self.interfaces:
            sockets[interface] = await _create_bound_tcp_socket(interface, port)
            port = sockets[interface].getsockname()[1]
        return port, sockets

    async def _create_broadcaster_transport(self, interface: str) -> None:
        """Listen for searches: unicast ones at our own port, broadcasts at that of Channel Access."""
        await self._listen(interface, interface, self.port)
        for address in self._broadcasts - {"127.0.0.1"}:
            try:
                await self._listen(interface, address, self.ca_server_port)
            except OSError as error:
                log.info("ARCH PVs: no broadcasts to %s:%d: %s", address, self.ca_server_port, error)
        self.ready.set()

    async def _listen(self, interface: str, address: str, port: int) -> None:
        sock = _create_udp_socket()
        try:
            sock.bind((address, port))
            protocol = functools.partial(
                _DatagramProtocol, parent=self, identifier=interface, queue=self.broadcaster_datagram_queue
            )
            transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(protocol, sock=sock)
        except BaseException:
            sock.close()
            raise
        self._open.append(transport)
        self.udp_socks.setdefault(interface, _UdpTransportWrapper(transport))

    async def broadcast_beacon_loop(self) -> None:
        """Tell that there is a server; that nobody listens, on a computer without a repeater say, is no error."""
        addresses = [
            ("127.0.0.1" if self._local_only and host == _EVERYWHERE else host, port)
            for host, port in caproto.get_beacon_address_list()
        ]
        pause, longest = _FIRST_BEACON_PAUSE, float(self.environ["EPICS_CAS_BEACON_PERIOD"])
        # Not connected, unlike caproto's: no word of a closed port comes back to it.
        with _create_udp_socket() as sock:
            for number in itertools.count():
                beacon = bytes(
                    caproto.Beacon(caproto.DEFAULT_PROTOCOL_VERSION, self.port, number & 0xFFFFFFFF, "0.0.0.0")
                )
                for address in addresses:
                    self._send_beacon(sock, beacon, address)
                await asyncio.sleep(pause)
                pause = min(pause * 2, longest)

    def _send_beacon(self, sock: socket.socket, beacon: bytes, address: tuple[str, int]) -> None:
        try:
            sock.sendto(beacon, address)
        except OSError as error:
            if address not in self._no_beacons:
                self._no_beacons.add(address)
                log.info("ARCH PVs: no beacons to %s:%d: %s", *address, error)

    async def server_accept_loop(self, sock: Any) -> None:
        """Accept circuits, and remember the listener so that it can be closed."""

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            transport = _TransportWrapper(reader, writer)
            self.server_tasks.create(self.tcp_handler(transport, transport.getpeername()))

        self._listeners.append(await asyncio.start_server(accept, sock=sock))

    def close(self) -> None:
        """Close what caproto leaves open."""
        for listener in self._listeners:
            listener.close()
        for transport in self._open:
            transport.close()
