"""Days of a laboratory in simulated time: 48 channels and a furnace, faults at any moment, every rule at every step."""

from __future__ import annotations

import asyncio
import heapq
import random
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from devices.model import Value
from ioc.records import PutContext, PutRefused
from ioc.records.status import INVALID
from ioc.services.journal import REFUSED, UNKNOWN
from tests.conftest import rounds
from tests.ioc.automation.plant import Plant, Supply
from tests.ioc.fakes import FakeClock

PERIOD = 10.0
SPEED = 20.0
"""Simulated seconds in one second of the clock: each channel is scanned every 200 simulated seconds."""

WAIT = 15.0
HOT, DIFFERENCE = 300.0, 400.0
GEM = ["GEM:DRIFT", "GEM:G3", "GEM:G2", "GEM:G1"]
LOST = 6
STEP = 2.0


def _supply(number: int, channels: dict[str, Any]) -> dict[str, Any]:
    address = f"tcp://127.0.0.1:{number}"
    return {"name": f"HV{number}", "type": "caen-dt55xx", "address": address, "channels": 16, "period": PERIOD,
            "channel": channels}  # fmt: skip


SITE: dict[str, Any] = {
    "site": {"prefix": "LAB"},
    "device": [
        _supply(1, {str(n): {"alias": f"CALO:PMT{n:02d}"} for n in range(16)}),
        _supply(2, {str(n): {"alias": alias} for n, alias in enumerate(GEM)}),
        _supply(3, {str(n): {"alias": f"WIRE:W{n:02d}"} for n in range(16)}),
        {"name": "FURN1", "type": "eurotherm-3200", "address": "serial:///dev/ttyUSB0", "safe_temperature": 20.0,
         "period": PERIOD},
    ],
    "group": [
        {"name": "CALO", "members": ["CALO:*"], "standby": 400.0, "on": 1400.0, "on_trip": "standby", "timeout": 900},
        {
            "name": "GEM", "members": ["GEM:*"], "on_trip": "off", "timeout": 1800,
            "neighbours": [{"names": GEM, "max_difference": DIFFERENCE}],
            "member": {name: {"standby": 500.0 + 100 * n, "on": 3000.0 - 350 * n} for n, name in enumerate(GEM)},
        },
        {"name": "WIRE", "members": ["WIRE:*", "FURN1"], "order": ["FURN1", "WIRE:W0*", "WIRE:W1*"], "timeout": 5400,
         "member": {"WIRE:*": {"on": 900.0}, "FURN1": {"on": 150.0}}},
    ],
    "recovery": {"channels": ["CALO:*", "WIRE:*"], "wait": WAIT, "dwell": 20, "calm": 120, "timeout": 200,
                 "per_hour": 10},
    "interlock": [
        {"name": "HOT", "condition": f"FURN1:TEMP < {HOT:g} C hysteresis 5", "action": "off", "members": ["CALO:*"],
         "bypass_seconds": 300},
        {"name": "QUIET", "condition": "GEM:DRIFT:TRIP == OK and HV2:COMM == OK", "action": "standby", "group": "CALO",
         "act_after": 20, "ok_after": 30, "latch": False},
    ],
}  # fmt: skip


class DayClock(FakeClock):
    """A clock that goes on as soon as everything waits for it."""

    async def advance(self, seconds: float) -> None:
        end = self.now + seconds
        await idle()
        while self._timers and self._timers[0][0] <= end:
            due = self._timers[0][0]
            self.now = max(self.now, due)
            while self._timers and self._timers[0][0] <= due:
                timer = heapq.heappop(self._timers)[2]
                if timer.callback is not None:
                    timer.callback()
            await idle()
        self.now = end
        await idle()


async def idle() -> None:
    ready = asyncio.get_running_loop()._ready  # type: ignore[attr-defined]
    while True:
        await asyncio.sleep(0)
        if not ready:
            return


class Day:
    """One laboratory, what is done to it, and the rules that hold at every moment."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.plant = Plant(SITE, DayClock())
        self.counts: Counter[str] = Counter()
        self.puts: set[asyncio.Task[None]] = set()
        self.ended: dict[str, tuple[int, bool]] = {}
        self.lost_since: dict[str, float] = {}
        self.back_at: list[tuple[float, Callable[[], None]]] = []
        self.hot_since: float | None = None
        self.gem_disturbed = False
        self.off: set[str] = set()
        self.tripped_at: dict[str, float] = {}
        self.forbidden: dict[str, str] = {}
        self.recoveries = {
            one.base.removeprefix("LAB:").rstrip(":"): one for one in self.plant.automation.recoveries.channels
        }
        for number in range(len(GEM)):
            self.plant.channel(f"HV2:CH{number:02d}").ramp = self.random.uniform(15.0, 80.0)
        for scanner in self.plant.scanners.values():
            scanner.status.report = lambda: None  # type: ignore[method-assign]  # counters that no rule is about
        for name, device in self.plant.devices.items():
            device.on_write = lambda signal, value, name=name: self.written(name, signal, value)  # type: ignore[misc]

    # ---- rules at each write

    def written(self, device: str, signal: str, value: Value) -> None:
        """A device has been changed."""
        self.counts[f"{device}.{signal.rpartition('.')[2] if device != 'FURN1' else signal}"] += 1
        assert self.plant.statistics.armed, "nothing is written while the server is not armed"
        if signal.endswith(".ON") and value and device == "HV1":
            temperature = self.plant["FURN1:TEMP"]
            good = temperature.sevr < INVALID and float(temperature.val) < HOT  # type: ignore[arg-type]
            assert good or self.bypassed, "no channel is switched on while the furnace is hot, or not known"
        if signal.endswith(".ON") and value:
            base = f"{device}:{signal.partition('.')[0]}"
            assert base not in self.off, "what was put to OFF stays off"
            if self.recoveries[base].putting:
                self._check_recovery(base)

    def _check_recovery(self, base: str) -> None:
        """The recovery switches a channel on."""
        self.counts["recoveries"] += 1
        assert self.plant[f"{base}:REC:MODE"].val, "it is armed"
        assert base not in self.forbidden, f"after {self.forbidden.get(base)} it must not"
        assert self.plant.clock.now - self.tripped_at[base] >= WAIT
        assert not self.plant.channel(base).tripped, "it has been cleared"
        assert not self.plant.automation.groups[self._group_of(base)].held, "its group is in HOLD"

    @property
    def bypassed(self) -> bool:
        return self.plant.automation.interlocks["HOT"].bypassed

    # ---- rules at each moment

    def check(self) -> None:
        plant, now = self.plant, self.plant.clock.now
        for device in plant.devices.values():
            device.pass_time()
        self._check_neighbours()
        self._check_hot(now)
        for group, device in (("CALO", "HV1"), ("GEM", "HV2"), ("WIRE", "HV3"), ("WIRE", "FURN1")):
            if now - self.lost_since.get(device, now) > PERIOD + 3.0:
                state = plant[f"GRP:{group}:STATE"]
                assert (state.val, state.sevr) == (LOST, INVALID), f"{group} shows {state.val} while {device} is lost"
        for base in self.off:
            assert not plant.channel(base).on, f"{base} was put to OFF"

    def _check_neighbours(self) -> None:
        channels = [self.plant.channel(f"HV2:CH{n:02d}") for n in range(len(GEM))]
        if any(one.tripped for one in channels) or "HV2" in self.lost_since:
            self.gem_disturbed = True  # a trip lets one drop; what is lost is switched off all at once
        elif all(one.volts == 0.0 for one in channels) and not any(one.on for one in channels):
            self.gem_disturbed = False
        if not self.gem_disturbed:
            for one, other in pairwise(channels):
                assert abs(one.volts - other.volts) <= DIFFERENCE + 1.0, [c.volts for c in channels]

    def _check_hot(self, now: float) -> None:
        """After one scan the channels are off, if they can be reached at all."""
        plant = self.plant
        reachable = not {"HV1", "FURN1"} & self.lost_since.keys() and plant.statistics.armed and not self.bypassed
        reachable = reachable and not plant.devices["HV1"].refusal
        if plant.furnace.temperature >= HOT and self.hot_since is None:
            self.counts["hot while on"] += any(plant.channel(f"HV1:CH{n:02d}").on for n in range(16))
        if plant.furnace.temperature < HOT + 1.0 or not reachable:
            self.hot_since = None
        elif self.hot_since is None:
            self.hot_since = now
        elif now - self.hot_since > PERIOD + 8.0:  # after a loss it is tried again every 5 s
            assert not any(plant.channel(f"HV1:CH{n:02d}").on for n in range(16)), "hot, and not switched off"

    # ---- what happens

    async def run(self, hours: float) -> None:
        async with self.plant.running():
            await self.plant.clock.advance(3 * PERIOD)
            start = self.plant.clock.now
            for state in ("CALO", "GEM", "WIRE"):
                self.put(f"GRP:{state}:GO", 2)
            due = start + 600.0
            self.later(590.0, self.arm)
            while (now := self.plant.clock.now) < start + hours * 3600.0 / SPEED:
                if now >= due:
                    due = now + self.random.expovariate(1.0 / 60.0)
                    self.random.choice(self.EVENTS)(self)
                for moment in [one for one in self.back_at if one[0] <= now]:
                    self.back_at.remove(moment)
                    moment[1]()
                await self.plant.clock.advance(STEP)
                self.check()
            self._check_journal()
        await asyncio.gather(*self.puts, return_exceptions=True)

    def _check_journal(self) -> None:
        """Each change of a device is one put in the journal, with a user that may have made it."""
        noted: Counter[str] = Counter()
        unknown: Counter[str] = Counter()  # the device may have taken it or not
        for entry in self.plant.journal.entries:
            of_device = entry.pv.partition(":")[2].partition(":")[0] in self.plant.devices and ":REC:" not in entry.pv
            if entry.outcome != REFUSED and of_device:
                (unknown if entry.outcome == UNKNOWN else noted)[entry.pv.removeprefix("LAB:")] += 1
                assert entry.user.startswith(("labioc:GRP:", "labioc:ILK:", "labioc:REC")) or entry.user == "olga"
        written: Counter[str] = Counter()
        for name, device in self.plant.devices.items():
            written.update(f"{name}:{signal.replace('.', ':')}" for _, signal, _ in device.writes)
        assert noted <= written <= noted + unknown

    def put(self, name: str, value: Value) -> None:
        """Put as an operator, and do not wait."""
        base, _, suffix = name.partition(":CH")
        base, suffix = f"{base}:CH{suffix[:2]}", suffix[3:]
        if suffix == "REC:MODE":
            self.forbidden.pop(base, None)
        elif suffix and suffix != "TRIP:ACK:CMD" and base in self.tripped_at:
            self.forbidden.setdefault(base, f"a put to {suffix}")
        group = name.split(":")[1]
        if name.startswith("GRP:") and not name.endswith("HOLD:CMD"):
            self.off -= {base for base in self.off if self._group_of(base) == group or group == "ALL"}
        task = self.plant.start(name, value, PutContext("olga", "desk1", ("127.0.0.1", 40000), callback=True))
        self.puts.add(task)
        task.add_done_callback(lambda done: self._answered(name, value, done))

    def _group_of(self, base: str) -> str:
        return {"HV1": "CALO", "HV2": "GEM", "HV3": "WIRE"}[base.partition(":")[0]]

    def _answered(self, name: str, value: Value, task: asyncio.Task[None]) -> None:
        self.puts.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        assert error is None or isinstance(error, PutRefused), repr(error)
        self.counts["refused" if error else "done"] += 1
        if error is None and name.endswith(":GO") and value == 0:
            group = self.plant.automation.groups.get(name.split(":")[1])
            if group is not None:
                self.off |= {base for base in group.bases if base != "FURN1"}

    def later(self, seconds: float, what: Callable[[], None]) -> None:
        self.back_at.append((self.plant.clock.now + seconds, what))

    def go(self) -> None:
        self.put(f"GRP:{self.random.choice(['CALO', 'GEM', 'WIRE'])}:GO", self.random.choice([0, 1, 2, 2]))

    def hold(self) -> None:
        self.put(f"GRP:{self.random.choice(['CALO', 'GEM', 'WIRE'])}:HOLD:CMD", 1)

    def trip(self) -> None:
        device = self.plant.devices[self.random.choice(["HV1", "HV2", "HV3"])]
        assert isinstance(device, Supply)
        channel = self.random.choice(device.channels[: 4 if device.settings.name == "HV2" else 16])
        if channel.on:
            channel.trip()
            self.counts["trips"] += 1
            base = f"{device.settings.name}:CH{device.channels.index(channel):02d}"
            self.tripped_at[base] = self.plant.clock.now
            if self.random.random() < 0.2:
                channel.killed = True
                self.forbidden[base] = "a kill"
                self.later(self.random.uniform(12.0, 60.0), lambda: setattr(channel, "killed", False))
        self.later(self.random.uniform(60.0, 900.0), self.acknowledge)

    def acknowledge(self) -> None:
        for name in ("HV1", "HV2", "HV3"):
            device = self.plant.devices[name]
            assert isinstance(device, Supply)
            for number, channel in enumerate(device.channels):
                if channel.latched or channel.tripped:
                    self.put(f"{name}:CH{number:02d}:TRIP:ACK:CMD", 1)
                    self.put(f"{name}:CH{number:02d}:CLR:CMD", 1)
        self.put("ILK:HOT:ACK:CMD", 1)
        self.later(self.random.uniform(10.0, 300.0), self.go)

    def lose(self) -> None:
        name = self.random.choice(list(self.plant.devices))
        if name not in self.lost_since:
            self.plant.lose(name)
            self.lost_since[name] = self.plant.clock.now
            self.counts["losses"] += 1
            self.later(self.random.uniform(3.0, 600.0), lambda: self.find(name))

    def find(self, name: str) -> None:
        self.plant.devices[name].lost = False
        self.lost_since.pop(name, None)

    def heat(self) -> None:
        self.plant.furnace.target = self.random.uniform(280.0, 900.0)  # as an operator at the instrument does
        self.counts["heats"] += 1
        self.later(self.random.uniform(600.0, 3000.0), self.cool)

    def cool(self) -> None:
        self.plant.furnace.target = 20.0
        self.later(self.random.uniform(1200.0, 2400.0), self.acknowledge)

    def break_sensor(self) -> None:
        self.plant.furnace.broken = True
        self.later(self.random.uniform(30.0, 300.0), self.mend_sensor)

    def mend_sensor(self) -> None:
        self.plant.furnace.broken = False
        self.later(60.0, self.acknowledge)

    def disarm(self) -> None:
        self.put("IOC:ARMED", 0)
        self.later(self.random.uniform(20.0, 200.0), lambda: self.put("IOC:ARMED", 1))

    def refuse(self) -> None:
        name = self.random.choice(["HV1", "HV2", "HV3"])
        self.plant.devices[name].refusal = "front panel is in LOCAL"
        self.later(self.random.uniform(10.0, 200.0), lambda: self.permit(name))

    def permit(self, name: str) -> None:
        self.plant.devices[name].refusal = ""

    def meddle(self) -> None:
        self.put(f"HV3:CH{self.random.randrange(16):02d}:VSET", float(self.random.randrange(0, 900)))

    def arm(self) -> None:
        for device in ("HV1", "HV3"):
            for number in range(16):
                self.put(f"{device}:CH{number:02d}:REC:MODE", 1)

    def bypass(self) -> None:
        self.put("ILK:HOT:BYPASS", self.random.choice([0, 1]))

    EVENTS: tuple[Callable[[Day], None], ...] = (
        go, go, go, go, hold, trip, trip, lose, lose, heat, break_sensor, disarm, refuse, meddle, bypass, acknowledge,
        arm, arm,
    )  # fmt: skip


@pytest.mark.timeout(300)
async def test_GIVEN_24_hours_with_faults_WHEN_simulated_THEN_every_rule_holds_at_every_step() -> None:
    day = Day(2)
    await day.run(24.0)
    assert day.counts["hot while on"]
    assert min(day.counts[name] for name in ("trips", "losses", "heats", "done", "refused", "HV1.ON", "HV2.VSET"))


class Trips(Day):
    """A day on which channels trip that are armed for recovery."""

    EVENTS = (Day.trip, Day.trip, Day.arm)


@pytest.mark.timeout(300)
async def test_GIVEN_channels_that_are_armed_WHEN_they_trip_for_hours_THEN_only_those_come_back_that_may() -> None:
    day = Trips(2)
    await day.run(14.0)
    assert day.counts["recoveries"]
    assert day.forbidden


@given(st.integers(0, 2**32))
@settings(max_examples=rounds(2), suppress_health_check=list(HealthCheck), deadline=None)
def test_GIVEN_any_faults_WHEN_simulated_for_hours_THEN_every_rule_holds_at_every_step(seed: int) -> None:
    asyncio.run(Day(seed).run(2.0))
