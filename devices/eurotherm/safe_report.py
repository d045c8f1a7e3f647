"""What became of the last SAFE:CMD, as two signals."""

from __future__ import annotations

from dataclasses import dataclass, field

from devices.eurotherm.catalogue import SAFE_STATES
from devices.model import Level, Reading, state_reading

NONE, GOING, DONE, INCOMPLETE = range(len(SAFE_STATES))


@dataclass(slots=True)
class SafeReport:
    """What became of one SAFE:CMD; INCOMPLETE is latched until the next one, or until alarms are acknowledged."""

    state: int = NONE
    done: list[str] = field(default_factory=list)
    unsafe: list[str] = field(default_factory=list)

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
