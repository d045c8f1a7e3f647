"""What the parameters of one CAEN channel mean: every signal of a channel as a reading with its alarm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from devices.caen.catalogue import (
    CHANNEL,
    CHANNEL_SETTINGS,
    SETTINGS,
    STATUS_BITS,
    TRIP_INFINITE,
)
from devices.caen.limits import ChannelLimits
from devices.caen.protocol import ChannelStatus, Profile, unknown_status_bits
from devices.caen.unit import CaenUnit, Cell
from devices.model import Cause, DeviceSettings, Level, Reading, state_reading
from devices.rules.hv_channel import SETTLE, HvChannel, State
from devices.rules.hv_trip import Conditions, Sample

LIVE = ("VMON", "IMON", "STAT")
"""What one fast scan reads; the status last, so that the values are those from before what it tells."""

_RAMP = ChannelStatus.UP | ChannelStatus.DOWN
_LOW_RANGE_WARNING = 0.95  # share of the low range above which the current is about to leave it
_MINOR_BITS = ChannelStatus.MAXV | ChannelStatus.MAXPW | ChannelStatus.TWARN
_MAJOR_BITS = ChannelStatus.TRIP | ChannelStatus.OVT | ChannelStatus.KILL | ChannelStatus.INTLCK | ChannelStatus.CALERR

_FROM_STATUS = ("STAT",)
NEEDS: Mapping[str, tuple[str, ...]] = {
    **{row.suffix: (row.wire,) for row in CHANNEL.values() if row.wire},
    **{f"STAT.{name}": _FROM_STATUS for name, _ in STATUS_BITS},
    **dict.fromkeys(("ON", "ON.RBV", "STATE", "MOVING"), _FROM_STATUS),
    **dict.fromkeys(("TRIP", "TRIP.COUNT", "TRIP.TIME", "TRIP.V", "TRIP.I"), _FROM_STATUS),
    "VDIFF": ("VMON", "STAT"),
    "EFFLOAD": ("VMON", "IMON"),
    "FROZEN": ("IMON", "STAT"),
}
"""The parameters without which a signal has no reading; those not named here live on what is read once."""

_CONTEXT: Mapping[str, tuple[str, ...]] = {
    "VDIFF": ("VSET",),
    "IMON": ("ISET",),
    "IMON.RES": ("IMRANGE",),
    "VSET.HI": ("VSET", "MAXV"),
    "VSET.LO": ("VSET", "MAXV"),
    "ISET.HI": ("ISET", "IMRANGE"),
    "ISET.LO": ("ISET", "IMRANGE"),
    "MAXV.RBV": ("VSET",),
}
"""The settings that a reading also depends on; asked for when they have not been read yet."""

_DEMANDS = {suffix for suffix, row in CHANNEL.items() if row.settable and not suffix.endswith(".CMD")}


def conditions(word: int, profile: Profile) -> Conditions:
    """Translate a status word; the profiles differ in bits 9 and 10 (DT55xxE and N1471 manuals, status tables)."""
    status = ChannelStatus(word & ~unknown_status_bits(word))
    fault = ChannelStatus.CALERR | ChannelStatus.MAXPW
    inhibited = ChannelStatus.INTLCK
    if profile is Profile.A:
        fault |= ChannelStatus.OVT
    else:
        fault |= ChannelStatus.TWARN
        inhibited |= ChannelStatus.OVT
    return Conditions(
        word=word & ~int(_RAMP),
        on=ChannelStatus.ON in status,
        up=ChannelStatus.UP in status,
        down=ChannelStatus.DOWN in status,
        limiting=ChannelStatus.OVC in status,
        undervoltage=ChannelStatus.UNV in status,
        inhibited=bool(status & inhibited),
        killed=ChannelStatus.KILL in status,
        tripped=ChannelStatus.TRIP in status,
        fault=bool(status & fault),
    )


class CaenChannel:
    """One channel: demands and memory on top of the parameters that the unit object keeps."""

    def __init__(self, unit: CaenUnit, number: int, settings: DeviceSettings) -> None:
        self.number = number
        self.limits = ChannelLimits(unit, number, settings)
        self.hv = HvChannel(
            float(settings.options.get("settle", SETTLE)), (setting.suffix for setting in CHANNEL_SETTINGS)
        )
        self._unit = unit
        self._infinite_trip_allowed = bool(settings.options.get("allow_infinite_trip", False))

    def parameters(self, suffix: str) -> tuple[str, ...]:
        """Return what has to be asked for a signal now; less when it is a memory or only needs a context."""
        if suffix in _DEMANDS and self.hv.demand(suffix) is not None:
            return ()
        asked = LIVE if _is_live(suffix) else NEEDS.get(suffix, ())
        return (*asked, *(name for name in self._context(suffix) if self._cell(name) is None))

    @staticmethod
    def _context(suffix: str) -> tuple[str, ...]:
        base, _, part = suffix.rpartition(".")
        if part in ("HI", "LO") and suffix not in _CONTEXT:
            return (SETTINGS[base].wire,)
        return _CONTEXT.get(suffix, ())

    # Taking in

    def polled(self, parameters: set[str], now: float) -> None:
        """Draw conclusions from what a batch has just read; ``now`` is monotonic time in seconds."""
        for setting in CHANNEL_SETTINGS:
            cell = self._cell(setting.wire)
            if setting.wire in parameters and cell is not None and not isinstance(cell.value, str):
                step = self.limits.resolution(setting.suffix) if setting.numeric else 0.0
                self._unit.link.stats.late += self.hv.demands[setting.suffix].observe(cell.value, step)
        self._update(parameters.intersection(LIVE), now)

    def _update(self, fresh: set[str], now: float) -> None:
        cells = {name: cell for name in fresh if (cell := self._cell(name)) is not None}
        if not cells:
            return
        status = cells.get("STAT")
        sample = Sample(
            time=max(cell.time for cell in cells.values()),
            now=now,
            conditions=None if status is None else conditions(int(status.value), self._unit.dialect.profile),
            vmon=self._number("VMON") if "VMON" in cells else None,
            imon=self._number("IMON") if "IMON" in cells else None,
            vset=self._number("VSET"),
            iset=self._number("ISET"),
            current_step=self.limits.resolution("IMON"),
        )
        self.hv.update(sample)

    def _cell(self, parameter: str) -> Cell | None:
        return self._unit.cells.get((parameter, self.number))

    def _number(self, parameter: str) -> float | None:
        return self._unit.number(parameter, self.number)

    # Giving out

    def reading(self, suffix: str, now: float) -> Reading | None:
        """Return the reading of a signal, None when a single bad answer leaves it out; ``now`` is Unix time."""
        if suffix.endswith(".CMD"):
            return Reading(0, now)
        if suffix in _DEMANDS and (demand := self.hv.demanded(suffix, now)) is not None:
            return demand
        needs = NEEDS.get(suffix, ())
        if self.number >= self._unit.channels or any(name in self._unit.unsupported for name in needs):
            return self._invalid(suffix, now)
        missed = max((self._unit.missed(name, self.number) for name in needs), default=0)
        if missed:
            return self._invalid(suffix, now) if missed > 1 else None
        return self._known(suffix, now)

    @staticmethod
    def _invalid(suffix: str, now: float) -> Reading:
        value = int(State.UNKNOWN) if suffix == "STATE" else None
        return Reading(value, now, Level.INVALID, Cause.READ)

    def _known(self, suffix: str, now: float) -> Reading | None:
        if suffix in self.hv.derived:
            derived = self.hv.derived[suffix]
            # A measured quantity has the time of its answer; TRIP, say, shares only its name with a wire parameter.
            measured = suffix in CHANNEL and CHANNEL[suffix].wire == suffix
            cell = self._cell(suffix) if measured else None
            return derived if cell is None else replace(derived, time=cell.time)
        if suffix.startswith("STAT.") or suffix == "STAT":
            return self._status(suffix.removeprefix("STAT").removeprefix("."))
        base, _, part = suffix.rpartition(".")
        if part in ("HI", "LO", "RES"):
            return self._limit(base, part, now)
        cell = self._cell(CHANNEL[suffix].wire)
        if cell is None:
            return None
        if suffix == "POL":
            return self.hv.polarity.observe(int(cell.value), cell.time)
        level = self._setting_level(base) if part == "RBV" else Level.OK
        return state_reading(cell.value, cell.time, level)

    def _status(self, name: str) -> Reading | None:
        cell = self._cell("STAT")
        if cell is None:
            return None
        word = int(cell.value)
        if not name:
            level = Level.MINOR if unknown_status_bits(word) else Level.OK
            return state_reading(word, cell.time, level)
        bit = ChannelStatus[name]
        level = self._bit_level(bit, word) if word & bit else Level.OK
        return state_reading(int(bool(word & bit)), cell.time, level)

    def _bit_level(self, bit: ChannelStatus, word: int) -> Level:
        if bit is ChannelStatus.TWARN and self._unit.dialect.profile is Profile.B:
            return Level.MAJOR  # there it means too hot, not warm
        if bit & _MAJOR_BITS:
            return Level.MAJOR
        if bit & _MINOR_BITS:
            return Level.MINOR
        if word & _RAMP:
            return Level.OK
        if bit is ChannelStatus.OVC:
            return max(Level.MINOR, self.hv.limiting_level)
        return Level.MINOR if bit in (ChannelStatus.OVV, ChannelStatus.UNV) else Level.OK

    def _limit(self, base: str, part: str, now: float) -> Reading | None:
        if part == "RES":
            return Reading(self.limits.resolution(base), now)
        if not self.limits.known(SETTINGS[base]):
            return None
        limits = self.limits.limits(SETTINGS[base])
        if part == "HI" and limits.high == float("inf"):
            return self._invalid(base, now)
        return Reading(limits.high if part == "HI" else limits.low, now)

    def _setting_level(self, base: str) -> Level:
        if self.hv.demands[base].lasting:
            return Level.MINOR
        doubtful = False
        if base == "MAXV":
            maxv, vset = self._number("MAXV"), self._number("VSET")
            doubtful = maxv is not None and vset is not None and maxv < vset
        elif base == "TRIPTIME" and not self._infinite_trip_allowed:
            doubtful = (self._number("TRIP") or 0.0) >= TRIP_INFINITE
        elif base == "IRANGE" and self.limits.low_range():
            imon, end = self._number("IMON"), self.limits.low_range_end()
            doubtful = imon is not None and end is not None and imon > _LOW_RANGE_WARNING * end
        return Level.MINOR if doubtful else Level.OK


def _is_live(suffix: str) -> bool:
    return not {*NEEDS.get(suffix, ())}.isdisjoint(LIVE)
