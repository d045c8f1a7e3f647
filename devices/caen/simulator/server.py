"""Serves a simulated CAEN supply over TCP and, for clients of serial lines, over a pseudo terminal.

Time comes from an injected clock: the model is advanced to the clock's now whenever a request arrives, and ten
times a second besides. ``faults`` makes the wire misbehave; the unit behind it stays as it is.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from devices.caen.simulator.model import CaenModel
from devices.simulation.lines import LineServer
from devices.simulation.ports import Listener

REMEMBERED = 20_000  # requests kept for inspection
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


class SimulatedSupply(LineServer):
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
        super().__init__(model.step, port, host, clock)
        self.model = model
        self.faults = Faults()
        self.received: deque[bytes] = deque(maxlen=REMEMBERED)
        self.connections = 0
        self._answers = 0
        self._kept_back = b""
        self._random = random.Random(1)

    accept_connections = Listener.start
    refuse_connections = Listener.stop
    """Stop listening and drop who is connected, as a unit whose cable is pulled or whose mains are off."""

    drop_connections = Listener.disconnect

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self.faults.telnet:
            writer.write(TELNET_GREETING)
        await super()._talk(reader, writer)

    async def answer(self, line: bytes) -> list[bytes | None]:
        """Answer one request, as far as nothing is wrong with the wire."""
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
        self._answers += 1
        if faults.drop_every and self._answers % faults.drop_every == 0:
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
