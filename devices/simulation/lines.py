"""The wire of a simulated device that answers lines: a TCP port and, for clients of serial lines, a pseudo terminal."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress

from devices.simulation.ports import Listener, SerialPort
from devices.simulation.simulation import ModelTime

LONGEST_LINE = 512  # bytes


class LineServer(Listener, ABC):
    """Listens on ``port``, once started, and answers each line; a subclass says what the answer is.

    ``step`` advances the model of the device by so many seconds of the ``clock``.
    """

    def __init__(
        self,
        step: Callable[[float], None],
        port: int = 0,
        host: str = "127.0.0.1",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(self._talk, port, host)
        self._time = ModelTime(step, clock)
        self._terminal: SerialPort[bytes] | None = None

    @property
    def address(self) -> str:
        """The address for a site file."""
        return f"tcp://{self._host}:{self.port}"

    async def start(self) -> None:
        """Listen and let time pass; raises OSError when the port is taken."""
        await super().start()
        self._time.start("simulated device")

    async def stop(self) -> None:
        """Close everything; the model keeps its state, and the device can be started again."""
        await self._time.stop()
        await super().stop()
        await self.unplug_serial()

    def advance(self) -> None:
        """Bring the model up to the clock's now."""
        self._time.advance()

    @abstractmethod
    async def answer(self, line: bytes) -> Sequence[bytes | None]:
        """Return the segments that answer one line, given without its end; None resets the connection.

        A ConnectionError that it raises closes the connection. On a serial line neither is possible.
        """

    async def plug_in_serial(self) -> str:
        """Create a pseudo terminal that answers too, and return the path of the port to open."""
        await self.unplug_serial()
        self._terminal = SerialPort(_Lines().feed, self._answer_serial)
        return self._terminal.path

    async def unplug_serial(self) -> None:
        """Take the pseudo terminal away, as when a USB plug is pulled."""
        if self._terminal is not None:
            await self._terminal.unplug()
            self._terminal = None

    async def _answer_serial(self, port: SerialPort[bytes], line: bytes) -> None:
        with suppress(ConnectionError):
            for piece in await self.answer(line):
                port.write(piece or b"")

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines = _Lines()
        while data := await reader.read(LONGEST_LINE):
            for line in lines.feed(data):
                for piece in await self.answer(line):
                    if piece is None:
                        _reset(writer)
                        return
                    writer.write(piece)
                    await asyncio.sleep(0)  # a segment of its own


class _Lines:
    """Cuts requests at CR LF, LF or CR; a request without an end is dropped."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        *lines, rest = (self._rest + data).replace(b"\r", b"\n").split(b"\n")
        self._rest = rest if len(rest) <= LONGEST_LINE else b""
        return [line for line in lines if line]


def _reset(writer: asyncio.StreamWriter) -> None:
    """Make the other end see a reset instead of an orderly end."""
    connection: socket.socket = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
