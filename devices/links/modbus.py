"""Units on a Modbus RTU line, for asyncio: one thread for each serial port, shared by the units on it.

Reads that failed are repeated a few times, since they change nothing; writes never are. Nothing but errors of
``devices.errors`` leaves this module; an exception reply is a ``ModbusRefusal``, which is a Refused with a code.

Cancelling is safe at any time: an exchange that has begun goes on to its end in the thread, so the line stays in step,
and one that still waits for its turn is dropped.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar
from weakref import WeakValueDictionary

from devices.errors import DeviceError, Garbled, LinkDown, ReplyTimeout, Withdrawn
from devices.links.modbus_frames import (
    BUSY,
    READ,
    WRITE,
    WRITE_ONE,
    ModbusRefusal,
    Request,
    twin_of,
    words_from_float,
    words_from_seconds,
)
from devices.links.modbus_line import PROOF, RtuLine
from devices.links.modbus_serial import ModbusAddress, SerialWire, parse_modbus_address
from devices.model import LinkStats
from devices.permit import Precedence, current

ATTEMPTS = 8  # at a read; on a line that spoils 5 % of the answers one read in 10**8 fails
TIMEOUTS = 3  # that all attempts at a read may take together
BUSY_PAUSE = 0.05  # seconds before an instrument that was busy is asked again
UNITS = range(1, 255)

T = TypeVar("T")


class ModbusPort:
    """One line and the thread that uses it; the thread lives and the port is open as long as a unit has joined."""

    def __init__(self, address: ModbusAddress) -> None:
        self.address = address
        self.line = RtuLine(SerialWire(address))
        self._turns = Precedence()
        self._users: set[ModbusUnit] = set()
        self._worker: ThreadPoolExecutor | None = None
        self._closed: Future[None] | None = None

    def join(self, user: ModbusUnit) -> None:
        """Keep the thread for this unit."""
        self._users.add(user)
        if self._worker is None:
            self._worker = ThreadPoolExecutor(1, thread_name_prefix=f"modbus {self.line.port}")
            if self._closed is not None:  # the thread before may still be closing the port
                self._worker.submit(self._closed.result)

    async def leave(self, user: ModbusUnit) -> None:
        """Close the port and end the thread when this was the last unit; waits for an exchange under way."""
        self._users.discard(user)
        if self._users or self._worker is None:
            return
        worker, self._worker = self._worker, None
        self._closed = worker.submit(self.line.close)
        worker.shutdown(wait=False)
        await asyncio.shield(asyncio.wrap_future(self._closed))

    async def run(self, call: Callable[[], T]) -> T:
        """Run a call in the thread when it has its turn."""
        async with self._turns:
            if self._worker is None:
                raise LinkDown(f"{self.line.port}: not open")
            return await asyncio.wrap_future(self._worker.submit(call))


class ModbusUnit:
    """One instrument. ``timeout`` is how long it may take to answer, in seconds, beyond the time of the bytes.

    Addresses are those on the wire, words are unsigned. Methods that read raise LinkDown (not connected, or the
    port is gone), ReplyTimeout or Garbled (after the last attempt), or ModbusRefusal.
    """

    def __init__(self, port: ModbusPort, unit: int, timeout: float) -> None:
        self.unit = unit
        self.timeout = timeout
        self.stats = LinkStats()
        self._port = port
        self._generation = 0
        self._answers = True

    @property
    def connected(self) -> bool:
        """Whether ``connect`` succeeded and the port was neither closed nor lost nor opened anew since."""
        return 0 < self._generation == self._port.line.generation

    async def connect(self) -> None:
        """Open the port by its name, unless another unit has it open; sends nothing. Raises LinkDown."""
        self._port.join(self)
        try:
            await self._port.run(self._port.line.open)
        except DeviceError as error:
            self._count(error)
            await self.close()
            raise
        except asyncio.CancelledError:
            await self.close()
            raise
        self._generation = self._port.line.generation

    async def close(self) -> None:
        """Leave the port, which is closed with its last unit. Safe to call at any time."""
        self._generation = 0
        await self._port.leave(self)

    async def read_registers(self, start: int, count: int) -> tuple[int, ...]:
        """Read so many words with function 3; the value of each is 0..65535."""
        return await self._repeat(Request(self.unit, READ, start, count))

    async def write_register(self, address: int, word: int) -> None:
        """Write one word with function 6, which an instrument refuses when the parameter does not exist.

        All methods that write ask for leave immediately before the first byte. They raise Withdrawn when nothing was
        sent, ModbusRefusal when the instrument refused, ReplyTimeout or Garbled when the outcome is unknown, and
        LinkDown: when the permit has not begun nothing was sent, or else the outcome is unknown. Read back: an
        instrument may clip.
        """
        await self._write(Request(self.unit, WRITE_ONE, address, 1, (word,)))

    async def write_registers(self, start: int, words: Sequence[int]) -> None:
        """Write words with function 16; the family accepts and drops what it does not have, so read back."""
        await self._write(Request(self.unit, WRITE, start, len(words), tuple(words)))

    async def write_float(self, address: int, number: float) -> None:
        """Write the twin of a parameter; raises ValueError when the number is not finite or does not fit."""
        await self.write_registers(twin_of(address), words_from_float(number))

    async def write_seconds(self, address: int, seconds: float) -> None:
        """Write the twin of a time; raises ValueError when it does not fit."""
        await self.write_registers(twin_of(address), words_from_seconds(seconds))

    async def _repeat(self, request: Request) -> tuple[int, ...]:
        """Do a read until it succeeds, is refused, or has taken too long; a unit that is away gets one chance."""
        begun, attempts = time.monotonic(), ATTEMPTS if self._answers else 1
        while True:
            attempts -= 1
            try:
                return await self._exchange(lambda: self._port.line.transact(request, self.timeout))
            except ModbusRefusal as refusal:
                if refusal.code != BUSY or not attempts or time.monotonic() - begun >= self.timeout:
                    raise
                await asyncio.sleep(BUSY_PAUSE)
            except (ReplyTimeout, Garbled):
                if not attempts or time.monotonic() - begun >= TIMEOUTS * self.timeout:
                    self._answers = False
                    raise

    async def _write(self, request: Request) -> None:
        try:
            await self._exchange(lambda: self._port.line.prove(self.unit, self.timeout))
        except (ReplyTimeout, Garbled) as error:
            raise LinkDown(f"{request}: not sent, since the instrument does not answer ({error})") from error
        permit = current()  # the line is that of another thread
        await self._exchange(lambda: self._port.line.transact(request, self.timeout, permit.begin))

    async def _exchange(self, call: Callable[[], T]) -> T:
        line = self._port.line

        def timed() -> tuple[T, float]:
            if self._generation != line.generation:
                raise LinkDown(f"{line.port}: not connected")
            return call(), line.rtt

        try:
            result, self.stats.rtt = await self._port.run(timed)
        except ModbusRefusal:
            self._answers = True
            raise
        except Withdrawn:
            raise
        except DeviceError as error:
            self._count(error)
            self._answers = not isinstance(error, ReplyTimeout)
            raise
        self._answers = True
        return result

    def _count(self, error: DeviceError) -> None:
        self.stats.errors += 1
        self.stats.last_error = str(error)


_PORTS: WeakValueDictionary[str, ModbusPort] = WeakValueDictionary()


def open_unit(address: str, unit: int, timeout: float, proof: range = PROOF) -> ModbusUnit:
    """Return a unit on the port of an address, not connected yet; units on one port share it.

    ``proof`` are registers, five if possible, that the unit lets be read together.

    Raises ValueError when the address is wrong, when another unit on that port has other line settings, or when the
    unit is not 1..254.
    """
    where = parse_modbus_address(address)
    if unit not in UNITS:
        raise ValueError(f"unit {unit}: allowed is {UNITS[0]} to {UNITS[-1]}")
    port = _PORTS.get(where.device)
    if port is None:
        port = _PORTS[where.device] = ModbusPort(where)
    elif port.address != where:
        raise ValueError(f"address {address!r}: another unit on that port has {port.address}")
    port.line.prove_with(unit, proof)
    return ModbusUnit(port, unit, timeout)
