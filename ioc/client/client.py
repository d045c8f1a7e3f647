"""A client: finds PVs, keeps a circuit to each server, finds them again when a connection is lost."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

import caproto

from ioc.client.channel import Channel
from ioc.errors import MistakesError
from labioc_ca.circuit import Circuit
from labioc_ca.client import BaseClient, checked_name
from labioc_ca.environment import LARGEST_AUTOMATIC, Address

_AGAIN_SECONDS: Final = 0.5
"""Pause before a PV is searched again that a server did not keep; never longer, since a person looks at it."""


class SettingsError(MistakesError):
    """A variable of Channel Access that cannot be used."""

    subject = "the environment"
    status = 2


class Client(BaseClient):
    """One client, an asynchronous context manager; ``env`` replaces the EPICS_CA_* variables of the environment.

    Raises SettingsError for a variable that is wrong.
    """

    level = logging.DEBUG  # a command says by itself what it could not do

    def __init__(self, env: Mapping[str, str] | None = None) -> None:
        try:
            super().__init__(env)
        except ValueError as error:
            raise SettingsError([str(error)]) from error
        self.settings = replace(self.settings, max_message=LARGEST_AUTOMATIC)  # a command asks for what it reads
        self._channels: list[Channel] = []
        self._by_name: dict[str, Channel] = {}

    async def __aenter__(self) -> Client:
        """Open the socket for searches. Raises OSError."""
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close everything."""
        await self.stop()

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

    def opened(self, circuit: Circuit, channel: caproto.ClientChannel) -> None:
        """Let a PV know where it is."""
        self._channels[channel.cid].opened(circuit, circuit.address, channel)

    def event(self, number: int, response: Any) -> None:
        """Hand on an event of a PV that is monitored."""
        self._channels[number].event(response)

    def refused(self, number: int, address: Address, reason: str) -> None:
        """Look again for a PV that its server does not serve (any more)."""
        self._look_again([number])

    def lost(self, circuit: Circuit, reason: str) -> None:
        """Look again for all PVs of a connection that is gone."""
        super().lost(circuit, reason)
        self._look_again(circuit.channels)

    def _look_again(self, numbers: Iterable[int]) -> None:
        channels = [self._channels[number] for number in numbers]
        for channel in channels:
            channel.placed = False
            channel.closed()
        if self._running:
            self._searcher.want(((channel.number, channel.name) for channel in channels), _AGAIN_SECONDS)

    def _found(self, number: int, address: Address) -> None:
        channel = self._channels[number] if number < len(self._channels) else None
        if channel is None or not self._running or channel.placed:
            return
        channel.placed = True
        self._searcher.unwant(number)
        self._circuit_to(address).add(number, channel.name)
