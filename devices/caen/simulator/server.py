"""Serves a simulated CAEN supply over TCP and, for clients of serial lines, over a pseudo terminal.

Time comes from an injected clock: the model is advanced to the clock's now whenever a request arrives, and ten
times a second besides. ``faults`` makes the wire misbehave; the unit behind it stays as it is.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from devices.caen.simulator.model import CaenModel
from devices.simulation.listener import Listener
from devices.simulation.terminal import PseudoTerminal
from devices.simulation.time import ModelTime

REMEMBERED = 20_000  # requests kept for inspection
LONGEST_REQUEST = 512  # bytes
TELNET_GREETING = b"\xff\xfb\x01\xff\xfb\x03"  # WILL ECHO, WILL SUPPRESS-GO-AHEAD (RFC 854)


@dataclass(slots=True)
class Faults:
    """What is wrong with the wire; everything can be changed at any time.

    silent: nothing is answered (and nothing executed). delay: seconds before each answer. garbage: random bytes
    instead of answers. reset_mid_reply: half an answer, then the connection is reset. split: one byte per
    segment. merge: every other answer is kept back and sent together with the next one. duplicate: every answer
    twice. echo: the request comes back first. telnet: option negotiation at the start of a connection.
    drop_every: every so many-th answer is lost (0: none). mute_sets: SET is executed but not answered.
    mangle: what becomes of an answer on its way.
    """

    silent: bool = False
    delay: float = 0.0
    garbage: bool = False
    reset_mid_reply: bool = False
    split: bool = False
    merge: bool = False
    duplicate: bool = False
    echo: bool = False
    telnet: bool = False
    drop_every: int = 0
    mute_sets: bool = False
    mangle: Callable[[bytes], bytes] | None = None


class SimulatedSupply(Listener):
    """A supply on the network; start it, read ``port``, stop it.

    ``received`` holds every request line, oldest first, without its line end. ``connections`` counts those
    accepted since the start.
    """

    def __init__(
        self,
        model: CaenModel,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(self._talk, port, host)
        self.model = model
        self.host = host
        self.faults = Faults()
        self.received: deque[bytes] = deque(maxlen=REMEMBERED)
        self.connections = 0
        self.answers = 0
        self._time = ModelTime(model.step, clock)
        self._terminal: _Terminal | None = None
        self._kept_back = b""
        self._random = random.Random(1)

    @property
    def address(self) -> str:
        """The address for a site file."""
        return f"tcp://{self.host}:{self.port}"

    async def start(self) -> None:
        """Listen and let time pass; raises OSError when the port is taken."""
        await self.accept_connections()
        self._time.start("simulated CAEN supply")

    async def stop(self) -> None:
        """Close everything; the model keeps its state and can be started again."""
        await self._time.stop()
        await self.refuse_connections()
        await self.unplug_serial()

    async def accept_connections(self) -> None:
        """Listen, again on the same port."""
        await super().start()

    async def refuse_connections(self) -> None:
        """Stop listening and drop who is connected, as a unit whose cable is pulled or whose mains are off."""
        await super().stop()

    async def drop_connections(self) -> None:
        """Close every connection; new ones are welcome."""
        await self.disconnect()

    async def plug_in_serial(self) -> str:
        """Create a pseudo terminal that answers too, and return the path of the port to open."""
        await self.unplug_serial()
        self._terminal = _Terminal(self.answer)
        return self._terminal.path

    async def unplug_serial(self) -> None:
        """Take the pseudo terminal away, as when a USB plug is pulled."""
        if self._terminal is not None:
            await self._terminal.close()
            self._terminal = None

    def advance(self) -> None:
        """Bring the model up to the clock's now."""
        self._time.advance()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        lines = _Lines()
        if self.faults.telnet:
            writer.write(TELNET_GREETING)
        while data := await reader.read(LONGEST_REQUEST):
            for line in lines.feed(data):
                for piece in await self.answer(line):
                    if piece is None:
                        _reset(writer)
                        return
                    writer.write(piece)
                    await asyncio.sleep(0)  # a segment of its own

    async def answer(self, line: bytes) -> list[bytes | None]:
        """Return the segments that answer one request line; None resets the connection."""
        faults = self.faults
        self.received.append(line)
        if faults.silent:
            return []
        self.advance()
        reply = self.model.respond(line)
        if faults.delay:
            await asyncio.sleep(faults.delay)
        if not reply or (faults.mute_sets and b"CMD:SET" in line):
            return []
        self.answers += 1
        if faults.drop_every and self.answers % faults.drop_every == 0:
            return []
        if faults.merge and not self._kept_back:
            self._kept_back = reply
            return []
        reply, self._kept_back = self._kept_back + reply, b""
        return self._segments(line, reply)

    def _segments(self, line: bytes, reply: bytes) -> list[bytes | None]:
        faults = self.faults
        if faults.echo:
            reply = line + b"\r\n" + reply
        if faults.duplicate:
            reply += reply
        if faults.mangle:
            reply = faults.mangle(reply)
        if faults.garbage:
            return [self._random.randbytes(64)]
        if faults.reset_mid_reply:
            return [reply[: len(reply) // 2], None]
        if faults.split:
            return [reply[i : i + 1] for i in range(len(reply))]
        return [reply]


@asynccontextmanager
async def simulated_supply(
    model: CaenModel | None = None, *, clock: Callable[[], float] = time.monotonic
) -> AsyncIterator[SimulatedSupply]:
    """Run a supply on a free port of the loopback interface for as long as the block lasts."""
    supply = SimulatedSupply(model or CaenModel(), clock=clock)
    await supply.start()
    try:
        yield supply
    finally:
        await supply.stop()


class _Lines:
    """Cuts requests at CR LF, LF or CR; a request without an end is dropped."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        *lines, rest = (self._rest + data).replace(b"\r", b"\n").split(b"\n")
        self._rest = rest if len(rest) <= LONGEST_REQUEST else b""
        return [line for line in lines if line]


def _reset(writer: asyncio.StreamWriter) -> None:
    """Make the other end see a reset instead of an orderly end."""
    connection: socket.socket = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class _Terminal:
    """A serial line whose requests are answered one after the other."""

    def __init__(self, answer: Callable[[bytes], Awaitable[list[bytes | None]]]) -> None:
        self._answer = answer
        self._lines = _Lines()
        self._requests: asyncio.Queue[bytes] = asyncio.Queue()
        self._terminal = PseudoTerminal(self._receive)
        self.path = self._terminal.path
        self._worker = asyncio.create_task(self._work(), name="simulated serial line")

    async def close(self) -> None:
        self._worker.cancel()
        await asyncio.gather(self._worker, return_exceptions=True)
        self._terminal.close()

    def _receive(self, data: bytes) -> None:
        for line in self._lines.feed(data):
            self._requests.put_nowait(line)

    async def _work(self) -> None:
        while True:
            for piece in await self._answer(await self._requests.get()):
                if piece is not None:  # a serial line cannot be reset
                    self._terminal.write(piece)
