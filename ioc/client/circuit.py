"""One TCP connection of a client to a server, with the channels that live on it."""

from __future__ import annotations

import asyncio
import socket
from typing import Any, Protocol, cast

import caproto

from ioc.client.channel import Channel, Link
from labioc_ca.circuit import CONNECT_TIMEOUT, ECHO_TIMEOUT, NOT_UNDERSTOOD
from labioc_ca.environment import Address
from labioc_ca.search import VERSION


class Owner(Protocol):
    """What a circuit needs of its client."""

    user: str
    host: str

    def lost(self, circuit: Circuit, channels: list[Channel]) -> None:
        """Look for these channels again."""


class Circuit(asyncio.Protocol, Link):
    """A connection; a server that is silent for ``silence`` seconds and does not answer an echo is given up."""

    def __init__(self, owner: Owner, address: Address, silence: float) -> None:
        self.address = address
        self.closed = asyncio.get_running_loop().create_future()
        self._owner = owner
        self._silence = silence
        self._loop = asyncio.get_running_loop()
        self._state = caproto.VirtualCircuit(caproto.CLIENT, address, 0)
        self._transport: asyncio.Transport | None = None
        self._ready = False
        self._channels: dict[int, Channel] = {}
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._last = self._loop.time()
        self._asked = 0.0

    async def connect(self) -> None:
        """Open the connection; a failure is reported to the owner like a loss."""
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                await self._loop.create_connection(lambda: self, *self.address)
        except (OSError, TimeoutError):
            self.connection_lost(None)
        except asyncio.CancelledError:
            self.connection_lost(None)
            raise

    def add(self, channel: Channel) -> None:
        """Create a channel."""
        self._channels[channel.number] = channel
        if self._ready:
            self._create(channel)

    def request(self, command: Any) -> asyncio.Future[Any]:
        """Send a request; its response completes the future, the loss of the connection raises ConnectionError."""
        future: asyncio.Future[Any] = self._loop.create_future()
        future.add_done_callback(_retrieved)
        self._waiting[int(command.ioid)] = future
        self.send(command)
        return future

    def send(self, *commands: Any) -> None:
        """Send commands at once."""
        if self._transport is not None:
            self._transport.write(b"".join(bytes(part) for part in self._state.send(*commands)))

    def tend(self) -> None:
        """Ask a silent server whether it lives, and give it up when it does not answer; to be called every second."""
        now = self._loop.time()
        if self._asked and now - self._asked >= ECHO_TIMEOUT:
            self.close()
        elif not self._asked and self._ready and now - self._last >= self._silence:
            self.send(caproto.EchoRequest())
            self._asked = now

    def close(self) -> None:
        """Close the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Introduce the client."""
        self._transport = cast("asyncio.Transport", transport)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self.send(
            caproto.VersionRequest(0, VERSION),
            caproto.HostNameRequest(self._owner.host),
            caproto.ClientNameRequest(self._owner.user),
        )

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail what waits for an answer, and give the channels back."""
        self._transport, self._ready = None, False
        if self.closed.done():
            return
        self.closed.set_result(None)
        waiting, self._waiting = list(self._waiting.values()), {}
        for future in waiting:
            if not future.done():
                future.set_exception(ConnectionError(f"the connection to {self.address[0]} was lost"))
        channels, self._channels = list(self._channels.values()), {}
        for channel in channels:
            channel.closed()
        self._owner.lost(self, channels)

    def data_received(self, data: bytes) -> None:
        """Take what the server says; what no server may say closes the connection."""
        self._last, self._asked = self._loop.time(), 0.0
        try:
            commands, _ = self._state.recv(bytearray(data))
            for command in commands:
                self._state.process_command(command)
                self._take(command)
        except NOT_UNDERSTOOD:
            self.close()

    def _take(self, command: Any) -> None:
        if isinstance(command, caproto.EventAddResponse):
            channel = self._channels.get(command.subscriptionid)
            if channel is not None and command.payload_size:
                channel.event(command)
        elif isinstance(command, caproto.ReadNotifyResponse | caproto.WriteNotifyResponse):
            self._answer(int(command.ioid), command)
        elif isinstance(command, caproto.VersionResponse):
            if not self._ready:
                self._ready = True
                for channel in self._channels.values():
                    self._create(channel)
        elif isinstance(command, caproto.CreateChanResponse):
            channel = self._channels.get(int(command.cid))
            if channel is not None:
                channel.opened(self, self.address, self._state.channels[command.cid])
        elif isinstance(command, caproto.CreateChFailResponse | caproto.ServerDisconnResponse):
            self._state.channels.pop(command.cid, None)
            channel = self._channels.pop(int(command.cid), None)
            if channel is not None:
                channel.closed()
                self._owner.lost(self, [channel])
        elif isinstance(command, caproto.ErrorResponse):
            self._answer(int(command.original_request.parameter2), command)

    def _answer(self, number: int, command: Any) -> None:
        future = self._waiting.pop(number, None)
        if future is not None and not future.done():
            future.set_result(command)

    def _create(self, channel: Channel) -> None:
        self.send(caproto.ClientChannel(channel.name, self._state, cid=channel.number).create())


def _retrieved(future: asyncio.Future[Any]) -> None:
    """Look at a failure, so that one which its asker no longer waits for is not reported."""
    if not future.cancelled():
        future.exception()
