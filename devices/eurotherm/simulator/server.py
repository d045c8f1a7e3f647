"""Serves simulated Eurotherm 3200 instruments on one pseudo terminal, which a stable name leads to.

Time comes from an injected clock: the models are advanced to the clock's now whenever a request arrives, and ten times
a second besides. ``faults`` makes the wire misbehave; the instruments behind it stay as they are.
"""

from __future__ import annotations

import asyncio
import os
import random
import tempfile
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from devices.eurotherm.simulator.model import EurothermModel
from devices.eurotherm.simulator.slave import Slave, frame_length
from devices.links.modbus_frames import EXCEPTION, is_frame, with_crc
from devices.simulation.ports import SerialPort, Terminal
from devices.simulation.simulation import ModelTime

REMEMBERED = 20_000  # requests kept for inspection
LONGEST_REQUEST = 512  # bytes
BITS = 10  # of a character without parity
SILENCE = 3.5  # characters that end a frame
STALE = 0.05  # seconds after which the begin of a request is dropped
SINGLE_WORD, SEVERAL_WORDS = 0.008, 0.02  # seconds that an answer takes; 2 to 10 ms and longer (HA026230)
ONE_WORD_REPLY = 8  # bytes at most


@dataclass(slots=True)
class Faults:
    """What is wrong with the wire; everything can be changed at any time.

    silent: nothing is answered (and nothing executed). delay: seconds before each answer, in which further requests
    wait. crc: this share of answers, in percent, has a wrong byte. lost: this share of requests does not arrive.
    exception: code with which every request is refused (0: none). truncated: only the first half of answers.
    wrong_unit, wrong_function: answers carry another number. wrong_count: the answer to a read tells two bytes
    too many. echo: the request comes back first. noise: a byte 0x00 before and after each answer. mute_writes:
    writes are executed but not answered. mangle: what becomes of an answer on its way.
    """

    silent: bool = False
    delay: float = 0.0
    crc: float = 0.0
    lost: float = 0.0
    exception: int = 0
    truncated: bool = False
    wrong_unit: bool = False
    wrong_function: bool = False
    wrong_count: bool = False
    echo: bool = False
    noise: bool = False
    mute_writes: bool = False
    mangle: Callable[[bytes], bytes] | None = None


class SimulatedFurnaces:
    """Instruments on a serial line; start it, read ``address``, stop it.

    ``received`` holds every complete request, oldest first. With ``realtime`` characters take as long as on a real
    line and an answer begins after the latency of the handbook; without, everything is immediate.
    """

    def __init__(
        self,
        models: Mapping[int, EurothermModel] | None = None,
        *,
        baudrate: int = 9600,
        realtime: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.slaves = {unit: Slave(model, unit) for unit, model in (models or {1: EurothermModel()}).items()}
        self.faults = Faults()
        self.received: deque[bytes] = deque(maxlen=REMEMBERED)
        self.realtime = realtime
        self.latencies = (SINGLE_WORD, SEVERAL_WORDS)
        self._baudrate = baudrate
        self._character = BITS / baudrate
        self._time = ModelTime(self._step, clock)
        self._terminal: SerialPort[tuple[bytes, float]] | None = None
        self._begun, self._arrived = b"", 0.0  # a request that has not come to its end, and when it began
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._random = random.Random(1)

    @property
    def model(self) -> EurothermModel:
        """The instrument with the lowest address."""
        return self.slaves[min(self.slaves)].model

    @property
    def device(self) -> str:
        """The stable name of the port, which stays the same when it is plugged in again."""
        if self._folder is None:
            raise RuntimeError("not started")
        return str(Path(self._folder.name) / "furnace")

    @property
    def address(self) -> str:
        """The address for a site file."""
        return f"serial://{self.device}?baudrate={self._baudrate}"

    async def start(self) -> None:
        """Plug the line in and let time pass."""
        self._folder = tempfile.TemporaryDirectory(prefix="labioc-")
        await self.plug_in()
        self._time.start("simulated Eurotherm")

    async def stop(self) -> None:
        """Close everything; the models keep their state and can be started again."""
        await self._time.stop()
        await self.unplug()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    async def plug_in(self) -> None:
        """Create a port, under a new number when the old one still exists, and let the stable name lead to it."""
        self._begun = b""
        before, self._terminal = self._terminal, SerialPort(self._requests, self._serve)
        with suppress(FileNotFoundError):
            os.unlink(self.device)
        os.symlink(self._terminal.path, self.device)
        if before is not None:
            await before.unplug()

    async def unplug(self) -> None:
        """Take the port away, as when a USB plug is pulled."""
        if self._terminal is not None:
            os.unlink(self.device)
            await self._terminal.unplug()
            self._terminal = None

    def send(self, data: bytes) -> None:
        """Put unsolicited bytes on the line."""
        if self._terminal is not None:
            self._terminal.write(data)

    def advance(self) -> None:
        """Bring the models up to the clock's now."""
        self._time.advance()

    def _step(self, dt: float) -> None:
        for slave in self.slaves.values():
            slave.model.step(dt)

    def answer(self, frame: bytes) -> bytes:
        """Return what comes back for one request; empty for silence."""
        self.received.append(frame)
        if self.faults.silent or self._happens(self.faults.lost):
            return b""
        self.advance()
        if self.faults.exception and frame[0] in self.slaves:
            return with_crc(bytes((frame[0], frame[1] | EXCEPTION, self.faults.exception)))
        replies = [reply for slave in self.slaves.values() if (reply := slave.respond(frame))]
        reply = replies[0] if replies else b""
        return self._spoilt(frame, reply) if reply else b""

    def _spoilt(self, frame: bytes, reply: bytes) -> bytes:
        faults = self.faults
        if faults.mute_writes and frame[1] in (6, 16):
            return b""
        for wrong, at in ((faults.wrong_unit, 0), (faults.wrong_function, 1), (faults.wrong_count, 2)):
            if wrong:
                changed = bytearray(reply[:-2])
                changed[at] = changed[at] + 1 + (at == 2)
                reply = with_crc(bytes(changed))
        if self._happens(faults.crc):
            at = self._random.randrange(len(reply))
            reply = reply[:at] + bytes((reply[at] ^ self._random.randrange(1, 256),)) + reply[at + 1 :]
        if faults.truncated:
            reply = reply[: len(reply) // 2]
        if faults.noise:
            reply = b"\0" + reply + b"\0"
        return faults.mangle(reply) if faults.mangle else reply

    def _happens(self, percent: float) -> bool:
        return percent > 0 and self._random.random() * 100 < percent

    def _requests(self, data: bytes) -> Iterator[tuple[bytes, float]]:
        """Cut requests out of what arrives, each with the time of its first bytes by the loop's clock."""
        now = asyncio.get_running_loop().time()
        if now - self._arrived > STALE:
            self._begun = b""
        if not self._begun:
            self._arrived = now
        self._begun = (self._begun + data)[-LONGEST_REQUEST:]
        while (length := frame_length(self._begun)) and len(self._begun) >= length:
            frame, self._begun = self._begun[:length], self._begun[length:]
            if is_frame(frame):
                yield frame, self._arrived
            else:
                self._begun = b""  # out of step; the next silence is the next chance

    async def _serve(self, terminal: Terminal, request: tuple[bytes, float]) -> None:
        """Answer one request in its time."""
        frame, arrived = request
        sent = arrived + (len(frame) + SILENCE) * self._character if self.realtime else arrived
        if self.faults.echo:
            terminal.write(frame)
        await _until(sent)
        reply = self.answer(frame)
        if self.faults.delay:
            await asyncio.sleep(self.faults.delay)
        if not self.realtime:
            terminal.write(reply)
            return
        begin = sent + self.faults.delay + self.latencies[len(reply) > ONE_WORD_REPLY]
        for at in range(len(reply)):
            await _until(begin + (at + 1) * self._character)
            terminal.write(reply[at : at + 1])


async def _until(moment: float) -> None:
    left = moment - asyncio.get_running_loop().time()
    if left > 0:
        await asyncio.sleep(left)


@asynccontextmanager
async def simulated_furnaces(
    models: Mapping[int, EurothermModel] | None = None,
    *,
    realtime: bool = False,
    clock: Callable[[], float] = time.monotonic,
) -> AsyncIterator[SimulatedFurnaces]:
    """Run instruments on a pseudo terminal for as long as the block lasts."""
    furnaces = SimulatedFurnaces(models, realtime=realtime, clock=clock)
    await furnaces.start()
    try:
        yield furnaces
    finally:
        await furnaces.stop()
