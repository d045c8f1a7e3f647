"""A TCP connection: what one client asks for, or does not read, must not keep the others waiting.

The monitors of a client that does not read are reduced to their newest values, and its requests are not read. That
bounds the memory that a client can take, as the event queues of a C IOC do. Requests are served in portions.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from typing import Final, cast

from ioc.server import wire
from ioc.server.wire import Message

log = logging.getLogger("labioc.server")

#: Bytes that may wait for a client before its monitors are reduced to their newest values.
HIGH_WATER: Final = 2_000_000
#: Bytes that are collected in one turn of the loop before they are written: what one client causes must not pile up.
LARGE: Final = 65536
#: Requests that a client may have under way, puts to devices above all, before no more of its requests are served.
MOST_PUTS: Final = 1000
#: Seconds that a get waits for the same client's put to the same record, so that a plain caput shows the new value.
READ_AFTER_WRITE: Final = 0.8
#: Seconds of requests that one client is served in one turn of the loop, before the others have theirs.
SLICE: Final = 0.002


class Connection(asyncio.Protocol):
    """The bytes of a circuit and its flow control; what a request means is left to ``_handle``."""

    def __init__(self, max_array_bytes: int) -> None:
        self._reader = wire.MessageReader(max_array_bytes)
        self._unserved = False
        self.address: tuple[str, int] = ("", 0)
        self._transport: asyncio.Transport | None = None
        self._out: list[bytes] = []
        self._out_size = 0
        self._held: dict[object, bytes] = {}
        self._flushing = False
        self._paused = False
        self._events_off = False
        self._tasks: set[asyncio.Task[None]] = set()
        self.events = 0
        """Events for this client since it connected, those included that a newer one has replaced."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Set up flow control."""
        self._transport = transport = cast("asyncio.Transport", transport)
        transport.set_write_buffer_limits(high=HIGH_WATER, low=HIGH_WATER // 8)
        peer = transport.get_extra_info("peername")
        self.address = (str(peer[0]), int(peer[1]))
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        # asyncio does this only for sockets that were made with IPPROTO_TCP; without, an event can wait 40 ms
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def connection_lost(self, exc: Exception | None) -> None:
        """Drop whatever still waits for the client."""
        self._transport = None
        self._out.clear()
        self._out_size = 0
        self._held.clear()

    def pause_writing(self) -> None:
        """Hold back a client that does not read: its requests are not read either, monitors keep the newest value."""
        self._paused = True
        self._throttle()

    def resume_writing(self) -> None:
        """Go on with a client that reads again, and with its requests that were left."""
        self._paused = False
        self._throttle()
        self._release()
        if not self._unserved:
            self._serve(b"")

    def _throttle(self) -> None:
        """Read requests only while the client takes its answers and does not ask too much at once."""
        if self._transport is None:
            return
        if self._paused or self._unserved or len(self._tasks) >= MOST_PUTS:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def close(self) -> None:
        """End the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def send(self, data: bytes) -> None:
        """Queue bytes for the client; all that is queued in one turn of the loop leaves in one write."""
        self._out.append(data)
        self._out_size += len(data)
        if self._out_size > LARGE:
            self.flush()
        elif not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self.flush)

    def send_event(self, monitor: object, message: bytes) -> None:
        """Queue an event, or let it replace the older one of its monitor while the client takes none."""
        self.events += 1
        if self._paused or self._events_off:
            self._held[monitor] = message
        else:
            self.send(message)

    def take_events(self, on: bool) -> None:
        """Send events to the client, or hold them back until it wants them again."""
        self._events_off = not on
        self._release()

    def flush(self) -> None:
        """Write what is queued."""
        self._flushing = False
        if self._transport is not None and self._out:
            self._transport.write(b"".join(self._out))
        self._out.clear()
        self._out_size = 0

    def _release(self) -> None:
        if not self._paused and not self._events_off and self._held:
            held = list(self._held.values())
            self._held.clear()
            for message in held:
                self.send(message)

    # ---- requests

    def _handle(self, message: Message) -> None:
        """Serve one request. Raises BrokenStream when it is none."""
        raise NotImplementedError

    def keep(self, task: asyncio.Task[None]) -> None:
        """Count a request that has begun and is not answered; too many hold back those that come."""
        self._tasks.add(task)
        self._throttle()
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        """Go on with requests that had to wait because too many were under way."""
        self._tasks.discard(task)
        if len(self._tasks) == MOST_PUTS - 1 and not self._unserved:
            self._serve_on()

    def data_received(self, data: bytes) -> None:
        """Handle the requests that have arrived."""
        self._serve(data)

    def _serve(self, data: bytes) -> None:
        """Handle requests until there are no more, or this client must wait; the rest is kept and no more is read.

        It waits for ``resume_writing`` when its answers pile up, for the end of a put when too many are under way, and
        for the next turn of the loop when others have waited long enough.
        """
        end = time.perf_counter() + SLICE
        try:
            for message in self._reader.feed(data):
                self._handle(message)
                if self._paused or len(self._tasks) >= MOST_PUTS:
                    break
                if time.perf_counter() > end:
                    self._unserved = True
                    self._throttle()
                    asyncio.get_running_loop().call_soon(self._serve_on)
                    break
        except wire.BrokenStream as error:
            log.warning("client %s:%d: %s; its connection is closed", *self.address, error)
            self.close()

    def _serve_on(self) -> None:
        """Go on with the requests that one turn of the loop left."""
        self._unserved = False
        if self._transport is None:
            return
        self._throttle()
        if not self._paused:
            self._serve(b"")
