"""Clients: they find PVs, keep a circuit to each server, and look again for what was lost.

``BaseClient`` is what each is made of. A ``Subscriber`` hands on every monitor event of many PVs in the order in which
each server sent them, as many at once as one read of a socket brings.
"""

from __future__ import annotations

import asyncio
import getpass
import logging
import socket
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import caproto

from labioc_ca.circuit import TEND, Circuit
from labioc_ca.environment import Address, Settings
from labioc_ca.events import Event, Kind
from labioc_ca.search import Searcher

log = logging.getLogger("labioc.ca")

VALUE_AND_ALARM: Final = 1 | 4
"""Subscription mask DBE_VALUE | DBE_ALARM: what camonitor shows."""

_LONGEST_NAME: Final = 500
"""With a channel filter; a datagram must hold it."""

_SETTLED: Final = 5.0
"""Seconds after which a circuit, or a channel on it, that held counts as good."""

_LONGEST_PENALTY: Final = 10.0


class BaseClient:
    """A client; ``env`` replaces the EPICS_CA_* environment variables. Raises ValueError for one that is wrong.

    What the PVs are, and what is to be done with what a circuit reports of them by their numbers, is for the classes
    made of it. ``level`` is that of the log for what a server does wrong.
    """

    level = logging.ERROR

    def __init__(self, env: Mapping[str, str] | None = None) -> None:
        self.settings = Settings.read(env)
        self.user, self.host = user_name(), socket.gethostname()
        self._circuits: dict[Address, Circuit] = {}
        self._opened: dict[Address, float] = {}
        self._searcher = Searcher(self.settings, self._found)
        self._tasks: set[asyncio.Task[None]] = set()
        self._running = False

    async def start(self) -> None:
        """Begin to search; returns at once. Raises OSError when there is no socket to be had."""
        self._loop = asyncio.get_running_loop()
        self._running = True
        await self._searcher.start()
        self._spawn(self._tend(), "tend circuits")

    async def stop(self) -> None:
        """Close everything."""
        self._running = False
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._searcher.stop()
        circuits = list(self._circuits.values())
        for circuit in circuits:
            circuit.close("stopping")
        for circuit in circuits:
            await circuit.closed
        self._circuits.clear()

    def opened(self, circuit: Circuit, channel: caproto.ClientChannel) -> None:
        """A server has created a channel."""
        raise NotImplementedError

    def refused(self, number: int, address: Address, reason: str) -> None:
        """The server does not serve a channel (any more); look for it again."""
        raise NotImplementedError

    def readable(self, number: int, readable: bool) -> None:
        """A channel begins or ceases to give events."""

    def deliver(self, events: list[Event]) -> None:
        """Take events of what was subscribed to, in the order in which they came."""

    def event(self, number: int, response: Any) -> None:
        """Take an event of a channel that is monitored."""

    def lost(self, circuit: Circuit, reason: str) -> None:
        """Look again for all PVs of a connection that is gone."""
        if self._circuits.get(circuit.address) is circuit:
            del self._circuits[circuit.address]

    def _found(self, number: int, address: Address) -> None:
        """Use the server that has a PV."""
        raise NotImplementedError

    def _circuit_to(self, address: Address) -> Circuit:
        circuit = self._circuits.get(address)
        if circuit is None:
            circuit = self._circuits[address] = Circuit(self, address, self.settings)
            self._opened[address] = self._loop.time()
            self._spawn(circuit.connect(), "connect {}:{}".format(*address))
        return circuit

    async def _tend(self) -> None:
        while True:
            await asyncio.sleep(TEND)
            for circuit in list(self._circuits.values()):
                circuit.tend()

    def _spawn(self, work: Coroutine[object, object, None], name: str) -> None:
        task = self._loop.create_task(work, name=f"Channel Access client: {name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def user_name() -> str:
    """Return the user of the operating system, as servers are to see it."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "labioc"


def checked_name(name: str) -> str:
    """Return the name of a PV, a channel filter included. Raises ValueError when it cannot be searched for."""
    if not name or len(name) > _LONGEST_NAME or not name.isascii() or not name.isprintable() or " " in name:
        raise ValueError(f"PV name {name!r} cannot be searched for")
    try:
        modifiers = caproto.parse_record_field(name).modifiers
        if modifiers is not None:
            caproto.parse_channel_filter(modifiers.filter_)
    except caproto.CaprotoError as error:
        raise ValueError(f"PV name {name!r}: {error}") from None
    return name


@dataclass(slots=True)
class _Channel:
    """A PV: the circuit it lives on, and whether it gives events."""

    name: str
    circuit: Circuit | None = None
    connected: bool = False
    placed_at: float = 0.0


@dataclass(frozen=True, slots=True)
class ChannelState:
    """What is known of one PV: ``server`` is HOST:PORT, empty while no server has it."""

    name: str
    connected: bool
    server: str


class Subscriber(BaseClient):
    """Subscribes to PVs; ``on_batch`` gets their events, and the changes of connection, on the event loop.

    ``env`` replaces the EPICS_CA_* environment variables. Raises ValueError for one that is wrong, and for a name that
    cannot be searched. ``clock`` gives Unix nanoseconds (for changes of connection).
    """

    def __init__(
        self,
        names: Iterable[str],
        on_batch: Callable[[list[Event]], None],
        env: Mapping[str, str] | None = None,
        *,
        mask: int = VALUE_AND_ALARM,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        super().__init__(env)
        self._mask = mask
        self.events = 0
        self._on_batch = on_batch
        self._clock = clock
        self._channels = [_Channel(checked_name(name)) for name in dict.fromkeys(names)]
        self._numbers = {channel.name: number for number, channel in enumerate(self._channels)}
        self._failures: dict[Address | int, int] = {}
        self._doubles: set[tuple[Address, Address]] = set()
        self._left_out = 0
        self._changes: list[Event] = []
        self._paused = False

    async def start(self) -> None:
        """Begin to search; returns at once. Raises OSError when there is no socket to be had."""
        self._searcher.want((number, channel.name) for number, channel in enumerate(self._channels))
        await super().start()

    async def stop(self) -> None:
        """Take what has arrived already and close everything; no event comes after this returns.

        The end of the connections is not reported.
        """
        for circuit in list(self._circuits.values()):
            circuit.drain()
        self._flush_changes()
        await super().stop()

    def pause(self, paused: bool) -> None:
        """Stop reading from all servers, or go on: the servers hold what they have, TCP holds them back."""
        self._paused = paused
        for circuit in self._circuits.values():
            circuit.pause(paused)

    @property
    def connected(self) -> int:
        """How many PVs give events."""
        return sum(channel.connected for channel in self._channels)

    @property
    def left_out(self) -> int:
        """Events that were too large."""
        return self._left_out + sum(circuit.decoder.left_out for circuit in self._circuits.values())

    def states(self) -> Iterator[ChannelState]:
        """Tell the state of each PV."""
        for channel in self._channels:
            server = "{}:{}".format(*channel.circuit.address) if channel.circuit is not None else ""
            yield ChannelState(channel.name, channel.connected, server)

    def last_received(self, name: str) -> int:
        """Return when the last data came from the server of a PV (monotonic, ns); 0 while no server has it."""
        circuit = self._channels[self._numbers[name]].circuit
        return round(circuit.last_received * 1e9) if circuit is not None else 0

    def deliver(self, events: list[Event]) -> None:
        """Hand on what a circuit received."""
        if self._changes:
            self._flush_changes()
        self.events += len(events)
        self._on_batch(events)

    def opened(self, circuit: Circuit, channel: caproto.ClientChannel) -> None:
        """Subscribe to a PV."""
        circuit.subscribe(channel, self._mask)

    def readable(self, number: int, readable: bool) -> None:
        """Note that a channel begins or ceases to give events."""
        channel = self._channels[number]
        if channel.connected != readable and self._running:
            channel.connected = readable
            self._change(channel)

    def refused(self, number: int, address: Address, reason: str) -> None:
        """Look again for a channel that its server does not serve (any more)."""
        channel = self._channels[number]
        log.warning("%s: %s:%d: %s", channel.name, *address, reason)
        self.readable(number, False)
        channel.circuit = None
        if self._running:
            self._searcher.want([(number, channel.name)], self._penalty(number, channel.placed_at))

    def lost(self, circuit: Circuit, reason: str) -> None:
        """Look again for all channels of a connection that is gone."""
        super().lost(circuit, reason)
        self._left_out += circuit.decoder.left_out
        if not self._running:
            return
        numbers = list(circuit.channels)
        log.warning("%s:%d: %s; looking again for %d PVs", *circuit.address, reason, len(numbers))
        for number in numbers:
            self._channels[number].circuit = None
            self.readable(number, False)
        delay = self._penalty(circuit.address, self._opened.get(circuit.address, 0.0))
        self._searcher.want([(number, self._channels[number].name) for number in numbers], delay)

    def _found(self, number: int, address: Address) -> None:
        if not self._running or number >= len(self._channels):
            return
        channel = self._channels[number]
        if channel.circuit is not None:
            self._duplicate(channel, channel.circuit, address)
            return
        self._searcher.unwant(number)
        circuit = self._circuit_to(address)
        circuit.pause(self._paused)
        channel.circuit, channel.placed_at = circuit, self._loop.time()
        circuit.add(number, channel.name)

    def _duplicate(self, channel: _Channel, circuit: Circuit, address: Address) -> None:
        if circuit.address == address:
            return  # an answer to the same search that came twice
        if (circuit.address, address) not in self._doubles:
            self._doubles.add((circuit.address, address))
            log.warning(
                "%s, and perhaps more, is served twice, by %s:%d and %s:%d; using the first",
                channel.name,
                *circuit.address,
                *address,
            )

    def _penalty(self, what: Address | int, since: float) -> float:
        """Seconds to wait before searching again: more each time for a server, or a PV, that does not hold."""
        if self._loop.time() - since > _SETTLED:
            self._failures.pop(what, None)
            return 0.0
        failures = self._failures[what] = self._failures.get(what, 0) + 1
        return min(0.1 * 2.0 ** min(failures, 10), _LONGEST_PENALTY)

    def _change(self, channel: _Channel) -> None:
        if not self._changes:
            self._loop.call_soon(self._flush_changes)
        self._changes.append(Event(channel.name, Kind.CONNECTION, None, self._clock(), connected=channel.connected))

    def _flush_changes(self) -> None:
        """Hand on the changes of connection that came together; before any event that came after them."""
        if self._changes and self._running:
            changes, self._changes = self._changes, []
            self._on_batch(changes)
