"""One status reading of a high-voltage channel, and the memory of an output that was lost.

Part of the vendor-independent meaning in devices.rules.hv_channel: no I/O and no clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from devices.model import Cause, Level, Reading

COLLAPSED = 0.5  # share of VSET below which an output that stood there is lost
LOST_ABOVE = 20.0  # V of VSET below which a collapse is not told from noise


@dataclass(frozen=True, slots=True)
class Conditions:
    """One status reading in the words of no manufacturer.

    ``word`` is the raw status without its ramp bits: two equal ones in a row confirm an event, because
    single corrupted status words have been seen on real supplies. ``fault`` is over-temperature, power or
    input error, ``inhibited`` an interlock, an external inhibit or a disable switch.
    """

    word: int = 0
    on: bool = False
    up: bool = False
    down: bool = False
    limiting: bool = False
    undervoltage: bool = False
    inhibited: bool = False
    killed: bool = False
    tripped: bool = False
    fault: bool = False

    @property
    def moving(self) -> bool:
        """Whether the output is ramping."""
        return self.up or self.down

    @property
    def explained_off(self) -> bool:
        """Whether a protection other than the trip accounts for an output that is off."""
        return self.inhibited or self.killed or self.fault


@dataclass(frozen=True, slots=True)
class Sample:
    """The numbers of one scan; None for what was not read in it or is not known.

    Voltages in V (magnitudes), currents in uA; ``current_step`` is the resolution of ``imon``. ``time`` is
    Unix time of the answers, ``now`` monotonic time, both in seconds.
    """

    time: float
    now: float
    conditions: Conditions | None = None
    vmon: float | None = None
    imon: float | None = None
    vset: float | None = None
    iset: float | None = None
    current_step: float = 0.01


class TripLatch:
    """Remember that the output was lost, until somebody acknowledges.

    An event is the trip bit in two equal status words, or an output lost without a request, twice in a row:
    the on bit gone without a ramp, or the voltage collapsed below half of its setting although the unit
    says on. The second kind has been seen on supplies that never set their trip bit. A ramp down that
    nobody here asked for is a switch at the front panel, not an event.
    """

    def __init__(self) -> None:
        self.latched = False
        self.active = False  # the condition of the last event still holds, acknowledged or not
        self.explains_off = False  # the output has not been on since the last event
        self.count = 0
        self.text_time = ""
        self.voltage = 0.0
        self.current = 0.0
        self._suspect = False  # seen once, not yet twice
        self._previous: Conditions | None = None
        self._output_seen = False  # the output was on in the last undisputed reading
        self._at_voltage = False  # and stood at its setting
        self._before: tuple[float, float] = (0.0, 0.0)

    def acknowledge(self) -> None:
        """Clear the latch; the same event does not latch again."""
        self.latched = False

    def missed(self, sample: Sample) -> None:
        """Latch an event that the unit remembers, but which was over before anybody looked: the output is on."""
        if sample.conditions is not None and not self.active:
            self._latch(sample.time, sample.conditions)

    def forget_output(self) -> None:
        """Drop what the last readings said, because the link was lost in between."""
        self._previous = None
        self._suspect = self._output_seen = self._at_voltage = False

    def observe(self, sample: Sample, demanded_on: bool) -> None:
        """Take one status reading with the values read just before it."""
        conditions = sample.conditions
        if conditions is None:
            return
        event = conditions.tripped or self._lost(conditions, sample, demanded_on)
        same = self._previous is not None and self._previous.word == conditions.word
        if event and same and self._suspect and not self.active:
            self._latch(sample.time, conditions)
        if not event and same:
            self.active = False
        self._suspect = event
        self._previous = conditions
        if not event:
            self._remember(conditions, sample)

    def _lost(self, conditions: Conditions, sample: Sample, demanded_on: bool) -> bool:
        if not demanded_on or conditions.explained_off:
            return False
        if not conditions.on:
            return self._output_seen and not conditions.down
        if not conditions.undervoltage or conditions.moving or conditions.limiting or not self._at_voltage:
            return False
        if sample.vmon is None or sample.vset is None:
            return self.active  # a look at the status alone neither begins nor ends it
        return sample.vset >= LOST_ABOVE and sample.vmon < COLLAPSED * sample.vset

    def _remember(self, conditions: Conditions, sample: Sample) -> None:
        self._output_seen = conditions.on and not conditions.explained_off
        if not self._output_seen:
            self._at_voltage = False
            return
        self.explains_off = False
        if sample.vmon is None or sample.imon is None:
            return
        self._before = sample.vmon, sample.imon
        if sample.vset is not None and not conditions.undervoltage and not conditions.moving:
            self._at_voltage = sample.vmon >= COLLAPSED * sample.vset

    def _latch(self, time: float, conditions: Conditions) -> None:
        self.latched = self.active = self.explains_off = True
        self.count += 1
        self.text_time = datetime.fromtimestamp(time).astimezone().isoformat(timespec="seconds")
        self.voltage, self.current = self._before
        if conditions.tripped:
            # From here on the output is known to be off: its absence once the bit is cleared is no new loss.
            self._output_seen = self._at_voltage = False

    def readings(self, time: float) -> dict[str, Reading]:
        """Return TRIP and what is known about the last event."""
        level, cause = (Level.MAJOR, Cause.STATE) if self.latched else (Level.OK, Cause.NONE)
        return {
            "TRIP": Reading(int(self.latched), time, level, cause),
            "TRIP.COUNT": Reading(self.count, time),
            "TRIP.TIME": Reading(self.text_time, time),
            "TRIP.V": Reading(self.voltage, time),
            "TRIP.I": Reading(self.current, time),
        }
