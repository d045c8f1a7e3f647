"""One TCP connection to a server: its channels, their events, and requests that have a response.

caproto keeps the state of circuit and channels and makes the requests. Events of what was subscribed to, nearly all of
the traffic of an archiver, are decoded by ``labioc_ca.decode`` without it. Nothing here ever sends EVENTS_OFF: a client
that is too slow stops reading, TCP holds the server back, and its queue keeps the events.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from typing import TYPE_CHECKING, Any, Final, cast

import caproto

from labioc_ca.decode import EVENT_ADD, BrokenStream, EventDecoder, Message
from labioc_ca.environment import CONNECT_TIMEOUT, ECHO_TIMEOUT, Address, Settings
from labioc_ca.search import VERSION

if TYPE_CHECKING:
    from labioc_ca.client import BaseClient

log = logging.getLogger("labioc.ca")

_DRAIN: Final = 0.5
TEND: Final = 0.25
"""Seconds between two looks at a circuit."""

_READ_SIZE: Final = 256 << 10
_READ_ACCESS: Final = 1
_NATIVE: Final = range(7)

NOT_UNDERSTOOD: Final = (
    caproto.CaprotoError,
    KeyError,
    ValueError,
    TypeError,
    IndexError,
    AttributeError,
    OverflowError,
)
"""What caproto raises for bytes that no server may send."""


class Circuit(asyncio.Protocol):
    """A connection; ``channels`` are the names that live on it, by number.

    ``last_received`` is when the last data came from the server, in the time of the loop.
    """

    def __init__(self, owner: BaseClient, address: Address, settings: Settings) -> None:
        self.address = address
        self.channels: dict[int, str] = {}
        self.closed = asyncio.get_running_loop().create_future()
        self.ready = False
        self.decoder = EventDecoder(self._control, settings.max_message)
        self._owner = owner
        self._timeout = settings.connection_timeout
        self._loop = asyncio.get_running_loop()
        self._state = caproto.VirtualCircuit(caproto.CLIENT, address, 0)
        self._monitored: set[int] = set()
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._transport: asyncio.Transport | None = None
        self._out: list[bytes] = []
        self.last_received = self._loop.time()
        self._asked = 0.0
        self._tended = self.last_received
        self._paused = False
        self._reason = "closed by the server"

    async def connect(self) -> None:
        """Open the connection; a failure is reported to the owner."""
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                await self._loop.create_connection(lambda: self, *self.address)
        except (OSError, TimeoutError) as error:
            self._reason = f"no connection: {error or 'no answer'}"
            self.connection_lost(None)
        except asyncio.CancelledError:
            # The end of a connection that never began is reported here, because stop() waits for it.
            self.connection_lost(None)
            raise

    def add(self, number: int, name: str) -> None:
        """Create a channel; the owner gets it when it is opened."""
        self.channels[number] = name
        if self.ready:
            self._create(number, name)
            self._flush()

    def subscribe(self, channel: caproto.ClientChannel, mask: int) -> None:
        """Have the events of a channel that was opened just now decoded and delivered."""
        native, count = int(channel.native_data_type), int(channel.native_data_count)
        self.decoder.subscribe(channel.cid, channel.name, native, count)
        self._send(channel.subscribe(data_type="time", subscriptionid=channel.cid, mask=mask))

    def monitor(self, channel: caproto.ClientChannel, kind: int, mask: int) -> None:
        """Have the owner get the events of a channel as a DBR type, with as many elements as there are each time."""
        self._monitored.add(channel.cid)
        self.send(channel.subscribe(data_type=kind, data_count=0, subscriptionid=channel.cid, mask=mask))

    def request(self, command: Any) -> asyncio.Future[Any]:
        """Send a request, once; its response completes the future, a loss of the connection raises ConnectionError."""
        future: asyncio.Future[Any] = self._loop.create_future()
        future.add_done_callback(_retrieved)
        self._waiting[int(command.ioid)] = future
        self.send(command)
        return future

    def send(self, *commands: object) -> None:
        """Send what has no response, at once."""
        self._send(*commands)
        self._flush()

    def pause(self, paused: bool) -> None:
        """Stop reading, or go on."""
        if paused == self._paused:
            return
        self._paused = paused
        self.last_received = self._loop.time()
        if self._transport is not None and not self._transport.is_closing():
            if paused:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    def tend(self) -> None:
        """Ask a silent server whether it lives, and give it up when it does not answer; to be called every TEND."""
        now = self._loop.time()
        if self._asked:
            # When the loop was held up, or the process stopped, it was not the server that was silent.
            self._asked += max(now - self._tended - TEND, 0.0)
        self._tended = now
        if self._paused:
            self.last_received = now
        elif self._asked:
            if now - self._asked >= min(ECHO_TIMEOUT, self._timeout):
                self.close(f"silent for {now - self.last_received:.0f} s")
        elif now - self.last_received >= self._timeout:
            if self.ready:
                self._send(caproto.EchoRequest())
                self._flush()
            self._asked = now

    def drain(self) -> None:
        """Take what the kernel has received already, so that an orderly end loses nothing; at most half a second."""
        if self._transport is None or self._transport.is_closing():
            return
        end = self._loop.time() + _DRAIN
        fd = os.dup(self._transport.get_extra_info("socket").fileno())
        try:
            while self._loop.time() < end and (data := os.read(fd, _READ_SIZE)):
                self.data_received(data)
        except OSError:
            pass  # nothing more, or the connection is gone
        finally:
            os.close(fd)

    def close(self, reason: str) -> None:
        """Close the connection at once."""
        self._reason = reason
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say who we are."""
        self._transport = cast("asyncio.Transport", transport)
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if self._paused:
            self._transport.pause_reading()
        self._send(
            caproto.VersionRequest(0, VERSION),
            caproto.HostNameRequest(self._owner.host),
            caproto.ClientNameRequest(self._owner.user),
        )
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail what waits for a response, and tell the owner, once."""
        self._transport = None
        self.ready = False
        if self.closed.done():
            return
        self.closed.set_result(None)
        waiting, self._waiting = list(self._waiting.values()), {}
        for future in waiting:
            if not future.done():
                future.set_exception(ConnectionError(f"the connection to {self.address[0]} was lost"))
        self._owner.lost(self, str(exc) if exc else self._reason)

    def data_received(self, data: bytes) -> None:
        """Decode; what no server may send closes the connection."""
        self.last_received = self._loop.time()
        self._asked = 0.0
        try:
            self.decoder.feed(data)
        except BrokenStream as error:
            self._deliver()
            log.log(self._owner.level, "%s:%d: %s; closing the circuit", *self.address, error)
            self.close(f"not understood: {error}")
            return
        self._deliver()
        self._flush()

    def _deliver(self) -> None:
        events = self.decoder.events
        if events:
            self.decoder.events = []
            self._owner.deliver(events)

    def _control(self, message: Message) -> None:
        """Take a message that is no event to be decoded. Raises BrokenStream."""
        if message.command == EVENT_ADD and not (message.raw and message.parameter2 in self._monitored):
            self._no_event(message)
            return
        self._deliver()
        try:
            commands, _ = self._state.recv(bytearray(message.raw))
            for command in commands:
                self._state.process_command(command)
                self._take(command)
        except NOT_UNDERSTOOD as error:
            raise BrokenStream(f"message {message.command}: {error}") from error

    def _no_event(self, message: Message) -> None:
        name = self.channels.get(message.parameter2)
        if name is None:
            return
        if not message.raw:
            log.log(self._owner.level, "%s: event larger than EPICS_CA_MAX_ARRAY_BYTES left out", name)
        elif message.parameter1 != 1:
            log.debug("%s: event without a value, status %d", name, message.parameter1)

    def _take(self, command: object) -> None:
        if isinstance(command, caproto.EventAddResponse):
            if command.payload_size:
                self._owner.event(int(command.subscriptionid), command)
        elif isinstance(command, caproto.ReadNotifyResponse | caproto.WriteNotifyResponse):
            self._answer(int(command.ioid), command)
        elif isinstance(command, caproto.VersionResponse):
            if not self.ready:
                self.ready = True
                for number, name in list(self.channels.items()):
                    self._create(number, name)
        elif isinstance(command, caproto.CreateChanResponse):
            self._created(command)
        elif isinstance(command, caproto.AccessRightsResponse):
            channel = self._state.channels[command.cid]
            if channel.sid is not None and command.cid in self.channels:
                self._owner.readable(command.cid, _may_read(command.access_rights))
        elif isinstance(command, caproto.CreateChFailResponse):
            self._state.channels.pop(command.cid, None)
            self._gone(command.cid, "not served there")
        elif isinstance(command, caproto.ServerDisconnResponse):
            self._gone(command.cid, "closed by the server")
        elif isinstance(command, caproto.ErrorResponse):
            self._error(command)

    def _create(self, number: int, name: str) -> None:
        if number in self._state.channels:
            self._gone(number, "still being cleared")  # the server's word for the old channel is awaited
            return
        channel = caproto.ClientChannel(name, self._state, cid=number)
        self._send(channel.create())

    def _created(self, command: caproto.CreateChanResponse) -> None:
        channel = self._state.channels[command.cid]
        if int(command.data_type) not in _NATIVE:
            raise BrokenStream(f"{channel.name}: native type {int(command.data_type)}")
        if command.cid in self.channels:
            self._owner.opened(self, channel)
            self._owner.readable(command.cid, _may_read(channel.access_rights))

    def _error(self, command: caproto.ErrorResponse) -> None:
        request = command.original_request
        if request.command != EVENT_ADD and self._answer(int(request.parameter2), command):
            return
        text = bytes(command.error_message).split(b"\0", 1)[0].decode("latin-1")
        number = int(command.cid)
        name, status = self.channels.get(number, "circuit"), int(command.header.parameter2)
        log.log(self._owner.level, "%s:%d: %s: %s (ECA status %d)", *self.address, name, text, status)
        channel = self._state.channels.get(number)
        if channel is None or channel.sid is None or number not in self.channels:
            return
        if request.command == EVENT_ADD and number not in self._monitored:
            self._send(channel.clear())
            self._gone(number, text)

    def _answer(self, number: int, command: Any) -> bool:
        """Complete the request that a response belongs to; False when there is none."""
        future = self._waiting.pop(number, None)
        if future is not None and not future.done():
            future.set_result(command)
        return future is not None

    def _gone(self, number: int, reason: str) -> None:
        self.decoder.forget(number)
        self._monitored.discard(number)
        if self.channels.pop(number, None) is not None:
            self._owner.refused(number, self.address, reason)

    def _send(self, *commands: object) -> None:
        self._out += map(bytes, self._state.send(*commands))

    def _flush(self) -> None:
        if self._out and self._transport is not None:
            self._transport.write(b"".join(self._out))
        self._out.clear()


def _retrieved(future: asyncio.Future[Any]) -> None:
    """Look at a failure, so that one which its asker no longer waits for is not reported."""
    if not future.cancelled():
        future.exception()


def _may_read(rights: object) -> bool:
    """Whether access rights include reading; a server that tells none allows it."""
    return rights is None or bool(int(rights) & _READ_ACCESS)  # type: ignore[call-overload]
