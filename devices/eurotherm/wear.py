"""Writes to the non-volatile memory of a Eurotherm 3200: counted for ever, and not too many at a time.

The memory survives about 100,000 changes of each parameter; beyond that the instrument stops working (handbook
HA028651, 2000 Series Communications Handbook HA026230).
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Mapping
from typing import Any

from devices.errors import Refused
from devices.eurotherm.registers import BY_ADDRESS, ENDURANCE
from devices.model import Cause, Level, Reading

WARN_AT = 50_000  # writes
HOUR = 3600.0
SHOWN = 3  # registers in the report


class Wear:
    """Counts of one instrument; ``per_hour`` is how often one register may be written within an hour."""

    def __init__(self, per_hour: int) -> None:
        self.counts: Counter[int] = Counter()
        self._per_hour = per_hour
        self._recent: defaultdict[int, deque[float]] = defaultdict(deque)
        self._stopped_at: float | None = None

    def check(self, address: int, what: str, now: float) -> None:
        """Raise Refused when this register has been written often enough for the present; ``now`` is monotonic."""
        recent = self._recent[address]
        while recent and recent[0] <= now - HOUR:
            recent.popleft()
        if len(recent) >= self._per_hour:
            self._stopped_at = now
            minutes = (recent[0] + HOUR - now) / 60
            raise Refused(
                f"{what}: written {len(recent)} times within an hour, which wears out the memory of the instrument; "
                f"possible again in {minutes:.0f} min (the remote setpoint RSP may be written at any rate)"
            )

    def note(self, address: int, now: float) -> None:
        """Count a write that is about to be sent."""
        self._recent[address].append(now)
        self.counts[address] += 1

    def readings(self, time: float, now: float) -> dict[str, Reading]:
        """Return the WRITES signals; ``time`` is Unix time."""
        total = sum(self.counts.values())
        most = max(self.counts.values(), default=0)
        limited = self._stopped_at is not None and now - self._stopped_at < HOUR
        alarm = (Level.MINOR, Cause.HIGH) if total > WARN_AT or limited else (Level.OK, Cause.NONE)
        text = ", ".join(f"{_name(address)} {count}" for address, count in self.counts.most_common(SHOWN))
        return {
            "WRITES": Reading(total, time, *alarm),
            "WRITES.MAX": Reading(most, time, *((Level.MAJOR, Cause.HIHI) if most > 0.9 * ENDURANCE else alarm)),
            "WRITES.MSG": Reading(text, time),
        }

    def as_json(self) -> dict[str, Any]:
        """Return what ``restore`` takes."""
        return {str(address): count for address, count in self.counts.items()}

    def restore(self, data: Mapping[str, Any]) -> None:
        """Take the counts of former times. Raises ValueError or TypeError when they are none."""
        self.counts = Counter({int(address): int(count) for address, count in data.items()})


def _name(address: int) -> str:
    register = BY_ADDRESS.get(address)
    return f"register {address}" if register is None else f"{register.name} ({address})"
