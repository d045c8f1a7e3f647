"""A laboratory in simulated time: supplies and a furnace with physics, behind the real records, scan and put path."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devices.errors import LinkDown, Refused, ReplyTimeout
from devices.model import DeviceSettings, Kind, Level, Limits, LinkStats, Reading, Signal, Value, Way, state_reading
from devices.permit import changing
from ioc.automation.automation import Automation
from ioc.database.support import OFF_TAG, SERVER
from ioc.puts import PutPath
from ioc.records import PutContext, Record, RecordSet, fields_of
from ioc.scan.scanner import DeviceScanner
from ioc.services.state import StateStore
from ioc.services.statistics import IocStatistics, about
from ioc.site.config import Site, parse_site
from ioc.site.expansion import expand
from tests.ioc.fakes import FakeClock, settle
from tests.ioc.put_rig import KeptJournal

WHO = PutContext("olga", "desk1", ("127.0.0.1", 40000), callback=True)
STEADY, UP, DOWN, TRIPPED, FAULTY = 1, 2, 3, 9, 10


@dataclass
class Channel:
    """One output: it ramps at ``ramp`` V/s to its setting while it is on, and down to 0 while it is off."""

    volts: float = 0.0
    setting: float = 0.0
    on: bool = False
    tripped: bool = False
    latched: bool = False
    killed: bool = False
    trips: int = 0
    ramp: float = 50.0
    settled_for: float = 0.0
    stuck: bool = False

    @property
    def goal(self) -> float:
        return self.setting if self.on else 0.0

    @property
    def moving(self) -> bool:
        return abs(self.volts - self.goal) > 0.5

    def pass_time(self, seconds: float) -> None:
        self.settled_for = 0.0 if self.moving or not self.on else self.settled_for + seconds
        step = 0.0 if self.stuck else self.ramp * seconds
        self.volts += min(max(self.goal - self.volts, -step), step)

    def trip(self) -> None:
        self.on, self.tripped, self.latched, self.volts = False, True, True, 0.0
        self.trips += 1


class Device:
    """What the driver of a supply and that of a furnace have in common here; ``lost`` devices do not answer."""

    family = ""

    def __init__(self, clock: FakeClock, settings: DeviceSettings) -> None:
        self.settings = settings
        self.stats = LinkStats()
        self.lost = False
        self.writes: list[tuple[float, str, Value]] = []
        self.gate: asyncio.Event | None = None
        self.refusal = ""
        self.on_write: Callable[[str, Value], None] = lambda name, value: None
        self.clock = clock
        self._seen = clock.now

    def signals(self) -> Mapping[str, Signal]:
        return {name: Signal(name, Kind.FLOAT) for name in self.values(0.0)}

    async def connect(self) -> None:
        self._answer()

    async def close(self) -> None:
        pass

    async def read(self, names: Collection[str]) -> Mapping[str, Reading]:
        self._answer()
        self.pass_time()
        found = self.values(self.clock.time())
        return {name: found[name] for name in names if name in found}

    async def write(self, name: str, value: Value) -> Mapping[str, Reading]:
        changing()
        if self.gate is not None:
            await self.gate.wait()
        self._answer()
        if self.refusal:
            raise Refused(self.refusal)
        self.pass_time()
        self.on_write(name, value)
        self.writes.append((self.clock.now, name, value))
        self.apply(name, value)
        found = self.values(self.clock.time())
        return {name: Reading(value, self.clock.time())} | {one: found[one] for one in (f"{name}.RBV",) if one in found}

    def precision(self, name: str) -> int | None:
        return None

    def limits(self, name: str) -> Limits | None:
        return Limits(0.0, 4000.0) if name.endswith("SET") else None

    def pass_time(self) -> None:
        """Let the physics catch up with the clock."""
        seconds, self._seen = self.clock.now - self._seen, self.clock.now
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        raise NotImplementedError

    def values(self, now: float) -> dict[str, Reading]:
        raise NotImplementedError

    def apply(self, name: str, value: Value) -> None:
        raise NotImplementedError

    def way(self, name: str, value: Value) -> Way:
        raise NotImplementedError

    def _answer(self) -> None:
        if self.lost:
            raise ReplyTimeout("no answer")


class Supply(Device):
    """A supply; its channels are there to be looked at and disturbed."""

    def __init__(self, clock: FakeClock, settings: DeviceSettings) -> None:
        self.channels = [Channel() for _ in range(settings.channels)]
        super().__init__(clock, settings)

    def advance(self, seconds: float) -> None:
        for channel in self.channels:
            channel.pass_time(seconds)

    def values(self, now: float) -> dict[str, Reading]:
        found = {}
        for number, one in enumerate(self.channels):
            state = TRIPPED if one.tripped else (UP if one.goal > one.volts else DOWN) if one.moving else int(one.on)
            alarm = Level.MAJOR if one.latched else Level.OK
            for suffix, value in (
                ("VMON", one.volts), ("VSET", one.setting), ("VSET.RBV", one.setting),
                ("ON", int(one.on)), ("ON.RBV", int(one.on)), ("STATE", state), ("MOVING", int(one.moving)),
                ("SETTLED", int(one.settled_for >= 2.0)),
            ):  # fmt: skip
                found[f"CH{number:02d}.{suffix}"] = Reading(value, now)
            found[f"CH{number:02d}.TRIP"] = state_reading(int(one.latched), now, alarm)
            bits = {"TRIP.COUNT": one.trips, "STAT.TRIP": int(one.tripped), "STAT.KILL": int(one.killed)}
            for suffix, value in {**dict.fromkeys(("STAT.OVT", "STAT.INTLCK", "STAT.CALERR"), 0), **bits}.items():
                found[f"CH{number:02d}.{suffix}"] = Reading(value, now)
        return found | {"BD.ILK": Reading(0, now), "BD.PROT": Reading(0, now)}

    def apply(self, name: str, value: Value) -> None:
        place, _, suffix = name.partition(".")
        one = self.channels[int(place.removeprefix("CH"))]
        assert not isinstance(value, str | tuple)
        if suffix == "VSET":
            one.setting = float(value)
        elif suffix == "ON" and value and one.tripped:
            raise Refused("the channel has tripped, clear it first")
        elif suffix == "ON":
            one.on = bool(value)
        elif suffix == "TRIP.ACK.CMD":
            one.latched = False
        elif suffix == "CLR.CMD":
            one.tripped = False

    def way(self, name: str, value: Value) -> Way:
        place, _, suffix = name.partition(".")
        return Way(self.settings.name, place, urgent=suffix == "ON" and not value)


class Furnace(Device):
    """A furnace: its working setpoint ramps at 20 C/min, its temperature follows; SAFE:CMD sets 20 C."""

    def __init__(self, clock: FakeClock, settings: DeviceSettings) -> None:
        self.temperature = self.target = self.working = 20.0
        self.broken = False
        super().__init__(clock, settings)

    def advance(self, seconds: float) -> None:
        step = seconds / 3.0
        self.working += min(max(self.target - self.working, -step), step)
        self.temperature += (self.working - self.temperature) * min(seconds / 30.0, 1.0)

    def values(self, now: float) -> dict[str, Reading]:
        good = abs(self.temperature - self.working) < 2.0
        plain = {"TSET": self.target, "TSET.RBV": self.target, "TWORK": self.working, "SETTLED": int(good),
                 "SAFE.STATE": 0, "MODE.RBV": 0, "STAT.SBREAK": int(self.broken)}  # fmt: skip
        found = {name: Reading(value, now) for name, value in plain.items()}
        broken = Reading(None, now, Level.INVALID)
        return found | {"TEMP": broken if self.broken else Reading(self.temperature, now)}

    def apply(self, name: str, value: Value) -> None:
        assert not isinstance(value, str | tuple)
        self.target = 20.0 if name == "SAFE.CMD" else float(value)

    def way(self, name: str, value: Value) -> Way:
        return Way(self.settings.name, "", urgent=name == "SAFE.CMD")


class Plant:
    """A site served by everything but sockets and devices: real records, scan, put path and automation."""

    def __init__(self, data: Mapping[str, Any], clock: FakeClock | None = None, folder: Path | None = None) -> None:
        self.site: Site = parse_site(data)
        self.clock = clock or FakeClock()
        definitions = expand(self.site).records
        self.records = RecordSet.build(definitions.values(), time=self.clock.time)
        self.state = StateStore(self.site, self.records, folder, self.clock)
        self.outputs = [self.records[name] for name, one in definitions.items() if OFF_TAG in one.info]
        self.devices: dict[str, Supply | Furnace] = {}
        self.scanners: dict[str, DeviceScanner] = {}
        for settings in self.site.devices:
            made = Furnace if settings.type.startswith("eurotherm") else Supply
            self.devices[settings.name] = made(self.clock, settings)
            mine = [one for one in self.records.values() if one.device == settings.name]
            self.scanners[settings.name] = DeviceScanner(self.devices[settings.name], mine, self.clock)
        server = [one for one in self.records.values() if one.device == SERVER]
        self.journal = KeptJournal(self.clock)
        self.statistics = IocStatistics(server, self.clock, about(self.site))
        self.puts = PutPath(self.scanners, self.statistics, self.clock, journal=self.journal)
        self.puts.notes.on_applied = self.state.note
        for record in self.records.values():
            self.puts.attach(record)
        self.automation = Automation(self.site, self.records, self.outputs, self.puts, self.clock, self.scanners)

    def __getitem__(self, name: str) -> Record:
        record = self.records.find(name) or self.records.find(f"LAB:{name}")
        assert record is not None, name
        return record

    def channel(self, base: str) -> Channel:
        device, _, number = base.partition(":CH")
        supply = self.devices[device]
        assert isinstance(supply, Supply)
        return supply.channels[int(number)]

    @property
    def furnace(self) -> Furnace:
        return next(one for one in self.devices.values() if isinstance(one, Furnace))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Plant]:
        self.statistics.post()
        work = [scanner.run for scanner in self.scanners.values()]
        tasks = [asyncio.create_task(one()) for one in (*work, *(run for _, run in self.automation.work()))]
        try:
            await self.clock.advance(2.0)
            yield self
        finally:
            await self.puts.close(0.0)
            await self.automation.stop()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.state.close()

    async def put(self, name: str, value: Value, context: PutContext = WHO) -> None:
        """Put as a client does. Raises PutRefused."""
        record = self[name]
        spec = fields_of(record.rtyp)["VAL"]
        record.check_device_put(spec, value)  # type: ignore[arg-type]
        await record.put_device(spec, value, context)  # type: ignore[arg-type]

    def start(self, name: str, value: Value, context: PutContext = WHO) -> asyncio.Task[None]:
        """Begin a put and return it."""
        return asyncio.create_task(self.put(name, value, context))

    async def outcome(self, put: asyncio.Task[None], seconds: float) -> str:
        """Return the reason for which a put is refused within this time, empty when it is done."""
        until = self.clock.now + seconds
        while not put.done() and self.clock.now < until:
            await self.clock.advance(0.5)
        assert put.done(), "still under way"
        error = put.exception()
        return str(error) if error is not None else ""

    def lose(self, device: str) -> None:
        self.devices[device].lost = True


async def tick() -> None:
    """Let everything happen that does not wait for time."""
    await settle()


__all__ = ["WHO", "Channel", "Furnace", "LinkDown", "Plant", "Supply", "tick"]
