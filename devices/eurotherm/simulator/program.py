"""Timer and programmer of a simulated Eurotherm 3200 (kinds and end types as in handbook HA028651); no clock."""

from __future__ import annotations

from devices.eurotherm.registers import Status
from devices.eurotherm.simulator.furnace import approach
from devices.eurotherm.simulator.memory import Memory

RESET, RUN, HOLD, END = range(4)
NONE, DWELL, DELAY, SOFT_START, PROGRAMMER = 0, 1, 2, 3, 10
END_OFF, END_DWELL, END_SP2, END_RESET = range(4)
AT_ONCE = 1e9  # degrees per second
SECONDS_PER = (60.0, 3600.0, 1.0)  # unit of ramp rates, by RAMPU


def rate_per_second(memory: Memory, rate: float) -> float:
    """Return a ramp rate in degrees per second; a rate of 0 means a step."""
    return rate / SECONDS_PER[int(memory["RAMPU"])] if rate > 0 else AT_ONCE


class Program:
    """The timer. T.STAT in the memory is its state, which clients write."""

    def __init__(self) -> None:
        self.segment = 1
        self.elapsed = 0.0  # of the present dwell, delay or soft start, in seconds
        self.setpoint: float | None = None  # what the programmer wants
        self._state = RESET

    def step(self, dt: float, memory: Memory) -> Status:
        """Advance by dt seconds and return the bits of the status word that are on."""
        state = int(memory["T.STAT"])
        if memory["TM.CFG"] == NONE:
            memory["T.STAT"] = state = RESET
        if state == RESET or (state == RUN and self._state in (RESET, END)):
            self._begin(memory)
        self._state = state
        if state == RUN:
            self._run(dt, memory)
        self._show(memory)
        return {RUN: Status.RUNNING, END: Status.PROGRAM_END}.get(int(memory["T.STAT"]), Status(0))

    def power_up(self, memory: Memory, state_before: int) -> None:
        """Do what the handbook says about each kind after a mains failure."""
        if memory["TM.CFG"] == PROGRAMMER and state_before in (RUN, HOLD) and memory["SERVO"] >= 2:
            memory["T.STAT"] = self._state = state_before
            # Ramps go on from the measured value or from where the setpoint was.
            self.setpoint = memory["PV.IN"] if memory["SERVO"] == 3 or self.setpoint is None else self.setpoint
            return
        self._begin(memory)
        self._state = RESET
        memory["T.STAT"] = RUN if memory["TM.CFG"] == DELAY else RESET

    def output_off(self, memory: Memory) -> bool:
        """Whether a delay or the end type keeps the heating off, the latter at the end and in reset too."""
        if memory["TM.CFG"] == DELAY:
            return self._state in (RUN, HOLD)
        return memory["TM.CFG"] == DWELL and memory["End.T"] == END_OFF and memory["T.STAT"] in (RESET, END)

    def power_limit(self, memory: Memory) -> float:
        """Return the highest output in percent that a soft start allows."""
        soft = memory["TM.CFG"] == SOFT_START and self._state == RUN and memory["PV.IN"] < memory["SS.SP"]
        return memory["SS.PWR"] if soft else 100.0

    def _begin(self, memory: Memory) -> None:
        self.segment, self.elapsed = 1, 0.0
        self.setpoint = None
        memory["CYCLE"] = 1

    def _run(self, dt: float, memory: Memory) -> None:
        if memory["TM.CFG"] == PROGRAMMER:
            self._run_segment(dt, memory)
            return
        threshold, error = memory["THRES"], abs(memory["PV.IN"] - memory["WKG.SP"])
        ramping = memory["WKG.SP"] != memory["TG.SP"]
        if memory["TM.CFG"] == DWELL and (ramping or (threshold > 0 and error > threshold)):
            return
        self.elapsed += dt
        if self.elapsed >= memory["DWELL"]:
            self._end(memory)

    def _run_segment(self, dt: float, memory: Memory) -> None:
        prefix = f"SEG{self.segment}."
        if self.setpoint is None:
            self.setpoint = memory["PV.IN"] if memory["SERVO"] in (1, 3) else memory["WKG.SP"]
        target = memory[f"{prefix}TSP"]
        if self.setpoint != target:
            self.setpoint = approach(self.setpoint, target, rate_per_second(memory, memory[f"{prefix}RATE"]) * dt)
            return
        self.elapsed += dt
        if self.elapsed < memory[f"{prefix}DWELL"]:
            return
        self.elapsed, self.segment = 0.0, self.segment + 1
        if self.segment <= memory.segments:
            return
        self.segment = 1
        if memory["CYCLE"] < memory["P.CYCL"]:
            memory["CYCLE"] += 1
        else:
            self._end(memory)

    def _end(self, memory: Memory) -> None:
        end = memory["End.T"]
        memory["T.STAT"] = RESET if end == END_RESET else END
        if end == END_SP2:
            memory["SP.SEL"] = 1

    def _show(self, memory: Memory) -> None:
        name = {NONE: "", PROGRAMMER: f"SEG{self.segment}.DWELL"}.get(int(memory["TM.CFG"]), "DWELL")
        whole = memory[name] if name else 0.0
        memory["T.ELAP"] = min(self.elapsed, whole)
        memory["T.REMN"] = max(0.0, whole - self.elapsed)
