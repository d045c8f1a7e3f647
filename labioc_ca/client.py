"""What every client is made of: it finds PVs, keeps a circuit to each server, and looks again for what was lost."""

from __future__ import annotations

import asyncio
import getpass
import socket
from collections.abc import Coroutine, Mapping
from typing import Final

import caproto

from labioc_ca.circuit import TEND, Circuit, Owner
from labioc_ca.environment import Address, Settings
from labioc_ca.search import Searcher

VALUE_AND_ALARM: Final = 1 | 4
"""Subscription mask DBE_VALUE | DBE_ALARM: what camonitor shows."""

_LONGEST_NAME: Final = 500
"""With a channel filter; a datagram must hold it."""


class BaseClient(Owner):
    """A client; ``env`` replaces the EPICS_CA_* environment variables. Raises ValueError for one that is wrong.

    What the PVs are, and what is to be done with what a circuit reports of them, is for the classes made of it.
    """

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
