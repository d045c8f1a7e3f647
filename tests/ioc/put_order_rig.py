"""Two supplies on one slow line, and every exchange noted beside every answer to a put."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from devices.errors import LinkDown, ReplyTimeout
from devices.model import Reading, Value
from devices.permit import Precedence, changing
from ioc.puts import PutPath
from ioc.records import Cancelled, PutContext, PutRefused, Record
from ioc.records.fieldtable import fields_of
from ioc.scan.scanner import DeviceScanner
from ioc.services.statistics import IocStatistics
from tests.ioc.fakes import FakeClock, FakeDriver, build, definition, hv_records, hv_values

EXCHANGE = 0.3
CHANNELS = 8
UNKNOWN = "outcome unknown"
_PUT: ContextVar[int] = ContextVar("put", default=-1)
"""Number of the put that the running task belongs to."""


class Line:
    """One exchange at a time; ``events`` gets "sent" and "over", with the number of the put, for each that changes."""

    def __init__(self, clock: FakeClock) -> None:
        self.events: list[tuple[str, int]] = []
        self.connected = True
        self.silent = 0  # exchanges that get no answer from now on
        self._clock = clock
        self._lock = Precedence()

    async def exchange(self, changes: bool = False) -> None:
        async with self._lock:
            if not self.connected:
                raise LinkDown("cable out; nothing was sent")
            if changes:
                changing()
                self.events.append(("sent", _PUT.get()))
            await self._clock.sleep(EXCHANGE)
            if changes:
                self.events.append(("over", _PUT.get()))
            if not self.connected:
                raise LinkDown(UNKNOWN if changes else "cable out")
            if self.silent:
                self.silent -= 1
                raise ReplyTimeout(UNKNOWN if changes else "no answer")


class SlowDriver(FakeDriver):
    """A device on the line."""

    line: Line

    async def connect(self) -> None:
        await self.line.exchange()
        self.open = True

    async def read(self, names: Collection[str]) -> Mapping[str, Reading]:
        await self.line.exchange()
        return await super().read(names)

    async def write(self, name: str, value: Value) -> Mapping[str, Reading]:
        try:
            await self.line.exchange()
        except (LinkDown, ReplyTimeout) as error:
            raise LinkDown(f"{error}; nothing was sent") from error
        await self.line.exchange(changes=True)
        self.values[name] = value
        try:
            await self.line.exchange()
        except (LinkDown, ReplyTimeout) as error:
            raise ReplyTimeout(UNKNOWN) from error
        return {name: Reading(value, self._clock.time())}


@dataclass
class Put:
    number: int
    device: str
    channel: int
    off: bool
    asked: float
    context: PutContext
    over: int | None = None  # number of events from which on it must not be sent any more
    answered_then: bool = False  # whether it has to be answered at that moment, too
    task: asyncio.Task[None] = field(init=False)

    @property
    def answer(self) -> str | None:
        """The reason why it was refused, empty when it was applied, None as long as there is no answer."""
        if not self.task.done():
            return None
        if self.task.cancelled():
            return "cancelled"
        error = self.task.exception()
        assert error is None or isinstance(error, PutRefused)
        return "" if error is None else str(error)


class Site:
    """Two supplies on one line, the switches, and the put path."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.line = Line(self.clock)
        self.events = self.line.events
        self.records: dict[str, Record] = {}
        self.scanners: dict[str, DeviceScanner] = {}
        for name in ("HV1", "HV2"):
            mine = hv_records(name)
            of_channels = [
                definition(f"LAB:{name}:CH{n:02d}:{suffix}", rtyp, f"{name} CH{n:02d}.{suffix}", "O")
                for n in range(CHANNELS)
                for suffix, rtyp in (("VSET", "ao"), ("ON", "bo"))
            ]
            mine |= {key.removeprefix(f"LAB:{name}:"): record for key, record in build(of_channels).items()}
            values = hv_values() | {
                f"CH{n:02d}.{suffix}": value for n in range(CHANNELS) for suffix, value in (("VSET", 0.0), ("ON", 0))
            }
            driver = SlowDriver(self.clock, values, name=name, address="line", period=5.0)
            driver.line = self.line
            self.records |= {f"{name}:{key}": record for key, record in mine.items()}
            self.scanners[name] = DeviceScanner(driver, mine.values(), self.clock)
        armed = build([definition("LAB:IOC:ARMED", "bo", "IOC ARMED", "E")])
        self.records["IOC:ARMED"] = armed["LAB:IOC:ARMED"]
        self.statistics = IocStatistics(armed.values(), self.clock, {"CFG.ID": "0123456789ab"})
        self.path = PutPath(self.scanners, self.statistics, self.clock)
        for record in self.records.values():
            self.path.attach(record)
        self.puts: list[Put] = []
        self._tasks = [asyncio.create_task(scanner.run()) for scanner in self.scanners.values()]

    async def stop(self) -> None:
        closing = asyncio.create_task(self.path.close(1.0))
        await self.clock.advance(5.0)
        await closing
        for task in self._tasks:
            task.cancel()
        await self.clock.advance(1.0)
        await asyncio.gather(*self._tasks, *(put.task for put in self.puts), return_exceptions=True)

    def set(self, name: str, value: float, context: PutContext | None = None) -> Coroutine[Any, Any, None]:
        record = self.records[name]
        return record.put_device(fields_of(record.rtyp)["VAL"], value, context or PutContext(callback=True))

    def put(self, device: str, channel: int, *, off: bool = False) -> Put:
        """Begin a put with completion: an off, or a setting whose value is like no other."""
        number = len(self.puts)
        put = Put(number, device, channel, off, self.clock.now, PutContext(callback=True, cancelled=Cancelled()))
        name, value = ("ON", 0.0) if off else ("VSET", 100.0 + number)

        async def run() -> None:
            _PUT.set(number)
            try:
                await self.set(f"{device}:CH{channel:02d}:{name}", value, put.context)
            finally:
                self.events.append(("answered", number))

        put.task = asyncio.create_task(run())
        self.puts.append(put)
        return put

    def sent(self, put: Put) -> int:
        return self.events.count(("sent", put.number))


async def ready() -> Site:
    site = Site()
    await site.clock.advance(4.0)
    assert all(scanner.ready for scanner in site.scanners.values())
    return site
