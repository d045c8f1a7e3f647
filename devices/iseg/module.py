"""What the items of an Iseg module itself mean, and what its CAN bus is doing."""

from __future__ import annotations

from collections.abc import Callable, Collection

from devices.iseg.catalogue import MODULE, MODULE_SETTINGS, SETTINGS, Setting
from devices.iseg.edcp.bits import ModuleStatus
from devices.iseg.limits import IsegLimits
from devices.iseg.unit import IsegUnit
from devices.links.can_bus import CanBus
from devices.links.can_frame import ControllerState
from devices.model import Cause, DeviceSettings, Level, Reading, Value, state_reading
from devices.rules.settings import Demand, instead

_BITS = {
    "MOD.SAFELOOP": (ModuleStatus.SAFETY_LOOP_GOOD, 0, False, Level.MAJOR),
    "MOD.TEMPOK": (ModuleStatus.TEMPERATURE_GOOD, 0, False, Level.MAJOR),
    "MOD.SUPPLYOK": (ModuleStatus.SUPPLY_GOOD, 0, False, Level.MAJOR),
    "MOD.SERVICE": (ModuleStatus.NEED_SERVICE, 1, False, Level.MAJOR),
    "MOD.SUMERR": (ModuleStatus.NO_SUM_ERROR, 1, True, Level.MINOR),
}
"""Bit of ModuleStatus, the value that is bad and its level; inverted when the bit says that all is well."""

_CONSTANT = ("MOD.NAME", "MOD.SERIAL", "MOD.FW", "MOD.ARTICLE")
_FIRST = {f"{one.suffix}{part}": one.first for one in MODULE_SETTINGS if one.first for part in ("", ".RBV")}
"""First channel of a mask that only boards with so many channels have."""


class BusMeter:
    """Counters of the adapter as readings: a rate from two looks at them, and whether errors grow."""

    def __init__(self) -> None:
        self._bus: CanBus | None = None
        self._looked = 0.0
        self._received = 0
        self._rate = 0.0
        self._errors = 0  # when BUS.ERR was last read

    def look(self, bus: CanBus | None, now: float) -> None:
        """Take the counters once in a while; ``now`` is monotonic time in seconds."""
        if bus is None:
            return
        counters = bus.counters
        if bus is not self._bus:
            self._bus, self._rate, self._errors = bus, 0.0, counters.errors
        elif now > self._looked:
            self._rate = (counters.received - self._received) / (now - self._looked)
        self._looked, self._received = now, counters.received

    def reading(self, name: str, bus: CanBus | None, now: float) -> Reading | None:
        """Return the reading of a BUS signal, None before there was a bus; ``now`` is Unix time."""
        bus = bus or self._bus
        if bus is None:
            return None
        match name:
            case "BUS.STATE":
                levels = {ControllerState.PASSIVE: Level.MINOR, ControllerState.OFF: Level.MAJOR}
                return state_reading(int(bus.state), now, levels.get(bus.state, Level.OK))
            case "BUS.RX":
                return Reading(round(self._rate, 1), now)
            case "BUS.ERR":
                before, self._errors = self._errors, bus.counters.errors
                return state_reading(self._errors, now, Level.MINOR if self._errors > before else Level.OK)
        return Reading(bus.counters.foreign, now)


class IsegModule:
    """The board of one module."""

    def __init__(self, unit: IsegUnit, limits: IsegLimits, settings: DeviceSettings) -> None:
        self.demands = {setting.suffix: Demand() for setting in MODULE_SETTINGS}
        self.meter = BusMeter()
        self._unit = unit
        self._limits = limits
        self._serial = settings.options.get("serial")
        self._kill_may_be_off = bool(settings.options.get("allow_kill_off", False))
        self._channels = settings.channels

    def items(self, name: str) -> tuple[str, ...]:
        """Return what has to be asked for a signal now."""
        row = MODULE[name]
        if _FIRST.get(name, -1) >= self._unit.channels:
            return ()
        if row.settable and (name.endswith(".CMD") or self.demands[name].value is not None):
            return ()
        if name in _CONSTANT and all(self._unit.settled(item, None) for item in row.items):
            return ()
        return row.items

    def found(self, setting: Setting) -> tuple[float | int, float] | None:
        """Return what the module says a setting is, and the Unix time of the answer."""
        cell = self._unit.cells.get((setting.item, None))
        if cell is None or not isinstance(cell.value, int | float):
            return None
        if setting.suffix == "MOD.KILLEN":
            return int(bool(int(cell.value) & ModuleStatus.KILL_ENABLE)), cell.time
        if setting.first:
            return int(cell.value) >> setting.first & 0xFFFF, cell.time
        return cell.value, cell.time

    def polled(self, fresh: Collection[str], now: float) -> None:
        """Draw conclusions from what a batch has just read; ``now`` is monotonic time in seconds."""
        for setting in MODULE_SETTINGS:
            if setting.item in fresh and (found := self.found(setting)) is not None:
                step = self._limits.resolution(setting, 0)
                self._unit.link.stats.late += self.demands[setting.suffix].observe(found[0], step)
        self.meter.look(self._unit.link.bus, now)

    def reading(self, name: str, now: float) -> Reading | None:
        """Return the reading of a signal, None when a single bad answer leaves it out; ``now`` is Unix time."""
        if name.endswith(".CMD") or _FIRST.get(name, -1) >= self._unit.channels:
            return Reading(0, now)
        if name.startswith("BUS."):
            return self.meter.reading(name, self._unit.link.bus, now)
        if name == "MOD.NCH":
            count = self._unit.channels
            return state_reading(count, now, Level.MINOR if count != self._channels else Level.OK)
        row = MODULE[name]
        if row.settable and self.demands[name].value is not None:
            return self.demands[name].reading(now)
        item = row.items[0]
        if item in self._unit.unsupported:
            return Reading(None, now, Level.INVALID, Cause.READ)
        if self._unit.answers.counts and (missed := self._unit.missed(item, None)):
            return instead(missed, now)
        cell = self._unit.cells.get((item, None))
        if cell is None:
            return None
        reader = _READERS.get(name)
        return Reading(cell.value, cell.time) if reader is None else reader(self, name, cell.value, cell.time)

    def _status_bit(self, name: str, value: Value, time: float) -> Reading:
        bit, bad, inverted, level = _BITS[name]
        shown = int(bool(value & bit if isinstance(value, int) else 0) != inverted)
        return state_reading(shown, time, level if shown == bad else Level.OK)

    def _serial_number(self, _: str, value: Value, time: float) -> Reading:
        other = self._serial is not None and str(value) != str(self._serial)
        return state_reading(str(value), time, Level.MAJOR if other else Level.OK)

    def _release(self, _: str, value: Value, time: float) -> Reading:
        parts = value if isinstance(value, tuple) else (_number(value),)
        return Reading(".".join(f"{int(part)}" for part in parts), time)

    def _volts_per_second(self, _: str, value: Value, time: float) -> Reading | None:
        nominal = self._limits.nominal("VoltageNominal", 0)
        return None if nominal is None else Reading(_number(value) * nominal / 100, time)

    def _setting(self, name: str, _value: Value, _time: float) -> Reading | None:
        setting = SETTINGS[name.removesuffix(".RBV")]
        found = self.found(setting)
        if found is None:
            return None
        unprotected = setting.suffix == "MOD.KILLEN" and not found[0] and not self._kill_may_be_off
        level = Level.MINOR if self.demands[setting.suffix].lasting or unprotected else Level.OK
        beyond = not setting.labels and self._limits.beyond_site(setting, 0, found[0])
        return state_reading(found[0], found[1], Level.MAJOR if beyond else level)


_READERS: dict[str, Callable[[IsegModule, str, Value, float], Reading | None]] = {
    **dict.fromkeys(_BITS, IsegModule._status_bit),
    "MOD.SERIAL": IsegModule._serial_number,
    "MOD.FW": IsegModule._release,
    "MOD.RAMPV.VPS": IsegModule._volts_per_second,
    **{f"{one.suffix}{part}": IsegModule._setting for one in MODULE_SETTINGS for part in ("", ".RBV")},
}
"""What makes the reading of a signal out of the value of its item; those without an entry show it as it is."""


def _number(value: Value) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
