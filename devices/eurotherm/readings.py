"""Every signal of a Eurotherm 3200 as a reading with its alarm: one function for each kind of row in the catalogue."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

from devices.clock import DriverClock
from devices.eurotherm.catalogue import INPUT_BITS, QUANTITIES, SETTINGS, STATUS_BITS, Quantity
from devices.eurotherm.furnace import Furnace
from devices.eurotherm.memory import FurnaceMemory
from devices.eurotherm.registers import firmware_text
from devices.eurotherm.safe_report import SafeReport
from devices.eurotherm.unit import EurothermUnit
from devices.eurotherm.watch import FINE, Alarm
from devices.model import Cause, Kind, Level, Reading, Value
from devices.rules.answers import instead

MINOR, MAJOR = (Level.MINOR, Cause.STATE), (Level.MAJOR, Cause.STATE)

Known = tuple[Value, Alarm]
Reader = Callable[[Furnace, EurothermUnit], Known | None]
"""Returns value and alarm from what has been read, None when the instrument has no number there."""


def typed(row: Quantity, value: float) -> Value:
    """Return a value in the type of its signal."""
    return float(value) if row.kind is Kind.FLOAT else int(value)


def _text(text: Callable[[int], str]) -> Callable[[Quantity], Reader]:
    def reader_of(row: Quantity) -> Reader:
        def read(_furnace: Furnace, unit: EurothermUnit) -> Known | None:
            value = unit.value(row.register)
            return None if value is None else (text(int(value)), FINE)

        return read

    return reader_of


def _register(row: Quantity) -> Reader:
    def read(furnace: Furnace, _unit: EurothermUnit) -> Known | None:
        value = furnace.setting(row.name) if row.name in SETTINGS else furnace.indexed(row)
        return None if value is None else (typed(row, value), FINE)

    return read


def _read_back(row: Quantity) -> Reader:
    name = row.name.removesuffix(".RBV")

    def read(furnace: Furnace, _unit: EurothermUnit) -> Known | None:
        value = furnace.setting(name)
        if value is None:
            return None
        if furnace.outside_site(name, value):
            return typed(row, value), MAJOR
        no_ramp = name == "RATE" and not value and not furnace.settings.options.get("allow_no_ramp", False)
        return typed(row, value), (MINOR if furnace.demand(name).lasting or no_ramp else FINE)

    return read


def _limit(row: Quantity) -> Reader:
    name, _, side = row.name.rpartition(".")

    def read(furnace: Furnace, _unit: EurothermUnit) -> Known | None:
        limits = furnace.limits(SETTINGS[name])
        return None if limits is None else ((limits.high if side == "HI" else limits.low), FINE)

    return read


def _status_bit(row: Quantity) -> Reader:
    mask = STATUS_BITS[row.name.removeprefix("STAT.")]
    return lambda furnace, _unit: (int(bool(furnace.status & mask)), FINE)


def _input_bit(row: Quantity) -> Reader:
    mask = INPUT_BITS[row.name]
    return lambda furnace, _unit: (int(bool(furnace.inputs() & mask)), FINE)


def _temperature(furnace: Furnace, _unit: EurothermUnit) -> Known | None:
    return None if furnace.temperature is None else (furnace.temperature, FINE)


def _difference(furnace: Furnace, unit: EurothermUnit) -> Known | None:
    temp, working = furnace.temperature, unit.value("WKG.SP")
    return None if temp is None or working is None else (temp - working, furnace.watch.deviation_alarm)


def _working(furnace: Furnace, unit: EurothermUnit) -> Known | None:
    """A program may lead outside the site's limits, with a target that is inside."""
    working, target = unit.value("WKG.SP"), furnace.setting("TSET")
    outside = furnace.outside_site("TSET", working) and not furnace.outside_site("TSET", target)
    return None if working is None else (working, MAJOR if outside and furnace.program_runs else FINE)


def _slope(furnace: Furnace, _unit: EurothermUnit) -> Known | None:
    slope = furnace.watch.slope.value
    return None if furnace.temperature is None or slope is None else (slope, furnace.watch.slope_alarm)


def _output(furnace: Furnace, unit: EurothermUnit) -> Known | None:
    output = unit.value("WRK.OP")
    return None if output is None else (output, furnace.watch.output_alarm)


def _settled(furnace: Furnace, _unit: EurothermUnit) -> Known | None:
    settled = furnace.watch.settled
    return None if settled is None else (int(settled), FINE)


def _status(furnace: Furnace, unit: EurothermUnit) -> Known:
    return int(furnace.status), (FINE if unit.confirmed_status else MINOR)


def _units(_furnace: Furnace, unit: EurothermUnit) -> Known | None:
    index = unit.value("UNITS")
    return None if index is None else (int(index), MAJOR if index else FINE)


_OWN: Mapping[str, Reader] = {
    "TEMP": _temperature,
    "TDIFF": _difference,
    "TWORK": _working,
    "SLOPE": _slope,
    "OUT": _output,
    "SETTLED": _settled,
    "STAT": _status,
    "UNITS": _units,
    "ID.FW": _text(firmware_text)(QUANTITIES["ID.FW"]),
    "ID.TYPE": _text("{:04X}".format)(QUANTITIES["ID.TYPE"]),
}


def _reader(row: Quantity) -> Reader:
    base, _, part = row.name.rpartition(".")
    if row.name in _OWN:
        return _OWN[row.name]
    if row.name in INPUT_BITS:
        return _input_bit(row)
    if base == "STAT":
        return _status_bit(row)
    if base in SETTINGS and part == "RBV":
        return _read_back(row)
    return _limit(row) if base in SETTINGS and part in ("HI", "LO") and not row.register else _register(row)


_READERS: Mapping[str, Reader] = {name: _reader(row) for name, row in QUANTITIES.items()}


class FurnaceReadings:
    """Readings of one furnace."""

    def __init__(
        self, unit: EurothermUnit, furnace: Furnace, memory: FurnaceMemory, safe: SafeReport, clock: DriverClock
    ) -> None:
        self._unit = unit
        self._furnace = furnace
        self._memory = memory
        self._safe = safe
        self._clock = clock

    def of(self, names: Collection[str]) -> dict[str, Reading]:
        """Return the readings of signals; one that a single bad answer concerns is left out."""
        now = self._clock.time()
        kept = self._memory.readings(now, self._clock.monotonic()) | self._safe.readings(now)
        found = {name: kept.get(name) or self._reading(name, now) for name in names}
        return {name: reading for name, reading in found.items() if reading is not None}

    def _reading(self, name: str, now: float) -> Reading | None:
        row, unit, furnace = QUANTITIES[name], self._unit, self._furnace
        if name.endswith(".CMD"):
            return Reading(0, now)
        if name in SETTINGS and (value := furnace.demand(name).value) is not None:
            return replace(furnace.demand(name).reading(now), value=typed(row, value))
        needs = furnace.registers(name)
        invalid = Reading(None, now, Level.INVALID, Cause.READ)
        if any(need in unit.missing for need in needs):
            return invalid
        if missed := max(map(unit.answers.missed, needs), default=0):
            return instead(missed, now)
        if not all(need in unit.cells for need in needs):
            return None
        time = max((unit.cells[need].time for need in needs), default=now)
        known = _READERS[name](furnace, unit)
        if known is None:
            too_early = name == "SLOPE" and furnace.temperature is not None
            return replace(invalid, time=time, cause=Cause.UDF if too_early else Cause.READ)
        shown, alarm = known
        if row.unit in ("C", "C/min") and furnace.other_unit:
            # Published in C, and wrong by a lot. The register of the unit is inferred: so the value itself is kept.
            alarm = max(alarm, MAJOR, key=lambda one: one[0])
        return Reading(shown, time, *alarm)
