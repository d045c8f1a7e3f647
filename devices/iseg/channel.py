"""What the EDCP items of one Iseg channel mean: every signal of a channel as a reading with its alarm."""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import replace

from devices.iseg.catalogue import (
    CHANNEL,
    CHANNEL_SETTINGS,
    EVENT_BITS,
    LIVE,
    MICRO,
    MODULE_RAMP,
    RAMPS,
    SETTINGS,
    STATUS_BITS,
    Quantity,
    Setting,
)
from devices.iseg.edcp.bits import ChannelEvent, ChannelStatus, ModuleStatus
from devices.iseg.limits import IsegLimits
from devices.iseg.question import Answer
from devices.iseg.unit import NOMINALS, POLARITY, IsegUnit
from devices.model import Cause, DeviceSettings, Level, Reading, state_reading
from devices.rules.hv_channel import HvChannel, State
from devices.rules.hv_trip import Activity, Conditions, Sample
from devices.rules.settings import instead

_STATUS_BITS = {f"STAT.{name}": int(bit) for name, bit in STATUS_BITS}
_EVENT_BITS = {f"EVT.{name}": int(bit) for name, bit in EVENT_BITS}
_NAMED = sum(_STATUS_BITS.values())
_BIT_LEVELS: dict[int, Level] = {
    ChannelStatus.REGULATION_ERROR: Level.MINOR,
    ChannelStatus.INPUT_ERROR: Level.MINOR,
    ChannelStatus.CURRENT_BOUNDS: Level.MINOR,
    ChannelStatus.VOLTAGE_BOUNDS: Level.MINOR,
    ChannelStatus.EMERGENCY_OFF: Level.MAJOR,
    ChannelStatus.ARC_ERROR: Level.MAJOR,
    ChannelStatus.INHIBIT: Level.MAJOR,
    ChannelStatus.TRIP: Level.MAJOR,
    ChannelStatus.CURRENT_LIMIT: Level.MAJOR,
    ChannelStatus.VOLTAGE_LIMIT: Level.MAJOR,
}
_MODULE_FAULTS = ModuleStatus.TEMPERATURE_GOOD | ModuleStatus.SUPPLY_GOOD
_CONTEXT = ("VoltageSet", "CurrentSet", "ChannelEventStatus")
"""What the readings of a fast scan also depend on; asked for when it has not been read yet."""
_DERIVED_FROM = {*LIVE, "ChannelEventStatus"}
_COMPUTED = ("VDIFF", "SETTLED")
"""Signals that are INVALID without VoltageSet, which is read at its own rate."""
_RAMP_SPAN = ("VoltageRampSpeedMin", "VoltageRampSpeedMax")
_CURRENT_STEP = 1e-5  # of nominal: below ten such steps a current may well stand still


def conditions(status: int, events: int, module: int | None, rising: bool) -> Conditions:
    """Translate the words of channel and module; ``rising`` tells which way an output moves that does.

    A trip that only the event word still knows is the state of a channel while it is off; one that is on again is not
    tripped any more, though the latch is. Module bits count when the module status was read.
    """
    flags = ChannelStatus(status)
    on = ChannelStatus.ON in flags
    moving = ChannelStatus.RAMPING in flags
    cut = bool(flags & (ChannelStatus.CURRENT_LIMIT | ChannelStatus.VOLTAGE_LIMIT)) and not on
    broken = bool(flags & (ChannelStatus.ARC_ERROR | ChannelStatus.INPUT_ERROR))
    return Conditions(
        on=on,
        up=moving and rising,
        down=moving and not rising,
        limiting=ChannelStatus.CURRENT_CONTROL in flags,
        undervoltage=ChannelStatus.VOLTAGE_BOUNDS in flags,
        inhibited=ChannelStatus.INHIBIT in flags,
        killed=ChannelStatus.EMERGENCY_OFF in flags,
        tripped=ChannelStatus.TRIP in flags or (bool(events & ChannelEvent.TRIP) and not on),
        fault=cut or broken,
        interlocked=module is not None and not module & ModuleStatus.SAFETY_LOOP_GOOD,
        unit_fault=module is not None and module & _MODULE_FAULTS != _MODULE_FAULTS,
    )


class IsegChannel:
    """One channel: demands and memory on top of the items that the unit object keeps."""

    def __init__(
        self, unit: IsegUnit, number: int, limits: IsegLimits, settings: DeviceSettings, activity: Activity
    ) -> None:
        self.number = number
        self.hv = HvChannel.of(settings, (setting.suffix for setting in CHANNEL_SETTINGS), activity)
        self._unit = unit
        self._limits = limits
        self._nominals: dict[str, float] = {}  # of the last connection
        self._swapped: set[str] = set()
        self._trip_event: bool | None = None  # in the last event word of this module
        self._negative: bool | None = None  # as last reported

    def connected(self, same: bool) -> None:
        """Begin to compare anew; ``same`` says that it is the module of the last connection, whose events go on."""
        self._swapped.clear()
        if not same:
            self._trip_event = None
        self._compare_nominals()

    def _compare_nominals(self) -> None:
        """Mark the nominal values that differ from those of the last connection."""
        for item in NOMINALS:
            found = self._unit.number(item, self.number)
            if found is not None:
                if self._nominals.setdefault(item, found) != found:
                    self._swapped.add(item)
                self._nominals[item] = found

    def polarity_changed(self) -> bool:
        """Whether the output has changed its polarity since this was last asked."""
        before, self._negative = self._negative, self._limits.negative(self.number)
        return before not in (None, self._negative)

    # Asking

    def items(self, suffix: str) -> tuple[str, ...]:
        """Return what has to be asked for a signal now; less when it is a memory or only needs a context."""
        row = CHANNEL[suffix]
        if suffix in self.hv.demands and self.hv.demands[suffix].value is not None:
            return ()
        if row.setting in RAMPS:
            own = (*row.items, MODULE_RAMP, *self._unread(_RAMP_SPAN))
            return own if self._limits.ramp_is_own() else (MODULE_RAMP,)
        if suffix in ("VNOM", "INOM", "POL"):  # constant, but for a polarity that is switched by software
            constant = tuple(item for item in row.items if not self._unit.settled(item, self.number))
            return (*constant, POLARITY) if suffix == "POL" else constant
        if suffix == "VSET.RBV":
            return (*row.items, POLARITY)
        return row.items if set(row.items).isdisjoint(LIVE) else (*LIVE, *self._unread(_CONTEXT))

    def _unread(self, items: tuple[str, ...]) -> list[str]:
        return [item for item in items if self._cell(item) is None]

    # Settings

    def found(self, setting: Setting) -> tuple[float | int, float] | None:
        """Return what the module says a setting is, in the setting's unit, and the Unix time of the answer."""
        if setting.suffix in RAMPS:
            return self._found_ramp(setting)
        cell = self._cell(setting.item)
        if cell is None or not isinstance(cell.value, int | float):
            return None
        if setting.whole:
            return int(cell.value), cell.time
        value = float(f"{cell.value * setting.scale:.7g}")
        return (abs(value) if setting.suffix == "VSET" else value), cell.time

    def _found_ramp(self, setting: Setting) -> tuple[float, float] | None:
        own = self._cell(setting.item) if self._limits.ramp_is_own() else None
        if own is not None and isinstance(own.value, int | float) and own.value > 0:
            return own.value, own.time
        cell = self._unit.cells.get((MODULE_RAMP, None))  # also what a channel without speed of its own has
        nominal = self._limits.nominal("VoltageNominal", self.number)
        if cell is None or nominal is None or not isinstance(cell.value, int | float):
            return None
        return cell.value * nominal / 100, cell.time

    # Taking in

    def polled(self, fresh: Set[str], now: float) -> None:
        """Draw conclusions from what a batch has just read; ``now`` is monotonic time in seconds."""
        if not fresh.isdisjoint(NOMINALS):
            self._compare_nominals()
        for setting in CHANNEL_SETTINGS:
            ramps = setting.suffix in RAMPS and MODULE_RAMP in fresh
            if (setting.item in fresh or ramps) and (found := self.found(setting)) is not None:
                step = self._limits.resolution(setting, self.number)
                self._unit.link.stats.late += self.hv.demands[setting.suffix].observe(found[0], step)
        if not _DERIVED_FROM.isdisjoint(fresh):
            self._update(fresh, now)

    def _update(self, fresh: Set[str], now: float) -> None:
        """Derive what depends on several items; without a new word of the channel only what is measured."""
        vmon, imon = self._magnitude("VoltageMeasure"), self._magnitude("CurrentMeasure")
        vset, iset = self._magnitude("VoltageSet"), self._magnitude("CurrentSet")
        words = "ChannelStatus" in fresh or "ChannelEventStatus" in fresh
        found = self._conditions(vmon, vset) if words else None
        if (cell := self._cell("ChannelStatus" if found is not None else "CurrentMeasure")) is None:
            return
        sample = Sample(
            time=cell.time,
            now=now,
            conditions=found,
            vmon=vmon if "VoltageMeasure" in fresh else None,
            imon=float(f"{imon * MICRO:.7g}") if imon is not None and "CurrentMeasure" in fresh else None,
            vset=vset,
            iset=None if iset is None else iset * MICRO,
            current_step=max(
                (self._limits.nominal("CurrentNominal", self.number) or 0.0) * _CURRENT_STEP * MICRO, 1e-9
            ),
        )
        if found is not None and (found.tripped or self.hv.trip.active):
            # Frames carry a checksum: one look is proof that the bit is there, or gone; other supplies need two.
            self.hv.trip.observe(sample, bool(self.hv.demand_on))
        self.hv.update(sample)
        self._unit.link.stats.late += self.hv.late
        self.hv.late.clear()
        if "ChannelStatus" in fresh and found is not None:
            self._take_status(self._unit.word("ChannelStatus", self.number), cell.time)
        if "ChannelEventStatus" in fresh:
            event = bool(self._unit.word("ChannelEventStatus", self.number) & ChannelEvent.TRIP)
            if not event:
                self.hv.trip.memory_empty()
            elif self._trip_event is False and found is not None and found.on:
                self.hv.missed_trip(sample)
            self._trip_event = event

    def _conditions(self, vmon: float | None, vset: float | None) -> Conditions | None:
        """Return what the last words of channel and module say, None before the first one."""
        if self._cell("ChannelStatus") is None:
            return None
        status = self._unit.word("ChannelStatus", self.number)
        known = ("ModuleStatus", None) in self._unit.cells and self._unit.missed("ModuleStatus", None) < 2
        module = self._unit.word("ModuleStatus") if known else None
        rising = bool(status & ChannelStatus.ON) and (vmon is None or vset is None or vmon <= vset)
        return conditions(status, self._unit.word("ChannelEventStatus", self.number), module, rising)

    def _cell(self, item: str) -> Answer | None:
        return self._unit.cells.get((item, self.number))

    def _magnitude(self, item: str) -> float | None:
        value = self._unit.number(item, self.number)
        return None if value is None else abs(value)

    # Giving out

    def reading(self, suffix: str, now: float) -> Reading | None:
        """Return the reading of a signal, None when a single bad answer leaves it out; ``now`` is Unix time."""
        row = CHANNEL[suffix]
        if suffix.endswith(".CMD"):
            return Reading(0, now)
        if suffix in self.hv.demands and (demand := self.hv.demands[suffix].reading(now)) is not None:
            return demand
        items = row.items
        if row.setting in RAMPS and not self._limits.ramp_is_own():
            items = (MODULE_RAMP,)
        elif suffix == "POL" and self._cell(POLARITY) is not None:
            items = (POLARITY,)
        if self.number >= self._unit.channels or not self._unit.unsupported.isdisjoint(items):
            return _invalid(suffix, now)
        if self._unit.answers.counts and (missed := self._missed(suffix, items)):
            return instead(missed, now, _invalid(suffix, now).value)
        read = _READERS.get(suffix, IsegChannel._measured)
        return self.hv.derived.get(suffix) if read is None else read(self, row, now)

    def _missed(self, suffix: str, items: tuple[str, ...]) -> int:
        """Return how many reads in a row brought no usable answer."""
        context = self._unit.missed("VoltageSet", self.number) if suffix in _COMPUTED else 0
        if context > 1:
            return context
        return max((self._unit.missed(item, None if item == MODULE_RAMP else self.number) for item in items), default=0)

    def _derived_now(self, row: Quantity, _: float) -> Reading | None:
        """Return what has been derived, with the time at which it was measured."""
        found, cell = self.hv.derived.get(row.name), self._cell(row.items[0])
        return found if found is None or cell is None else replace(found, time=cell.time)

    def _measured(self, row: Quantity, _: float) -> Reading | None:
        cell = self._cell(row.items[0])
        if cell is None or not isinstance(cell.value, int | float):
            return None if cell is None else Reading(cell.value, cell.time)
        scale = MICRO if row.unit == "uA" else 1
        return Reading(float(f"{abs(cell.value) * scale:.7g}"), cell.time)

    def _nominal(self, row: Quantity, now: float) -> Reading | None:
        found = self._measured(row, now)
        swapped = row.items[0] in self._swapped
        return state_reading(found.value, found.time, Level.MAJOR) if found and swapped else found

    def _polarity(self, row: Quantity, _: float) -> Reading | None:
        cell = self._cell(POLARITY) or self._cell(row.items[0])
        negative = int(self._limits.negative(self.number))
        return None if cell is None else self.hv.polarity.observe(negative, cell.time)

    def _limit(self, row: Quantity, now: float) -> Reading | None:
        limits = self._limits.limits(SETTINGS[row.setting], self.number)
        return None if limits is None else Reading(limits.high if row.name.endswith(".HI") else limits.low, now)

    def _read_back(self, row: Quantity, _: float) -> Reading | None:
        setting = SETTINGS[row.setting]
        found = self.found(setting)
        if found is None:
            return None
        level = Level.MINOR if self.hv.demands[setting.suffix].lasting else Level.OK
        beyond = self._limits.beyond_site(setting, self.number, found[0])
        return state_reading(found[0], found[1], Level.MAJOR if beyond else level)

    def _event(self, row: Quantity, _: float) -> Reading | None:
        cell = self._cell(row.items[0])
        if cell is None or not isinstance(cell.value, int):
            return None
        bit = _EVENT_BITS.get(row.name)
        return Reading(cell.value if bit is None else int(bool(cell.value & bit)), cell.time)

    def _take_status(self, word: int, time: float) -> None:
        """Make the readings of the status word and its bits, all at once."""
        self.hv.derived["STAT"] = state_reading(word, time, Level.MINOR if word & ~self._explained() else Level.OK)
        self.hv.derived |= dict.fromkeys(_STATUS_BITS, Reading(0, time))
        for suffix, bit in _STATUS_BITS.items():
            if word & bit:
                self.hv.derived[suffix] = state_reading(1, time, self._bit_level(bit, word))

    def _explained(self) -> int:
        """Return the bits of the status word that have a meaning.

        Bit 0 is reserved in the guide; other programs read it as positive polarity, as which it is accepted.
        """
        return _NAMED if self._limits.negative(self.number) else _NAMED | 1

    def _bit_level(self, bit: int, word: int) -> Level:
        if bit == ChannelStatus.CURRENT_CONTROL and not word & ChannelStatus.RAMPING:
            return max(Level.MINOR, self.hv.limiting_level)
        return _BIT_LEVELS.get(bit, Level.OK)


_Reader = Callable[[IsegChannel, Quantity, float], Reading | None]

_OF_LOOK = ("EFFLOAD", "MOVING", "FROZEN", "SETTLED", "ON", "ON.RBV", "STATE", "STAT", *_STATUS_BITS)
_OF_TRIP = ("TRIP", "TRIP.COUNT", "TRIP.TIME", "TRIP.V", "TRIP.I")
_READERS: dict[str, _Reader | None] = {
    **dict.fromkeys((*_OF_LOOK, *_OF_TRIP)),
    **dict.fromkeys(("IMON", "VDIFF"), IsegChannel._derived_now),
    **dict.fromkeys(("EVT", *_EVENT_BITS), IsegChannel._event),
    **dict.fromkeys(("VNOM", "INOM"), IsegChannel._nominal),
    "POL": IsegChannel._polarity,
    **{f"{setting.suffix}.RBV": IsegChannel._read_back for setting in CHANNEL_SETTINGS},
    **{f"{setting.suffix}.{side}": IsegChannel._limit for setting in CHANNEL_SETTINGS for side in ("HI", "LO")},
}
"""What makes the reading of a signal, None when the last look has; those without an entry are measured values."""


def _invalid(suffix: str, now: float) -> Reading:
    return Reading(int(State.UNKNOWN) if suffix == "STATE" else None, now, Level.INVALID, Cause.READ)
