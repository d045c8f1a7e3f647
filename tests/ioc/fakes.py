"""A clock whose hands the test moves, a device that the test controls, and records without a database file."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable, Collection, Iterable, Mapping

from devices.model import DeviceSettings, Kind, Limits, LinkStats, Reading, Signal, Value, Way
from devices.permit import changing
from ioc.database.dbfile import RecordDef
from ioc.records import PutContext, Record, RecordSet, Source

EPOCH = 1_700_000_000.0
"""Unix time at which every fake clock starts; its monotonic time starts at 100."""


class FakeTimer:
    def __init__(self, callback: Callable[[], object]) -> None:
        self.callback: Callable[[], object] | None = callback

    def cancel(self) -> None:
        self.callback = None


class FakeClock:
    def __init__(self) -> None:
        self.now = 100.0
        self.offset = EPOCH - self.now
        self._timers: list[tuple[float, int, FakeTimer]] = []
        self._order = itertools.count()

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now + self.offset

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken = asyncio.Event()
        timer = self.call_later(seconds, woken.set)
        try:
            await woken.wait()
        finally:
            timer.cancel()

    def call_later(self, seconds: float, callback: Callable[[], object]) -> FakeTimer:
        timer = FakeTimer(callback)
        heapq.heappush(self._timers, (self.now + seconds, next(self._order), timer))
        return timer

    async def advance(self, seconds: float) -> None:
        """Let time pass, calling back in order and giving everybody a chance to act in between."""
        end = self.now + seconds
        await settle()
        while self._timers and self._timers[0][0] <= end:
            due, _, timer = heapq.heappop(self._timers)
            self.now = max(self.now, due)
            if timer.callback is not None:
                timer.callback()
                await settle()
        self.now = end
        await settle()


async def settle() -> None:
    """Let everything run that does not wait for time."""
    for _ in range(30):
        await asyncio.sleep(0)


class Asked(Source):
    """A source that notes the names of the records that are to be read, and to be put."""

    def __init__(self) -> None:
        self.read_from: list[str] = []
        self.put_to: list[str] = []

    def read(self, record: Record) -> None:
        self.read_from.append(record.name)

    async def put(self, record: Record, value: object, context: PutContext) -> None:
        self.put_to.append(record.name)


class FakeDriver:
    """A device in memory. ``trouble`` is raised by the next calls, ``delay`` is how long each call takes.

    A write looks until ``looking``, then sends its ``parts``, each of which is answered when ``gate`` is set.
    """

    def __init__(self, clock: FakeClock, values: dict[str, Value], **settings: object) -> None:
        self.settings = DeviceSettings(**({"name": "HV1", "type": "fake"} | settings))  # type: ignore[arg-type]
        self.stats = LinkStats()
        self.values = values
        self.readings: dict[str, Reading] = {}
        self.limits_now: dict[str, Limits] = {}
        self.digits: dict[str, int] = {}
        self.trouble: Exception | None = None
        self.write_trouble: Exception | None = None
        self.delay = 0.0
        self.open = False
        self.connects = 0
        self.batches: list[tuple[float, list[str]]] = []
        self.writes: list[tuple[str, Value]] = []
        self.looking: asyncio.Event | None = None
        self.gate: asyncio.Event | None = None
        self.parts = 1
        self._clock = clock

    def signals(self) -> Mapping[str, Signal]:
        return {name: Signal(name, Kind.FLOAT) for name in self.values}

    async def connect(self) -> None:
        self.connects += 1
        await self._work()
        self.open = True

    async def close(self) -> None:
        self.open = False

    async def read(self, names: Collection[str]) -> Mapping[str, Reading]:
        assert self.open
        self.batches.append((self._clock.now, sorted(names)))
        await self._work()
        now = self._clock.time()
        return {
            name: self.readings.get(name) or Reading(self.values[name], now)
            for name in names
            if name in self.values or name in self.readings
        }

    def way(self, name: str, value: Value) -> Way:
        place = name.partition(".")[0]
        urgent = name.endswith("EMCY.CMD") or (name.endswith(".ON") and not value)
        return Way(self.settings.address or "wire", place, urgent)

    async def write(self, name: str, value: Value) -> Mapping[str, Reading]:
        if self.looking is not None:
            await self.looking.wait()
        for _ in range(self.parts):
            assert self.open
            changing()
            self.writes.append((name, value))
            if self.gate is not None:
                await self.gate.wait()
        if self.write_trouble is not None:
            raise self.write_trouble
        self.values[name] = value
        now = self._clock.time()
        readings = {name: Reading(value, now)}
        if f"{name}.RBV" in self.values:
            self.values[f"{name}.RBV"] = value
            readings[f"{name}.RBV"] = Reading(value, now)
        return readings

    def limits(self, name: str) -> Limits | None:
        return self.limits_now.get(name)

    def precision(self, name: str) -> int | None:
        return self.digits.get(name)

    async def _work(self) -> None:
        if self.delay:
            await self._clock.sleep(self.delay)
        if self.trouble is not None:
            raise self.trouble


def definition(name: str, rtyp: str, link: str = "", access: str = "", **fields: str) -> RecordDef:
    """Describe a record; ``link`` is its device and signal."""
    outputs = ("ao", "bo", "mbbo", "longout", "stringout")
    fields = dict(fields)
    if link:
        fields |= {"DTYP": "labioc", "OUT" if rtyp in outputs else "INP": f"@{link}"}
    return RecordDef(name, rtyp, fields, {"access": access} if access else {}, (), "test.db", 1, {})


def build(definitions: Iterable[RecordDef]) -> dict[str, Record]:
    """Make records of definitions."""
    return dict(RecordSet.build(definitions).items())


def hv_records(device: str = "HV1") -> dict[str, Record]:
    """Make the records of a little supply, without the prefix in their keys."""

    def of(suffix: str, rtyp: str, access: str = "R", **fields: str) -> RecordDef:
        signal = suffix.replace(":", ".")
        return definition(f"LAB:{device}:{suffix}", rtyp, f"{device} {signal}", access, **fields)

    records = build(
        [
            of("CH00:VMON", "ai", SCAN="1 second"),
            of("CH00:IMON", "ai", SCAN="1 second"),
            of("CH00:VSET", "ao", "O"),
            of("CH00:VSET:RBV", "ai", SCAN="5 second"),
            of("CH00:ON", "bo", "O", ZNAM="OFF", ONAM="ON"),
            of("CH00:CLR:CMD", "bo", "O"),
            of("CH01:VSET", "ao", "O"),
            of("BD:NAME", "stringin"),
            of("COMM", "bi", ZNAM="LOST", ONAM="OK"),
            of("COMM:AGE", "ai"),
            of("COMM:RTT", "ai"),
            of("COMM:ERRORS", "longin"),
            of("COMM:RECONN", "longin"),
            of("COMM:MSG", "lsi", SIZV="256"),
            of("SCAN:TIME", "ai"),
            of("SCAN:LATE", "longin"),
            of("DISABLE", "bo", "E"),
            of("SIM", "bi"),
            of("READONLY", "bi"),
            of("PUT:MSG", "lsi", SIZV="256"),
            of("PUT:REFUSED", "longin"),
        ]
    )
    return {name.removeprefix(f"LAB:{device}:"): record for name, record in records.items()}


def hv_values() -> dict[str, Value]:
    """Give the signals of that supply a value each."""
    return {
        "CH00.VMON": 100.0,
        "CH00.IMON": 1.5,
        "CH00.VSET": 100.0,
        "CH00.VSET.RBV": 100.0,
        "CH00.ON": 1,
        "CH01.VSET": 0.0,
        "BD.NAME": "DT5533E",
    }


def alarm(record: Record) -> tuple[str, int]:
    """Status name and severity of a record."""
    from ioc.records import STATUS_NAMES

    return STATUS_NAMES[record.stat], record.sevr
