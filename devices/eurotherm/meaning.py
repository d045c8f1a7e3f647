"""What the registers of one Eurotherm 3200 mean: every signal as a reading with its alarm, demands and limits."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from devices.clock import DriverClock
from devices.eurotherm.catalogue import (
    INPUT_BITS,
    QUANTITIES,
    SETTINGS,
    STATUS_BITS,
    UNIT_OF,
    Bound,
    Quantity,
    Setting,
    registers_of,
    shown_decimals,
)
from devices.eurotherm.furnace import FINE, Alarm, FurnaceLimits, FurnaceWatch
from devices.eurotherm.memory import FurnaceMemory
from devices.eurotherm.power_record import Sample
from devices.eurotherm.registers import REGISTERS, Form, Inputs, Scale, Status, firmware_text
from devices.eurotherm.unit import EurothermUnit
from devices.links.modbus_words import FULL_SCALE
from devices.model import Cause, DeviceSettings, Kind, Level, Limits, Reading, Value
from devices.rules.settings import Asked, Demand, moved, tightened

INVALID = Level.INVALID, Cause.READ
TOO_EARLY = Level.INVALID, Cause.UDF
OTHER_UNITS = (1, 2)  # of register 516: Fahrenheit, kelvin
MINOR, MAJOR = (Level.MINOR, Cause.STATE), (Level.MAJOR, Cause.STATE)
OUT_OF_SENSE = Status.SENSOR_BREAK | Status.OUT_OF_RANGE
TARGETS = ("TSET", "SP1", "SP2", "SPSEL")
"""Settings that move each other."""

REPORTED = ("TM.CFG", "T.STAT", "T.REMN", "A-M", "L-R", "IM", "Rm.SP", "LOC.t")
"""Registers that are read behind the fast ones for the report of a power interruption, whatever is published."""

REPORT_EVERY = 5.0  # seconds between two readings of those
HELD_AT_MOST = 10.0  # seconds that a reading waits for them
_TEMPERATURES = ("TDIFF", "PWR.TBEFORE", "PWR.TMIN", "PWR.TAFTER")


class Furnace:
    """Demands, alarms and memory on top of the registers that the unit object keeps."""

    def __init__(
        self, unit: EurothermUnit, settings: DeviceSettings, memory: FurnaceMemory, clock: DriverClock
    ) -> None:
        self._unit = unit
        self._settings = settings
        self._memory = memory
        self._clock = clock
        options = settings.options
        minor, major = options.get("deviation", (None, None))
        self._limits = FurnaceLimits(minor, major, options.get("slope_limit"), float(options.get("settle", 600.0)))
        self._watch = FurnaceWatch(self._limits)
        self._demands = {name: Demand() for name in SETTINGS}
        self._first = True
        self._held: tuple[Sample, float] | None = None  # a reading that may end an interruption, and when it was taken

    def link_lost(self) -> None:
        """Forget what only holds within one connection; demands stay."""
        self._first = True
        self._watch = FurnaceWatch(self._limits)
        for demand in self._demands.values():
            demand.link_lost()

    # What is known

    @property
    def status(self) -> Status:
        """The status word as last read; nothing when it was not."""
        return Status(int(self._unit.value("StAt") or 0))

    @property
    def remote(self) -> bool:
        """Whether the remote setpoint is in force."""
        return bool(self._unit.value("L-R")) and Status.REMOTE_FAIL not in self.status

    @property
    def temperature(self) -> float | None:
        """The measured temperature; None when the sensor is broken or out of range, whatever the number says."""
        return None if self.status & OUT_OF_SENSE else self._unit.value("PV.IN")

    def setting(self, name: str) -> float | None:
        """Return the value of a setting as the instrument has it, a choice as the index of its label."""
        if name == "TSET" and self.remote:
            remote = self._unit.value("Rm.SP")
            return None if remote is None else remote + (self._unit.value("LOC.t") or 0.0)
        return self._indexed(QUANTITIES[name])

    def demand(self, name: str) -> float | None:
        """Return what was last accepted from a user, or found at the first connection."""
        return self._demands[name].value

    def accept(self, *names: str) -> None:
        """Take the values that the instrument has now as what was asked for."""
        for name in names:
            found = self.setting(name)
            if found is not None:
                self.take(name, found)

    def take(self, name: str, value: float) -> None:
        """Take a value as what was asked for."""
        self._demands[name].accept(value)

    def asked(self, setting: Setting, value: float) -> Asked:
        """Describe what a put asks of a setting, of a choice by the index of its label."""
        step = self.resolution(setting) if setting.kind is Kind.FLOAT else 0.0
        return Asked(setting.name, value, setting.unit, step, setting.labels, "controller")

    def took(self, name: str) -> None:
        """Take what the instrument has now for a setting, instead of what was asked for."""
        found = self.setting(name)
        if found is not None:
            self._demands[name].take(found)

    def doubt(self, setting: Setting, value: float) -> None:
        """Remember a write of a setting whose outcome is unknown."""
        self._demands[setting.name].doubt(self.asked(setting, value))

    def moved(self) -> list[str]:
        """Return the settings whose demand has changed without a put."""
        return moved(self._demands)

    def registers(self, name: str) -> tuple[str, ...]:
        """Return what has to be read for a signal now."""
        if name in SETTINGS and self.demand(name) is not None:
            return ()
        if name in ("TSET", "TSET.RBV") and self.remote:
            return ("TG.SP", "Rm.SP")
        unneeded = self._unit.missing & set(UNIT_OF.values())  # what they would tell is then known anyway
        if self._unit.planner.floats:
            unneeded |= {UNIT_OF[Scale.TIMER]}  # a twin is in milliseconds always
        row = QUANTITIES[name].register
        return tuple(one for one in registers_of(name) if one == row or one not in unneeded)

    # Limits

    def limits(self, setting: Setting) -> Limits | None:
        """Return the tightest of what the instrument and the site file allow; None when it is not known yet."""
        low, high = self._bound(setting, setting.low), self._bound(setting, setting.high)
        if setting.labels or low is None or high is None:
            return None
        limits = Limits(low, high, _whose(setting.low), _whose(setting.high))
        names = dict.fromkeys((setting.name, "TSET") if setting.high == "SP.HI" else (setting.name,))
        for name in names:
            limits = tightened(limits, (self._settings.limits,), name, "site")
        return limits

    def _bound(self, setting: Setting, bound: Bound) -> float | None:
        if isinstance(bound, float):
            return bound
        if bound in REGISTERS and bound not in self._unit.missing:
            return self._unit.value(bound)
        full = self._unit.number(REGISTERS[setting.register], FULL_SCALE)
        return -full if full is not None and bound.startswith("-") else full

    def resolution(self, setting: Setting) -> float:
        """Return the step of a setting as the front panel shows it."""
        register = REGISTERS[setting.register]
        step = 10.0 ** -shown_decimals(register.scale, self._unit.decimals, setting.digits)
        return step * (self._unit.factor(register) or 1.0)

    def precision(self, name: str) -> int | None:
        """Return the decimals that the front panel shows for a signal; None when it does not tell."""
        row = QUANTITIES[name]
        base = SETTINGS.get(name.rpartition(".")[0])
        register = row.register or (base.register if base is not None else "")
        if name in _TEMPERATURES:
            register = "PV.IN"
        if not register or row.kind is not Kind.FLOAT:
            return None
        scale = REGISTERS[register].scale
        known = self._unit.decimals is not None and scale in (Scale.PV, Scale.RATE)
        return shown_decimals(scale, self._unit.decimals, row.digits) if known else None

    # Taking in

    def polled(self, fresh: Collection[str]) -> None:
        """Draw conclusions from registers that have just been read."""
        for name, setting in SETTINGS.items():
            if setting.register in fresh or (name == "TSET" and self.remote and "Rm.SP" in fresh):
                self._compare(setting)
        known = self._unit.cells.keys() | self._unit.missing
        if "PV.IN" in fresh and {"StAt", "Di.IP"} <= known:  # without the mains flag an interruption would be missed
            self._look()
        if self._held is not None and not self.unreported():
            self.release_held()

    def _compare(self, setting: Setting) -> None:
        demand, found = self._demands[setting.name], self.setting(setting.name)
        if found is None:
            return
        if setting.follows:
            demand.value = found
        step = self.resolution(setting) if setting.kind is Kind.FLOAT else 0.0
        self._unit.link.stats.late += demand.observe(found, step)

    def _look(self) -> None:
        unit, now = self._unit, self._clock.monotonic()
        controlling = Status.MANUAL not in self.status and not unit.value("IM")
        self._watch.observe(now, self.temperature, unit.value("WKG.SP"), unit.value("WRK.OP"), controlling)
        sample, last = self._sample(), self._memory.power.last
        if self._held is None and (self._first or (sample.flag and last is not None and not last.flag)):
            self._held = sample, now
        self._first = False
        if self._held is None:
            self._memory.observe(sample, now)
        elif now - self._held[1] > HELD_AT_MOST:
            self.release_held()

    def _sample(self) -> Sample:
        unit = self._unit
        return Sample(
            time=unit.cells["PV.IN"].time,
            flag=bool(int(unit.value("Di.IP") or 0) & Inputs.MAINS_FAILED),
            temp=self.temperature,
            target=self.setting("TSET"),
            working=unit.value("WKG.SP"),
            output=unit.value("WRK.OP"),
            mode=self._label("MODE"),
            remote=self._label("REMOTE"),
            program=self._label("TMR.STATE") if unit.value("TM.CFG") else "",
            left=unit.value("T.REMN"),
        )

    def unreported(self) -> list[str]:
        """Return the registers of the report that have to be read now: all of them after a possible interruption."""
        since = self._clock.time() - REPORT_EVERY if self._held is None else self._held[0].time
        cells, missing = self._unit.cells, self._unit.missing
        return [one for one in REPORTED if one not in missing and (one not in cells or cells[one].time < since)]

    def release_held(self) -> None:
        """Give the power record the reading that may end an interruption, with what is known of mode and program."""
        if self._held is not None:
            held, at = self._held
            self._held = None
            measured = {name: getattr(held, name) for name in ("time", "flag", "temp", "working", "output")}
            self._memory.observe(replace(self._sample(), **measured), at)

    def _label(self, name: str) -> str:
        row = QUANTITIES[name]
        index = self._indexed(row)
        return "" if index is None else row.labels[int(index)]

    def _indexed(self, row: Quantity) -> float | None:
        """Return a register's value, of a choice the index of its label; None for a code without one."""
        value = self._unit.value(row.register)
        if value is None or not row.labels:
            return value
        return float(row.codes.index(int(value))) if int(value) in row.codes else None

    # Giving out

    def readings(self, names: Collection[str]) -> dict[str, Reading]:
        """Return the readings of signals; one that a single bad answer concerns is left out."""
        now = self._clock.time()
        kept = {**self._memory.readings(now), **self._memory.wear.readings(now, self._clock.monotonic())}
        found: dict[str, Reading] = {}
        for name in names:
            reading = kept.get(name) or self._reading(name, now)
            if reading is not None:
                found[name] = reading
        return found

    def _reading(self, name: str, now: float) -> Reading | None:
        row = QUANTITIES[name]
        if name.endswith(".CMD"):
            return Reading(0, now)
        if name in SETTINGS and (demand := self.demand(name)) is not None:
            return replace(self._demands[name].reading(now), value=_typed(row, demand))
        needs = self.registers(name)
        if any(need in self._unit.missing for need in needs):
            return Reading(None, now, *INVALID)
        missed = max((self._unit.misses.get(need, 0) for need in needs), default=0)
        if missed or not all(need in self._unit.cells for need in needs):
            return Reading(None, now, *INVALID) if missed > 1 else None
        time = max((self._unit.cells[need].time for need in needs), default=now)
        value, alarm = self._known(name, row)
        if value is None:
            return None if alarm is FINE else Reading(None, time, *alarm)
        if row.unit in ("C", "C/min") and self._unit.value("UNITS") in OTHER_UNITS:
            # Published in C, and wrong by a lot. The register of the unit is inferred: so the value itself is kept.
            alarm = max(alarm, MAJOR, key=lambda one: one[0])
        return Reading(value, time, *alarm)

    def _known(self, name: str, row: Quantity) -> tuple[Value | None, Alarm]:
        """Return value and alarm; None and FINE when there is nothing to say yet."""
        if name in INPUT_BITS:
            return int(bool(int(self._unit.value("Di.IP") or 0) & INPUT_BITS[name][0])), FINE
        if name == "STAT" or name.startswith("STAT."):
            return self._status(name.removeprefix("STAT").removeprefix("."))
        if name in ("TEMP", "TDIFF", "SLOPE", "OUT"):
            return self._measured(name)
        base, _, part = name.rpartition(".")
        if part in ("HI", "LO") and base in SETTINGS and not row.register:
            limits = self.limits(SETTINGS[base])
            if limits is None:
                return None, INVALID
            return (limits.high if part == "HI" else limits.low), FINE
        if part == "RBV":
            value = self.setting(base)
            return (None, INVALID) if value is None else (_typed(row, value), self._setting_alarm(base, value))
        return self._plain(name, row)

    def _plain(self, name: str, row: Quantity) -> tuple[Value | None, Alarm]:
        value = self.setting(name) if name in SETTINGS else self._indexed(row)
        if value is None:
            return None, INVALID
        if name == "ID.FW":
            return firmware_text(int(value)), FINE
        if name == "ID.TYPE":
            return f"{int(value):04X}", FINE
        return _typed(row, value), (MAJOR if name == "UNITS" and value else FINE)

    def _status(self, bit: str) -> tuple[Value | None, Alarm]:
        if not bit:
            return int(self.status), (FINE if self._unit.confirmed_status else MINOR)
        return int(bool(self.status & STATUS_BITS[bit][0])), FINE

    def _measured(self, name: str) -> tuple[Value | None, Alarm]:
        temp, watch = self.temperature, self._watch
        if name == "OUT":
            output = self._unit.value("WRK.OP")
            return (None, INVALID) if output is None else (output, watch.output_alarm)
        if temp is None:
            return None, INVALID
        if name == "TEMP":
            return temp, FINE
        if name == "SLOPE":
            slope = watch.slope.value
            return (None, TOO_EARLY) if slope is None else (slope, watch.slope_alarm)
        working = self._unit.value("WKG.SP")
        return (None, INVALID) if working is None else (temp - working, watch.deviation_alarm)

    def _setting_alarm(self, name: str, value: float) -> Alarm:
        no_ramp = name == "RATE" and not value and not self._settings.options.get("allow_no_ramp", False)
        return MINOR if self._demands[name].lasting or no_ramp else FINE


def _typed(row: Quantity, value: float) -> Value:
    return float(value) if row.kind is Kind.FLOAT else int(value)


def _whose(bound: Bound) -> str:
    return f"instrument {bound}" if isinstance(bound, str) and bound in REGISTERS else "instrument"


def differs(register: str, one: float, other: float) -> bool:
    """Whether two values of a register are not the same to the instrument's memory."""
    exact = REGISTERS[register].form not in (Form.FLOAT, Form.TIME)
    return one != other if exact else abs(one - other) > 1e-6 * max(1.0, abs(one))
