"""A simulated Eurotherm 3216 with its furnace; no port, no clock.

``step(dt)`` advances everything, ``devices.eurotherm.simulator.slave`` answers Modbus requests.
Behaviour follows handbook HA028651; where that is silent, one plausible instrument is shown and the rest can be
chosen by attributes.
"""

from __future__ import annotations

import math
from enum import Enum

from devices.eurotherm.registers import CONFIGURATION, OPERATING, REMOTE_TIMEOUT, STANDBY, Inputs, Register, Status
from devices.eurotherm.simulator.furnace import Furnace, Pid, approach
from devices.eurotherm.simulator.memory import Memory
from devices.eurotherm.simulator.program import Program, rate_per_second

SUBSTEP = 0.25  # seconds; how exactly a long step is followed
BOOT = 3.0  # seconds of silence after power-up
CONFIG_RESTART = 5.0  # seconds of silence after leaving configuration mode
TUNE = 120.0  # seconds that an autotune takes
TUNED = {"A.TUNE": 0.0, "PB": 45.0, "Ti": 240.0, "Td": 40.0}
ABSOLUTE = (1, 2)  # alarm types low and high
AUTOMATIC, MANUAL = 1, 2  # latching of alarms
ALARM_BITS = (Status.ALARM_1, Status.ALARM_2, Status.ALARM_3, Status.ALARM_4)
FLAGS = {
    "SBR": Status.SENSOR_BREAK, "LBR": Status.LOOP_BREAK, "NEW.AL": Status.NEW_ALARM, "LD.STS": Status.LOAD_LOW,
    "LK.STS": Status.LEAKAGE_HIGH, "HC.STS": Status.OVERCURRENT,
}  # fmt: skip
"""Registers that repeat a bit of the status word."""


class BreakReading(Enum):
    """What the process value shows while the sensor is broken; no book says it."""

    RAIL = "rail"
    FROZEN = "frozen"
    NAN = "nan"


class Alarm:
    """One alarm, with type, hysteresis, latching and blocking.

    ``on`` is what its status bit shows: the condition, or that it is latched. ``unseen``: it waits for an acknowledge.
    """

    def __init__(self, number: int) -> None:
        self._name = f"A{number}"
        self.restart()

    def restart(self) -> None:
        """Forget everything, as at power-up; a blocking alarm waits for a good value first."""
        self.on = self.unseen = self._condition = False
        self._blocked = True

    def step(self, memory: Memory) -> None:
        """Judge the process value."""
        kind, latch = int(memory[f"{self._name}.TYP"]), memory[f"{self._name}.LAT"]
        silenced = memory["IM"] == STANDBY and (memory["STBY.T"] or kind not in ABSOLUTE)
        # It goes off only when the value is back by the hysteresis.
        margin = memory[f"{self._name}.HYS"] if self._condition else 0.0
        condition = not silenced and self._excess(kind, memory) > -margin
        if not condition or not memory[f"{self._name}.BLK"]:
            self._blocked = False
        condition = condition and not self._blocked
        self.unseen = self.unseen or (condition and not self._condition)
        self._condition = condition
        self.on = condition or (self.on and self.unseen and latch in (AUTOMATIC, MANUAL))
        self.unseen = self.unseen and self.on
        memory[f"{self._name}.STS"] = self.on

    def _excess(self, kind: int, memory: Memory) -> float:
        """Return how far the alarm condition is exceeded; negative when it is not."""
        value, threshold = memory["PV.IN"], memory[self._name]
        deviation = value - memory["WKG.SP"]
        return {
            1: threshold - value,
            2: value - threshold,
            16: abs(deviation) - abs(threshold),
            17: deviation - threshold,
            18: -deviation - abs(threshold),
        }.get(kind, -1e9)

    def acknowledge(self, memory: Memory) -> None:
        """Take the operator's acknowledge; a manual latch ignores it while the condition lasts."""
        if not (self._condition and memory[f"{self._name}.LAT"] == MANUAL):
            self.unseen = False


class EurothermModel:
    """The instrument; a misspelt attribute or parameter raises at once.

    Attributes that a test or a back door may set: ``furnace``, ``sensor_broken`` with ``break_reading``,
    ``offset`` (C, added to the measured value), ``load_amps`` and ``leak_amps``, ``inputs`` (logic inputs),
    ``held`` (the process value that is shown instead of the furnace's; None: the furnace). Parameters are in
    ``memory``.
    """

    __slots__ = (
        "_alarms", "_mains_failed", "_pid", "_remote_age", "_saturated", "_silent_for", "_state_before", "_tune_left",
        "break_reading", "furnace", "held", "inputs", "leak_amps", "load_amps", "mains", "memory", "offset", "program",
        "sensor_broken",
    )  # fmt: skip

    def __init__(self, furnace: Furnace | None = None, *, segments: int = 8) -> None:
        self.furnace = furnace or Furnace()
        self.memory = Memory(segments)
        self.program = Program()
        self.mains, self.sensor_broken, self.break_reading = True, False, BreakReading.RAIL
        self.held: float | None = None
        self.offset, self.load_amps, self.leak_amps, self.inputs = 0.0, 8.0, 0.0, 0
        self._alarms, self._pid = tuple(Alarm(number) for number in range(1, 5)), Pid()
        self._mains_failed = False
        self._remote_age = math.inf
        self._silent_for = self._saturated = self._tune_left = 0.0
        self._state_before = 0
        self.memory["WKG.SP"] = self.furnace.measured
        self.settle()

    @property
    def silent(self) -> bool:
        """Whether it does not answer: mains off, starting up, or its memory worn out."""
        return not self.mains or self._silent_for > 0 or self.memory.worn_out

    def step(self, dt: float) -> None:
        """Advance by dt seconds, in steps of at most a quarter of one."""
        steps = math.ceil(dt / SUBSTEP)
        for _ in range(steps):
            self._step(dt / steps)

    def settle(self) -> None:
        """Let the registers follow what was changed, without letting time pass."""
        if self.mains:
            self._control(0.0)

    def mains_off(self) -> None:
        """Cut the mains of instrument and heater."""
        self.mains = False
        self._state_before = int(self.memory["T.STAT"])

    def mains_on(self) -> None:
        """Let the mains return: volatile settings are gone, the flag is set, it starts for some seconds."""
        if self.mains:
            return
        self.mains, self._mains_failed, self._silent_for = True, True, BOOT
        self._restart()
        self.program.power_up(self.memory, self._state_before)
        self.settle()

    def acknowledge(self) -> None:
        """Acknowledge every alarm and the mains failure, as on the panel or through Ac.ALL."""
        for alarm in self._alarms:
            alarm.acknowledge(self.memory)
        self._mains_failed = False

    def write(self, register: Register, value: float) -> None:
        """Take a parameter from a client, and react; raises WriteError for what the instrument would refuse."""
        configuring = self.memory["IM"] == CONFIGURATION
        self.memory.store(register, value)
        self.written(register.name)
        if configuring and self.memory["IM"] != CONFIGURATION:
            self._silent_for = CONFIG_RESTART
            self._restart()

    def written(self, name: str) -> None:
        """React to a parameter that a client has just written."""
        memory = self.memory
        if name == "Rm.SP":
            self._remote_age = 0.0
        elif name == "Ac.ALL":
            if memory["Ac.ALL"]:
                self.acknowledge()
            memory["Ac.ALL"] = 0
        elif name == "A.TUNE":
            self._tune_left = TUNE if memory["A.TUNE"] else 0.0
        elif name == "A-M" and memory["A-M"] and memory["F.MOD"] == 1:
            memory["MAN.OP"] = memory["F.OP"]
        self.settle()

    def _restart(self) -> None:
        self.memory.forget_volatile()
        for alarm in self._alarms:
            alarm.restart()
        self._pid = Pid()
        self._remote_age, self._tune_left, self._saturated = math.inf, 0.0, 0.0
        self._measure()
        # With a rate limit the working setpoint starts from the process value again.
        self.memory["WKG.SP"] = self.memory["PV.IN"]

    def _step(self, dt: float) -> None:
        self.furnace.step(dt, self.memory["WRK.OP"] if self.mains and not self.memory.worn_out else 0.0)
        if not self.mains:
            return
        if self._silent_for > 0:
            self._silent_for = max(0.0, self._silent_for - dt)
            self.memory["WRK.OP"] = 0.0
            self._measure()
            return
        self._remote_age += dt
        if self._tune_left > 0:
            self._tune_left = max(0.0, self._tune_left - dt)
            if self._tune_left == 0:
                self.memory.update(TUNED)
        self._control(dt)

    def _measure(self) -> None:
        memory, high = self.memory, self.memory["RNG.HI"]
        value = self.furnace.measured + self.offset + memory["PV.OFS"] if self.held is None else self.held
        broken = {
            BreakReading.RAIL: high + 0.06 * (high - memory["RNG.LO"]),
            BreakReading.FROZEN: memory["PV.IN"],
            BreakReading.NAN: math.nan,
        }
        memory["PV.IN"] = broken[self.break_reading] if self.sensor_broken else value

    def _control(self, dt: float) -> None:
        memory, before = self.memory, self.memory["PV.IN"]
        self._measure()
        memory["RC.PV"] = (memory["PV.IN"] - before) / dt * 60.0 if dt > 0 else memory["RC.PV"]
        timer = self.program.step(dt, memory)
        self._follow_setpoint(dt)
        memory["WRK.OP"] = self._output(dt)
        if not memory["A-M"]:
            memory["MAN.OP"] = memory["WRK.OP"]  # entering manual is bumpless
        self._report(dt, timer)

    def _follow_setpoint(self, dt: float) -> None:
        memory = self.memory
        target = memory["SP2" if memory["SP.SEL"] else "SP1"]
        memory["TG.SP"] = target
        if memory["L-R"] and self._remote_age <= REMOTE_TIMEOUT:
            target = memory["Rm.SP"] + memory["LOC.t"]
        if self.program.setpoint is not None:
            memory["WKG.SP"] = self.program.setpoint
        else:
            # Without a rate limit it follows at once, even when no time passes.
            step = rate_per_second(memory, memory["SP.RAT"]) * dt
            memory["WKG.SP"] = approach(memory["WKG.SP"], target, step) if memory["SP.RAT"] else target
        memory["P.Err"] = memory["PV.IN"] - memory["WKG.SP"]

    def _output(self, dt: float) -> float:
        memory, value, setpoint = self.memory, self.memory["PV.IN"], self.memory["WKG.SP"]
        low, high = memory["OP.LO"], min(memory["OP.HI"], self.program.power_limit(memory))
        if memory["IM"] != OPERATING:
            output = 0.0
        elif memory["A-M"]:
            output = min(memory["OP.HI"], max(low, memory["MAN.OP"]))
            if math.isfinite(value):
                self._pid.track(output, setpoint, value, memory["PB"])
            return output
        elif self.sensor_broken:
            output = memory["SAFE"]
        elif self.program.output_off(memory):
            output = 0.0
        elif memory["CTRL.H"] == 1:
            on = setpoint - value > (0.0 if memory["WRK.OP"] > 0 else memory["HYST.H"])
            output = high if on else low
        else:
            return self._pid.step(dt, setpoint, value, (memory["PB"], memory["Ti"], memory["Td"]), (low, high))
        self._pid = Pid()
        return output

    def _report(self, dt: float, timer: Status) -> None:
        """Bring the status words up to date."""
        memory, heating = self.memory, self.memory["WRK.OP"] > 0
        amps = 0.0 if self.furnace.heater_broken else self.load_amps
        if heating:  # the current is known only while the heater is on
            memory["LD.AMP"] = amps
        memory["LL.AMP"] = self.leak_amps
        for alarm in self._alarms:
            alarm.step(memory)
        # Full power for LBT seconds with a process value that does not rise is a loop break.
        stuck = memory["WRK.OP"] >= memory["OP.HI"] > 0 and memory["RC.PV"] <= 0 and memory["P.Err"] < 0
        self._saturated = self._saturated + dt if stuck else 0.0
        margin = 0.05 * (memory["RNG.HI"] - memory["RNG.LO"])
        conditions = {
            **dict(zip(ALARM_BITS, (alarm.on for alarm in self._alarms), strict=True)),
            Status.NEW_ALARM: any(alarm.unseen for alarm in self._alarms),
            Status.MANUAL: memory["A-M"],
            Status.SENSOR_BREAK: self.sensor_broken,
            Status.LOOP_BREAK: 0 < memory["LBT"] <= self._saturated,
            Status.LOAD_LOW: heating and amps < memory["LD.ALM"],
            Status.LEAKAGE_HIGH: self.leak_amps > memory["LK.ALM"],
            Status.OVERCURRENT: heating and amps > memory["HC.ALM"],
            Status.OUT_OF_RANGE: not memory["RNG.LO"] - margin <= memory["PV.IN"] <= memory["RNG.HI"] + margin,
            Status.REMOTE_FAIL: memory["L-R"] and self._remote_age > REMOTE_TIMEOUT,
            Status.TUNING: self._tune_left > 0,
            Status.RUNNING: memory["SP.RAT"] > 0 and memory["WKG.SP"] != memory["TG.SP"] and not memory["L-R"],
        }
        bits = timer
        for bit, on in conditions.items():
            bits |= bit if on else Status(0)
        memory["StAt"], memory["StAt.INV"] = int(bits), int(bits) ^ 0xFFFF
        for name, bit in FLAGS.items():
            memory[name] = bit in bits
        memory["Di.IP"] = self.inputs | (int(Inputs.MAINS_FAILED) if self._mains_failed else 0)
