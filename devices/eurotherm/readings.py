"""Every signal of a Eurotherm 3200 as a reading with its alarm: one function for each kind of row in the catalogue."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

from devices.eurotherm.catalogue import INPUT_BITS, QUANTITIES, SETTINGS, STATUS_BITS, Quantity
from devices.eurotherm.furnace import Furnace
from devices.eurotherm.registers import firmware_text
from devices.eurotherm.watch import FINE, Alarm
from devices.model import Cause, Kind, Level, Reading, Value
from devices.rules.settings import instead

MINOR, MAJOR = (Level.MINOR, Cause.STATE), (Level.MAJOR, Cause.STATE)

Known = tuple[Value, Alarm]
Reader = Callable[[Furnace], Known | None]
"""Returns value and alarm from what has been read, None when the instrument has no number there."""


def typed(row: Quantity, value: float) -> Value:
    """Return a value in the type of its signal."""
    return float(value) if row.kind is Kind.FLOAT else int(value)


def _text(register: str, text: Callable[[int], str]) -> Reader:
    def read(furnace: Furnace) -> Known | None:
        value = furnace.unit.value(register)
        return None if value is None else (text(int(value)), FINE)

    return read


def _register(row: Quantity) -> Reader:
    def read(furnace: Furnace) -> Known | None:
        value = furnace.setting(row.name) if row.name in SETTINGS else furnace.indexed(row)
        return None if value is None else (typed(row, value), FINE)

    return read


def _read_back(row: Quantity) -> Reader:
    name = row.name.removesuffix(".RBV")

    def read(furnace: Furnace) -> Known | None:
        value = furnace.setting(name)
        if value is None:
            return None
        if furnace.outside_site(name, value):
            return typed(row, value), MAJOR
        no_ramp = name == "RATE" and not value and not furnace.settings.options.get("allow_no_ramp", False)
        return typed(row, value), (MINOR if furnace.demand(name).lasting or no_ramp else FINE)

    return read


def _limit(name: str, side: str) -> Reader:
    def read(furnace: Furnace) -> Known | None:
        limits = furnace.limits(SETTINGS[name])
        return None if limits is None else ((limits.high if side == "HI" else limits.low), FINE)

    return read


def _bit(register: str, mask: int) -> Reader:
    return lambda furnace: (int(bool(int(furnace.unit.value(register) or 0) & mask)), FINE)


def _temperature(furnace: Furnace) -> Known | None:
    return None if furnace.temperature is None else (furnace.temperature, FINE)


def _difference(furnace: Furnace) -> Known | None:
    temp, working = furnace.temperature, furnace.unit.value("WKG.SP")
    return None if temp is None or working is None else (temp - working, furnace.watch.deviation_alarm)


def _working(furnace: Furnace) -> Known | None:
    """A program may lead outside the site's limits, with a target that is inside."""
    working, target = furnace.unit.value("WKG.SP"), furnace.setting("TSET")
    outside = furnace.outside_site("TSET", working) and not furnace.outside_site("TSET", target)
    return None if working is None else (working, MAJOR if outside and furnace.program_runs else FINE)


def _slope(furnace: Furnace) -> Known | None:
    slope = furnace.watch.slope.value
    return None if furnace.temperature is None or slope is None else (slope, furnace.watch.slope_alarm)


def _output(furnace: Furnace) -> Known | None:
    output = furnace.unit.value("WRK.OP")
    return None if output is None else (output, furnace.watch.output_alarm)


def _settled(furnace: Furnace) -> Known | None:
    settled = furnace.watch.settled
    return None if settled is None else (int(settled), FINE)


def _status(furnace: Furnace) -> Known:
    return int(furnace.status), (FINE if furnace.unit.confirmed_status else MINOR)


def _units(furnace: Furnace) -> Known | None:
    index = furnace.unit.value("UNITS")
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
    "ID.FW": _text("VERSION", firmware_text),
    "ID.TYPE": _text("TYPE", "{:04X}".format),
    **{f"STAT.{name}": _bit("StAt", mask) for name, mask in STATUS_BITS.items()},
    **{name: _bit("Di.IP", mask) for name, mask in INPUT_BITS.items()},
}


def _reader(row: Quantity) -> Reader:
    base, _, part = row.name.rpartition(".")
    if row.name in _OWN:
        return _OWN[row.name]
    if base in SETTINGS and part == "RBV":
        return _read_back(row)
    return _limit(base, part) if base in SETTINGS and part in ("HI", "LO") and not row.register else _register(row)


_READERS: Mapping[str, Reader] = {name: _reader(row) for name, row in QUANTITIES.items()}


def readings_of(furnace: Furnace, names: Collection[str]) -> dict[str, Reading]:
    """Return the readings of signals; one that a single bad answer concerns is left out."""
    now = furnace.clock.time()
    kept = furnace.memory.readings(now, furnace.clock.monotonic()) | furnace.safe.readings(now)
    # Published in C, and wrong by a lot. The register of the unit is inferred: so the value itself is kept.
    alarm = MAJOR if furnace.other_unit else FINE
    found = {name: kept.get(name) or _reading(furnace, name, now, alarm) for name in names}
    return {name: reading for name, reading in found.items() if reading is not None}


def _reading(furnace: Furnace, name: str, now: float, of_unit: Alarm) -> Reading | None:
    """Return one reading; ``of_unit`` is the least alarm of what is published in C."""
    row, unit = QUANTITIES[name], furnace.unit
    if name.endswith(".CMD"):
        return Reading(0, now)
    if name in SETTINGS and (value := furnace.demand(name).value) is not None:
        return replace(furnace.demand(name).reading(now), value=typed(row, value))
    needs = furnace.registers(name)
    invalid = Reading(None, now, Level.INVALID, Cause.READ)
    if not unit.missing.isdisjoint(needs):
        return invalid
    if unit.answers.counts and (missed := unit.answers.missed(*needs)):
        return instead(missed, now)
    if not unit.cells.keys() >= set(needs):
        return None
    time = max([unit.cells[need].time for need in needs], default=now)
    known = _READERS[name](furnace)
    if known is None:
        too_early = name == "SLOPE" and furnace.temperature is not None
        return replace(invalid, time=time, cause=Cause.UDF if too_early else Cause.READ)
    shown, alarm = known
    if of_unit[0] > alarm[0] and row.unit in ("C", "C/min"):
        alarm = of_unit
    return Reading(shown, time, *alarm)
