"""What is known of one furnace from the registers of its Eurotherm 3200: temperature, settings, demands, limits.

How that becomes readings is in devices.eurotherm.readings.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from functools import cache

from devices.clock import DriverClock
from devices.eurotherm.blocks import reads_twin
from devices.eurotherm.catalogue import (
    QUANTITIES,
    REPORT_EVERY,
    REPORTED,
    SAFE_STATES,
    SETTINGS,
    UNIT_OF,
    Bound,
    Quantity,
    Setting,
    registers_of,
    shown_decimals,
)
from devices.eurotherm.memory import FurnaceMemory
from devices.eurotherm.power_record import Sample
from devices.eurotherm.registers import REGISTERS, Form, Inputs, Scale, Status
from devices.eurotherm.unit import EurothermUnit
from devices.eurotherm.watch import FurnaceWatch
from devices.links.modbus_frames import FULL_SCALE
from devices.model import DeviceSettings, Kind, Level, Limits, Reading, state_reading
from devices.rules.settings import Asked, Demand, tightened

NONE, GOING, DONE, INCOMPLETE = range(len(SAFE_STATES))  # states of SAFE:CMD
OUT_OF_SENSE = Status.SENSOR_BREAK | Status.OUT_OF_RANGE
TARGETS = ("TSET", "SP1", "SP2", "SPSEL")
"""Settings that move each other."""

RANGE = ("RNG.LO", "RNG.HI")  # read once in a connection

FLOAT_RANGE = 99_999.0  # more than the display of any instrument of the family shows, and its floats hold it
HELD_AT_MOST = 10.0  # seconds that a reading waits for those of the report
_UNITS = frozenset(UNIT_OF.values())


@dataclass(slots=True)
class SafeReport:
    """What became of one SAFE:CMD; INCOMPLETE is latched until the next one, or until alarms are acknowledged.

    ``instead`` is what is shown in place of one that was withdrawn before anything was sent.
    """

    state: int = NONE
    done: list[str] = field(default_factory=list)
    unsafe: list[str] = field(default_factory=list)
    instead: SafeReport | None = None

    @property
    def message(self) -> str:
        """What is not safe, and what was done."""
        parts = [f"not safe: {'; '.join(self.unsafe)}"] if self.unsafe else []
        return ". ".join([*parts, *([f"done: {'; '.join(self.done)}"] if self.done else [])])

    def acknowledge(self) -> None:
        """Clear the latch; the message stays."""
        if self.state == INCOMPLETE:
            self.state = NONE

    def readings(self, now: float) -> dict[str, Reading]:
        """Return the SAFE signals; ``now`` is Unix time."""
        alarm = Level.MAJOR if self.state == INCOMPLETE else Level.OK
        return {
            "SAFE.STATE": state_reading(self.state, now, alarm),
            "SAFE.MSG": Reading(self.message, now),
        }


class Furnace:
    """Demands, alarms and memory on top of the registers that ``unit`` keeps.

    ``demands`` are what was last accepted from a user, or found at the first connection, by setting.
    """

    def __init__(
        self, unit: EurothermUnit, settings: DeviceSettings, memory: FurnaceMemory, clock: DriverClock
    ) -> None:
        self.settings, self.unit, self.memory, self.clock = settings, unit, memory, clock
        self.watch = FurnaceWatch(settings.options)
        self._safe = SafeReport()
        self.demands = {name: Demand() for name in SETTINGS}
        self._first = True
        self._remote_failed: bool | None = None
        self._held: tuple[Sample, float] | None = None  # a reading that may end an interruption, and when it was taken

    def link_lost(self) -> None:
        """Forget what only holds within one connection; demands stay."""
        self._first = True
        self._remote_failed = None
        self.watch = FurnaceWatch(self.settings.options)
        for demand in self.demands.values():
            demand.link_lost()

    # What is known

    @property
    def safe(self) -> SafeReport:
        """The last SAFE:CMD; several may be under way at a time, and any of them may be withdrawn."""
        while self._safe.instead is not None:
            self._safe = self._safe.instead
        return self._safe

    @safe.setter
    def safe(self, report: SafeReport) -> None:
        self._safe = report

    @property
    def status(self) -> Status:
        """The status word as last read; nothing when it was not."""
        return Status(int(self.unit.value("StAt") or 0))

    @property
    def remote(self) -> bool:
        """Whether the remote setpoint is in force."""
        return bool(self.unit.value("L-R")) and Status.REMOTE_FAIL not in self.status

    @property
    def temperature(self) -> float | None:
        """The measured temperature; None when the sensor is broken or out of range, whatever the number says."""
        return None if self.status & OUT_OF_SENSE else self.unit.value("PV.IN")

    def setting(self, name: str) -> float | None:
        """Return the value of a setting as the instrument has it, a choice as the index of its label."""
        if name == "TSET" and self.remote:
            remote = self.unit.value("Rm.SP")
            return None if remote is None else remote + (self.unit.value("LOC.t") or 0.0)
        return self.indexed(QUANTITIES[name])

    @property
    def program_runs(self) -> bool:
        """Whether timer or programmer are running or in hold."""
        return bool(self.unit.value("TM.CFG")) and self.unit.value("T.STAT") in (1.0, 2.0)

    @property
    def mains_failed(self) -> bool:
        """The flag of the mains as last read; False when it was not."""
        return bool(int(self.unit.value("Di.IP") or 0) & Inputs.MAINS_FAILED)

    def accept(self, *names: str) -> None:
        """Take the values that the instrument has now as what was asked for."""
        for name in names:
            found = self.setting(name)
            if found is not None:
                self.demands[name].accept(found)

    def asked(self, setting: Setting, value: float) -> Asked:
        """Describe what a put asks of a setting, of a choice by the index of its label."""
        return Asked(setting.name, value, setting.unit, self.resolution(setting), setting.labels, "controller")

    def registers(self, name: str) -> tuple[str, ...]:
        """Return what has to be read for a signal now."""
        if name in SETTINGS and self.demands[name].value is not None:
            return ()
        if name in ("TSET", "TSET.RBV") and self.remote:
            return ("TG.SP", "Rm.SP")
        needs = registers_of(name)
        if len(needs) == 1 or _UNITS.isdisjoint(needs):
            return needs
        # An instrument without the register of a unit has the usual one, and a twin is in milliseconds always.
        known = needs[1] in self.unit.missing or (needs[1] == UNIT_OF[Scale.TIMER] and self.unit.planner.floats)
        return needs[:1] if known else needs

    # Limits

    def limits(self, setting: Setting) -> Limits | None:
        """Return the tightest of what the instrument and the site file allow; None when it is not known yet."""
        low, high = self._bound(setting, setting.low), self._bound(setting, setting.high)
        if setting.labels or low is None or high is None:
            return None
        limits = Limits(low, high, _whose(setting.low), _whose(setting.high))
        targets = setting.high == "SP.HI" or setting.name in ("SPMAX", "SPMIN")
        names = dict.fromkeys((setting.name, "TSET") if targets else (setting.name,))
        for name in names:
            limits = tightened(limits, (self.settings.limits,), name, "site")
        return limits

    def _bound(self, setting: Setting, bound: Bound) -> float | None:
        if isinstance(bound, float):
            return bound
        if bound in REGISTERS and bound not in self.unit.missing:
            return self.unit.value(bound)
        register = REGISTERS[setting.register]
        floats = reads_twin(register, self.unit.planner.floats)
        full = FLOAT_RANGE if floats else self.unit.number(register, FULL_SCALE)
        return -full if full is not None and bound.startswith("-") else full

    def resolution(self, setting: Setting) -> float:
        """Return the step of a setting as the front panel shows it; 0 for what has no fractions."""
        if setting.kind is not Kind.FLOAT:
            return 0.0
        register = REGISTERS[setting.register]
        step = 10.0 ** -shown_decimals(register.scale, self.unit.decimals, setting.digits)
        return step * (self.unit.factor(register) or 1.0)

    # Taking in

    def outside_site(self, name: str, value: float | None) -> bool:
        """Whether a setting is outside the limits that the site file has for it, at the front panel for example."""
        limits = self.settings.limits.get(name)
        return limits is not None and value is not None and not limits[0] <= value <= limits[1]

    def polled(self, fresh: Collection[str]) -> None:
        """Draw conclusions from registers that have just been read."""
        for name, setting in SETTINGS.items():
            if setting.register in fresh or (name == "TSET" and self.remote and "Rm.SP" in fresh):
                self._compare(setting)
        known = self.unit.cells.keys() | self.unit.missing
        if "StAt" in fresh:
            self._count_remote_loss()
        if "PV.IN" in fresh and {"StAt", "Di.IP"} <= known:  # without the mains flag an interruption would be missed
            self._look()
        if self._held is not None and not self.unreported():
            self.release_held()

    def _count_remote_loss(self) -> None:
        """Count that the instrument has stored the loss of its remote setpoint, as it does by itself (inferred)."""
        failed = Status.REMOTE_FAIL in self.status
        if failed and self._remote_failed is False:
            self.memory.note_write(REGISTERS["L-R"].address, self.clock.monotonic())
        self._remote_failed = failed

    def _compare(self, setting: Setting) -> None:
        demand, found = self.demands[setting.name], self.setting(setting.name)
        if found is None:
            return
        if setting.follows:
            demand.value = found
        self.unit.link.stats.late += demand.observe(found, self.resolution(setting))

    def _look(self) -> None:
        unit, now = self.unit, self.clock.monotonic()
        controlling = Status.MANUAL not in self.status and not unit.value("IM")
        self.watch.observe(now, self.temperature, unit.value("WKG.SP"), unit.value("WRK.OP"), controlling)
        sample, last = self._sample(), self.memory.power.last
        if self._held is None and (self._first or (sample.flag and last is not None and not last.flag)):
            self._held = sample, now
        self._first = False
        if self._held is None:
            self.memory.observe(sample, now)
        elif now - self._held[1] > HELD_AT_MOST:
            self.release_held()

    def _sample(self) -> Sample:
        unit = self.unit
        return Sample(
            time=unit.cells["PV.IN"].time,
            flag=self.mains_failed,
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
        since = self.clock.time() - REPORT_EVERY if self._held is None else self._held[0].time
        cells, missing = self.unit.cells, self.unit.missing
        wanted = [*REPORTED, *(("T.REMN",) if self.program_runs else ()), *(("Rm.SP", "LOC.t") if self.remote else ())]
        old = [one for one in wanted if one not in cells or cells[one].time < since]
        return [one for one in (*old, *(one for one in RANGE if one not in cells)) if one not in missing]

    def release_held(self) -> None:
        """Give the power record the reading that may end an interruption, with what is known of mode and program."""
        if self._held is not None:
            held, at = self._held
            self._held = None
            measured = {name: getattr(held, name) for name in ("time", "flag", "temp", "working", "output")}
            self.memory.observe(replace(self._sample(), **measured), at)

    def _label(self, name: str) -> str:
        row = QUANTITIES[name]
        index = self.indexed(row)
        return "" if index is None else row.labels[int(index)]

    def indexed(self, row: Quantity) -> float | None:
        """Return a register's value, of a choice the index of its label; None for a code without one."""
        value = self.unit.value(row.register)
        if value is None or not row.labels:
            return value
        return float(row.codes.index(int(value))) if int(value) in row.codes else None


@cache
def _whose(bound: Bound) -> str:
    return f"instrument {bound}" if isinstance(bound, str) and bound in REGISTERS else "instrument"


def differs(register: str, one: float, other: float) -> bool:
    """Whether two values of a register are not the same to the instrument's memory."""
    exact = REGISTERS[register].form not in (Form.FLOAT, Form.TIME)
    return one != other if exact else abs(one - other) > 1e-6 * max(1.0, abs(one))
