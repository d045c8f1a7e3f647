"""Every signal of a Eurotherm 3200 as a reading with its alarm: one function for each kind of row in the catalogue."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

from devices.eurotherm.catalogue import INPUT_BITS, QUANTITIES, SETTINGS, STATUS_BITS, Quantity
from devices.eurotherm.furnace import Furnace
from devices.eurotherm.registers import firmware_text
from devices.eurotherm.watch import FINE, Alarm
from devices.model import Cause, Kind, Level, Reading
from devices.rules.settings import instead

OTHER_UNITS = (1, 2)  # of register 516: Fahrenheit, kelvin
MINOR, MAJOR = (Level.MINOR, Cause.STATE), (Level.MAJOR, Cause.STATE)

Known = tuple[float | str | None, Alarm]
Reader = Callable[[Furnace], Known]
"""Returns value and alarm from what has been read; no value when the instrument has no number there."""


def typed(row: Quantity, value: float | str) -> float | int | str:
    """Return a value in the type of its signal."""
    return value if isinstance(value, str) else float(value) if row.kind is Kind.FLOAT else int(value)


def _text(register: str, text: Callable[[int], str]) -> Reader:
    def read(furnace: Furnace) -> Known:
        value = furnace.unit.value(register)
        return None if value is None else text(int(value)), FINE

    return read


def _read_back(name: str) -> Reader:
    def read(furnace: Furnace) -> Known:
        value = furnace.setting(name)
        if furnace.outside_site(name, value):
            return value, MAJOR
        no_ramp = name == "RATE" and not value and not furnace.settings.options.get("allow_no_ramp", False)
        return value, (MINOR if furnace.demands[name].lasting or no_ramp else FINE)

    return read


def _limit(name: str, side: str) -> Reader:
    def read(furnace: Furnace) -> Known:
        limits = furnace.limits(SETTINGS[name])
        return None if limits is None else limits.high if side == "HI" else limits.low, FINE

    return read


def _bit(register: str, mask: int) -> Reader:
    return lambda furnace: (bool(int(furnace.unit.value(register) or 0) & mask), FINE)


def _difference(furnace: Furnace) -> Known:
    temp, working = furnace.temperature, furnace.unit.value("WKG.SP")
    return None if temp is None or working is None else temp - working, furnace.watch.deviation_alarm


def _working(furnace: Furnace) -> Known:
    """A program may lead outside the site's limits, with a target that is inside."""
    working, target = furnace.unit.value("WKG.SP"), furnace.setting("TSET")
    outside = furnace.outside_site("TSET", working) and not furnace.outside_site("TSET", target)
    return working, MAJOR if outside and furnace.program_runs else FINE


def _slope(furnace: Furnace) -> Known:
    return None if furnace.temperature is None else furnace.watch.slope, furnace.watch.slope_alarm


def _units(furnace: Furnace) -> Known:
    index = furnace.unit.value("UNITS")
    return index, MAJOR if index else FINE


_OWN: Mapping[str, Reader] = {
    "TEMP": lambda furnace: (furnace.temperature, FINE),
    "TDIFF": _difference,
    "TWORK": _working,
    "SLOPE": _slope,
    "OUT": lambda furnace: (furnace.unit.value("WRK.OP"), furnace.watch.output_alarm),
    "SETTLED": lambda furnace: (furnace.watch.settled, FINE),
    "STAT": lambda furnace: (furnace.status, FINE if furnace.unit.confirmed_status else MINOR),
    "UNITS": _units,
    "ID.FW": _text("VERSION", firmware_text),
    "ID.TYPE": _text("TYPE", "{:04X}".format),
    **{f"STAT.{name}": _bit("StAt", mask) for name, mask in STATUS_BITS.items()},
    **{name: _bit("Di.IP", mask) for name, mask in INPUT_BITS.items()},
    **{f"{name}.RBV": _read_back(name) for name in SETTINGS},
}


def _reader(row: Quantity) -> Reader:
    base, _, part = row.name.rpartition(".")
    if row.name in _OWN:
        return _OWN[row.name]
    if row.name in SETTINGS:
        return lambda furnace: (furnace.setting(row.name), FINE)
    return _limit(base, part) if base in SETTINGS and not row.register else lambda furnace: (furnace.indexed(row), FINE)


_READERS: Mapping[str, Reader] = {name: _reader(row) for name, row in QUANTITIES.items()}


def readings_of(furnace: Furnace, names: Collection[str]) -> dict[str, Reading]:
    """Return the readings of signals; one that a single bad answer concerns is left out."""
    now = furnace.clock.time()
    kept = furnace.memory.readings(now, furnace.clock.monotonic()) | furnace.safe.readings(now)
    # Published in C, and wrong by a lot. The register of the unit is inferred: so the value itself is kept.
    alarm = MAJOR if furnace.unit.value("UNITS") in OTHER_UNITS else FINE
    found = {name: kept.get(name) or _reading(furnace, name, now, alarm) for name in names}
    return {name: reading for name, reading in found.items() if reading is not None}


def _reading(furnace: Furnace, name: str, now: float, of_unit: Alarm) -> Reading | None:
    """Return one reading; ``of_unit`` is the least alarm of what is published in C."""
    row, unit = QUANTITIES[name], furnace.unit
    if name.endswith(".CMD"):
        return Reading(0, now)
    if name in SETTINGS and (demand := furnace.demands[name]).value is not None and (memory := demand.reading(now)):
        return replace(memory, value=typed(row, demand.value))
    needs = furnace.registers(name)
    invalid = Reading(None, now, Level.INVALID, Cause.READ)
    if not unit.missing.isdisjoint(needs):
        return invalid
    if unit.answers.counts and (missed := unit.answers.missed(*needs)):
        return instead(missed, now)
    if not unit.cells.keys() >= set(needs):
        return None
    time = max([unit.cells[need].time for need in needs], default=now)
    value, alarm = _READERS[name](furnace)
    if value is None:
        too_early = name == "SLOPE" and furnace.temperature is not None
        return replace(invalid, time=time, cause=Cause.UDF if too_early else Cause.READ)
    if of_unit[0] > alarm[0] and row.unit in ("C", "C/min"):
        alarm = of_unit
    return Reading(typed(row, value), time, *alarm)
