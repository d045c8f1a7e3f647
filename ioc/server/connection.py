"""A TCP connection that holds back a client which does not read, alone.

Its monitors are reduced to their newest values then, and its requests are not read. That bounds the memory that a
client can take, as the event queues of a C IOC do.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Final, cast

#: Bytes that may wait for a client before its monitors are reduced to their newest values.
HIGH_WATER: Final = 2_000_000
#: Bytes that are collected in one turn of the loop before they are written: what one client causes must not pile up.
LARGE: Final = 65536


class Connection(asyncio.Protocol):
    """The sending side of a circuit, and flow control."""

    def __init__(self) -> None:
        self.address: tuple[str, int] = ("", 0)
        self._transport: asyncio.Transport | None = None
        self._out: list[bytes] = []
        self._out_size = 0
        self._held: dict[object, bytes] = {}
        self._flushing = False
        self._paused = False
        self._events_off = False
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
        """Go on with a client that reads again."""
        self._paused = False
        self._throttle()
        self._release()

    def _busy_enough(self) -> bool:
        """Whether no more requests should be read for now, though the client takes its answers."""
        return False

    def _throttle(self) -> None:
        """Read requests only while the client takes its answers and does not ask too much at once."""
        if self._transport is None:
            return
        if self._paused or self._busy_enough():
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
            self._write_out()
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
        self._write_out()

    def _write_out(self) -> None:
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
