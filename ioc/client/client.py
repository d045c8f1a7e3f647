"""A client: finds PVs, keeps a circuit to each server, finds them again when a connection is lost."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Coroutine, Iterable, Mapping
from typing import Final

from ioc.client.channel import Channel
from ioc.client.circuit import Circuit
from ioc.errors import MistakesError
from labioc_ca.environment import Address, Settings
from labioc_ca.search import Searcher
from labioc_ca.subscribe import checked_name, user_name

_TEND_SECONDS: Final = 1.0
_AGAIN_SECONDS: Final = 0.5
"""Pause before a PV is searched again that a server did not keep."""


class SettingsError(MistakesError):
    """A variable of Channel Access that cannot be used."""

    subject = "the environment"
    status = 2


class Client:
    """One client, an asynchronous context manager; ``env`` replaces the EPICS_CA_* variables of the environment.

    Raises SettingsError for a variable that is wrong.
    """

    def __init__(self, env: Mapping[str, str] | None = None) -> None:
        try:
            self.settings = Settings.read(env)
        except ValueError as error:
            raise SettingsError([str(error)]) from error
        self.user, self.host = user_name(), socket.gethostname()
        self._channels: list[Channel] = []
        self._by_name: dict[str, Channel] = {}
        self._circuits: dict[Address, Circuit] = {}
        self._searcher = Searcher(self.settings, self._found)
        self._tasks: set[asyncio.Task[None]] = set()
        self._running = False

    async def __aenter__(self) -> Client:
        """Open the socket for searches. Raises OSError."""
        await self._searcher.start()
        self._running = True
        self._spawn(self._tend())
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close everything."""
        self._running = False
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._searcher.stop()
        for circuit in list(self._circuits.values()):
            circuit.close()
            await circuit.closed

    @property
    def places(self) -> list[str]:
        """Where PVs are searched, as HOST:PORT."""
        return ["{}:{}".format(*address) for address in (*self.settings.addresses, *self.settings.name_servers)]

    def channels(self, names: Iterable[str]) -> list[Channel]:
        """Return a channel for each name and begin to look for them. Raises ValueError for what can't be a name."""
        wanted = [checked_name(name) for name in names]
        new = []
        for name in wanted:
            if name not in self._by_name:
                channel = self._by_name[name] = Channel(name, len(self._channels))
                self._channels.append(channel)
                new.append(channel)
        self._searcher.want((channel.number, channel.name) for channel in new)
        return [self._by_name[name] for name in wanted]

    async def connect(self, names: Iterable[str], timeout: float) -> list[Channel]:
        """Return a channel for each name as soon as all are connected, or after this many seconds.

        Which are connected by then each of them says. Raises ValueError for what can't be a name.
        """
        channels = self.channels(names)
        if channels:
            await asyncio.wait([channel.connection for channel in channels], timeout=timeout)
        return channels

    def lost(self, circuit: Circuit, channels: list[Channel]) -> None:
        """Look for channels again that a server does not have any more."""
        if circuit.closed.done() and self._circuits.get(circuit.address) is circuit:
            del self._circuits[circuit.address]
        for channel in channels:
            channel.placed = False
        if self._running:
            self._searcher.want(((channel.number, channel.name) for channel in channels), _AGAIN_SECONDS)

    def _found(self, number: int, address: Address) -> None:
        channel = self._channels[number] if number < len(self._channels) else None
        if channel is None or not self._running or channel.placed:
            return
        channel.placed = True
        self._searcher.unwant(number)
        circuit = self._circuits.get(address)
        if circuit is None:
            circuit = self._circuits[address] = Circuit(self, address, self.settings.connection_timeout)
            self._spawn(circuit.connect())
        circuit.add(channel)

    async def _tend(self) -> None:
        while True:
            await asyncio.sleep(_TEND_SECONDS)
            for circuit in list(self._circuits.values()):
                circuit.tend()

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(work, name="Channel Access client")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
