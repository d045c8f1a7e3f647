"""Alarms 1 to 4 of a simulated Eurotherm 3200, with types, hysteresis, latching and blocking; no clock."""

from __future__ import annotations

from devices.eurotherm.registers import Status
from devices.eurotherm.simulator.memory import Memory

ABSOLUTE = (1, 2)  # types low and high
AUTOMATIC, MANUAL = 1, 2  # latching


def _excess(kind: int, value: float, setpoint: float, threshold: float) -> float:
    """Return how far the alarm condition is exceeded; negative when it is not."""
    deviation = value - setpoint
    return {
        1: threshold - value,
        2: value - threshold,
        16: abs(deviation) - abs(threshold),
        17: deviation - threshold,
        18: -deviation - abs(threshold),
    }.get(kind, -1e9)


class Alarm:
    """One alarm. ``on`` is what its status bit shows: the condition, or that it is latched."""

    def __init__(self, number: int) -> None:
        self.on = False
        self.unseen = False
        self._name = f"A{number}"
        self._condition = False
        self._blocked = True

    def step(self, memory: Memory, *, standby: bool) -> None:
        """Judge the process value."""
        kind = int(memory[f"{self._name}.TYP"])
        excess = _excess(kind, memory["PV.IN"], memory["WKG.SP"], memory[self._name])
        silenced = standby and (memory["STBY.T"] or kind not in ABSOLUTE)
        # It goes off only when the value is back by the hysteresis.
        condition = not silenced and excess > (-memory[f"{self._name}.HYS"] if self._condition else 0.0)
        if not condition or not memory[f"{self._name}.BLK"]:
            self._blocked = False
        condition = condition and not self._blocked
        if condition and not self._condition:
            self.unseen = True
        self._condition = condition
        latched = self.on and self.unseen and memory[f"{self._name}.LAT"] in (AUTOMATIC, MANUAL)
        self.on = condition or latched
        if not self.on:
            self.unseen = False
        memory[f"{self._name}.STS"] = self.on

    def acknowledge(self, memory: Memory) -> None:
        """Take the operator's acknowledge; a manual latch ignores it while the condition lasts."""
        if not (self._condition and memory[f"{self._name}.LAT"] == MANUAL):
            self.unseen = False

    def restart(self) -> None:
        """Forget everything, as at power-up; a blocking alarm waits for a good value first."""
        self.on = self.unseen = self._condition = False
        self._blocked = True


class Alarms:
    """All four."""

    def __init__(self) -> None:
        self._alarms = tuple(Alarm(number) for number in range(1, 5))

    def step(self, memory: Memory, *, standby: bool) -> Status:
        """Judge the process value and return the bits of the status word that are on."""
        bits = Status(0)
        for alarm, bit in zip(
            self._alarms, (Status.ALARM_1, Status.ALARM_2, Status.ALARM_3, Status.ALARM_4), strict=True
        ):
            alarm.step(memory, standby=standby)
            bits |= bit if alarm.on else Status(0)
        return bits | (Status.NEW_ALARM if any(alarm.unseen for alarm in self._alarms) else Status(0))

    def acknowledge(self, memory: Memory) -> None:
        """Acknowledge all."""
        for alarm in self._alarms:
            alarm.acknowledge(memory)

    def restart(self) -> None:
        """Forget everything, as at power-up."""
        for alarm in self._alarms:
            alarm.restart()
