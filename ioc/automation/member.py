"""One member of a group: a channel of high voltage or a furnace, as its records show it and as puts move it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Final

from devices.model import Value
from devices.rules.hv_channel import State
from ioc.automation.read_times import ROUNDING, ReadTimes
from ioc.clock import Clock
from ioc.records import STATUS_NAMES, Record
from ioc.records.status import INVALID
from ioc.site.groups import KEEP, OFF, SETTING, MemberSettings, Target
from ioc.site.members import FURNACE, SUPPLY

Put = Callable[[Record, Value], Awaitable[None]]
"""Puts a value to a record and returns when it has been read back; raises PutRefused."""

_READINGS: Final = {
    SUPPLY: ("VMON", "VSET:RBV", "ON:RBV", "STATE", "SETTLED", "MOVING"),
    FURNACE: ("TEMP", "TSET:RBV", "SETTLED", "TWORK"),
}
_LIVE: Final = {SUPPLY: ("ON:RBV", "SETTLED", "MOVING"), FURNACE: ("SETTLED", "TWORK")}
"""Readings that have to be newer than the last move before it counts as arrived."""

_FURNACE_FAULTS: Final = ("STAT:SBREAK", "STAT:LBREAK", "STAT:RANGE")
_AUTOMATIC: Final = 0
"""MODE of a furnace that controls its temperature."""

_WORKING_BAND: Final = 0.5
"""C by which the working setpoint may still differ from its target."""


class Member:
    """A member; ``records`` are those of the server by name, ``prefix`` that of the site."""

    def __init__(self, settings: MemberSettings, records: Mapping[str, Record], prefix: str, clock: Clock) -> None:
        self.base = settings.base
        self.title = settings.title
        self.settings = settings
        self.unit = "C" if settings.kind == FURNACE else "V"
        base = f"{prefix}:{settings.base}:"
        self._of: dict[str, Record] = {
            name.removeprefix(base): record for name, record in records.items() if name.startswith(base)
        }
        self._furnace = settings.kind == FURNACE
        self.setting = self._of[SETTING[settings.kind]]
        self._measured = self._of["TEMP" if self._furnace else "VMON"]
        self._readings = [self._of[name] for name in _READINGS[settings.kind] if name in self._of]
        self._fresh = [self._of[name] for name in _LIVE[settings.kind] if name in self._of]
        self.sending: list[Target] = []
        """What is on its way to the device: a value of the setting, ``keep`` for its switch alone, or ``off``."""
        self.reached: Target | None = None
        """What the last move of this sequence has set and read back."""
        self._clock = clock
        self._moved_at = -math.inf
        self._read_times = ReadTimes(clock)
        self._before: tuple[float, ...] = ()
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def watched(self) -> Iterator[Record]:
        """The records whose changes matter to who moves the member."""
        yield from self._readings
        yield from (self._of[name] for name in ("TRIP", "MODE:RBV", *_FURNACE_FAULTS) if name in self._of)

    @property
    def moved_by(self) -> Iterator[Record]:
        """The records that move it."""
        yield from (self._of[name] for name in ("VSET", "TSET", "ON", "SAFE:CMD", "EMCY:CMD") if name in self._of)

    def find(self, suffix: str) -> Record | None:
        """Return the record of this suffix, None when it has none."""
        return self._of.get(suffix)

    # ---- what it is doing

    def problem(self) -> str:
        """Return why what it does is not known, empty when it is."""
        for record in self._readings:
            if record.udf or record.sevr >= INVALID:
                return f"{record.name} is {'not read yet' if record.udf else f'INVALID ({STATUS_NAMES[record.stat]})'}"
        return ""

    def fault(self) -> str:
        """Return what has switched it off or keeps it from working, empty when nothing does."""
        if self._furnace:
            broken = [name for name in _FURNACE_FAULTS if name in self._of and self._of[name].val]
            return f"{self.title}: {self._of[broken[0]].defn.fields.get('DESC', broken[0])}" if broken else ""
        state = self._of["STATE"]
        if isinstance(state.val, int) and State.INHIBITED <= state.val <= State.FAULT:
            return f"{self.title} is {state.state_text(state.val)}"
        if "TRIP" in self._of and self._of["TRIP"].val:
            return f"{self.title} has tripped and is not acknowledged"
        return ""

    @property
    def on(self) -> bool:
        """Whether its output is on; a furnace always is."""
        return self._furnace or bool(self._of["ON:RBV"].val)

    @property
    def moving(self) -> bool:
        """Whether it is ramping."""
        if self._furnace:
            return abs(_number(self._of.get("TWORK", self._measured)) - self.set_to) > self.tolerance
        return "MOVING" in self._of and bool(self._of["MOVING"].val)

    @property
    def ramps(self) -> bool:
        """Whether it is ramping to anything but off; a furnace on its way to its safe temperature goes off."""
        return self.moving and not self.at(OFF)

    @property
    def measured(self) -> float:
        """Its voltage in V as magnitude, or temperature in C."""
        return _number(self._measured)

    @property
    def set_to(self) -> float:
        """Its setting as read back, also while the output is off."""
        return _number(self._of[f"{SETTING[self.settings.kind]}:RBV"])

    @property
    def effective(self) -> float:
        """Where it is set to go: its setting, 0 while it is off."""
        return self.set_to if self.on else 0.0

    @property
    def may_be(self) -> tuple[float, ...]:
        """Voltages in V, as magnitudes, between which it is now and until its present settings are reached.

        Until it has been measured after a move it may also be where it was going before.
        """
        before = () if self._is_fresh(self._measured) else self._before
        sent = (self.set_to if one == KEEP else one if isinstance(one, float) else 0.0 for one in self.sending)
        return (self.measured, self.effective, *before, *sent)

    @property
    def fresh(self) -> bool:
        """Whether what it does has been read since it was last moved."""
        old = [record for record in self._fresh if not self._is_fresh(record)]  # each is looked at soon after its read
        return not old

    def _is_fresh(self, record: Record) -> bool:
        """Whether a record has been read since the last move."""
        return self._read_times.of(record) > self._moved_at + ROUNDING

    @property
    def output(self) -> float:
        """Output of a furnace in manual in %, as read back."""
        return _number(self._of["MOUT:RBV"]) if "MOUT:RBV" in self._of else math.nan

    @property
    def negative(self) -> bool:
        """Whether its voltage is negative."""
        return "POL" in self._of and bool(self._of["POL"].val)

    @property
    def step(self) -> float:
        """Resolution of its setting in V or C."""
        step = self._of.get(f"{SETTING[self.settings.kind]}:RES")
        size = _number(step) if step is not None and not step.udf else 0.0
        return max(size, 10.0 ** -int(self.setting.number("PREC")))

    @property
    def tolerance(self) -> float:
        """By how much a read-back may differ from what was put: half a step."""
        return self.step / 2 * 1.001

    def at(self, target: Target) -> bool:
        """Whether its settings are those of a target; it may still be on the way."""
        if target == OFF and self._furnace:
            automatic = "MODE:RBV" not in self._of or self._of["MODE:RBV"].val == _AUTOMATIC
            return automatic and self.settings.safe is not None and self._is_set_to(self.settings.safe)
        if target == OFF:
            return not self.on
        return self.on and (not isinstance(target, float) or self._is_set_to(target))

    def _is_set_to(self, value: float) -> bool:
        return abs(self.set_to - value) <= self.tolerance

    def arrived(self, target: Target) -> bool:
        """Whether it has settled at a target, by readings made since it was last moved."""
        if self.sending or not self.at(target) or not self.fresh:
            return False
        if self._furnace:
            return target in (KEEP, OFF) or (bool(self._of["SETTLED"].val) and self._working_at_target())
        return not self.moving and (target == OFF or bool(self._of["SETTLED"].val))

    def _working_at_target(self) -> bool:
        working = self._of.get("TWORK")
        return working is None or abs(_number(working) - self.set_to) <= max(self.tolerance, _WORKING_BAND)

    # ---- moving it

    def begin(self) -> None:
        """Forget what an earlier sequence has set."""
        self.reached = None

    def note_put(self) -> None:
        """Take note that others put to it now: what was read before does not count any more."""
        self._moved_at = self._clock.monotonic()

    async def written(self) -> None:
        """Return when nothing is on its way to the device."""
        await self._idle.wait()

    def limits(self) -> tuple[float, float]:
        """Return the limits in force for its setting; both infinite while they are not known."""
        low, high = self.setting.number("DRVL"), self.setting.number("DRVH")
        return (low, high) if high > low else (-math.inf, math.inf)

    async def move(self, target: Target, put: Put) -> None:
        """Put what is needed for a target; done when it is set and read back, not when it has arrived.

        A channel that is off gets its setting before it is switched on, whatever has been read of it. Raises
        PutRefused.
        """
        self._before = (*(() if self._is_fresh(self._measured) else self._before), self.effective)
        self.sending.append(target)
        self._idle.clear()
        try:
            if target == OFF:
                await (put(self._of["SAFE:CMD"], 1) if self._furnace else put(self._of["ON"], 0))
            else:
                if isinstance(target, float) and not (self.on and self._is_set_to(target)):
                    await put(self.setting, target)
                if not self.on:
                    await put(self._of["ON"], 1)
            self.reached = target
        finally:
            self.sending.remove(target)
            self._moved_at = self._clock.monotonic()
            if not self.sending:
                self._idle.set()

    def dropped(self) -> bool:
        """Whether it went off by itself after this sequence had switched it on, or found it on."""
        return self.reached not in (None, OFF) and not self.sending and not self.on

    def disturbed(self) -> str:
        """Return what another client or program has set since this sequence has moved it, empty when nothing."""
        if isinstance(self.reached, float) and not self.sending and self.on and not self._is_set_to(self.reached):
            return f"{self.title} was changed to {self.set_to:g} {self.unit}"
        return ""

    def here(self) -> float:
        """Return the value of its setting at which it stays where it is, within its limits."""
        working = self._of.get("TWORK") if self._furnace else None
        low, high = self.limits()
        return round(min(max(_number(working or self._measured), low), high), int(self.setting.number("PREC")))


def _number(record: Record) -> float:
    return float(record.val) if isinstance(record.val, int | float) else math.nan
