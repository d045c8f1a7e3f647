"""What the parameters of one CAEN channel mean: every signal of a channel as a reading with its alarm."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from devices.caen.catalogue import CHANNEL, CHANNEL_SETTINGS, LIVE, SETTINGS, STATUS_BITS, TRIP_INFINITE, Quantity
from devices.caen.limits import ChannelLimits
from devices.caen.unit import CaenUnit
from devices.model import Cause, DeviceSettings, Level, Reading, state_reading
from devices.rules.channels import channel_prefix
from devices.rules.hv_channel import HvChannel, State
from devices.rules.hv_trip import Activity, Sample
from devices.rules.settings import instead

_COMPUTED = frozenset({"VDIFF", "SETTLED"})  # with VSET, which is read at its own rate
_BITS = {name: f"STAT.{name}" for name in STATUS_BITS}
"""The signal of each bit of the status word."""

_DOUBTFUL = frozenset({"MAXV", "TRIPTIME", "IRANGE"})
_LOW_RANGE_WARNING = 0.95  # share of the low range above which the current is about to leave it


class CaenChannel:
    """One channel: demands and memory on top of the parameters that the unit object keeps."""

    def __init__(self, unit: CaenUnit, number: int, settings: DeviceSettings, activity: Activity) -> None:
        self.number: Final = number
        self.prefix: Final = channel_prefix(number)
        self.limits = ChannelLimits(unit, number, settings)
        self.hv = HvChannel.of(settings, (setting.name for setting in CHANNEL_SETTINGS), activity)
        self._unit = unit
        self._cells = unit.cells[number]
        self._infinite_trip_allowed = bool(settings.options.get("allow_infinite_trip", False))

    def parameters(self, suffix: str) -> tuple[str, ...]:
        """Return what has to be asked for a signal now; less when it is a memory or only needs a context."""
        row = CHANNEL[suffix]
        if suffix in self.hv.demands and self.hv.demands[suffix].value is not None:
            return ()
        asked = row.needs if set(row.needs).isdisjoint(LIVE) else LIVE
        return (
            *(name for name in row.constants if self._unit.outdated(name, self.number)),
            *asked,
            *(name for name in row.context if name not in self._cells),
        )

    def doubted(self) -> list[str]:
        """Return the read-backs of settings of which a write has an unknown outcome."""
        return [f"{self.prefix}{suffix}.RBV" for suffix, demand in self.hv.demands.items() if demand.doubted]

    # Taking in

    def polled(self, parameters: set[str], now: float) -> None:
        """Draw conclusions from what a batch has just read; ``now`` is monotonic time in seconds."""
        for setting in CHANNEL_SETTINGS:
            cell = self._cells.get(setting.wire) if setting.wire in parameters else None
            if cell is not None and not isinstance(cell.value, str):
                step = self.limits.resolution(setting.name) if setting.numeric else 0.0
                self._unit.link.stats.late += self.hv.demands[setting.name].observe(cell.value, step)
        self._update(parameters.intersection(LIVE), now)

    def _update(self, fresh: set[str], now: float) -> None:
        """Derive everything that a look at the output tells, once for each look."""
        cells = {name: self._cells[name] for name in fresh if name in self._cells}
        if not cells:
            return
        status, allowed = cells.get("STAT"), self._number("TRIP")
        word = None if status is None else int(status.value)
        sample = Sample(
            time=max(cell.time for cell in cells.values()),
            now=now,
            conditions=None if word is None else self._unit.layout.conditions(word, self._unit.interlock_shown),
            vmon=self._number("VMON") if "VMON" in cells else None,
            imon=self._number("IMON") if "IMON" in cells else None,
            vset=self._number("VSET"),
            iset=self._number("ISET"),
            current_step=self.limits.resolution("IMON"),
            ramp_down=self._number("RDW"),
            trip_time=math.inf if (allowed or 0.0) >= TRIP_INFINITE else allowed,
        )
        derived = self.hv.update(sample)
        if "IMON" in derived:  # a measured quantity has the time of its own answer
            self.hv.derived["IMON"] = replace(derived["IMON"], time=cells["IMON"].time)
        if status is not None and word is not None:
            self._take_bits(word, status.time)
        self._unit.link.stats.late += self.hv.late
        self.hv.late.clear()

    def _take_bits(self, word: int, time: float) -> None:
        """Derive the readings of the status word, MINOR when a bit of it has no name, and of its bits."""
        layout = self._unit.layout
        self.hv.derived["STAT"] = state_reading(word, time, Level.MINOR if layout.unknown(word) else Level.OK)
        self.hv.derived |= dict.fromkeys(_BITS.values(), Reading(0, time))
        for name, mask in layout.bits.items():
            if word & mask:
                self.hv.derived[_BITS[name]] = state_reading(1, time, self._bit_level(name, word))

    def _bit_level(self, name: str, word: int) -> Level:
        layout = self._unit.layout
        if name == "INTLCK" and self._unit.interlock_shown:
            return Level.OK
        if name in ("OVC", "OVV", "UNV"):
            if layout.has("UP", word) or layout.has("DOWN", word):
                return Level.OK
            return max(Level.MINOR, self.hv.limiting_level) if name == "OVC" else Level.MINOR
        return layout.level(name, word)

    def _number(self, parameter: str) -> float | None:
        cell = self._cells.get(parameter)
        return None if cell is None or isinstance(cell.value, str) else float(cell.value)

    # Giving out

    def reading(self, suffix: str, now: float) -> Reading | None:
        """Return the reading of a signal, None when a single bad answer leaves it out; ``now`` is Unix time."""
        row, unit = CHANNEL[suffix], self._unit
        if suffix in self.hv.demands and (demand := self.hv.demands[suffix].reading(now)) is not None:
            return demand
        if row.needs or row.constants or row.context:
            if self.number not in unit.channels.present or not unit.unsupported.isdisjoint(row.needs):
                return _invalid(suffix, now)
            if unit.answers.counts:
                if suffix in _COMPUTED and self._missed("VSET") > 1:
                    return _invalid(suffix, now)
                if missed := max(map(self._missed, row.needs), default=0):
                    return instead(missed, now, _invalid(suffix, now).value)
        read = _READERS[suffix]
        return self.hv.derived.get(suffix) if read is None else read(self, suffix, now)

    def _missed(self, parameter: str) -> int:
        return self._unit.answers.missed((parameter, self.number))

    def plain(self, suffix: str, now: float) -> Reading | None:
        """Return a parameter as it was read."""
        cell = self._cells.get(CHANNEL[suffix].wire)
        return None if cell is None else Reading(cell.value, cell.time)

    def polarity(self, suffix: str, now: float) -> Reading | None:
        """Return the polarity, compared with that of the last connection."""
        cell = self._cells.get("POL")
        return None if cell is None else self.hv.polarity.observe(int(cell.value), cell.time)

    def resolution(self, suffix: str, now: float) -> Reading | None:
        """Return the smallest step of a quantity, once the unit has been asked for it."""
        if not all(self._unit.settled(name, self.number) for name in CHANNEL[suffix].constants):
            return None
        return Reading(self.limits.resolution(suffix.removesuffix(".RES")), now)

    def highest(self, suffix: str, now: float) -> Reading | None:
        """Return the highest value allowed; INVALID where neither the unit nor the site file limits it."""
        limits = self.limits.limits(SETTINGS[suffix.removesuffix(".HI")])
        if limits is None:
            return None
        return _invalid(suffix, now) if math.isinf(limits.high) else Reading(limits.high, now)

    def lowest(self, suffix: str, now: float) -> Reading | None:
        """Return the lowest value allowed."""
        limits = self.limits.limits(SETTINGS[suffix.removesuffix(".LO")])
        return None if limits is None else Reading(limits.low, now)

    def read_back(self, suffix: str, now: float) -> Reading | None:
        """Return a setting as the unit has it."""
        base, wire = suffix.removesuffix(".RBV"), CHANNEL[suffix].wire
        cell = self._cells.get(wire)
        if cell is None or self._unit.outdated(wire, self.number):
            return None
        return state_reading(cell.value, cell.time, self._setting_level(base, cell.value))

    def _setting_level(self, base: str, value: float | int | str) -> Level:
        if SETTINGS[base].numeric and self.limits.beyond_site(base, float(value)):
            return Level.MAJOR
        if self.hv.demands[base].lasting:
            return Level.MINOR
        return Level.MINOR if base in _DOUBTFUL and self._doubtful(base) else Level.OK

    def _doubtful(self, base: str) -> bool:
        """Whether a setting, as it is, is likely to surprise."""
        match base:
            case "MAXV":  # it holds the output below VSET
                maxv, vset = self._number("MAXV"), self._number("VSET")
                return maxv is not None and vset is not None and maxv < vset
            case "TRIPTIME":  # the overcurrent protection is off although the site file does not allow that
                return not self._infinite_trip_allowed and (self._number("TRIP") or 0.0) >= TRIP_INFINITE
        # The current is about to leave the low range.
        imon, end = self._number("IMON"), self.limits.low_range_end()
        return self.limits.range() == "L" and imon is not None and end is not None and imon > _LOW_RANGE_WARNING * end


def _invalid(suffix: str, now: float) -> Reading:
    return Reading(int(State.UNKNOWN) if suffix == "STATE" else None, now, Level.INVALID, Cause.READ)


_Reader = Callable[[CaenChannel, str, float], Reading | None]

_BY_ENDING: Mapping[str, _Reader] = {
    "CMD": lambda channel, suffix, now: Reading(0, now),
    "HI": CaenChannel.highest,
    "LO": CaenChannel.lowest,
    "RES": CaenChannel.resolution,
}


def _reader(row: Quantity) -> _Reader | None:
    """Return how a signal is read, None for what is derived once for each look at the output."""
    ending = row.name.rpartition(".")[2]
    if ending in _BY_ENDING:
        return _BY_ENDING[ending]
    if not row.wire or row.name in ("STAT", "IMON"):
        return None
    if row.name == "POL":
        return CaenChannel.polarity
    return CaenChannel.read_back if ending == "RBV" else CaenChannel.plain


_READERS: Mapping[str, _Reader | None] = {suffix: _reader(row) for suffix, row in CHANNEL.items()}
