"""A client: finds PVs, keeps a circuit to each server, finds them again when a connection is lost."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

import caproto

from ioc.client.channel import Channel, ReadError
from ioc.client.reading import Reading
from ioc.errors import MistakesError
from labioc_ca.circuit import Circuit
from labioc_ca.client import BaseClient, checked_name
from labioc_ca.environment import LARGEST_AUTOMATIC, Address

_AT_ONCE: Final = 500
"""Reads that are under way at a time."""

_LINK: Final = re.compile(r"@(\S+) ")
_LOOK_SECONDS: Final = 1.0
"""How long a PV is looked for that a server of another kind does not have."""

_AGAIN_SECONDS: Final = 0.5
"""Pause before a PV is searched again that a server did not keep; never longer, since a person looks at it."""


class SettingsError(MistakesError):
    """A variable of Channel Access that cannot be used."""

    subject = "the environment"


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

    async def read(self, channels: Iterable[Channel], timeout: float) -> list[Reading | ReadError]:
        """Read channels, so many at a time; what could not be read in as many seconds is an error in its place."""
        gate = asyncio.Semaphore(_AT_ONCE)

        async def one(channel: Channel) -> Reading | ReadError:
            try:
                async with gate:
                    return await channel.read(timeout)
            except ReadError as error:
                return error

        return await asyncio.gather(*map(one, channels))

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


async def reason_of(client: Client, channel: Channel, timeout: float) -> str | None:
    """Return why this client's last put to a PV was refused, as ``PUT:MSG`` of its device has it.

    None when there is no such message about this put: the server is another program, or the PV belongs to no device.
    """
    base, _, field = channel.name.partition("{")[0].rstrip("$").partition(".")
    name = await _text(client, [f"{base}.NAME"], timeout) or base
    link = _LINK.match(await _text(client, [f"{base}.OUT", f"{base}.INP"], timeout))
    device = link[1] if link else ""
    start, colon, _ = name.partition(f":{device}:")
    if not device or not colon:
        return None
    message = await _text(client, [f"{start}:{device}:PUT:MSG$"], timeout)
    reason, bracket, what = message.rpartition(" [")
    put = name if field in ("", "VAL") else f"{name}.{field}"
    mine = what.startswith(f"{put} = ") and f" by {client.user}@{client.host} " in what
    return reason.removeprefix(f"{put}: ") if bracket and mine else None


async def _text(client: Client, names: list[str], timeout: float) -> str:
    """Read the one of several PVs that is there; empty when none is."""
    channels = client.channels(names)
    waiting = [channel.connection for channel in channels]
    await asyncio.wait(waiting, timeout=min(timeout, _LOOK_SECONDS), return_when=asyncio.FIRST_COMPLETED)
    for channel in channels:
        if channel.connected:
            with suppress(ReadError):
                return (await channel.read(timeout)).text
    return ""
