"""Bytes over a TCP connection or a serial line, for the links that exchange lines over them."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import termios
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol, TypeVar

import serial

INBOX = 2048  # bytes that may wait to be read; a few lines
SERIAL_POLL = 0.05  # seconds that the worker thread blocks at most, so that a closed port is free soon

T = TypeVar("T")


class Transport(Protocol):
    """Bytes over one kind of wire. Every method raises OSError when the wire is gone."""

    remembers: bool
    """Whether the answer to an old question can still arrive after closing and opening again."""

    async def open(self) -> None:
        """Open; a no-op is not allowed when it is open already."""

    async def close(self) -> None:
        """Close, also in the middle of a read; safe to call twice."""

    async def write(self, data: bytes) -> None:
        """Send all of data."""

    def take_back(self) -> None:
        """Have what was sent but not delivered thrown away; what is on the wire already stays there. Never raises."""

    async def read(self, seconds: float) -> bytes:
        """Return what has arrived, empty when nothing did for so long; 0 does not wait."""


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """Where a TCP link goes."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class SerialAddress:
    """Which serial line, and how; always 8 data bits, no parity, 1 stop bit (N1471 manual)."""

    device: str
    baudrate: int = 9600
    xonxoff: bool = False


class _Inbox(asyncio.Protocol):
    """Collects what a socket delivers, never more than a few lines of it."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.arrived = asyncio.Event()
        self.lost = asyncio.Event()
        self.error: Exception | None = None

    def data_received(self, data: bytes) -> None:
        # Beyond a few lines it is a flood, and which part of a flood is kept does not matter.
        self.data += data[: max(0, INBOX - len(self.data))]
        self.arrived.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.error = exc
        self.lost.set()
        self.arrived.set()


class TcpTransport:
    """A TCP client connection."""

    remembers = False

    def __init__(self, address: TcpAddress) -> None:
        self._address = address
        self._inbox: _Inbox | None = None
        self._socket: asyncio.Transport | None = None

    async def open(self) -> None:
        """Connect; who calls sets the time limit."""
        loop = asyncio.get_running_loop()
        self._socket, self._inbox = await loop.create_connection(_Inbox, self._address.host, self._address.port)

    async def close(self) -> None:
        """Close properly, since a unit may serve one connection only and has to notice that it is free."""
        stream, inbox, self._socket = self._socket, self._inbox, None
        if stream is None or inbox is None:
            return
        stream.close()
        try:
            async with asyncio.timeout(1.0):
                await inbox.lost.wait()
        except TimeoutError:
            stream.abort()

    async def write(self, data: bytes) -> None:
        """Send; requests are small enough for the socket's buffer."""
        if self._socket is None or self._socket.is_closing():
            raise ConnectionResetError("closed")
        self._socket.write(data)

    def take_back(self) -> None:
        """Reset the connection: after an orderly end the kernel tries for minutes to deliver what is left."""
        if self._socket is None:
            return
        with suppress(OSError):  # it is gone already, and with it what was to be taken back
            linger_not = struct.pack("ii", 1, 0)
            self._socket.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_not)
        self._socket.abort()

    async def read(self, seconds: float) -> bytes:
        """Return what has arrived; raises ConnectionResetError when that is all there will ever be."""
        if self._inbox is None:
            raise ConnectionResetError("closed")
        inbox = self._inbox
        if seconds <= 0:
            # A turn resumes this task before it takes in what the socket holds, so that is seen after the second one.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        elif not inbox.data and not inbox.lost.is_set():
            try:
                async with asyncio.timeout(seconds):
                    await inbox.arrived.wait()
            except TimeoutError:
                return b""
        inbox.arrived.clear()
        data = bytes(inbox.data)
        inbox.data.clear()
        if not data and inbox.lost.is_set():
            raise ConnectionResetError(getattr(inbox.error, "strerror", None) or "closed by the other end")
        return data


def close_port(port: serial.Serial) -> None:
    """Close a serial port; one that reports an error when it is closed is closed all the same."""
    try:
        port.close()
    except OSError:
        # Its descriptor is free (close(2)) and perhaps in use elsewhere by now, so it must not be closed again. With a
        # stand-in pyserial goes on where it stopped.
        port.fd = os.open(os.devnull, os.O_RDONLY)
        port.close()


class SerialTransport:
    """A serial port; pyserial blocks, so every call on it runs in one worker thread."""

    remembers = True

    def __init__(self, address: SerialAddress) -> None:
        self._address = address
        self._port: serial.Serial | None = None
        self._worker: ThreadPoolExecutor | None = None

    async def open(self) -> None:
        """Open the port for ourselves alone; raises OSError when another program has it."""
        self._worker = ThreadPoolExecutor(1, thread_name_prefix=f"serial {self._address.device}")
        await self._run(self._open)

    async def close(self) -> None:
        """Close the port and end the thread, after the read that may be under way."""
        worker, self._worker = self._worker, None
        if worker is not None:
            closed = worker.submit(self._close)
            worker.shutdown(wait=False)
            await asyncio.wrap_future(closed)

    async def write(self, data: bytes) -> None:
        """Send; raises OSError when the other end does not take it within a second."""
        await self._run(lambda: self._opened().write(data))

    def take_back(self) -> None:
        """Empty the output buffer, which a line that was stopped (XOFF) may send much later."""
        if self._worker is not None:
            self._worker.submit(self._drop_output)

    async def read(self, seconds: float) -> bytes:
        """Return what has arrived."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + seconds
        while True:
            data = await self._run(self._read_some if seconds else self._read_waiting)
            if data or clock() >= deadline:
                return data

    async def _run(self, call: Callable[[], T]) -> T:
        if self._worker is None:
            raise ConnectionResetError("closed")
        try:
            return await asyncio.wrap_future(self._worker.submit(call))
        except OSError:
            raise
        except Exception as error:  # termios.error, which pyserial lets through, is not an OSError
            raise ConnectionResetError(str(error)) from error

    def _open(self) -> None:
        self._port = serial.Serial(
            self._address.device,
            self._address.baudrate,
            timeout=SERIAL_POLL,
            write_timeout=1.0,
            xonxoff=self._address.xonxoff,
            exclusive=True,
        )

    def _close(self) -> None:
        port, self._port = self._port, None
        if port is not None:
            close_port(port)

    def _drop_output(self) -> None:
        if self._port is not None:
            with suppress(OSError, termios.error):
                self._port.reset_output_buffer()

    def _opened(self) -> serial.Serial:
        if self._port is None:
            raise ConnectionResetError("closed")
        return self._port

    def _read_waiting(self) -> bytes:
        port = self._opened()
        return port.read(port.in_waiting)

    def _read_some(self) -> bytes:
        return self._opened().read(1) + self._read_waiting()
